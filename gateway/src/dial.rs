//! Opens what a permit names: by the gateway itself at the `local` site, over a connector elsewhere.
//! It does not decide access; only the target rules of the local site are its own.
//! Always true: the address that was checked is the address that is dialled.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use arc_swap::ArcSwap;
use protocol::target::{Host, Target, TargetRules};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{
    access::{Open, Permit},
    connectors::{LinkStream, OpenError, Registry},
    tcp,
};

/// How long the gateway itself tries to connect; a device's own SYN retries last longer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a permitted target could not be opened. Whose fault: the site's or the operator's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The target answered with a reset.
    #[error("the target refused the connection")]
    Refused,
    /// No route, or the network says unreachable.
    #[error("the target is unreachable from its site")]
    Unreachable,
    /// No answer.
    #[error("the target did not answer in time")]
    Timeout,
    /// The site's own rules say no.
    #[error("the site does not allow this target: {0}")]
    NotAllowed(String),
    /// The name does not resolve at the site.
    #[error("the target's name does not resolve at its site")]
    NameNotFound,
    /// No connector of the site is there.
    #[error("no connector of the site is connected")]
    NoConnector,
    /// Too many flows.
    #[error("the site's connector has no room for another flow")]
    Overloaded,
}

impl From<OpenError> for DialError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NoConnector => Self::NoConnector,
            OpenError::Refused => Self::Refused,
            OpenError::Unreachable => Self::Unreachable,
            OpenError::Timeout => Self::Timeout,
            OpenError::NotAllowed(why) => Self::NotAllowed(why),
            OpenError::NameNotFound => Self::NameNotFound,
            OpenError::Overloaded => Self::Overloaded,
        }
    }
}

/// Opens permitted targets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    registry: Option<Registry>,
    local: Arc<ArcSwap<TargetRules>>,
}

impl Dialer {
    /// Dials `local` targets within `rules`, all others over `registry`.
    pub fn new(registry: Option<Registry>, rules: TargetRules) -> Self {
        Self { registry, local: Arc::new(ArcSwap::from_pointee(rules)) }
    }

    /// Replaces the local site's target rules.
    pub fn set_local(&self, rules: TargetRules) {
        self.local.store(Arc::new(rules));
    }

    /// Opens the one target the permit names; `flow` is only for the connector's log.
    pub async fn open(&self, permit: Permit<Open>, flow: u64) -> Result<Upstream, DialError> {
        if permit.site().is_local() {
            let rules = self.local.load_full();
            let dialled = tokio::time::timeout(DIAL_TIMEOUT, dial(&rules, permit.target())).await;
            return dialled.map_err(|_| DialError::Timeout)?.map(Upstream::tcp);
        }
        let registry = self.registry.as_ref().ok_or(DialError::NoConnector)?;
        let stream = registry.open(permit.site(), permit.target(), flow).await?;
        Ok(Upstream::Link(stream))
    }
}

async fn dial(rules: &TargetRules, target: &Target) -> Result<TcpStream, DialError> {
    let own = own_addresses();
    let mut refused = None;
    let mut failed = None;
    for address in resolve(target).await? {
        match rules.permits(address.ip(), address.port(), &own) {
            Err(refusal) => refused = Some(DialError::NotAllowed(format!("{}: {refusal}", address.ip()))),
            Ok(()) => match TcpStream::connect(address).await {
                Ok(stream) => {
                    tcp::tune(&stream);
                    return Ok(stream);
                }
                Err(error) => failed = Some(from_io(&error)),
            },
        }
    }
    Err(failed.or(refused).unwrap_or(DialError::NameNotFound))
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, DialError> {
    match &target.host {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, target.port)]),
        Host::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), target.port)).await;
            Ok(found.map_err(|_| DialError::NameNotFound)?.collect())
        }
    }
}

/// The machine's own addresses; if they cannot be read, none is recognised, and the rules' other
/// refusals still hold.
fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| interface.address);
    addresses
        .filter_map(|address| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
            (None, Some(v6)) => Some(IpAddr::V6(v6.ip())),
            (None, None) => None,
        })
        .collect()
}

fn from_io(error: &io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::Timeout,
        _ => DialError::Unreachable,
    }
}

/// A connection to a permitted target. Dropped before both directions have ended, it is reset.
#[derive(Debug)]
pub enum Upstream {
    /// Dialled by the gateway itself.
    Tcp(Direct),
    /// Over a connector.
    Link(LinkStream),
}

impl Upstream {
    fn tcp(stream: TcpStream) -> Self {
        Self::Tcp(Direct { stream, sent_end: false, got_end: false })
    }

    /// Ends it with a reset.
    pub fn abort(self) {
        match self {
            Self::Tcp(direct) => drop(direct),
            Self::Link(stream) => stream.abort(),
        }
    }

    /// The connector it runs over.
    pub fn connector(&self) -> Option<&protocol::id::ConnectorId> {
        match self {
            Self::Tcp(_) => None,
            Self::Link(stream) => Some(stream.connector()),
        }
    }
}

/// A TCP connection of our own that resets unless both directions ended by themselves.
#[derive(Debug)]
pub struct Direct {
    stream: TcpStream,
    sent_end: bool,
    got_end: bool,
}

impl Drop for Direct {
    fn drop(&mut self) {
        if !(self.sent_end && self.got_end) {
            // The socket may be gone already; then there is nothing to reset.
            let _ = netio::tcp::set_linger_zero(&self.stream);
        }
    }
}

impl AsyncRead for Direct {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.got_end |= room > 0 && buf.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Direct {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.sent_end = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Upstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(direct) => Pin::new(direct).poll_read(cx, buf),
            Self::Link(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(direct) => Pin::new(direct).poll_write(cx, data),
            Self::Link(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(direct) => Pin::new(direct).poll_flush(cx),
            Self::Link(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(direct) => Pin::new(direct).poll_shutdown(cx),
            Self::Link(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
