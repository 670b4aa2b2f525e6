//! IPv4 (RFC 791), read without options and fragments: an end host's plain packet has neither.

use std::net::Ipv4Addr;

use super::{Ends, Ip, checksum, fragment::Fragment};
use crate::counters::Count;

pub(super) const HEADER: usize = 20;
/// More-fragments and the fragment offset, next to the don't-fragment bit.
const FRAGMENT: u16 = 0x3fff;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// Loose and strict source route (RFC 791 §3.1).
const SOURCE_ROUTES: [u8; 2] = [131, 137];

pub(super) fn parse(packet: &[u8]) -> Result<Ip<'_>, Count> {
    let (header, ip) = read(packet)?;
    if fragment(header) != 0 {
        return Err(Count::Fragment);
    }
    if checksum::plain(header) != 0 {
        return Err(Count::Ipv4Malformed);
    }
    Ok(ip)
}

/// The first fragment of a datagram as if it were whole; none if it is not one.
pub(super) fn first_fragment(packet: &[u8]) -> Option<Ip<'_>> {
    let (header, ip) = read(packet).ok()?;
    (fragment(header) == MORE_FRAGMENTS && checksum::plain(header) == 0).then_some(ip)
}

fn read(packet: &[u8]) -> Result<(&[u8; HEADER], Ip<'_>), Count> {
    let (header, payload) = packet.split_first_chunk::<HEADER>().ok_or(Count::Ipv4Malformed)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if usize::from(u16::from_be_bytes([header[2], header[3]])) != packet.len() {
        return Err(Count::WrongLength);
    }
    if header_len != HEADER {
        return Err(packet.get(HEADER..header_len).map_or(Count::Ipv4Malformed, options));
    }
    let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let ends = Ends::V4 { src, dst };
    Ok((header, Ip { ends, protocol: header[9], whole: packet, payload }))
}

fn fragment(header: &[u8; HEADER]) -> u16 {
    u16::from_be_bytes([header[6], header[7]]) & FRAGMENT
}

/// Names the worst of the options.
fn options(mut options: &[u8]) -> Count {
    while let [kind, rest @ ..] = options {
        if SOURCE_ROUTES.contains(kind) {
            return Count::SourceRoute;
        }
        options = match (*kind, rest) {
            (0, _) => &[],
            (1, rest) => rest,
            (_, [len, ..]) => options.get(usize::from(*len).max(2)..).unwrap_or(&[]),
            (_, []) => &[],
        };
    }
    Count::Ipv4Options
}

pub(super) fn build(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    // Never fragmented, so its identification may be zero (RFC 6864 §4.1).
    assemble((src, dst), protocol, 0, DONT_FRAGMENT, payload)
}

/// One fragment.
pub(super) fn build_fragment(
    ends: (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    fragment: &Fragment<'_>,
) -> Option<Vec<u8>> {
    let [.., high, low] = fragment.id.to_be_bytes();
    let more = if fragment.more { MORE_FRAGMENTS } else { 0 };
    let flags = more | (fragment.offset / 8);
    assemble(ends, protocol, u16::from_be_bytes([high, low]), flags, fragment.bytes)
}

fn assemble(
    (src, dst): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    id: u16,
    flags: u16,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let total = u16::try_from(HEADER + payload.len()).ok()?;
    let mut header = [0u8; HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6..8].copy_from_slice(&flags.to_be_bytes());
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&src.octets());
    header[16..20].copy_from_slice(&dst.octets());
    let sum = checksum::plain(&header);
    checksum::fill(&mut header, 10, sum);
    Some([&header, payload].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = build([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, &[0; 24]).unwrap();
        edit(&mut packet);
        packet
    }

    #[test]
    fn each_fault_has_its_reason() {
        type Edit = fn(&mut Vec<u8>);
        let cases: [(Edit, Count); 8] = [
            (|p| p[0] = 0x44, Count::Ipv4Malformed),
            (|p| p[0] = 0x4f, Count::Ipv4Malformed),
            (|p| p[3] += 1, Count::WrongLength),
            (|p| p[6] = 0x20, Count::Fragment),
            (|p| p[7] = 0x01, Count::Fragment),
            (|p| p[10] ^= 1, Count::Ipv4Malformed),
            (|p| (p[0], p[20]) = (0x46, 7), Count::Ipv4Options),
            (|p| (p[0], p[20], p[21]) = (0x46, 1, 131), Count::SourceRoute),
        ];
        for (at, (edit, reason)) in cases.into_iter().enumerate() {
            assert_eq!(parse(&packet(edit)).err(), Some(reason), "case {at}");
        }
        assert!(parse(&packet(|_| ())).is_ok());
        assert_eq!(parse(&[0x45; 19]), Err(Count::Ipv4Malformed));
    }

    #[test]
    fn the_largest_packet_is_the_limit() {
        let ends = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        assert!(build(ends.0, ends.1, 6, &[0; 65_515]).is_some());
        assert!(build(ends.0, ends.1, 6, &[0; 65_516]).is_none());
    }
}
