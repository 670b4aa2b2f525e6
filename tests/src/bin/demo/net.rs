//! The addresses the demo uses on this machine.
//! It configures nothing: all of 127.0.0.0/8 is there already. Always true: demos that run side by
//! side, of whomever, do not get in each other's way.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

use anyhow::{Context, Result};

use crate::options::Options;

/// A demo has the addresses 127.7.n.* as long as it listens on this port of 127.7.n.1.
const CLAIM: u16 = 5170;
/// The last byte of the web app's address, and its port.
const WIKI: (u8, u16) = (10, 8080);
/// The same of the database: PostgreSQL's own port.
pub const DB: (u8, u16) = (11, 5432);
/// The same of the identity provider. Not 443: that takes a right that not everybody has.
const LOGIN: (u8, u16) = (20, 8443);
/// Where the connector dials the gateway.
const LINK: (u8, u16) = (1, 51821);
/// Where devices dial the gateway, unless told otherwise: the usual port of WireGuard.
const PORT: u16 = 51820;

/// Who is where.
#[derive(Debug)]
pub struct Net {
    /// What devices dial.
    pub endpoint: SocketAddr,
    /// What the connector dials.
    pub link: SocketAddr,
    /// The web app, at its site.
    pub wiki: SocketAddr,
    /// The database, at its site.
    pub db: SocketAddr,
    /// The identity provider.
    pub login: SocketAddr,
    reserved: Option<UdpSocket>,
    _claim: TcpListener,
}

impl Net {
    /// Finds addresses that nobody uses.
    pub fn claim(options: &Options) -> Result<Self> {
        let (ip, reserved) = (options.listen, endpoint(options)?);
        let mut claims = (0..=u8::MAX).map(|n| (n, TcpListener::bind((address(n, 1), CLAIM))));
        let free = claims.find_map(|(n, claim)| Some((n, claim.ok()?)));
        let (n, claim) = free.context("no addresses: 256 demos run already, or 127.0.0.0/8 is not there")?;
        let at = |(host, _): (u8, u16)| address(n, host);
        Ok(Self {
            endpoint: SocketAddr::new(ip, reserved.local_addr()?.port()),
            link: udp(at(LINK).into(), LINK.1)?.local_addr()?,
            wiki: tcp(at(WIKI), WIKI.1)?,
            db: tcp(at(DB), DB.1)?,
            login: tcp(at(LOGIN), LOGIN.1)?,
            reserved: Some(reserved),
            _claim: claim,
        })
    }

    /// Frees the endpoint for the gateway, which is about to listen there.
    pub fn hand_over_endpoint(&mut self) {
        self.reserved = None;
    }
}

fn address(n: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 7, n, host)
}

fn endpoint(options: &Options) -> Result<UdpSocket> {
    let ip = options.listen;
    match options.port {
        Some(port) => UdpSocket::bind((ip, port)).with_context(|| format!("--port {port} on {ip}")),
        None => udp(ip, PORT).with_context(|| format!("--listen {ip}: is it an address of this machine?")),
    }
}

/// On the port, or on a free one if somebody has it, on every address for example.
fn udp(ip: IpAddr, preferred: u16) -> Result<UdpSocket> {
    Ok(UdpSocket::bind((ip, preferred)).or_else(|_| UdpSocket::bind((ip, 0)))?)
}

fn tcp(ip: Ipv4Addr, preferred: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind((ip, preferred)).or_else(|_| TcpListener::bind((ip, 0)))?;
    Ok(listener.local_addr()?)
}

/// Two resolvers of this machine, for the other names of those who join; never asked by the tour. What
/// systemd-resolved asks, not itself: it would ask back if this very machine joined.
pub fn resolvers() -> Vec<IpAddr> {
    let read = |file: &str| fs::read_to_string(file);
    let text = read("/run/systemd/resolve/resolv.conf").or_else(|_| read("/etc/resolv.conf"));
    named(&text.unwrap_or_default())
}

fn named(text: &str) -> Vec<IpAddr> {
    let words = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let mut resolvers: Vec<IpAddr> = words.filter_map(|address| address.trim().parse().ok()).collect();
    resolvers.dedup();
    resolvers.truncate(2);
    resolvers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_system_does() {
        let text = "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.1\n nameserver\t::1\nnameserver fe80::1%eth0\n";
        assert_eq!(named(text), ["192.0.2.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
    }

    #[test]
    fn two_demos_have_different_addresses() -> Result<()> {
        let options = Options { listen: [127, 0, 0, 1].into(), port: None, once: true, json: false };
        let (one, other) = (Net::claim(&options)?, Net::claim(&options)?);
        let all = |net: &Net| [net.wiki.ip(), net.db.ip(), net.login.ip()];
        assert!(all(&one).iter().zip(all(&other)).all(|(one, other)| *one != other));
        assert_ne!(one.endpoint, other.endpoint);
        Ok(())
    }
}
