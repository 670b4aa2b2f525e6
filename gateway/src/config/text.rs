//! What an operator types where Rust's own types say too little about what is wrong.

use std::{fmt, net::SocketAddr, str::FromStr};

use ipnet::IpNet;

/// An address with a port other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Socket(pub SocketAddr);

impl FromStr for Socket {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<SocketAddr>() {
            Ok(socket) if socket.port() != 0 => Ok(Self(socket)),
            Ok(_) => Err("the port must be given, and not be 0"),
            Err(_) => Err("write an address and a port, for example 10.1.0.53:53 or [::]:51820"),
        }
    }
}

/// A network with no bits set behind its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cidr(pub IpNet);

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net: IpNet = text
            .parse()
            .map_err(|_| "write a network with its prefix length, for example 10.50.0.0/24".to_owned())?;
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            Err(format!("the address has bits set behind its prefix; write {}", net.trunc()))
        }
    }
}

/// A host name of letters, digits and hyphens (RFC 1123 §2.1): lower case, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DnsName(pub String);

impl FromStr for DnsName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.starts_with("*.") {
            Err("wildcards are not supported: write out every name")
        } else if name.len() > 253 || !name.split('.').all(label) || number {
            Err("a name is made of letters, digits, '-' and '.', for example wiki.corp.example")
        } else {
            Ok(Self(name))
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `name` is `zone` or below it.
pub(crate) fn is_under(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether two networks share an address.
pub(super) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!("Wiki.Corp.Example.".parse(), Ok(DnsName("wiki.corp.example".to_owned())));
        for bad in ["", ".", "a..b", "-a.b", "a_b.c", "*.corp.example", "ü.example", "10.0.0.1", "a b"] {
            assert!(bad.parse::<DnsName>().is_err(), "{bad}");
        }
        assert!(is_under("a.corp.example", "corp.example") && is_under("corp.example", "corp.example"));
        assert!(!is_under("evilcorp.example", "corp.example"));
    }

    #[test]
    fn networks_and_sockets() {
        assert!("10.0.0.0/8".parse::<Cidr>().is_ok());
        assert!("10.0.0.1/8".parse::<Cidr>().expect_err("host bits").contains("write 10.0.0.0/8"));
        assert!("10.0.0.1".parse::<Cidr>().is_err());
        assert!("[::]:0".parse::<Socket>().is_err() && "10.0.0.1".parse::<Socket>().is_err());
    }
}
