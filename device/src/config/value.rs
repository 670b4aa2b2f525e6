//! The values of a WireGuard configuration: keys, addresses, endpoints, numbers. Each reader says
//! in one sentence what it expects.
//! It asks no name server. Always true: an error text never repeats a secret.

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use tunnel::{PrivateKey, peer::PresharedKey};

/// Where the gateway is, as written: `host:port`, `192.0.2.1:51820`, `[2001:db8::1]:51820`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// UDP.
    pub port: u16,
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or("expected host:port")?;
        let port =
            port.parse().ok().filter(|port| *port != 0).ok_or("the port is a number from 1 to 65535")?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            Some(_) => return Err("between brackets stands an IPv6 address"),
            None if host.contains(':') => {
                return Err("an IPv6 address stands in brackets: [2001:db8::1]:51820");
            }
            None if host.is_empty() || host.contains(char::is_whitespace) => {
                return Err("expected host:port");
            }
            None => host,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One element of the `DNS` line.
pub enum Dns {
    Server(IpAddr),
    Search(String),
}

pub fn dns(text: &str) -> Result<Dns, String> {
    if let Ok(address) = text.parse() {
        return Ok(Dns::Server(address));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let domain = text.strip_suffix('.').unwrap_or(text);
    let looks_like_an_address = domain.chars().all(|c| c.is_ascii_digit() || c == '.');
    if domain.len() <= 253 && domain.split('.').all(label) && !looks_like_an_address {
        Ok(Dns::Search(domain.to_owned()))
    } else {
        Err(format!("`{text}` is neither an IP address nor a domain"))
    }
}

pub fn private_key(text: &str) -> Result<PrivateKey, String> {
    secret(text).map(PrivateKey::new).ok_or_else(|| {
        "put this device's private key here: 44 characters of base64, as `wg genkey` prints it".into()
    })
}

pub fn preshared(text: &str) -> Result<PresharedKey, String> {
    secret(text)
        .map(PresharedKey)
        .ok_or_else(|| "expected 44 characters of base64, as `wg genpsk` prints it".into())
}

fn secret(text: &str) -> Option<[u8; 32]> {
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    (bytes != [0; 32]).then_some(bytes)
}

/// The address of `100.64.0.2/32` or `100.64.0.2`; the length makes no route here.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let bare = || text.parse::<IpAddr>().ok();
    text.parse::<IpNet>()
        .ok()
        .map(|net| net.addr())
        .or_else(bare)
        .ok_or_else(|| format!("`{text}` is no address; expected one like 100.64.0.2/32"))
}

/// `10.0.0.0/8`, or an address alone; bits beyond the length are cleared, as wg(8) does.
pub fn network(text: &str) -> Result<IpNet, String> {
    let bare = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .map(|net| net.trunc())
        .or_else(bare)
        .ok_or_else(|| format!("`{text}` is no network; expected one like 10.0.0.0/8"))
}

pub fn number_in(range: RangeInclusive<u16>) -> impl Fn(&str) -> Result<u16, String> {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("`{text}` is not a number from {} to {}", range.start(), range.end()))
    }
}

/// Seconds, or `off`.
pub fn keepalive(text: &str) -> Result<Option<u16>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let seconds = number_in(0..=u16::MAX)(text).map_err(|reason| format!("{reason}, nor off"))?;
    Ok((seconds != 0).then_some(seconds))
}
