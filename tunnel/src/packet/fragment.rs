//! Cuts a message too large for a packet into fragments (RFC 791 §3.2, RFC 8200 §4.5), and knows the first
//! fragment of what a device sent. It puts nothing together: fragments of devices are refused.
//! Always true: fragments are at most `mtu` long and all but the last carry a multiple of eight bytes.

use super::{Ends, Ip, build, ipv4, ipv6};

/// A packet reassembled is at most 65,535 bytes long; IPv6 does not count its header.
const LARGEST_V4: usize = 65_535 - 20;
const LARGEST_V6: usize = 65_535;
/// What headers take of a fragment.
const HEADERS_V4: usize = 20;
const HEADERS_V6: usize = 40 + 8;

/// A piece of a message.
pub(super) struct Fragment<'a> {
    /// The same for all pieces; IPv4 has room for the lower half.
    pub(super) id: u32,
    /// Bytes before it.
    pub(super) offset: u16,
    /// It is not the last.
    pub(super) more: bool,
    pub(super) bytes: &'a [u8],
}

/// The packet that carries `message`, or its fragments; none if no packet is that large.
pub(crate) fn packets(ends: Ends, protocol: u8, message: &[u8], mtu: usize, id: u32) -> Option<Vec<Vec<u8>>> {
    let (whole, headers, largest) = match ends {
        Ends::V4 { .. } => (HEADERS_V4, HEADERS_V4, LARGEST_V4),
        Ends::V6 { .. } => (HEADERS_V6 - 8, HEADERS_V6, LARGEST_V6),
    };
    if whole + message.len() <= mtu {
        return Some(vec![build(ends, protocol, message)?]);
    }
    let room = mtu.checked_sub(headers)? / 8 * 8;
    if message.len() > largest || room == 0 {
        return None;
    }
    let pieces = message.chunks(room).zip((0..).step_by(room));
    pieces
        .map(|(bytes, at)| {
            let offset = u16::try_from(at).ok()?;
            let fragment = Fragment { id, offset, more: at + bytes.len() < message.len(), bytes };
            match ends {
                Ends::V4 { src, dst } => ipv4::build_fragment((src, dst), protocol, &fragment),
                Ends::V6 { src, dst } => ipv6::build_fragment((src, dst), protocol, &fragment),
            }
        })
        .collect()
}

/// The first fragment of a datagram as if it were whole; none if it is not one.
pub(crate) fn first(packet: &[u8]) -> Option<Ip<'_>> {
    match packet.first()? >> 4 {
        4 => ipv4::first_fragment(packet),
        6 => ipv6::first_fragment(packet),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        counters::Count,
        packet::{UDP, tests::ends},
    };

    /// Where a fragment's bytes belong, whether more follow, and the bytes.
    fn piece(packet: &[u8]) -> (usize, bool, u32, &[u8]) {
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        if packet[0] >> 4 == 4 {
            let flags = word(6);
            (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0, word(4).into(), &packet[20..])
        } else {
            let id = u32::from(word(44)) << 16 | u32::from(word(46));
            (usize::from(word(42) & !7), word(42) & 1 != 0, id, &packet[48..])
        }
    }

    /// The message in fragments, in whatever order.
    pub(crate) fn reassemble(mut packets: Vec<Vec<u8>>) -> Vec<u8> {
        packets.sort_by_key(|packet| piece(packet).0);
        let mut message = Vec::new();
        let last = packets.len() - 1;
        for (at, packet) in packets.iter().enumerate() {
            let (offset, more, id, bytes) = piece(packet);
            assert_eq!((offset, more, id), (message.len(), at < last, piece(&packets[0]).2));
            message.extend(bytes);
        }
        message
    }

    proptest! {
        #[test]
        fn fragments_make_the_message(ends in ends(), size in 1400usize..=65_515, mtu in 1280usize..1500, id: u32) {
            let message: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let packets = packets(ends, UDP, &message, mtu, id).unwrap();
            prop_assert!(packets.iter().all(|packet| packet.len() <= mtu));
            if let [packet] = &packets[..] {
                let ip = Ip::parse(packet).unwrap();
                prop_assert_eq!(ip.payload, &message[..]);
            } else {
                prop_assert!(packets.iter().all(|packet| Ip::parse(packet) == Err(Count::Fragment)));
                let (begin, rest) = packets.split_first().unwrap();
                let ip = first(begin).unwrap();
                prop_assert_eq!((ip.ends, ip.protocol), (ends, UDP));
                prop_assert!(message.starts_with(ip.payload));
                prop_assert!(rest.iter().all(|packet| first(packet).is_none()));
                prop_assert_eq!(reassemble(packets), message);
            }
        }

        #[test]
        fn no_bytes_panic_the_view(mut bytes in prop::collection::vec(any::<u8>(), 0..80), v6: bool) {
            if let Some(byte) = bytes.first_mut() {
                *byte = if v6 { 0x60 } else { 0x45 };
            }
            let _ = first(&bytes);
        }
    }

    #[test]
    fn the_largest_message_is_the_limit() {
        for (ends, largest) in [
            (Ends::V4 { src: [1; 4].into(), dst: [2; 4].into() }, LARGEST_V4),
            (Ends::V6 { src: [1; 16].into(), dst: [2; 16].into() }, LARGEST_V6),
        ] {
            assert_eq!(reassemble(packets(ends, UDP, &vec![7; largest], 1420, 1).unwrap()).len(), largest);
            assert_eq!(packets(ends, UDP, &vec![7; largest + 1], 1420, 1), None);
        }
    }
}
