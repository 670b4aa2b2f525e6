//! Offloads against the kernel as it is: what its TCP leaves to us, what it takes from us, and what
//! UDP does when there is no room or the route is narrow. It measures nothing.

use std::{
    io::{ErrorKind, IoSlice, Read, Write},
    num::NonZeroU16,
    process::Command,
    time::Instant,
};

use libtest_mimic::Failed;
use netio::{
    gateway_ns::{GatewayNet, Mode},
    tun::{Batch, Checksum, Offload, Packet},
    udp::{RecvBatch, Sent, Train, UdpSockets},
};

use crate::{
    HANG, Outcome, connect, gateway, gateway_in,
    packet::{SYN, Segment, is_complete, tcp_offset},
    wait_for,
};

/// What a sender may put into a segment for a peer that named no MSS (RFC 9293 §3.7.1, RFC 8200 §8.3).
const DEFAULT_MSS: [u16; 2] = [536, 1220];

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 3) as u8).collect()
}

fn syn(device: &str, target: &str) -> Result<Segment, Failed> {
    Ok(Segment { from: device.parse()?, to: target.parse()?, seq: 1000, ack: 0, flags: SYN })
}

/// The data packets the kernel sends, until `length` bytes of payload have come.
fn payloads(net: &mut GatewayNet, length: usize) -> Result<Vec<(Offload, Vec<u8>)>, Failed> {
    let (mut batch, mut packets, mut got) = (Batch::new(4), Vec::new(), 0);
    while got < length {
        wait_for(&net.tun)?;
        net.tun.read_batch(&mut batch)?;
        for (offload, packet) in batch.packets() {
            got += packet.len() - tcp_offset(packet) - 20;
            packets.push((offload, packet.to_vec()));
        }
    }
    assert_eq!((got, batch.malformed()), (length, 0));
    Ok(packets)
}

pub fn burst(device: &str, target: &str) -> Outcome {
    let mut net = gateway_in(Mode::Private, true)?;
    assert!(net.tun.offload(), "{:?}", net.notes);
    let syn = syn(device, target)?;
    let (mut stream, ..) = connect(&mut net, syn)?;
    // Ten segments are what a connection may send at first (RFC 6928).
    let mss = DEFAULT_MSS[usize::from(syn.from.is_ipv6())];
    let bytes = pattern(usize::from(mss) * 9 + 100);
    stream.write_all(&bytes)?;

    let packets = payloads(&mut net, bytes.len())?;
    let mut all = Vec::new();
    for (offload, packet) in &packets {
        let tcp = tcp_offset(packet);
        let segment = Segment::parse(packet).ok_or("no TCP segment")?;
        let payload = packet.get(tcp + 20..).unwrap_or_default();
        all.extend_from_slice(payload);
        assert_eq!(offload.checksum, Checksum::Partial);
        assert_eq!(offload.segment.is_some(), payload.len() > mss.into(), "{offload:?}");
        assert!(offload.segment.is_none_or(|segment| segment.get() == mss), "{offload:?}");
        let field = u16::from_be_bytes([packet[tcp + 16], packet[tcp + 17]]);
        assert_eq!(field, segment.pseudo_sum(packet.len() - tcp), "the sum of the pseudo-header");
    }
    assert_eq!(all, bytes);
    assert!(packets.iter().any(|(offload, _)| offload.segment.is_some()), "{packets:?}");
    Ok(())
}

pub fn super_segment(device: &str, target: &str) -> Outcome {
    let mut net = gateway_in(Mode::Private, true)?;
    let syn = syn(device, target)?;
    let (mut stream, _, ours) = connect(&mut net, syn)?;
    let bytes = pattern(1360 * 20 + 7);
    let head = ours.head(bytes.len());
    let mut parts = vec![IoSlice::new(&head)];
    parts.extend(bytes.chunks(1360).map(IoSlice::new));
    let packet = Packet {
        v6: syn.from.is_ipv6(),
        ip_head: head.len() - 20,
        head: head.len(),
        segment: NonZeroU16::new(1360),
        parts: &parts,
    };
    net.tun.write(&packet)?;

    wait_for(&stream)?;
    let mut got = vec![0; bytes.len()];
    // All of it is there as soon as any of it is.
    assert_eq!(stream.read(&mut got)?, bytes.len());
    assert_eq!(got, bytes);
    Ok(())
}

pub fn plain() -> Outcome {
    let mut net = gateway()?;
    assert!(!net.tun.offload());
    let syn = syn("100.64.0.2:1", "10.50.0.7:80")?;
    let (mut stream, ..) = connect(&mut net, syn)?;
    stream.write_all(&pattern(2000))?;
    for (offload, packet) in payloads(&mut net, 2000)? {
        assert_eq!(offload, Offload { checksum: Checksum::Complete, segment: None });
        assert!(packet.len() <= 40 + usize::from(DEFAULT_MSS[0]));
        assert!(is_complete(&packet), "{packet:?}");
    }
    let head = syn.head(3000);
    let parts = [IoSlice::new(&head), IoSlice::new(&[0; 3000])];
    let packet = Packet { v6: false, ip_head: 20, head: 40, segment: NonZeroU16::new(1000), parts: &parts };
    let refused = net.tun.write(&packet).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::InvalidInput), "the kernel did not agree");
    Ok(())
}

fn ip(arguments: &str) -> Outcome {
    let status = Command::new("ip").args(arguments.split(' ')).status()?;
    if status.success() { Ok(()) } else { Err(format!("ip {arguments}: {status}").into()) }
}

fn bind(address: &str) -> Result<UdpSockets, Failed> {
    Ok(UdpSockets::bind(&[address.parse()?])?)
}

/// What is sent waits for an answer to "who has 10.9.0.2", which never comes, and fills the buffer.
pub fn full_send_buffer() -> Outcome {
    ip("link add here type veth peer name there")?;
    ip("addr add 10.9.0.1/24 dev here")?;
    ip("link set there up")?;
    ip("link set here up")?;
    let mut sockets = bind("10.9.0.1:0")?;
    let socket = sockets.iter().next().ok_or("no socket")?;
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::SndBuf, &20_000)?;
    let to = "10.9.0.2:9".parse()?;
    let bytes = pattern(1000);
    let begin = Instant::now();
    let outcome = sockets.send((0..100).map(|_| Train { socket: 0, to, bytes: &bytes, segment: 1000 }));
    assert!(begin.elapsed() < HANG, "sending never waits");
    assert!(outcome.sent > 0 && outcome.dropped > 0, "{outcome:?}");
    assert_eq!((outcome.sent + outcome.dropped, outcome.unsegmented), (100, 0));
    Ok(())
}

pub fn narrow_route() -> Outcome {
    ip("link set lo mtu 1400 up")?;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut here, there) = (bind(address)?, bind(address)?);
        let socket = there.iter().next().ok_or("no socket")?;
        let to = socket.local_addr()?;
        let bytes = pattern(1452 * 3);
        let outcome = here.send([Train { socket: 0, to, bytes: &bytes, segment: 1452 }]);
        assert_eq!(outcome, Sent { sent: 3, dropped: 0, unsegmented: 1 });
        let (mut batch, mut got) = (RecvBatch::new(4), Vec::new());
        while got.len() < bytes.len() {
            wait_for(socket)?;
            there.recv_batch(0, &mut batch)?;
            batch.trains().for_each(|(_, _, train)| got.extend_from_slice(train));
        }
        assert_eq!(got, bytes);
    }
    Ok(())
}
