//! Where a flow may end: a target as it is configured, and the rules of a site that judge the address
//! a target resolved to. It resolves and dials nothing.
//! Always true: an address is permitted only by an allow rule, and what never is a target (loopback,
//! link-local, cloud metadata, our own addresses…), in whatever spelling, only by naming exactly it.

mod address;
mod rules;

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

pub use self::{
    address::{Special, canonical},
    rules::{AllowRule, Refusal, TargetRules},
};

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

/// What a flow to a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6 echo.
    Icmp,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        })
    }
}

/// Where a flow ends: a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The machine.
    pub host: Host,
    /// The port; 0 for ICMP, which has none, and for nothing else.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn targets_survive_a_round_trip(text in "\\PC{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            }
        }
    }
}
