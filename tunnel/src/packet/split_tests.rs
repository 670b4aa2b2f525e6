//! Cutting, against a segmenter that builds each packet from nothing; and segments for tests.

use std::num::NonZeroU16;

use proptest::prelude::*;

use super::{
    Ends, Ip, TCP, UDP, build, checksum,
    split::{Split, complete},
    tcp::{ACK, CWR, FIN, PSH, RST, SYN, Tcp},
    tests::ends,
    udp,
};
use crate::{Checksum, Count, Offload};

/// What a segment is made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) ends: Ends,
    pub(crate) ports: (u16, u16),
    pub(crate) id: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Parts {
    /// The packet, with right checksums.
    pub(crate) fn build(&self) -> Vec<u8> {
        let head = 20 + self.options.len();
        let mut segment = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        segment.extend([self.seq.to_be_bytes(), self.ack.to_be_bytes()].concat());
        segment.extend([(head as u8 / 4) << 4, self.flags]);
        segment.extend([self.window.to_be_bytes(), [0, 0], [0, 0]].concat());
        segment.extend([&self.options[..], &self.payload].concat());
        let sum = checksum::transport(self.ends, TCP, &segment);
        checksum::fill(&mut segment, 16, sum);
        let mut packet = build(self.ends, TCP, &segment).unwrap();
        if matches!(self.ends, Ends::V4 { .. }) {
            checksum::fill(&mut packet, 4, self.id);
            checksum::fill(&mut packet, 10, 0);
            let sum = checksum::plain(&packet[..20]);
            checksum::fill(&mut packet, 10, sum);
        }
        packet
    }

    /// What its segments of `size` bytes are.
    fn cut(&self, size: usize) -> Vec<Vec<u8>> {
        let pieces: Vec<_> = self.payload.chunks(size).collect();
        let piece = |(at, payload): (usize, &&[u8])| {
            let mut flags = self.flags;
            if at > 0 {
                flags &= !CWR;
            }
            if at + 1 < pieces.len() {
                flags &= !(FIN | PSH);
            }
            let seq = self.seq.wrapping_add((at * size) as u32);
            let id = self.id.wrapping_add(at as u16);
            Self { id, seq, flags, payload: payload.to_vec(), ..self.clone() }.build()
        };
        pieces.iter().enumerate().map(piece).collect()
    }

    /// The packet as a kernel leaves it to a TUN with offloads.
    fn partial(&self) -> Vec<u8> {
        let mut packet = self.build();
        let head = self.ends.header_len();
        let sum = checksum::pseudo(self.ends, TCP, packet.len() - head);
        checksum::fill(&mut packet[head..], 16, sum);
        packet
    }
}

/// A segment with data and flags as an established connection has them.
pub(crate) fn parts(flags: Vec<u8>, payload: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Parts> {
    let numbers = (1u16.., 1u16.., any::<u16>(), any::<u32>(), any::<u32>(), any::<u16>());
    let options = prop::collection::vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat());
    (ends(), numbers, prop::sample::select(flags), options, payload).prop_map(
        |(ends, (src, dst, id, seq, ack, window), flags, options, payload)| Parts {
            ends,
            ports: (src, dst),
            id,
            seq,
            ack,
            flags,
            window,
            options,
            payload,
        },
    )
}

fn offload(segment: usize) -> Offload {
    Offload { checksum: Checksum::Partial, segment: NonZeroU16::new(segment as u16) }
}

fn split(packet: &[u8], offload: Offload, longest: usize) -> Result<Vec<Vec<u8>>, Count> {
    let mut packet = packet.to_vec();
    let copy = packet.clone();
    let ip = Ip::parse(&copy)?;
    let tcp = Tcp::parse(ip.payload)?;
    let mut split = Split::tcp(&mut packet, (ip.ends, &tcp), offload, longest)?;
    Ok(std::iter::from_fn(|| split.next().map(<[u8]>::to_vec)).collect())
}

proptest! {
    #[test]
    fn cuts_as_the_naive_segmenter_does(
        parts in parts(
            vec![ACK, ACK | PSH, ACK | PSH | FIN, ACK | CWR, ACK | CWR | PSH | FIN | 0x40],
            prop::collection::vec(any::<u8>(), 1..6000),
        ),
        size in 1usize..2000,
    ) {
        let pieces = split(&parts.partial(), offload(size), 10_000).unwrap();
        prop_assert_eq!(pieces, parts.cut(size));
    }

    #[test]
    fn completes_what_is_not_to_be_cut(
        parts in parts(vec![SYN, ACK, RST, ACK | PSH], prop::collection::vec(any::<u8>(), 0..100)),
        at in 1u16.., body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let whole = parts.build();
        for offload in [offload(0), offload(1000)] {
            prop_assert_eq!(split(&parts.partial(), offload, 1500).unwrap(), [&whole[..]]);
        }
        let mut packet = parts.partial();
        prop_assert!(complete(&mut packet));
        prop_assert_eq!(&packet, &whole);
        let (from, to) = ((parts.ends.src(), at).into(), (parts.ends.dst(), at).into());
        let datagram = udp::datagram(from, to, &body).unwrap();
        let mut packet = datagram.clone();
        let head = parts.ends.header_len();
        let sum = checksum::pseudo(parts.ends, UDP, packet.len() - head);
        checksum::fill(&mut packet[head..], 6, sum);
        prop_assert!(complete(&mut packet));
        prop_assert_eq!(packet, datagram);
    }

    #[test]
    fn no_bytes_and_no_offload_panic_it(
        parts in parts(vec![ACK, SYN, FIN | ACK], prop::collection::vec(any::<u8>(), 0..200)),
        segment: u16, longest in 0usize..400, at: prop::sample::Index, with: u8,
    ) {
        let mut packet = parts.partial();
        let at = at.index(packet.len());
        packet[at] = with;
        let offload = Offload { checksum: Checksum::Partial, segment: NonZeroU16::new(segment) };
        for piece in split(&packet, offload, longest).unwrap_or_default() {
            prop_assert!(piece.len() <= longest && Ip::parse(&piece).is_ok());
        }
        complete(&mut packet);
    }
}

#[test]
fn the_longest_burst_in_the_smallest_pieces() {
    let ends = Ends::V6 { src: [1; 16].into(), dst: [2; 16].into() };
    let (ports, options, payload) = ((1, 2), vec![1; 40], vec![7; 65_435]);
    let parts =
        Parts { ends, ports, id: 0, seq: u32::MAX - 5, ack: 1, flags: ACK, window: 1, options, payload };
    assert_eq!(split(&parts.partial(), offload(1), 1420).unwrap(), parts.cut(1));
    assert_eq!(split(&parts.partial(), offload(0), 1420), Err(Count::TooBig));
    assert_eq!(split(&parts.partial(), offload(1321), 1420), Err(Count::TooBig));
    assert_eq!(split(&parts.partial(), offload(1320), 1420).unwrap(), parts.cut(1320));
    let reset = Parts { flags: RST, ..parts };
    assert_eq!(split(&reset.partial(), offload(1320), 1420), Err(Count::TunNotTcp));
}
