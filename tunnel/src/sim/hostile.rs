//! What attackers make up: inner packets of a device with a valid session, and datagrams of strangers
//! who saw the traffic of others.

use std::net::{IpAddr, SocketAddr};

use super::{
    device::{Device, gateway_key, key},
    dice::Dice,
    gate::{INSIDE, MTU, VIP},
    net::{Flight, Net, gateway},
};
use crate::{
    noise::cookie::client::prove,
    packet::{
        Ends,
        icmp::tests::message,
        tcp::{ACK, FIN, RST, SYN, tests::segment},
        udp,
    },
};

/// Where no packet may go.
pub(super) const NOWHERE: [&str; 11] = [
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.251",
    "0.0.0.0",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "fe80::1",
    "ff02::fb",
    "::",
    "::ffff:10.1.0.9",
];
const SOMEWHERE: [&str; 3] = ["10.1.0.9", "fd50::9", VIP];

/// What a hostile device knows: the inner addresses and connections of the others.
pub(super) struct Sight {
    own: [IpAddr; 2],
    others: Vec<IpAddr>,
    conns: Vec<(SocketAddr, SocketAddr, u32)>,
}

impl Sight {
    pub(super) fn of(devices: &[Device], at: usize) -> Self {
        let others = devices.iter().enumerate().filter(|&(n, _)| n != at);
        let conns = devices.iter().flat_map(|device| &device.conns);
        Self {
            own: devices[at].sources(),
            others: others.flat_map(|(_, device)| device.sources()).collect(),
            conns: conns.map(|(_, conn)| (conn.own, conn.peer, conn.isn())).collect(),
        }
    }

    /// An address to send from: mostly its own, else another's, the gateway's or nobody's.
    fn source(&self, dice: &mut Dice) -> IpAddr {
        match dice.of(0..10) {
            0 | 1 => *dice.pick(&self.others).unwrap_or(&self.own[0]),
            2 => dice.pick(&INSIDE).unwrap().parse().unwrap(),
            3 => dice.pick(&NOWHERE).unwrap().parse().unwrap(),
            _ => *dice.pick(&self.own).unwrap(),
        }
    }

    fn target(&self, like: IpAddr, dice: &mut Dice) -> IpAddr {
        let inside: Vec<IpAddr> = INSIDE.iter().map(|addr| addr.parse().unwrap()).collect();
        let odd: Vec<IpAddr> = NOWHERE.iter().chain(&SOMEWHERE).map(|addr| addr.parse().unwrap()).collect();
        let all: Vec<&IpAddr> = odd.iter().chain(&inside).chain(&self.others).collect();
        let same: Vec<_> = all.into_iter().filter(|addr| addr.is_ipv4() == like.is_ipv4()).collect();
        **dice.pick(&same).unwrap()
    }
}

/// One inner packet, or a burst of SYNs.
pub(super) fn packets(sight: &Sight, dice: &mut Dice) -> Vec<Vec<u8>> {
    let src = sight.source(dice);
    let ends = Ends::new(src, sight.target(src, dice)).unwrap();
    let number = |dice: &mut Dice| u32::try_from(dice.draw() >> 32).unwrap();
    let port = |dice: &mut Dice| u16::try_from(dice.of(4000..4012)).unwrap();
    match dice.of(0..12) {
        0 => (0..30).map(|n| segment(ends, (5000 + n, 22), number(dice), 0, SYN, &[])).collect(),
        1 | 2 => {
            let ports = (port(dice), *dice.pick(&[22, 443]).unwrap());
            vec![segment(ends, ports, number(dice), 0, SYN, &[])]
        }
        3 | 4 => guesses(sight, dice),
        5 => {
            let flags = dice.bytes(1)[0];
            vec![segment(ends, (port(dice), 22), number(dice), number(dice), flags, b"odd")]
        }
        6 => {
            let (first, to) = (port(dice), (ends.dst(), *dice.pick(&[53, 443]).unwrap()).into());
            let ports = first..first + u16::try_from(dice.of(1..3) * dice.of(1..20)).unwrap();
            let say = |port| udp::datagram((ends.src(), port).into(), to, &dice.bytes(20));
            ports.filter_map(say).collect()
        }
        7 => {
            let (v4, v6) = *dice.pick(&[(8, 128), (3, 1), (13, 135), (0, 129), (8, 128)]).unwrap();
            let [high, low] = port(dice).to_be_bytes();
            vec![message(ends, v4, v6, &[high, low, 0, 0, dice.bytes(1)[0], 0, 0, 0])]
        }
        8 => {
            let len = dice.of(0..60);
            vec![dice.bytes(len)]
        }
        9 => vec![segment(ends, (port(dice), 22), 1, 1, ACK, &vec![0; MTU])],
        _ => vec![damaged(segment(ends, (port(dice), 22), number(dice), 0, SYN, &[]), dice)],
    }
}

/// Segments into connections of others, and into its own ones.
fn guesses(sight: &Sight, dice: &mut Dice) -> Vec<Vec<u8>> {
    let Some(&(own, peer, isn)) = dice.pick(&sight.conns) else { return Vec::new() };
    let src = if dice.chance(500) { own.ip() } else { sight.source(dice) };
    let Some(ends) = Ends::new(src, peer.ip()) else { return Vec::new() };
    let flags = *dice.pick(&[ACK, RST, RST | ACK, FIN | ACK, SYN, SYN | ACK]).unwrap();
    let seq = isn.wrapping_add(u32::try_from(dice.of(0..3)).unwrap());
    vec![segment(ends, (own.port(), peer.port()), seq, 77, flags, &[])]
}

/// Fragments, options, extension headers, wrong lengths and sums.
fn damaged(mut packet: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let v6 = packet[0] >> 4 == 6;
    match dice.of(0..7) {
        0 if v6 => packet[6] = *dice.pick(&[0, 43, 44, 50, 51, 59, 60, 135]).unwrap(),
        0 => packet[6] = 0x20,
        1 if v6 => packet[40 + 12] = 0x10,
        1 => packet[7] = 1,
        2 if !v6 => {
            packet[0] = 0x46;
            packet.splice(20..20, [131, 4, 4, 0]);
            packet[3] += 4;
        }
        2 | 3 => packet.truncate(packet.len() - 1),
        4 => packet.push(0),
        5 if !v6 => packet[10] ^= 1,
        5 => packet[0] = 0x50,
        _ => packet[if v6 { 6 } else { 9 }] = dice.bytes(1)[0],
    }
    if !v6 && dice.chance(800) {
        sum_header(&mut packet);
    }
    packet
}

/// Makes the checksum of an IPv4 header right (RFC 1071), so that only its other faults are left.
fn sum_header(packet: &mut [u8]) {
    let len = usize::from(packet[0] & 15) * 4;
    let words = |bytes: &[u8]| bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum::<u32>();
    packet[10..12].fill(0);
    let sum = words(&packet[..len]);
    let folded = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The same packet the other way round, as the kernel might send it.
pub(super) fn turned(mut packet: Vec<u8>) -> Vec<u8> {
    let (addresses, ports) = match packet.first() {
        Some(0x45) => (12..20, 20..24),
        Some(0x60) => (8..40, 40..44),
        Some(_) | None => return packet,
    };
    for range in [addresses, ports] {
        let half = range.len() / 2;
        if let Some(both) = packet.get_mut(range) {
            both.rotate_left(half);
        }
    }
    packet
}

/// What a stranger sends: copies, guesses, and nonsense, from his own or a stolen address.
pub(super) fn datagram(net: &Net, devices: &[Device], dice: &mut Dice) -> Option<Flight> {
    let stolen = dice.pick(devices).filter(|_| dice.chance(500)).map(|device| device.addr);
    let own = ([203, 0, 113, u8::try_from(dice.of(1..5)).unwrap()], 666).into();
    let socket = gateway(dice.of(0..2));
    let seen = dice.pick(&net.copies).cloned();
    if dice.chance(400) {
        let mut copy = seen?;
        if dice.chance(500) {
            copy.from = stolen.unwrap_or(own);
            copy.to = socket;
        }
        return Some(copy);
    }
    let (from, to) = match dice.chance(100) {
        true => (socket, dice.pick(devices)?.addr),
        false => (stolen.unwrap_or(own), socket),
    };
    // Forged; no copy of it exists, so it needs no name.
    Some(Flight { id: u64::MAX, author: None, from, to, bytes: forged(seen.as_ref(), dice) })
}

fn forged(seen: Option<&Flight>, dice: &mut Dice) -> Vec<u8> {
    let kind = u8::try_from(dice.of(0..6)).unwrap();
    let usual = [0, 148, 92, 64, 32 + dice.of(0..80), 148][usize::from(kind)];
    let len = match dice.of(0..20) {
        0 => 65_507,
        1 => dice.of(0..200),
        _ => usual,
    };
    let mut bytes = dice.bytes(len.min(256));
    bytes.resize(len, 0);
    for (at, byte) in bytes.iter_mut().take(4).enumerate() {
        *byte = if at == 0 { kind } else { 0 };
    }
    let index = seen.and_then(|flight| flight.bytes.get(4..8)).map(<[u8]>::to_vec);
    for at in [4, 8].into_iter().filter(|at| at + 4 <= len) {
        if let Some(index) = index.as_ref().filter(|_| dice.chance(700)) {
            bytes[at..at + 4].copy_from_slice(index);
        }
    }
    if kind == 1 && len == 148 {
        let claimed = key(u32::try_from(dice.of(0..12)).unwrap());
        bytes[8..40].copy_from_slice(&claimed.0);
    }
    if len == usual && matches!(kind, 1 | 2) && dice.chance(700) {
        prove(&mut bytes, &gateway_key(), None);
    }
    bytes
}
