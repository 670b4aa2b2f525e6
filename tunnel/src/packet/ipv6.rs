//! IPv6 (RFC 8200), read without extension headers: each of them is dropped by name, because what
//! stands behind one is not what the first header says.

use std::net::Ipv6Addr;

use super::{Ends, Ip, fragment::Fragment};
use crate::counters::Count;

pub(super) const HEADER: usize = 40;
/// The Fragment header (RFC 8200 §4.5): its number, its length, the flag next to its offset.
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER: usize = 8;
const MORE_FRAGMENTS: u16 = 1;

pub(super) fn parse(packet: &[u8]) -> Result<Ip<'_>, Count> {
    let ip = read(packet)?;
    extension(ip.protocol).map_or(Ok(ip), Err)
}

/// The first fragment of a datagram as if it were whole; none if it is not one.
pub(super) fn first_fragment(packet: &[u8]) -> Option<Ip<'_>> {
    let ip = read(packet).ok().filter(|ip| ip.protocol == FRAGMENT)?;
    let (header, payload) = ip.payload.split_first_chunk::<FRAGMENT_HEADER>()?;
    let first = u16::from_be_bytes([header[2], header[3]]) == MORE_FRAGMENTS;
    first.then_some(Ip { protocol: header[0], payload, ..ip })
}

/// The fixed header; what follows may be an extension header.
fn read(packet: &[u8]) -> Result<Ip<'_>, Count> {
    let (header, payload) = packet.split_first_chunk::<HEADER>().ok_or(Count::Ipv6Malformed)?;
    if usize::from(u16::from_be_bytes([header[4], header[5]])) != payload.len() {
        return Err(Count::WrongLength);
    }
    let (_, addresses) = header.split_first_chunk::<8>().ok_or(Count::Ipv6Malformed)?;
    let (src, rest) = addresses.split_first_chunk::<16>().ok_or(Count::Ipv6Malformed)?;
    let dst = rest.first_chunk::<16>().ok_or(Count::Ipv6Malformed)?;
    let ends = Ends::V6 { src: Ipv6Addr::from(*src), dst: Ipv6Addr::from(*dst) };
    Ok(Ip { ends, protocol: header[6], whole: packet, payload })
}

/// The extension headers of the IANA registry "IPv6 Extension Header Types", and "no next header".
fn extension(next: u8) -> Option<Count> {
    match next {
        0 => Some(Count::HopByHop),
        43 => Some(Count::SourceRoute),
        FRAGMENT => Some(Count::Fragment),
        50 | 51 | 59 | 60 | 135 | 139 | 140 => Some(Count::Ipv6Extension),
        _ => None,
    }
}

pub(super) fn build(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(payload.len()).ok()?;
    let mut header = [0u8; HEADER];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    header[6] = protocol;
    header[7] = 64;
    header[8..24].copy_from_slice(&src.octets());
    header[24..40].copy_from_slice(&dst.octets());
    Some([&header, payload].concat())
}

/// One fragment.
pub(super) fn build_fragment(
    (src, dst): (Ipv6Addr, Ipv6Addr),
    protocol: u8,
    fragment: &Fragment<'_>,
) -> Option<Vec<u8>> {
    let [high, low] = (fragment.offset | u16::from(fragment.more)).to_be_bytes();
    let header = [protocol, 0, high, low];
    build(src, dst, FRAGMENT, &[&header, &fragment.id.to_be_bytes(), fragment.bytes].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_headers_are_named() {
        for (next, reason) in [
            (0, Count::HopByHop),
            (43, Count::SourceRoute),
            (44, Count::Fragment),
            (60, Count::Ipv6Extension),
            (59, Count::Ipv6Extension),
        ] {
            let packet = build(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, next, &[0; 8]).unwrap();
            assert_eq!(parse(&packet), Err(reason));
        }
        assert_eq!(parse(&[0x60; 39]), Err(Count::Ipv6Malformed));
    }
}
