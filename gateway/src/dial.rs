//! Opens what a permit names: by the gateway itself at the `local` site, over a connector elsewhere.
//! It does not decide access; only the target rules of the local site are its own.
//! Always true: the address that was checked is the address that is dialled.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arc_swap::ArcSwap;
use connector::{
    dial::Site,
    relay::{self, Places, Side, Traffic},
};
use protocol::{id::ConnectorId, link::Outcome};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{
    access::{Open, Permit},
    connectors::{LinkStream, OpenError, Registry},
    datagrams,
};

/// Opens permitted targets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    registry: Option<Registry>,
    local: Arc<ArcSwap<Site>>,
}

impl Dialer {
    /// Dials `local` targets within the rules of `local`, all others over `registry`.
    pub fn new(registry: Option<Registry>, local: Site) -> Self {
        Self { registry, local: Arc::new(ArcSwap::from_pointee(local)) }
    }

    /// Replaces what the gateway itself may dial.
    pub fn set_local(&self, local: Site) {
        self.local.store(Arc::new(local));
    }

    /// Opens the one target the permit names; `flow` is only for the connector's log.
    pub async fn open(&self, permit: Permit<Open>, flow: u64) -> Result<Upstream, OpenError> {
        if permit.site().is_local() {
            let site = self.local.load_full();
            let (stream, _) = connector::dial::open(permit.target(), &site).await.map_err(from_outcome)?;
            return Ok(Upstream::Tcp(Direct::new(stream)));
        }
        let registry = self.registry.as_ref().ok_or(OpenError::NoConnector)?;
        registry.open(permit.site(), permit.target(), flow).await.map(Upstream::Link)
    }

    /// Opens a flow of datagrams to the one target the permit names.
    pub async fn open_datagrams(
        &self,
        permit: Permit<Open>,
        flow: u64,
    ) -> Result<datagrams::Upstream, OpenError> {
        let (proto, target) = (permit.proto(), permit.target());
        if permit.site().is_local() {
            let site = self.local.load_full();
            let (socket, _) =
                connector::dial::open_datagrams(proto, target, &site).await.map_err(from_outcome)?;
            return Ok(datagrams::Upstream::Direct(socket));
        }
        let registry = self.registry.as_ref().ok_or(OpenError::NoConnector)?;
        registry.open_datagrams(permit.site(), proto, target, flow).await.map(datagrams::Upstream::Link)
    }
}

fn from_outcome(outcome: Outcome) -> OpenError {
    match outcome {
        Outcome::Refused => OpenError::Refused,
        Outcome::Timeout => OpenError::Timeout,
        Outcome::NotAllowed(why) => OpenError::NotAllowed(why),
        Outcome::NameNotFound => OpenError::NameNotFound,
        // `Connected` is no error; a dial that says so without a stream has not reached anything.
        Outcome::Unreachable | Outcome::Connected => OpenError::Unreachable,
        Outcome::Overloaded => OpenError::Overloaded,
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
    /// Copies between `device` and it until both have ended, or one was reset. Should the device not take
    /// what comes over a connector, it goes on only in one of `places`; what we dialled holds no more than
    /// the buffers of two sockets.
    pub async fn relay(
        &mut self,
        device: &mut TcpStream,
        traffic: &Traffic,
        places: &Places,
    ) -> Result<(), Side> {
        match self {
            Self::Tcp(direct) => direct.relay(device, traffic).await,
            Self::Link(stream) => stream.relay(device, traffic, places).await,
        }
    }

    /// Ends it with a reset.
    pub fn abort(self) {
        match self {
            Self::Tcp(direct) => drop(direct),
            Self::Link(stream) => stream.abort(),
        }
    }

    /// The connector it runs over.
    pub fn connector(&self) -> Option<&ConnectorId> {
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

impl Direct {
    fn new(stream: TcpStream) -> Self {
        Self { stream, sent_end: false, got_end: false }
    }

    async fn relay(&mut self, device: &mut TcpStream, traffic: &Traffic) -> Result<(), Side> {
        relay::tcp(device, &mut self.stream, traffic).await?;
        (self.sent_end, self.got_end) = (true, true);
        Ok(())
    }
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
