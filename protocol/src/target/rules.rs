//! A site's allow list, and its judgement of one resolved address.
//! Always true: empty permits nothing; a range never permits a special address.

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use ipnet::IpNet;

use super::{
    TargetError,
    address::{Special, canonical, nat64, unmapped},
    parse_port,
};

/// One line of a site's allow list: a network, and the ports of it if not all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// The network; a /32 or /128 names one address exactly.
    pub net: IpNet,
    /// The ports; `None` is every port.
    pub ports: Option<RangeInclusive<u16>>,
}

impl AllowRule {
    fn covers(&self, ip: IpAddr, port: u16) -> bool {
        self.net.contains(&ip) && self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    fn names_exactly(&self, ip: IpAddr, port: u16) -> bool {
        self.net.prefix_len() == self.net.max_prefix_len() && self.covers(ip, port)
    }
}

impl From<IpNet> for AllowRule {
    fn from(net: IpNet) -> Self {
        Self { net, ports: None }
    }
}

impl FromStr for AllowRule {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (net, ports) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").map(|(n, p)| (n, Some(p))).ok_or(TargetError::Rule)?,
            None => match text.split_once(':') {
                Some((v4, ports)) if v4.contains('.') => (v4, Some(ports)),
                _ => (text, None),
            },
        };
        let net: IpNet = match net.parse::<IpAddr>() {
            Ok(ip) => ip.into(),
            Err(_) => net.parse().map_err(|_| TargetError::Rule)?,
        };
        if unmapped(net.addr()) != net.addr() {
            return Err(TargetError::Mapped);
        }
        if net.trunc() != net {
            return Err(TargetError::HostBits(net.trunc()));
        }
        Ok(Self { net, ports: ports.map(parse_ports).transpose()? })
    }
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, TargetError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (parse_port(first), parse_port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(TargetError::Rule),
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ports) = &self.ports else { return self.net.fmt(f) };
        match self.net {
            IpNet::V4(net) => write!(f, "{net}:")?,
            IpNet::V6(net) => write!(f, "[{net}]:")?,
        }
        if ports.start() == ports.end() {
            write!(f, "{}", ports.start())
        } else {
            write!(f, "{}-{}", ports.start(), ports.end())
        }
    }
}

/// What a site may be asked to dial. Empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetRules {
    /// The allow list.
    pub allow: Vec<AllowRule>,
}

impl TargetRules {
    /// Whether `resolved`, the very address about to be dialled, may be; `own` are the dialling
    /// machine's addresses.
    pub fn permits(&self, resolved: IpAddr, port: u16, own: &[IpAddr]) -> Result<(), Refusal> {
        let dialled = unmapped(resolved);
        let reached = canonical(dialled);
        if self.allow.iter().any(|rule| rule.names_exactly(dialled, port)) {
            return Ok(());
        }
        if let Some(kind) = Special::of(dialled).or_else(|| Special::of(reached)) {
            return Err(Refusal::Special { address: resolved, kind });
        }
        if own.iter().map(|ip| unmapped(*ip)).any(|ip| ip == dialled || ip == reached) {
            return Err(Refusal::Special { address: resolved, kind: Special::Own });
        }
        let translated = nat64(dialled).map(IpAddr::V4);
        let allowed = |rule: &AllowRule| {
            rule.covers(dialled, port) || translated.is_some_and(|inner| rule.covers(inner, port))
        };
        if self.allow.iter().any(allowed) {
            Ok(())
        } else {
            Err(Refusal::NotListed { address: resolved, port })
        }
    }
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No allow rule covers it.
    #[error("{address} port {port} is not in the site's allow list")]
    NotListed {
        /// The address as it was resolved.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// It is never a target by a range.
    #[error("{address} is {kind}: an allow rule must name exactly this address")]
    Special {
        /// The address as it was resolved.
        address: IpAddr,
        /// What it is.
        kind: Special,
    },
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::{super::address::tests::spellings, *};

    fn rules(allow: &[&str]) -> TargetRules {
        TargetRules { allow: allow.iter().map(|rule| rule.parse().unwrap()).collect() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];

    #[test]
    fn rules_are_read_and_written() {
        for text in ["10.0.0.0/24", "10.0.0.9/32:5432", "fd00::/64", "[fd00::/64]:8000-8099"] {
            assert_eq!(text.parse::<AllowRule>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.9:22".parse::<AllowRule>().unwrap().to_string(), "10.0.0.9/32:22");
        assert_eq!("[::1]:22".parse::<AllowRule>().unwrap().to_string(), "[::1/128]:22");
        for bad in ["", "db", "10.0.0.0/33", "10.0.0.9:0", "10.0.0.9:9-8", "[fd00::1]", "10.0.0.9:"] {
            assert_eq!(bad.parse::<AllowRule>(), Err(TargetError::Rule), "{bad}");
        }
        assert_eq!("::ffff:10.0.0.1".parse::<AllowRule>(), Err(TargetError::Mapped));
        let tidy = TargetError::HostBits("10.0.0.0/24".parse().unwrap());
        assert_eq!("10.0.0.1/24".parse::<AllowRule>(), Err(tidy));
    }

    #[test]
    fn nothing_is_permitted_by_default() {
        let refused = TargetRules::default().permits(ip("10.0.0.1"), 80, &[]);
        assert_eq!(refused, Err(Refusal::NotListed { address: ip("10.0.0.1"), port: 80 }));
    }

    #[test]
    fn a_rule_permits_its_network_and_ports() {
        let rules = rules(&["10.0.0.0/24:80-81"]);
        assert_eq!(rules.permits(ip("10.0.0.9"), 81, &[]), Ok(()));
        assert!(rules.permits(ip("10.0.0.9"), 82, &[]).is_err());
        assert!(rules.permits(ip("10.0.1.9"), 80, &[]).is_err());
        assert_eq!(rules.permits(ip("::ffff:10.0.0.9"), 80, &[]), Ok(()));
        assert_eq!(rules.permits(ip("64:ff9b::10.0.0.9"), 80, &[]), Ok(()));
    }

    #[test]
    fn a_carrier_address_does_not_speak_for_what_lies_behind_it() {
        assert!(rules(&["10.0.0.0/24"]).permits(ip("2002:a00:1::dead"), 80, &[]).is_err());
        assert_eq!(rules(&["2002:a00::/32"]).permits(ip("2002:a00:1::dead"), 80, &[]), Ok(()));
    }

    #[test]
    fn special_addresses_need_their_exact_name_in_every_spelling() {
        let special =
            ["127.0.0.1", "127.9.9.9", "169.254.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"];
        for v4 in special.iter().chain(&["224.0.0.1", "255.255.255.255", "240.0.0.1"]) {
            for address in spellings(v4.parse().unwrap()) {
                let refused = rules(&EVERYTHING).permits(address, 80, &[]);
                assert!(matches!(refused, Err(Refusal::Special { .. })), "{address} {refused:?}");
                let named = AllowRule::from(IpNet::from(unmapped(address)));
                assert_eq!(TargetRules { allow: vec![named] }.permits(address, 80, &[]), Ok(()));
            }
        }
        for v6 in ["::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "::7f00:1"] {
            assert!(rules(&EVERYTHING).permits(ip(v6), 80, &[]).is_err(), "{v6}");
            assert_eq!(rules(&[v6]).permits(ip(v6), 80, &[]), Ok(()), "{v6}");
        }
    }

    #[test]
    fn naming_an_address_names_its_ports_too() {
        let rules = rules(&["127.0.0.1:5432", "127.0.0.0/8"]);
        assert_eq!(rules.permits(ip("127.0.0.1"), 5432, &[]), Ok(()));
        assert!(rules.permits(ip("127.0.0.1"), 22, &[]).is_err());
    }

    #[test]
    fn own_addresses_need_their_exact_name() {
        let own = [ip("10.0.0.5"), ip("fd00::5")];
        for address in ["10.0.0.5", "fd00::5", "::ffff:10.0.0.5", "64:ff9b::10.0.0.5", "2002:a00:5::1"] {
            let refused = rules(&EVERYTHING).permits(ip(address), 80, &own);
            assert_eq!(refused, Err(Refusal::Special { address: ip(address), kind: Special::Own }));
        }
        assert_eq!(rules(&["10.0.0.5"]).permits(ip("10.0.0.5"), 80, &own), Ok(()));
        assert_eq!(rules(&EVERYTHING).permits(ip("10.0.0.6"), 80, &own), Ok(()));
    }

    proptest! {
        #[test]
        fn a_special_address_is_never_reached_through_a_range(low: u32, first in prop::sample::select(vec![0u8, 127, 224, 255])) {
            let [_, b, c, d] = low.to_be_bytes();
            for spelling in spellings(Ipv4Addr::new(first, b, c.max(1), d.max(1))) {
                prop_assert!(rules(&EVERYTHING).permits(spelling, 80, &[]).is_err());
            }
        }

        #[test]
        fn rules_survive_a_round_trip(bits: u32, len in 0u8..=32, first in 1u16.., last in 1u16..) {
            let net = IpNet::new(Ipv4Addr::from(bits).into(), len).unwrap().trunc();
            let rule = AllowRule { net, ports: (first <= last).then_some(first..=last) };
            prop_assert_eq!(rule.to_string().parse::<AllowRule>().unwrap(), rule);
        }

        #[test]
        fn judging_never_panics(a: u128, b: u32, port: u16) {
            for ip in [IpAddr::V6(a.into()), IpAddr::V4(b.into())] {
                let _ = rules(&EVERYTHING).permits(ip, port, &[ip]);
                let _ = canonical(ip);
            }
        }
    }
}
