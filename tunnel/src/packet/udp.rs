//! UDP (RFC 768): the view of a datagram and the message of an answer.

use std::net::SocketAddr;

use super::{Ends, Ip, UDP, build, checksum};
use crate::counters::Count;

const HEADER: usize = 8;

/// A datagram whose length and checksum are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Udp<'a> {
    pub(crate) src: u16,
    pub(crate) dst: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Udp<'a> {
    pub(crate) fn parse(ip: &Ip<'a>) -> Result<Self, Count> {
        let (header, payload) = ip.payload.split_first_chunk::<HEADER>().ok_or(Count::UdpMalformed)?;
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (src, dst) = (field(0), field(2));
        // Only IPv4 may go without a checksum (RFC 8200 §8.1).
        let unchecked = field(6) == 0 && matches!(ip.ends, Ends::V4 { .. });
        let intact = unchecked || (field(6) != 0 && checksum::transport(ip.ends, UDP, ip.payload) == 0);
        if usize::from(field(4)) != ip.payload.len() || src == 0 || dst == 0 || !intact {
            return Err(Count::UdpMalformed);
        }
        Ok(Self { src, dst, payload })
    }
}

/// A whole packet; none if the families differ or the payload fits no packet.
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let (ends, message) = message(from, to, payload)?;
    build(ends, UDP, &message)
}

/// What a packet or its fragments carry; none if the families differ or the length field overflows.
pub(crate) fn message(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<(Ends, Vec<u8>)> {
    let ends = Ends::new(from.ip(), to.ip())?;
    let len = u16::try_from(HEADER + payload.len()).ok()?;
    let mut message = Vec::with_capacity(HEADER + payload.len());
    for field in [from.port(), to.port(), len, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message.extend_from_slice(payload);
    // A computed zero is sent as all ones (RFC 768).
    let sum = match checksum::transport(ends, UDP, &message) {
        0 => 0xffff,
        sum => sum,
    };
    checksum::fill(&mut message, 6, sum);
    Some((ends, message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::tests::ends;

    proptest! {
        #[test]
        fn datagrams_read_back(
            ends in ends(), src in 1u16.., dst in 1u16..,
            payload in prop::collection::vec(any::<u8>(), 0..60), at: prop::sample::Index,
        ) {
            let (from, to) = (SocketAddr::new(ends.src(), src), SocketAddr::new(ends.dst(), dst));
            let mut packet = datagram(from, to, &payload).unwrap();
            let udp = Udp::parse(&Ip::parse(&packet).unwrap()).unwrap();
            prop_assert_eq!((udp.src, udp.dst, udp.payload), (src, dst, &payload[..]));
            if !payload.is_empty() {
                let at = packet.len() - 1 - at.index(payload.len());
                packet[at] ^= 0x10;
                prop_assert_eq!(Udp::parse(&Ip::parse(&packet).unwrap()), Err(Count::UdpMalformed));
            }
        }
    }

    #[test]
    fn families_do_not_mix() {
        let (v4, v6) = ("10.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap());
        assert_eq!(datagram(v4, v6, b"x"), None);
        assert_eq!(datagram(v4, v4, &[0; 65_530]), None);
    }
}
