//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and the errors that tell a device no.
//! It answers nothing by itself; that an error is never answered is the filter's rule.

use std::net::IpAddr;

use super::{Ends, ICMP, ICMPV6, Ip, build, checksum};
use crate::{counters::Count, event::Refusal};

const HEADER: usize = 8;
/// A v4 error message holds at most 576 bytes (RFC 1812 §4.3.2.3), one of v6 1280 (RFC 4443 §2.4).
const LARGEST_V4: usize = 576;
const LARGEST_V6: usize = 1280;

/// What a device's ICMP message asks of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Icmp {
    EchoRequest,
    /// Never to be answered (RFC 1122 §3.2.2, RFC 4443 §2.4).
    Error,
    Other,
}

impl Icmp {
    /// The message in `ip`, whose protocol is ICMP; that of the other family is malformed.
    pub(crate) fn parse(ip: &Ip<'_>) -> Result<Self, Count> {
        let kind = ip.payload.first_chunk::<HEADER>().ok_or(Count::IcmpMalformed)?[0];
        let sum = match (ip.ends, ip.protocol) {
            (Ends::V4 { .. }, ICMP) => checksum::plain(ip.payload),
            (Ends::V6 { .. }, ICMPV6) => checksum::transport(ip.ends, ICMPV6, ip.payload),
            _ => return Err(Count::IcmpMalformed),
        };
        if sum != 0 {
            return Err(Count::IcmpMalformed);
        }
        Ok(match (ip.ends, kind) {
            (Ends::V4 { .. }, 8) | (Ends::V6 { .. }, 128) => Self::EchoRequest,
            (Ends::V4 { .. }, 3 | 4 | 5 | 11 | 12) | (Ends::V6 { .. }, 0..128) => Self::Error,
            (Ends::V4 { .. } | Ends::V6 { .. }, _) => Self::Other,
        })
    }
}

/// Whether a message that begins so is an echo request, whole or not.
pub(crate) fn begins_echo(ip: &Ip<'_>) -> bool {
    matches!(
        (ip.ends, ip.protocol, ip.payload.first()),
        (Ends::V4 { .. }, ICMP, Some(8)) | (Ends::V6 { .. }, ICMPV6, Some(128))
    )
}

/// The reply to an echo request: everything comes back.
pub(crate) fn echo_reply(request: &Ip<'_>) -> Option<Vec<u8>> {
    let mut message = request.payload.to_vec();
    *message.first_mut()? = match request.ends {
        Ends::V4 { .. } => 0,
        Ends::V6 { .. } => 129,
    };
    seal(request.ends.reversed(), message)
}

/// The identifier of an echo request, and what its reply must bring back: sequence number and data.
pub(crate) fn echo_parts<'a>(request: &Ip<'a>) -> Option<(u16, &'a [u8])> {
    let (&[_, _, _, _, high, low], back) = request.payload.split_first_chunk()?;
    Some((u16::from_be_bytes([high, low]), back))
}

/// The message that answers an echo request; its parts are those of [`echo_parts`].
pub(crate) fn echo_answer(ends: Ends, identifier: u16, back: &[u8]) -> Vec<u8> {
    let kind = match ends {
        Ends::V4 { .. } => 0,
        Ends::V6 { .. } => 129,
    };
    let [high, low] = identifier.to_be_bytes();
    with_checksum(ends, [&[kind, 0, 0, 0, high, low], back].concat())
}

/// The error that refuses `packet`, sent by `gateway` if that is of the packet's family, else in the
/// name of the destination. None where a packet should be answered with RST.
pub(crate) fn unreachable(packet: &Ip<'_>, refusal: Refusal, gateway: Option<IpAddr>) -> Option<Vec<u8>> {
    refuse(packet.ends, packet.whole, refusal, gateway)
}

/// The same of a packet that begins with `packet`.
pub(crate) fn refuse(
    ends: Ends,
    packet: &[u8],
    refusal: Refusal,
    gateway: Option<IpAddr>,
) -> Option<Vec<u8>> {
    let (kind, code, room) = match ends {
        // RFC 792, and RFC 1812 §5.2.7.1 for code 13.
        Ends::V4 { .. } => (3, v4_code(refusal)?, LARGEST_V4 - 20 - HEADER),
        Ends::V6 { .. } => (1, v6_code(refusal)?, LARGEST_V6 - 40 - HEADER),
    };
    let quote = packet.get(..room).unwrap_or(packet);
    let message = [&[kind, code, 0, 0, 0, 0, 0, 0], quote].concat();
    let back = ends.reversed();
    let ends = gateway.and_then(|gateway| Ends::new(gateway, back.dst())).unwrap_or(back);
    seal(ends, message)
}

fn v4_code(refusal: Refusal) -> Option<u8> {
    match refusal {
        Refusal::Rst => None,
        Refusal::NetUnreachable => Some(0),
        Refusal::HostUnreachable => Some(1),
        Refusal::PortUnreachable => Some(3),
        Refusal::Prohibited => Some(13),
    }
}

fn v6_code(refusal: Refusal) -> Option<u8> {
    match refusal {
        Refusal::Rst => None,
        Refusal::NetUnreachable => Some(0),
        Refusal::Prohibited => Some(1),
        Refusal::HostUnreachable => Some(3),
        Refusal::PortUnreachable => Some(4),
    }
}

/// The protocol number of the family's ICMP.
pub(crate) fn protocol(ends: Ends) -> u8 {
    match ends {
        Ends::V4 { .. } => ICMP,
        Ends::V6 { .. } => ICMPV6,
    }
}

fn seal(ends: Ends, message: Vec<u8>) -> Option<Vec<u8>> {
    build(ends, protocol(ends), &with_checksum(ends, message))
}

fn with_checksum(ends: Ends, mut message: Vec<u8>) -> Vec<u8> {
    checksum::fill(&mut message, 2, 0);
    let sum = match ends {
        Ends::V4 { .. } => checksum::plain(&message),
        Ends::V6 { .. } => checksum::transport(ends, ICMPV6, &message),
    };
    checksum::fill(&mut message, 2, sum);
    message
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::tests::ends;

    /// An ICMP packet for tests.
    pub(crate) fn message(ends: Ends, v4_kind: u8, v6_kind: u8, body: &[u8]) -> Vec<u8> {
        let kind = if matches!(ends, Ends::V4 { .. }) { v4_kind } else { v6_kind };
        seal(ends, [&[kind, 0, 0, 0], body].concat()).unwrap()
    }

    proptest! {
        #[test]
        fn echo_comes_back_whole(ends in ends(), body in prop::collection::vec(any::<u8>(), 4..60)) {
            let request = message(ends, 8, 128, &body);
            let ip = Ip::parse(&request).unwrap();
            prop_assert_eq!(Icmp::parse(&ip), Ok(Icmp::EchoRequest));
            let reply = echo_reply(&ip).unwrap();
            let ip = Ip::parse(&reply).unwrap();
            prop_assert_eq!(Icmp::parse(&ip), Ok(Icmp::Other));
            prop_assert_eq!((ip.ends, &ip.payload[4..]), (ends.reversed(), &body[..]));
        }

        #[test]
        fn errors_quote_and_stay_small(ends in ends(), body in prop::collection::vec(any::<u8>(), 4..1400)) {
            let request = message(ends, 8, 128, &body);
            let ip = Ip::parse(&request).unwrap();
            for refusal in [Refusal::Prohibited, Refusal::HostUnreachable, Refusal::NetUnreachable] {
                let error = unreachable(&ip, refusal, None).unwrap();
                prop_assert!(error.len() <= LARGEST_V6);
                let view = Ip::parse(&error).unwrap();
                prop_assert_eq!(Icmp::parse(&view), Ok(Icmp::Error));
                prop_assert!(request.starts_with(&view.payload[8..]));
            }
            prop_assert_eq!(unreachable(&ip, Refusal::Rst, None), None);
        }
    }

    #[test]
    fn codes_are_those_of_the_family() {
        let v4 = Ends::V4 { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into() };
        let v6 = Ends::V6 { src: [1; 16].into(), dst: [2; 16].into() };
        for (ends, at, want) in [(v4, 20, [3, 13]), (v6, 40, [1, 1])] {
            let packet = message(ends, 8, 128, &[0; 8]);
            let ip = Ip::parse(&packet).unwrap();
            let error = unreachable(&ip, Refusal::Prohibited, Some([10, 0, 0, 9].into())).unwrap();
            assert_eq!(error[at..at + 2], want);
        }
        assert_eq!(v6_code(Refusal::HostUnreachable), Some(3));
    }
}
