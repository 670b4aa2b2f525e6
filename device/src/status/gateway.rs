//! Which address in the tunnel is the gateway's, and how we know.
//! It asks nobody. Always true: an error says what to pass.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use crate::config::{self, LoadError};

/// Where the gateway tells devices how they stand.
const PORT: u16 = 80;

/// Where this computer's name servers stand; the second is for computers whose first names only
/// their own stub (systemd-resolved).
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// More than any such file needs.
const RESOLVER_FILE_LIMIT: u64 = 64 * 1024;

/// The blocks tunnel prefixes are of.
const TUNNELS: [&str; 2] = ["100.64.0.0/10", "fd00::/8"];

/// The gateway, from inside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its own.
    pub address: SocketAddr,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Argument,
    Config(PathBuf),
    Resolver(&'static str),
}

/// Why we do not know it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// It names no name server.
    #[error("{} has no DNS address to know the gateway by; pass --gateway ADDRESS", .0.display())]
    NoDns(PathBuf),
    /// This computer's do not lead there.
    #[error(
        "no name server of this computer is in {}: is the tunnel up?\n\
         Pass --config FILE (your WireGuard file) or --gateway ADDRESS (the first of its DNS line)",
        TUNNELS.join(" or ")
    )]
    NoResolver,
}

impl Gateway {
    /// By the argument, or else the file, or else this computer's name servers.
    pub fn find(argument: Option<SocketAddr>, file: Option<&Path>) -> Result<Self, GatewayError> {
        if let Some(address) = argument {
            return Ok(Self { address, source: Source::Argument });
        }
        if let Some(file) = file {
            let first = config::load(file)?.interface.dns.first().copied();
            let address = first.ok_or_else(|| GatewayError::NoDns(file.to_owned()))?;
            return Ok(Self::new(address, Source::Config(file.to_owned())));
        }
        let found = |name| Some(Self::new(in_a_tunnel(&resolvers(name).ok()?)?, Source::Resolver(name)));
        RESOLVERS.into_iter().find_map(found).ok_or(GatewayError::NoResolver)
    }

    fn new(address: IpAddr, source: Source) -> Self {
        Self { address: SocketAddr::new(address, PORT), source }
    }

    /// For the Host header.
    pub fn host(&self) -> String {
        let address = self.address.to_string();
        address.strip_suffix(":80").map(str::to_owned).unwrap_or(address)
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.source {
            Source::Argument => Ok(()),
            Source::Config(file) => write!(f, " (the first DNS address of {})", file.display()),
            Source::Resolver(name) => write!(f, " (a name server of {name})"),
        }
    }
}

/// `100.64.0.1`, or with another port: `100.64.0.1:8080`, `[fd00::1]:8080`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse().map(|address: IpAddr| SocketAddr::new(address, PORT));
    bare.or_else(|_| text.parse())
        .map_err(|_| "expected the gateway's IP address in the tunnel, like 100.64.0.1".into())
}

fn resolvers(name: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(name)?.take(RESOLVER_FILE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// The first name server of a resolv.conf(5) that can be a gateway's.
fn in_a_tunnel(resolv_conf: &str) -> Option<IpAddr> {
    let tunnels: Vec<IpNet> = TUNNELS.iter().filter_map(|net| net.parse().ok()).collect();
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    };
    resolv_conf.lines().filter_map(server).find(|server| tunnels.iter().any(|net| net.contains(server)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_server_of_a_tunnel_is_taken() {
        let text = "# nameserver 100.64.9.9\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch x\n\
                    nameserver\nnameserver 100.128.0.1\n  nameserver\t100.127.255.1 # ours\n\
                    nameserver fd00::1\n";
        assert_eq!(in_a_tunnel(text), Some("100.127.255.1".parse().unwrap()));
        assert_eq!(in_a_tunnel("nameserver fd12::1\n"), Some("fd12::1".parse().unwrap()));
        assert_eq!(in_a_tunnel("nameserver 127.0.0.53\nnameserver fc00::1\n"), None);
    }

    #[test]
    fn an_address_has_port_80_unless_it_says_otherwise() {
        for (text, address_, host) in [
            ("100.64.0.1", "100.64.0.1:80", "100.64.0.1"),
            ("fd00::1", "[fd00::1]:80", "[fd00::1]"),
            ("100.64.0.1:8080", "100.64.0.1:8080", "100.64.0.1:8080"),
            ("[fd00::1]:8080", "[fd00::1]:8080", "[fd00::1]:8080"),
        ] {
            let gateway = Gateway::find(Some(address(text).unwrap()), None).unwrap();
            assert_eq!((gateway.to_string().as_str(), gateway.host().as_str()), (address_, host));
        }
        for bad in ["", "gw.example.com", "http://100.64.0.1", "100.64.0.1:http", "fd00::1/128"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_say_what_to_pass() {
        let text = GatewayError::NoResolver.to_string();
        assert!(text.contains("100.64.0.0/10 or fd00::/8") && text.contains("--gateway ADDRESS"), "{text}");
    }
}
