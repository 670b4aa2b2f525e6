//! Views of IP packets and the few packets we build ourselves. A view borrows, never panics on any
//! bytes, and exists only if the packet is whole and plain: no fragments, no options, no extension
//! headers, no lie about its length. It judges form, not addresses; that is the filter's.

pub(crate) mod checksum;
pub(crate) mod fragment;
pub(crate) mod icmp;
mod ipv4;
mod ipv6;
pub(crate) mod split;
#[cfg(test)]
pub(crate) mod split_tests;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::counters::Count;

/// IANA protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// Source and destination, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    V4 { src: Ipv4Addr, dst: Ipv4Addr },
    V6 { src: Ipv6Addr, dst: Ipv6Addr },
}

impl Ends {
    /// None if the families differ.
    pub(crate) fn new(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4 { src, dst }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6 { src, dst }),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    pub(crate) fn src(&self) -> IpAddr {
        match *self {
            Self::V4 { src, .. } => src.into(),
            Self::V6 { src, .. } => src.into(),
        }
    }

    pub(crate) fn dst(&self) -> IpAddr {
        match *self {
            Self::V4 { dst, .. } => dst.into(),
            Self::V6 { dst, .. } => dst.into(),
        }
    }

    /// How long the IP header of a plain packet is.
    pub(crate) fn header_len(self) -> usize {
        match self {
            Self::V4 { .. } => ipv4::HEADER,
            Self::V6 { .. } => ipv6::HEADER,
        }
    }

    pub(crate) fn reversed(self) -> Self {
        match self {
            Self::V4 { src, dst } => Self::V4 { src: dst, dst: src },
            Self::V6 { src, dst } => Self::V6 { src: dst, dst: src },
        }
    }
}

/// A whole, plain IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ip<'a> {
    pub(crate) ends: Ends,
    pub(crate) protocol: u8,
    pub(crate) whole: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Ip<'a> {
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Self, Count> {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => ipv4::parse(packet),
            Some(6) => ipv6::parse(packet),
            Some(_) | None => Err(Count::NotIp),
        }
    }
}

/// A packet around `payload`; none if it is too long for any.
fn build(ends: Ends, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    match ends {
        Ends::V4 { src, dst } => ipv4::build(src, dst, protocol, payload),
        Ends::V6 { src, dst } => ipv6::build(src, dst, protocol, payload),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn ends() -> impl Strategy<Value = Ends> {
        prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(s, d)| Ends::V4 { src: s.into(), dst: d.into() }),
            any::<([u8; 16], [u8; 16])>().prop_map(|(s, d)| Ends::V6 { src: s.into(), dst: d.into() }),
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_panic_a_view(mut bytes in prop::collection::vec(any::<u8>(), 0..120), v6: bool) {
            // Half the time a plausible first byte and length, so that the deeper views are reached.
            if let [first, _, third, fourth, fifth, sixth, ..] = bytes.as_mut_slice() {
                *first = if v6 { 0x60 } else { 0x45 };
                (*third, *fourth) = (0, *fourth % 121);
                if v6 { (*fifth, *sixth) = (0, *sixth % 81); }
            }
            if let Ok(ip) = Ip::parse(&bytes) {
                let _ = tcp::Tcp::parse(ip.payload);
                let _ = udp::Udp::parse(&ip);
                let _ = icmp::Icmp::parse(&ip);
            }
            let ends = Ends::V6 { src: [1; 16].into(), dst: [2; 16].into() };
            for protocol in [TCP, UDP, ICMP, ICMPV6] {
                let ip = Ip { ends, protocol, whole: &bytes, payload: &bytes };
                let _ = (tcp::Tcp::parse(&bytes), udp::Udp::parse(&ip), icmp::Icmp::parse(&ip));
            }
        }

        #[test]
        fn what_is_built_reads_back(ends in ends(), payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let packet = build(ends, 253, &payload).unwrap();
            let ip = Ip::parse(&packet).unwrap();
            prop_assert_eq!((ip.ends, ip.protocol, ip.payload), (ends, 253, &payload[..]));
            prop_assert_eq!(ends.reversed().reversed(), ends);
            prop_assert_eq!(Ends::new(ends.src(), ends.dst()), Some(ends));
        }

        #[test]
        fn a_cut_or_padded_packet_is_refused(ends in ends(), payload in prop::collection::vec(any::<u8>(), 1..40)) {
            let mut packet = build(ends, TCP, &payload).unwrap();
            packet.push(0);
            prop_assert_eq!(Ip::parse(&packet), Err(Count::WrongLength));
            packet.truncate(packet.len() - 2);
            prop_assert_eq!(Ip::parse(&packet), Err(Count::WrongLength));
        }
    }

    #[test]
    fn other_versions_are_no_ip() {
        assert_eq!(Ip::parse(&[]), Err(Count::NotIp));
        assert_eq!(Ip::parse(&[0x50; 40]), Err(Count::NotIp));
    }
}
