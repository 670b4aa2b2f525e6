//! Judges what a device sent by its addresses and protocol: exact source, a destination that may be
//! dialled at all, and what becomes of it. It keeps nothing and knows no flows.
//! Always true: what it lets pass has the device's own source address and is TCP, UDP or echo.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use protocol::target::Proto;

use crate::{
    counters::Count,
    datagram::DatagramKey,
    event::FlowKey,
    packet::{
        ICMP, ICMPV6, Ip, TCP, UDP,
        icmp::{self, Icmp},
        tcp::Tcp,
        udp::Udp,
    },
};

const DNS: u16 = 53;

/// The addresses that are ours.
#[derive(Debug)]
pub(crate) struct Addresses {
    gateway: Vec<IpAddr>,
    /// Addresses that answer an echo request.
    pub(crate) echo: HashSet<IpAddr>,
}

/// What becomes of a packet that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inbound<'a> {
    Tcp(Tcp),
    Dns {
        from: SocketAddr,
        to: SocketAddr,
        payload: &'a [u8],
    },
    /// For us to answer.
    Echo,
    /// For a flow: UDP, or an echo's sequence number and data.
    Datagram {
        key: DatagramKey,
        payload: &'a [u8],
    },
    /// No flow carries it: to be refused by ICMP.
    Unsupported,
}

impl Addresses {
    pub(crate) fn new(gateway: Vec<IpAddr>) -> Self {
        Self { gateway, echo: HashSet::new() }
    }

    /// The gateway's address of the same family as `like`.
    pub(crate) fn gateway_like(&self, like: IpAddr) -> Option<IpAddr> {
        self.gateway.iter().copied().find(|own| own.is_ipv4() == like.is_ipv4())
    }

    /// Judges a packet of the device that owns `sources`.
    pub(crate) fn judge<'a>(
        &self,
        ip: &Ip<'a>,
        sources: [IpAddr; 2],
        is_device: impl Fn(IpAddr) -> bool,
    ) -> Result<Inbound<'a>, Count> {
        let (src, dst) = (ip.ends.src(), ip.ends.dst());
        if !sources.contains(&src) {
            return Err(Count::WrongSource);
        }
        if let Some(reason) = unreachable_by_nature(dst) {
            return Err(reason);
        }
        let inbound = inbound(ip)?;
        if !matches!(inbound, Inbound::Tcp(_)) && is_device(dst) {
            return Err(Count::ToDevice);
        }
        if self.gateway.contains(&dst) {
            self.to_gateway(inbound, dst)
        } else {
            Ok(if self.is_answered(&inbound, dst) { Inbound::Echo } else { inbound })
        }
    }

    /// The gateway itself answers DNS and echo. A connection is for the shell to refuse, so that it
    /// fails at once and with a reason; the same holds for one to another device.
    fn to_gateway<'a>(&self, inbound: Inbound<'a>, dst: IpAddr) -> Result<Inbound<'a>, Count> {
        match inbound {
            Inbound::Tcp(_) => Ok(inbound),
            Inbound::Datagram { key, payload } if is_dns(&key) => {
                Ok(Inbound::Dns { from: key.ends.device, to: key.ends.target, payload })
            }
            _ if self.is_answered(&inbound, dst) => Ok(Inbound::Echo),
            Inbound::Dns { .. } | Inbound::Datagram { .. } | Inbound::Echo | Inbound::Unsupported => {
                Err(Count::ToGateway)
            }
        }
    }

    fn is_answered(&self, inbound: &Inbound<'_>, dst: IpAddr) -> bool {
        let is_echo = matches!(inbound, Inbound::Datagram { key, .. } if key.proto == Proto::Icmp);
        is_echo && self.echo.contains(&dst)
    }
}

fn is_dns(key: &DatagramKey) -> bool {
    key.proto == Proto::Udp && key.ends.target.port() == DNS
}

/// Reads the transport header; whether we answer it ourselves is for the destination to say.
pub(crate) fn inbound<'a>(ip: &Ip<'a>) -> Result<Inbound<'a>, Count> {
    match ip.protocol {
        TCP => Tcp::verified(ip).map(Inbound::Tcp),
        UDP => {
            let udp = Udp::parse(ip)?;
            Ok(Inbound::Datagram { key: key(ip, Proto::Udp, udp.src, udp.dst), payload: udp.payload })
        }
        ICMP | ICMPV6 => match Icmp::parse(ip)? {
            Icmp::EchoRequest => {
                let (identifier, payload) = icmp::echo_parts(ip).ok_or(Count::IcmpMalformed)?;
                Ok(Inbound::Datagram { key: key(ip, Proto::Icmp, identifier, 0), payload })
            }
            Icmp::Error => Err(Count::IcmpError),
            Icmp::Other => Ok(Inbound::Unsupported),
        },
        _ => Err(Count::ProtocolUnsupported),
    }
}

fn key(ip: &Ip<'_>, proto: Proto, from: u16, to: u16) -> DatagramKey {
    let (device, target) = (SocketAddr::new(ip.ends.src(), from), SocketAddr::new(ip.ends.dst(), to));
    DatagramKey { proto, ends: FlowKey { device, target } }
}

/// Destinations nobody may dial, whatever the policy (IANA special-purpose registries).
pub(crate) fn unreachable_by_nature(dst: IpAddr) -> Option<Count> {
    match dst {
        IpAddr::V4(dst) => unreachable_v4(dst),
        IpAddr::V6(dst) => unreachable_v6(dst),
    }
}

fn unreachable_v4(dst: Ipv4Addr) -> Option<Count> {
    match dst.octets() {
        [127, ..] => Some(Count::ToLoopback),
        [169, 254, ..] => Some(Count::ToLinkLocal),
        [224..=239, ..] => Some(Count::ToMulticast),
        // "This network", and class E with the limited broadcast address.
        [0, ..] | [240..=255, ..] => Some(Count::ToReserved),
        _ => None,
    }
}

fn unreachable_v6(dst: Ipv6Addr) -> Option<Count> {
    match dst.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Count::ToLoopback),
        [0xfe80..=0xfebf, ..] => Some(Count::ToLinkLocal),
        [0xff00..=0xffff, ..] => Some(Count::ToMulticast),
        // Unspecified, v4-compatible and v4-mapped: they name a v4 address behind the v4 rules' back.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => Some(Count::ToReserved),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Ends, icmp::tests::message, tcp::tests::syn, udp::datagram};

    const OWN: [&str; 2] = ["100.64.0.2", "fd00::1:2"];

    fn ends(src: &str, dst: &str) -> Ends {
        Ends::new(src.parse().unwrap(), dst.parse().unwrap()).unwrap()
    }

    fn judge(packet: &[u8]) -> Result<(), Count> {
        let mut addresses = Addresses::new(vec!["100.64.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
        addresses.echo = ["100.64.0.1", "100.64.128.7"].map(|a| a.parse().unwrap()).into();
        let ip = Ip::parse(packet)?;
        let own = OWN.map(|a| a.parse().unwrap());
        let device: IpAddr = "100.64.0.3".parse().unwrap();
        match addresses.judge(&ip, own, |dst| dst == device || own.contains(&dst))? {
            Inbound::Unsupported => Err(Count::IcmpUnsupported),
            Inbound::Datagram { .. } => Err(Count::DatagramFlowHeld),
            Inbound::Tcp(_) | Inbound::Dns { .. } | Inbound::Echo => Ok(()),
        }
    }

    #[test]
    fn only_the_own_source_passes() {
        for (src, dst) in [(OWN[0], "10.1.0.1"), (OWN[1], "fd50::1")] {
            assert_eq!(judge(&syn(ends(src, dst), (1000, 22), 1)), Ok(()));
        }
        for (src, dst) in [
            ("100.64.0.3", "10.1.0.1"),
            ("100.64.0.1", "10.1.0.1"),
            ("127.0.0.1", "10.1.0.1"),
            ("fd00::1:3", "fd50::1"),
            ("::ffff:100.64.0.2", "fd50::1"),
            ("ff02::1", "fd50::1"),
        ] {
            assert_eq!(judge(&syn(ends(src, dst), (1000, 22), 1)), Err(Count::WrongSource), "{src}");
        }
    }

    #[test]
    fn destinations_that_nobody_may_dial() {
        for (dst, reason) in [
            ("127.0.0.1", Count::ToLoopback),
            ("169.254.169.254", Count::ToLinkLocal),
            ("224.0.0.251", Count::ToMulticast),
            ("0.0.0.0", Count::ToReserved),
            ("0.1.2.3", Count::ToReserved),
            ("240.0.0.1", Count::ToReserved),
            ("255.255.255.255", Count::ToReserved),
        ] {
            assert_eq!(judge(&syn(ends(OWN[0], dst), (1000, 22), 1)), Err(reason), "{dst}");
        }
        for (dst, reason) in [
            ("::1", Count::ToLoopback),
            ("fe80::1", Count::ToLinkLocal),
            ("ff02::fb", Count::ToMulticast),
            ("::", Count::ToReserved),
            ("::ffff:10.0.0.1", Count::ToReserved),
        ] {
            assert_eq!(judge(&syn(ends(OWN[1], dst), (1000, 22), 1)), Err(reason), "{dst}");
        }
    }

    #[test]
    fn connections_to_the_gateway_and_to_devices_are_for_the_shell_to_refuse() {
        for dst in ["100.64.0.1", "100.64.0.2", "100.64.0.3"] {
            assert_eq!(judge(&syn(ends(OWN[0], dst), (1000, 22), 1)), Ok(()), "{dst}");
        }
        assert_eq!(judge(&message(ends(OWN[0], "100.64.0.3"), 8, 128, &[0; 8])), Err(Count::ToDevice));
    }

    #[test]
    fn the_gateway_answers_dns_and_echo() {
        let udp = |dst: &str, port: u16| {
            let from = SocketAddr::new(OWN[0].parse().unwrap(), 4000);
            datagram(from, SocketAddr::new(dst.parse().unwrap(), port), b"?").unwrap()
        };
        assert_eq!(judge(&udp("100.64.0.1", 53)), Ok(()));
        assert_eq!(judge(&udp("100.64.0.1", 123)), Err(Count::ToGateway));
        assert_eq!(judge(&udp("10.1.0.1", 53)), Err(Count::DatagramFlowHeld));
        assert_eq!(judge(&syn(ends(OWN[0], "100.64.0.1"), (1000, 53), 1)), Ok(()));
        let ping = |dst: &str| message(ends(OWN[0], dst), 8, 128, &[0; 8]);
        assert_eq!(judge(&ping("100.64.0.1")), Ok(()));
        assert_eq!(judge(&ping("100.64.128.7")), Ok(()));
        assert_eq!(judge(&ping("10.1.0.1")), Err(Count::DatagramFlowHeld));
        let timestamp = message(ends(OWN[0], "10.1.0.1"), 13, 13, &[0; 16]);
        assert_eq!(judge(&timestamp), Err(Count::IcmpUnsupported));
        let error = message(ends(OWN[0], "10.1.0.1"), 3, 1, &[0; 8]);
        assert_eq!(judge(&error), Err(Count::IcmpError));
    }
}
