//! What may be dialled: a target as it is configured, and the rules of a site that judge the address
//! a target resolved to. It resolves and dials nothing.
//! Always true: an address is permitted only by an allow rule, and what never is a target (loopback,
//! link-local, cloud metadata, our own addresses…), in whatever spelling, only by naming exactly it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    str::FromStr,
};

use ipnet::{IpNet, Ipv6Net};

/// Why a text is not a target or a rule; `Display` is written for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an address or a name.
    #[error("write an IP address or a DNS name: labels of a-z, 0-9, '-' and '_', the last one not a number")]
    Host,
    /// No port.
    #[error("write it as <address or name>:<port>, for example 10.0.0.1:80, [fd00::1]:80 or db:5432")]
    Port,
    /// Not an allow rule.
    #[error(
        "write an address or CIDR, optionally with a port or a range of ports: 10.0.0.0/24, 10.0.0.9:5432, [fd00::/64]:8000-8099"
    )]
    Rule,
    /// Bits are set behind the prefix.
    #[error("the address has bits set behind its prefix; write {0}")]
    HostBits(IpNet),
    /// An IPv4 address dressed up as IPv6.
    #[error("write the IPv4 address itself instead of its IPv4-mapped form")]
    Mapped,
}

/// An IP address, or a DNS name that is resolved where the target is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name: lower case, no trailing dot.
    Name(String),
}

impl FromStr for Host {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if is_dns_name(&name) { Ok(Self::Name(name)) } else { Err(TargetError::Host) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// RFC 1123 §2.1 names, with the underscore that is seen in practice.
fn is_dns_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label) && !ends_in_number(name)
}

/// Resolvers read `127.1`, `2130706433` and `0x7f000001` as addresses: such a text is no name.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || last.bytes().all(|b| b.is_ascii_digit())
}

/// Where a flow ends: a host and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The machine.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl FromStr for Target {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::Port)?;
        let port = parse_port(port).ok_or(TargetError::Port)?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => Host::Ip(IpAddr::V6(v6.parse().map_err(|_| TargetError::Host)?)),
            None if host.contains(':') => return Err(TargetError::Port),
            None => host.parse()?,
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(_)) | Host::Name(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}

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

/// Addresses that reach the dialling machine itself, its link or its cloud, rather than a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// 0.0.0.0/8 and `::`, which Linux takes for itself (RFC 1122 §3.2.1.3).
    Unspecified,
    /// 127.0.0.0/8 and `::1`.
    Loopback,
    /// 169.254.0.0/16 and fe80::/10.
    LinkLocal,
    /// 224.0.0.0/4 and ff00::/8.
    Multicast,
    /// 240.0.0.0/4 with the broadcast address (RFC 1112 §4).
    Reserved,
    /// A cloud's metadata service, which hands out the machine's credentials.
    Metadata,
    /// An address of the dialling machine.
    Own,
}

/// Metadata services outside the link-local ranges: AWS, Alibaba, Azure, Oracle, Google.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

impl Special {
    fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        if METADATA_V4.contains(&ip) {
            return Some(Self::Metadata);
        }
        match ip.octets() {
            [0, ..] => Some(Self::Unspecified),
            [127, ..] => Some(Self::Loopback),
            [169, 254, ..] => Some(Self::LinkLocal),
            [224..=239, ..] => Some(Self::Multicast),
            [240..=255, ..] => Some(Self::Reserved),
            _ => None,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        if METADATA_V6.contains(&ip) {
            Some(Self::Metadata)
        } else if ip.is_unspecified() {
            Some(Self::Unspecified)
        } else if ip.is_loopback() {
            Some(Self::Loopback)
        } else if ip.is_unicast_link_local() {
            Some(Self::LinkLocal)
        } else if ip.is_multicast() {
            Some(Self::Multicast)
        } else {
            None
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved or broadcast address",
            Self::Metadata => "a cloud metadata address",
            Self::Own => "an address of this machine",
        })
    }
}

/// The address that `ip` reaches in the end: the IPv4 address inside an IPv4-mapped, -compatible or
/// -translated, NAT64, 6to4 or Teredo address, else `ip` itself.
pub fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let inner = v6.to_ipv4_mapped().or_else(|| nat64(ip)).or_else(|| carried(v6));
    inner.map_or(ip, IpAddr::V4)
}

/// What the kernel dials for `ip`: a socket treats an IPv4-mapped address as IPv4.
fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
    }
}

const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const NAT64_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
const TEREDO: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
const SIX_TO_FOUR: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
/// RFC 4291 §2.5.5.1; `::` and `::1` are not of it.
const COMPATIBLE: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96);
/// RFC 2765 §2.1.
const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);

/// The IPv4 host that a NAT64 address stands for (RFC 6052 §2.2). Inside the local-use prefix
/// (RFC 8215) the translator's prefix length is told by the suffix, which is zero.
fn nat64(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let o = ip.octets();
    if NAT64.contains(&ip) {
        return Some(Ipv4Addr::new(o[12], o[13], o[14], o[15]));
    }
    if !NAT64_LOCAL.contains(&ip) {
        return None;
    }
    Some(match o {
        [.., 0, 0, 0, 0, 0] => Ipv4Addr::new(o[6], o[7], o[9], o[10]),
        [.., 0, 0, 0, 0] => Ipv4Addr::new(o[7], o[9], o[10], o[11]),
        [.., 0, 0, 0] => Ipv4Addr::new(o[9], o[10], o[11], o[12]),
        _ => Ipv4Addr::new(o[12], o[13], o[14], o[15]),
    })
}

/// The IPv4 address of the tunnel that carries to an old transition address. It may be dialled only
/// under its own name, since the IPv4 address is the carrier's and not the destination's.
fn carried(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = ip.octets();
    if SIX_TO_FOUR.contains(&ip) {
        Some(Ipv4Addr::new(o[2], o[3], o[4], o[5]))
    } else if TEREDO.contains(&ip) {
        // RFC 4380 §4: the client's address is stored inverted.
        Some(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15]))
    } else if TRANSLATED.contains(&ip)
        || COMPATIBLE.contains(&ip) && !ip.is_loopback() && !ip.is_unspecified()
    {
        Some(Ipv4Addr::new(o[12], o[13], o[14], o[15]))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(allow: &[&str]) -> TargetRules {
        TargetRules { allow: allow.iter().map(|rule| rule.parse().unwrap()).collect() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];

    /// Every spelling of an IPv4 address that a name could resolve to.
    fn spellings(v4: Ipv4Addr) -> Vec<IpAddr> {
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let v6 = |s: [u16; 8]| IpAddr::V6(s.into());
        vec![
            v4.into(),
            v6([0, 0, 0, 0, 0, 0xffff, high, low]),
            v6([0, 0, 0, 0, 0xffff, 0, high, low]),
            v6([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
            v6([0x64, 0xff9b, 1, 0, 0, 0, high, low]),
            v6([0x64, 0xff9b, 1, high, u16::from(c), u16::from_be_bytes([d, 0]), 0, 0]),
            v6([0x2002, high, low, 0, 0, 0, 0, 1]),
            v6([0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low]),
        ]
    }

    #[test]
    fn targets_are_read_and_written() {
        for text in ["10.0.0.1:80", "[::1]:80", "db:5432", "a_b.example-c.com:1"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("DB.Example.:80".parse::<Target>().unwrap().to_string(), "db.example:80");
        for bad in [
            "",
            "db",
            "db:",
            "db:0",
            "db:65536",
            "db:+1",
            ":80",
            "::1:80",
            "[10.0.0.1]:80",
            "a..b:80",
            "-a:1",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        for number in ["127.1", "2130706433", "0x7f000001", "a.0x7f", "1.2.3.4.5", "0x"] {
            assert_eq!(number.parse::<Host>(), Err(TargetError::Host), "{number}");
        }
    }

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
        fn every_spelling_unwraps(v4: u32) {
            let v4 = Ipv4Addr::from(v4);
            // The local-use prefix tells its length by zeroes: an address that ends in some is another's.
            let [.., c, d] = v4.octets();
            prop_assume!(c != 0 && d != 0);
            for spelling in spellings(v4) {
                prop_assert_eq!(canonical(spelling), IpAddr::V4(v4), "{}", spelling);
            }
        }

        #[test]
        fn a_special_address_is_never_reached_through_a_range(low: u32, first in prop::sample::select(vec![0u8, 127, 224, 255])) {
            let [_, b, c, d] = low.to_be_bytes();
            for spelling in spellings(Ipv4Addr::new(first, b, c.max(1), d.max(1))) {
                prop_assert!(rules(&EVERYTHING).permits(spelling, 80, &[]).is_err());
            }
        }

        #[test]
        fn targets_survive_a_round_trip(text in "\\PC{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
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
