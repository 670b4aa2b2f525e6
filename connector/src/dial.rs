//! Dials one target for a site: resolves it, judges every address by the site's rules, connects to one.
//! It carries no bytes.
//! Always true: the address that was judged is the address that is dialled; a wait has an end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{setsockopt, sockopt},
};
use protocol::{
    link::Outcome,
    target::{Host, Proto, Refusal, Target, TargetRules},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};

use crate::socket::DatagramSocket;

/// For resolving and connecting together; the other end waits a little longer.
const LIMIT: Duration = Duration::from_secs(5);
/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 16;
/// A silent peer is asked after this many seconds, then in these intervals, this many times.
const KEEPALIVE: (u32, u32, u32) = (60, 15, 4);
/// Unacknowledged data ends the connection after this long, in milliseconds.
const USER_TIMEOUT: u32 = 90_000;

/// What a site may dial: its rules, and the addresses of the machine that dials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The site's allow list.
    pub rules: TargetRules,
    /// This machine's addresses.
    pub own: Vec<IpAddr>,
}

impl Site {
    /// These rules on this machine.
    pub fn here(rules: TargetRules) -> io::Result<Self> {
        let addresses = getifaddrs()?.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        });
        Ok(Self { rules, own: addresses.collect() })
    }

    /// Whether this address may be dialled.
    pub fn permits(&self, address: SocketAddr) -> Result<(), Refusal> {
        self.rules.permits(address.ip(), address.port(), &self.own)
    }

    /// The addresses that may be dialled; if none may, why not the first.
    fn permitted(&self, resolved: &[SocketAddr]) -> Result<Vec<SocketAddr>, Outcome> {
        let verdicts: Vec<_> = resolved.iter().map(|address| (*address, self.permits(*address))).collect();
        let good: Vec<_> = verdicts.iter().filter(|(_, v)| v.is_ok()).map(|(address, _)| *address).collect();
        match verdicts.iter().find_map(|(_, verdict)| verdict.err()) {
            Some(refusal) if good.is_empty() => Err(Outcome::NotAllowed(refusal.to_string())),
            Some(_) | None => Ok(good),
        }
    }
}

/// Connects to `target`, or says how that ended.
pub async fn open(target: &Target, site: &Site) -> Result<(TcpStream, SocketAddr), Outcome> {
    let end = Instant::now() + LIMIT;
    let resolved = timeout_at(end, resolve(target)).await.map_err(|_| Outcome::Timeout)??;
    let permitted = site.permitted(&resolved)?;
    let mut outcome = Outcome::NameNotFound;
    for (tried, address) in permitted.iter().enumerate() {
        // The time left is shared by the addresses left, so that a silent one does not eat it all.
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(permitted.len() - tried).unwrap_or(u32::MAX);
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match tune(&stream) {
                Ok(()) => return Ok((stream, *address)),
                Err(error) => outcome = outcome_of(&error),
            },
            Ok(Err(error)) => outcome = outcome_of(&error),
            Err(_) => outcome = Outcome::Timeout,
        }
    }
    Err(outcome)
}

/// A socket that exchanges datagrams with `target`, or why there is none.
pub async fn open_datagrams(
    proto: Proto,
    target: &Target,
    site: &Site,
) -> Result<(DatagramSocket, SocketAddr), Outcome> {
    let resolved =
        timeout_at(Instant::now() + LIMIT, resolve(target)).await.map_err(|_| Outcome::Timeout)??;
    let mut outcome = Outcome::NameNotFound;
    for address in site.permitted(&resolved)? {
        match DatagramSocket::connect(proto, address).await {
            Ok(socket) => return Ok((socket, address)),
            Err(failed) => outcome = failed,
        }
    }
    Err(outcome)
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Outcome> {
    match &target.host {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, target.port)]),
        Host::Name(name) => match lookup_host((name.as_str(), target.port)).await {
            Ok(found) => Ok(found.take(MAX_ADDRESSES).collect()),
            Err(error) if is_exhaustion(&error) => Err(Outcome::Overloaded),
            Err(_) => Err(Outcome::NameNotFound),
        },
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    let (idle, interval, count) = KEEPALIVE;
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &idle)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &interval)?;
    setsockopt(stream, sockopt::TcpKeepCount, &count)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &USER_TIMEOUT)?;
    Ok(())
}

pub(crate) fn outcome_of(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Outcome::Refused,
        io::ErrorKind::TimedOut => Outcome::Timeout,
        _ if is_exhaustion(error) => Outcome::Overloaded,
        _ => Outcome::Unreachable,
    }
}

/// Out of descriptors, ports or memory: ours, not the target's.
fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    fn site(allow: &[&str]) -> Site {
        let allow = allow.iter().map(|rule| rule.parse().unwrap()).collect();
        Site::here(TargetRules { allow }).unwrap()
    }

    async fn dial(target: &str, site: &Site) -> Result<SocketAddr, Outcome> {
        open(&target.parse().unwrap(), site).await.map(|(_, address)| address)
    }

    #[tokio::test]
    async fn a_named_address_is_dialled() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(dial(&address.to_string(), &site(&["127.0.0.1"])).await, Ok(address));
        let by_name = format!("localhost:{}", address.port());
        assert_eq!(dial(&by_name, &site(&["127.0.0.1"])).await, Ok(address));
    }

    #[tokio::test]
    async fn a_closed_port_refuses_and_a_missing_name_is_not_found() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        assert_eq!(dial(&format!("127.0.0.1:{port}"), &site(&["127.0.0.1"])).await, Err(Outcome::Refused));
        assert_eq!(dial("no-such-host.invalid:1", &site(&["0.0.0.0/0"])).await, Err(Outcome::NameNotFound));
    }

    #[tokio::test]
    async fn what_a_name_resolves_to_is_judged() {
        let refused = dial("localhost:80", &site(&["0.0.0.0/0", "::/0"])).await;
        assert!(matches!(refused, Err(Outcome::NotAllowed(why)) if why.contains("loopback")));
    }

    #[test]
    fn this_machine_knows_its_own_addresses() {
        assert!(site(&[]).own.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
