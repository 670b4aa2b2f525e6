//! Packets from a fuzzer's bytes: right in everything, and then wrong in what the bytes say.
//! Shares nothing with `packet`, which must not be tested by itself.

use std::net::IpAddr;

use super::{bytes::Bytes, judge::ones};

/// Where a packet goes from and to, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
}

/// A TCP header; the rest of a segment is its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tcp {
    pub(super) ports: (u16, u16),
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
}

impl Tcp {
    pub(super) fn packet(self, src: IpAddr, dst: IpAddr, payload: &[u8]) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.ports.0.to_be_bytes());
        tcp.extend(self.ports.1.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        packet(Header { src, dst, protocol: 6 }, tcp)
    }
}

/// A datagram with its payload.
pub(super) fn udp(src: IpAddr, dst: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(0);
    let head = [ports.0, ports.1, length, 0].map(u16::to_be_bytes).concat();
    packet(Header { src, dst, protocol: 17 }, [&head, payload].concat())
}

/// An ICMP message of the family's kind.
pub(super) fn icmp(src: IpAddr, dst: IpAddr, kind: u8, body: &[u8]) -> Vec<u8> {
    let protocol = if src.is_ipv4() { 1 } else { 58 };
    packet(Header { src, dst, protocol }, [&[kind, 0, 0, 0, 0, 0, 0, 0], body].concat())
}

/// An echo request.
pub(super) fn echo(src: IpAddr, dst: IpAddr, identifier: u16, data: &[u8]) -> Vec<u8> {
    let (kind, protocol) = if src.is_ipv4() { (8, 1) } else { (128, 58) };
    let [high, low] = identifier.to_be_bytes();
    packet(Header { src, dst, protocol }, [&[kind, 0, 0, 0, high, low], data].concat())
}

/// Up to four bytes of the packet become others; then its checksums are mended, or left wrong.
pub(super) fn spoil(packet: &mut [u8], bytes: &mut Bytes<'_>) {
    let times = bytes.byte() % 5;
    for _ in 0..times {
        let (at, value) = (usize::from(bytes.byte()), bytes.byte());
        if let Some(place) = packet.get_mut(at) {
            *place = value;
        }
    }
    if times > 0 && bytes.flag() {
        mend(packet);
    }
}

/// What a network card makes of a segment that is to be cut: pieces with `segment` bytes of payload, and
/// checksums (Linux `tcp_gso_segment`). FIN and PSH are the last's, CWR is the first's.
pub(super) fn cut(packet: &[u8], segment: usize) -> Vec<Vec<u8>> {
    let ip_head = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let (head, payload) = packet.split_at(ip_head + usize::from(packet[ip_head + 12] >> 4) * 4);
    // Which length the header tells, and where: IPv4's is of the whole, IPv6's is of what follows.
    let (length_at, before) = if ip_head == 20 { (2, 0) } else { (4, 40) };
    let count = payload.len().div_ceil(segment).max(1);
    let piece = |nth: usize| {
        let begin = nth * segment;
        let mut piece = [head, &payload[begin..payload.len().min(begin + segment)]].concat();
        let length = u16::try_from(piece.len() - before).unwrap_or(0).to_be_bytes();
        piece[length_at..length_at + 2].copy_from_slice(&length);
        let tcp = &mut piece[ip_head..];
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let seq = seq.wrapping_add(u32::try_from(begin).unwrap_or(0));
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        tcp[13] &= if nth + 1 < count { !0x09 } else { 0xff } & if nth > 0 { !0x80 } else { 0xff };
        mend(&mut piece);
        piece
    };
    (0..count).map(piece).collect()
}

fn packet(header: Header, payload: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(0);
    let mut packet = match (header.src, header.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut head = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, header.protocol, 0, 0];
            head[2..4].copy_from_slice(&length.saturating_add(20).to_be_bytes());
            [&head[..], &src.octets(), &dst.octets(), &payload].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [high, low] = length.to_be_bytes();
            let head = [0x60, 0, 0, 0, high, low, header.protocol, 64];
            [&head[..], &src.octets(), &dst.octets(), &payload].concat()
        }
        _ => Vec::new(),
    };
    mend(&mut packet);
    packet
}

/// Writes the checksums that the packet's own fields ask for.
fn mend(packet: &mut [u8]) {
    let Some(version) = packet.first().map(|byte| byte >> 4) else { return };
    let (ip_head, at, protocol) = match (version, packet.get(6), packet.get(9)) {
        (4, _, Some(&protocol)) => (20, 12..20, protocol),
        (6, Some(&protocol), _) => (40, 8..40, protocol),
        _ => return,
    };
    if packet.len() < ip_head {
        return;
    }
    if version == 4 {
        packet[10..12].fill(0);
        let sum = !ones(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let field = ip_head
        + match protocol {
            6 => 16,
            17 => 6,
            1 | 58 => 2,
            _ => return,
        };
    if packet.len() < field + 2 {
        return;
    }
    packet[field..field + 2].fill(0);
    let (head, payload) = packet.split_at(ip_head);
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let sum = match protocol {
        1 => !ones(&[payload]),
        _ => !ones(&[&head[at], &length, &[0, 0, 0, protocol], payload]),
    };
    let sum = if protocol == 17 && sum == 0 { 0xffff } else { sum };
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}
