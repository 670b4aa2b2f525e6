//! An independent opinion on packets: what may reach the kernel by its form and addresses, and whether
//! checksums are right. Written from the RFCs and shares nothing with `packet` and `filter`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use protocol::target::Proto;

use crate::FlowKey;

/// What is said along a flow of datagrams.
pub(super) type Said = (Proto, FlowKey, Vec<u8>);

/// A TCP segment in a plain IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seq: u32,
    pub(super) flags: u8,
}

pub(super) const RST: u8 = 4;

/// Source, destination, protocol and payload of a packet that has no options, extension headers or
/// fragments and is exactly as long as it says.
pub(super) fn plain(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let (head, payload) = packet.split_first_chunk::<20>()?;
            let [_, _, l1, l2, _, _, f1, f2, _, protocol, _, _, s1, s2, s3, s4, d1, d2, d3, d4] = *head;
            let whole = usize::from(u16::from_be_bytes([l1, l2])) == packet.len();
            let fragment = f1 & 0x20 != 0 || f1 & 0x1f != 0 || f2 != 0;
            let fine = head[0] == 0x45 && whole && !fragment && ones(&[head]) == 0xffff;
            let (src, dst) = (Ipv4Addr::new(s1, s2, s3, s4), Ipv4Addr::new(d1, d2, d3, d4));
            fine.then_some((src.into(), dst.into(), protocol, payload))
        }
        6 => {
            let (head, payload) = packet.split_first_chunk::<40>()?;
            let whole = usize::from(u16::from_be_bytes([head[4], head[5]])) == payload.len();
            // RFC 8200 §4 and the IANA registry of extension headers.
            let extended = matches!(head[6], 0 | 43 | 44 | 50 | 51 | 59 | 60 | 135 | 139 | 140);
            let address = |at: usize| Some(Ipv6Addr::from(*head.get(at..)?.first_chunk::<16>()?));
            (whole && !extended).then_some((address(8)?.into(), address(24)?.into(), head[6], payload))
        }
        _ => None,
    }
}

/// The segment in a plain packet, if a sane stack could have sent it.
pub(super) fn segment(packet: &[u8]) -> Option<Segment> {
    let (src, dst, protocol, tcp) = plain(packet)?;
    let head = tcp.first_chunk::<20>()?;
    let header = usize::from(head[12] >> 4) * 4;
    let ports = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
    let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|flag| head[13] & flag != 0);
    let together = [fin, syn, rst].into_iter().filter(|&set| set).count() > 1;
    let sane = !together && (ack || syn || rst);
    let fine = protocol == 6 && (20..=tcp.len()).contains(&header) && ports.0 != 0 && ports.1 != 0 && sane;
    fine.then_some(Segment {
        from: SocketAddr::new(src, ports.0),
        to: SocketAddr::new(dst, ports.1),
        seq: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        flags: head[13],
    })
}

/// What a device says in a datagram.
pub(super) fn question(packet: &[u8]) -> Option<Said> {
    let (src, dst, protocol, message) = plain(packet)?;
    let (proto, [own, port], said) = datagram(protocol, message, [8, 128])?;
    Some((proto, FlowKey { device: (src, own).into(), target: (dst, port).into() }, said.to_vec()))
}

/// What a target says in the message of a datagram.
pub(super) fn answer(src: IpAddr, dst: IpAddr, protocol: u8, message: &[u8]) -> Option<Said> {
    let (proto, [port, own], said) = datagram(protocol, message, [0, 129])?;
    let (own, port) = if proto == Proto::Icmp { (port, own) } else { (own, port) };
    Some((proto, FlowKey { device: (dst, own).into(), target: (src, port).into() }, said.to_vec()))
}

/// The ports and the payload of UDP; of an echo message of these types, identifier and zero, and the rest.
fn datagram(protocol: u8, message: &[u8], [v4, v6]: [u8; 2]) -> Option<(Proto, [u16; 2], &[u8])> {
    match (protocol, message) {
        (17, [a, b, c, d, _, _, _, _, said @ ..]) => {
            Some((Proto::Udp, [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])], said))
        }
        (1 | 58, [kind, _, _, _, a, b, said @ ..]) if *kind == if protocol == 1 { v4 } else { v6 } => {
            Some((Proto::Icmp, [u16::from_be_bytes([*a, *b]), 0], said))
        }
        _ => None,
    }
}

/// A part of a packet that was cut in fragments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    /// Bytes before it.
    pub(super) at: usize,
    pub(super) more: bool,
    pub(super) bytes: &'a [u8],
}

pub(super) fn fragment(packet: &[u8]) -> Option<Fragment<'_>> {
    let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    if packet.first()? >> 4 == 4 {
        let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
        let (src, dst, protocol) = (address(12)?, address(16)?, *packet.get(9)?);
        let (flags, bytes) = (word(6)?, packet.get(20..)?);
        let fine = flags & 0x3fff != 0 && ones(&[packet.get(..20)?]) == 0xffff;
        let (at, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
        fine.then_some(Fragment { src, dst, protocol, at, more, bytes })
    } else {
        let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
        let (src, dst, protocol) = (address(8)?, address(24)?, *packet.get(40)?);
        let (flags, bytes) = (word(42)?, packet.get(48..)?);
        let (at, more) = (usize::from(flags & !7), flags & 1 != 0);
        (*packet.get(6)? == 44).then_some(Fragment { src, dst, protocol, at, more, bytes })
    }
}

/// A destination that no policy may open: the machine itself, its link, groups, and what means nothing.
pub(super) fn forbidden(dst: IpAddr) -> bool {
    match dst {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 240
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.to_ipv4().is_some()
        }
    }
}

/// Whether the checksums of a plain packet are right: the IPv4 header's, and TCP's, UDP's or ICMP's.
pub(super) fn checksums_hold(packet: &[u8]) -> bool {
    let Some((src, dst, protocol, payload)) = plain(packet) else { return false };
    if protocol == 1 {
        return ones(&[payload]) == 0xffff;
    }
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let tail = [0, 0, 0, protocol];
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            ones(&[&s.octets(), &d.octets(), &length, &tail, payload]) == 0xffff
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            ones(&[&s.octets(), &d.octets(), &length, &tail, payload]) == 0xffff
        }
        _ => false,
    }
}

/// Whether the checksum of a segment is the sum of its pseudo-header, which leaves the rest to others.
pub(super) fn partial_holds(packet: &[u8]) -> bool {
    let Some((src, dst, protocol, tcp)) = plain(packet) else { return false };
    let length = u32::try_from(tcp.len()).unwrap_or(u32::MAX).to_be_bytes();
    let tail = [0, 0, 0, protocol];
    let sum = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ones(&[&s.octets(), &d.octets(), &length, &tail]),
        (IpAddr::V6(s), IpAddr::V6(d)) => ones(&[&s.octets(), &d.octets(), &length, &tail]),
        _ => return false,
    };
    tcp.get(16..18) == Some(&sum.to_be_bytes()[..])
}

/// The ones' complement sum of even-sized parts, the last of which may be odd.
pub(super) fn ones(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}
