//! From bytes to what is done: each step is an operation of a target's table and its arguments.
//! It judges nothing. Always true: a script ends, at the latest after [`STEPS`] steps.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use super::{
    bytes::Bytes,
    craft::{self, Tcp},
    world::World,
};
use crate::{Checksum, Offload, Refusal, Verdict};

const STEPS: usize = 64;
/// What goes in fragments.
const LARGE: usize = 3000;
const REFUSALS: [Refusal; 5] = [
    Refusal::Rst,
    Refusal::Prohibited,
    Refusal::HostUnreachable,
    Refusal::NetUnreachable,
    Refusal::PortUnreachable,
];
const SYN: u8 = 2;
const ACK: u8 = 16;
/// Every way of opening, going on and ending, and what no honest stack sends.
const FLAGS: [u8; 14] = [ACK, 0x18, 0x11, 0x12, 4, 0x14, SYN, 0xc2, 1, 0, 3, 6, 5, 0x3f];
/// An app, a subnet, an address that answers echo, our own, a device, and what nobody may dial.
const DESTINATIONS: [&str; 20] = [
    "10.1.0.9",
    "fd50::9",
    "10.1.0.10",
    "fd50::10",
    "100.64.128.7",
    "fd00:0:0:2::7",
    "100.64.0.1",
    "fd00::1",
    "100.64.0.3",
    "fd00:0:0:1::3",
    "127.0.0.1",
    "::1",
    "169.254.169.254",
    "fe80::1",
    "224.0.0.251",
    "ff02::fb",
    "255.255.255.255",
    "::ffff:10.1.0.9",
    "0.0.0.0",
    "::",
];
/// Besides their own: another device's, ours, and some of nobody.
const SOURCES: [&str; 8] =
    ["100.64.0.3", "fd00:0:0:1::3", "100.64.0.1", "fd00::1", "127.0.0.1", "::1", "0.0.0.0", "ff02::1"];
/// From the quickest repetition to the longest memory.
const WAITS: [u64; 9] = [1, 20, 260, 1000, 2000, 5000, 11_000, 61_000, 191_000];

/// A thing that can happen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    /// Any bytes, from anywhere.
    Stranger,
    /// Any bytes, in datagrams of one length.
    Train,
    /// A datagram of a device with some bytes changed or cut off.
    Spoiled,
    /// A datagram of a device once more.
    Replay,
    /// A device begins a handshake.
    Initiate,
    /// A device goes elsewhere.
    Roam,
    /// A device sends any packet.
    Packet,
    /// A device opens a connection.
    Syn,
    /// A device sends a segment of a flow.
    Segment,
    /// The kernel sends any packet.
    Kernel,
    /// The kernel sends a segment of a flow.
    Answer,
    Verdict,
    /// The kernel accepts a connection.
    Accept,
    /// A flow is cut, or ends in peace.
    End,
    Time,
    /// Other devices are enrolled.
    Peers,
    /// A device sends a datagram.
    Ask,
    /// The shell answers along a flow of datagrams.
    Say,
    /// The shell says that nothing answers there.
    Unreachable,
}

impl Op {
    /// What happens outside the tunnel, and enough of what happens inside.
    pub(super) const OUTSIDE: [Self; 16] = [
        Self::Stranger,
        Self::Train,
        Self::Spoiled,
        Self::Replay,
        Self::Initiate,
        Self::Roam,
        Self::Packet,
        Self::Syn,
        Self::Segment,
        Self::Kernel,
        Self::Answer,
        Self::Verdict,
        Self::Accept,
        Self::End,
        Self::Time,
        Self::Peers,
    ];
}

pub(super) fn play(bytes: &[u8], connected: bool, table: &[Op]) {
    let mut bytes = Bytes::new(bytes);
    let mut world = World::new();
    if connected {
        world.initiate(0);
        world.initiate(1);
    }
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        let op = bytes.pick(table);
        step(op, &mut world, &mut bytes);
    }
}

fn step(op: Op, world: &mut World, bytes: &mut Bytes<'_>) {
    let device = usize::from(bytes.byte());
    match op {
        Op::Stranger => world.arrives(place(device), bytes.take()),
        Op::Train => world.train(place(device), usize::from(bytes.byte()), bytes.take()),
        Op::Spoiled => {
            let mut datagram = world.remembered(bytes.byte());
            craft::spoil(&mut datagram, bytes);
            datagram.truncate(datagram.len() - usize::from(bytes.byte() % 64).min(datagram.len()));
            world.arrives(place(device), &datagram);
        }
        Op::Replay => {
            let datagram = world.remembered(bytes.byte());
            world.arrives(place(device), &datagram);
        }
        Op::Initiate => world.initiate(device),
        Op::Roam => world.roam(device, place(usize::from(bytes.byte()))),
        Op::Packet => {
            let packet = packet(&world.sources(device), bytes);
            world.device_sends(device, &packet);
        }
        Op::Syn => {
            let src = bytes.pick(&world.sources(device));
            let tcp = Tcp { ports: (port(bytes), 22), seq: bytes.byte().into(), ack: 0, flags: SYN };
            world.device_sends(device, &tcp.packet(src, target(src), &[]));
        }
        Op::Segment | Op::Answer => segment(op, device, world, bytes),
        Op::Kernel => {
            let mut packet = packet(&DESTINATIONS.map(address), bytes);
            craft::spoil(&mut packet, bytes);
            world.kernel_sends(offload(device), &packet);
        }
        Op::Verdict => world.decide(device, verdict(bytes.byte())),
        Op::Accept => world.accept(device),
        Op::End => world.end(device, bytes.flag()),
        Op::Time => world.pass(Duration::from_millis(bytes.pick(&WAITS))),
        Op::Peers => world.enrol(bytes.byte()),
        Op::Ask => {
            let packet = question(bytes.pick(&world.sources(device)), bytes);
            world.device_asks(device, &packet, device & 0x80 != 0);
        }
        Op::Say => {
            let mut said = bytes.take().to_vec();
            said.resize(if device & 0x80 == 0 { said.len() } else { LARGE }, 7);
            world.say(device, &said);
        }
        Op::Unreachable => world.unreachable(device, bytes.pick(&REFUSALS)),
    }
}

/// A segment along a flow there is, in one direction or the other.
fn segment(op: Op, nth: usize, world: &mut World, bytes: &mut Bytes<'_>) {
    let Some((device, key)) = world.flow(nth) else { return };
    let (flags, seq, ack) = (bytes.pick(&FLAGS), u32::from(bytes.word()), u32::from(bytes.word()));
    let payload = bytes.take();
    if matches!(op, Op::Segment) {
        // Up to four in a row, as the kernel may get them in one piece, unless a bit says that one is odd.
        let odd = if nth >> 6 > 0 { bytes.byte() } else { 0 };
        let bit = |at: usize| u32::from(odd >> at & 1);
        let next = |nth: usize| seq + u32::try_from(nth * payload.len()).unwrap_or(0) + bit(nth);
        let ports = (key.device.port(), key.target.port());
        let tcp = |nth| Tcp { ports, seq: next(nth), ack: ack + bit(4 + nth), flags };
        let packet = |nth| tcp(nth).packet(key.device.ip(), key.target.ip(), payload);
        world.device_sends_all(device, &(0..=(nth >> 6 & 3)).map(packet).collect::<Vec<_>>());
    } else {
        let tcp = Tcp { ports: (key.target.port(), key.device.port()), seq, ack, flags };
        let mut packet = tcp.packet(key.target.ip(), key.device.ip(), payload);
        craft::spoil(&mut packet, bytes);
        world.kernel_sends(offload(nth), &packet);
    }
}

/// A datagram that may open a flow, perhaps spoiled.
fn question(src: IpAddr, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (own, kind) = (port(bytes), bytes.byte());
    let mut packet = match kind & 3 {
        0 => craft::echo(src, target(src), own, bytes.take()),
        _ => craft::udp(src, target(src), (own, 53), bytes.take()),
    };
    if kind & 0x80 != 0 {
        craft::spoil(&mut packet, bytes);
    }
    packet
}

/// A packet of any kind, most often from one of `own`, perhaps spoiled.
fn packet(own: &[IpAddr], bytes: &mut Bytes<'_>) -> Vec<u8> {
    let kind = bytes.byte();
    if kind >= 250 {
        return bytes.take().to_vec();
    }
    let src = if kind & 0x40 == 0 { bytes.pick(own) } else { address(bytes.pick(&SOURCES)) };
    let to = DESTINATIONS.map(address);
    let of_family: Vec<IpAddr> = to.into_iter().filter(|dst| dst.is_ipv4() == src.is_ipv4()).collect();
    let dst = bytes.pick(&of_family);
    let ports = (port(bytes), bytes.pick(&[22, 53, 443, 0]));
    let mut packet = match kind & 3 {
        0 | 1 => {
            let (flags, seq, ack) = (bytes.pick(&FLAGS), bytes.word().into(), bytes.word().into());
            Tcp { ports, seq, ack, flags }.packet(src, dst, bytes.take())
        }
        2 => craft::udp(src, dst, ports, bytes.take()),
        _ => craft::icmp(src, dst, bytes.pick(&[8, 128, 0, 129, 3, 1]), bytes.take()),
    };
    craft::spoil(&mut packet, bytes);
    packet
}

/// What the kernel leaves to us: most often nothing.
fn offload(nth: usize) -> Offload {
    let segment = match nth >> 5 {
        0..=3 => return Offload::NOTHING,
        4 | 5 => None,
        6 => NonZeroU16::new(7),
        _ => NonZeroU16::new(100),
    };
    Offload { checksum: Checksum::Partial, segment }
}

fn verdict(byte: u8) -> Verdict {
    match byte % 6 {
        0 => Verdict::Refuse(Refusal::Rst),
        1 => Verdict::Refuse(Refusal::Prohibited),
        2 => Verdict::Refuse(Refusal::HostUnreachable),
        _ => Verdict::Admit,
    }
}

fn port(bytes: &mut Bytes<'_>) -> u16 {
    4000 + u16::from(bytes.byte() % 4)
}

fn target(src: IpAddr) -> IpAddr {
    address(if src.is_ipv4() { DESTINATIONS[0] } else { DESTINATIONS[1] })
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address of the tables")
}

/// Somewhere outside.
fn place(nth: usize) -> SocketAddr {
    let nth = u8::try_from(nth % 8).unwrap_or(0);
    if nth == 7 {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 7).into()
    } else {
        ([198, 51, 100, nth], 40_000).into()
    }
}
