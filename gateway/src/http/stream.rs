//! The device's end of a connection as pingora sees it, TLS taken off: buffered, with our deadline on
//! heads and our cut. Always true: after the cut nothing is read or written any more, and the socket comes
//! back to its owner, who alone decides how it is closed.

use std::{
    fmt, io,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    http::ResponseHeader,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        TimingDigest, UniqueID, UniqueIDType, l4::socket::SocketAddr, raw_connect::ProxyDigest,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf},
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    connection::{Connection, Phase},
    wire::Wire,
};
use crate::tls::Alpn;

/// How long a request head may take from its first byte (nginx: 60 s; browsers need milliseconds).
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// What an HTTP/2 connection begins with has this length (RFC 9113 §3.4). It is what the deadline on heads is
/// for there: between requests the idle time of the server counts, which a head that trickles does not renew.
const PREFACE: usize = 24;

/// pingora writes head and body apart; together they should leave as one segment.
const WRITE_BUFFER: usize = 8 * 1024;

/// pingora answers a head it cannot parse by itself, under its own name; this goes out instead.
const NOT_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
Content-Length: 31\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nThe request is not valid HTTP.\n";

/// The device's end of a connection.
pub struct FrontStream {
    io: Option<BufWriter<Wire>>,
    alpn: Alpn,
    /// What has not come of HTTP/2's preface.
    preface: usize,
    fd: UniqueIDType,
    connection: Arc<Connection>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    refused: bool,
    back: Option<oneshot::Sender<Wire>>,
    proxy_digest: Arc<ProxyDigest>,
    socket_digest: Arc<SocketDigest>,
}

impl fmt::Debug for FrontStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontStream").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl FrontStream {
    /// The stream, and where its socket comes back when pingora lets go of it.
    pub fn new(wire: Wire, connection: Arc<Connection>) -> pingora::Result<(Self, oneshot::Receiver<Wire>)> {
        let (back, returned) = oneshot::channel();
        let response = Box::new(ResponseHeader::build(200, None)?);
        let proxy_digest = ProxyDigest::new(response, Some(Box::new(connection.clone())));
        let fd = wire.socket().as_raw_fd();
        let alpn = wire.alpn();
        let socket_digest = SocketDigest::from_raw_fd(fd);
        // Both cells are new, so setting them cannot fail.
        let _ = socket_digest.peer_addr.set(Some(SocketAddr::Inet(connection.flow.source())));
        let _ = socket_digest.local_addr.set(Some(SocketAddr::Inet(connection.flow.local())));
        let stream = Self {
            io: Some(BufWriter::with_capacity(WRITE_BUFFER, wire)),
            alpn,
            preface: if alpn == Alpn::H2 { PREFACE } else { 0 },
            fd,
            cut: Box::pin(connection.flow.cut().token().clone().cancelled_owned()),
            connection,
            is_cut: false,
            deadline: None,
            refused: false,
            back: Some(back),
            proxy_digest: Arc::new(proxy_digest),
            socket_digest: Arc::new(socket_digest),
        };
        Ok((stream, returned))
    }

    /// The socket, unless access was cut; also asks to be woken by the cut.
    fn open(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut BufWriter<Wire>>> {
        self.is_cut = self.is_cut || self.cut.as_mut().poll(cx).is_ready();
        match self.io.as_mut().filter(|_| !self.is_cut) {
            Some(io) => Ok(Pin::new(io)),
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Whether a head has begun, and not ended.
    fn awaits_head(&self) -> bool {
        match self.alpn {
            Alpn::Http1 => self.connection.phase() == Phase::Head,
            Alpn::H2 => self.preface > 0,
        }
    }

    /// Notes that so many bytes have come.
    fn took(&mut self, bytes: usize) {
        self.preface = self.preface.saturating_sub(bytes);
        if self.alpn == Alpn::Http1 && bytes > 0 && self.connection.phase() == Phase::Quiet {
            self.connection.enter(Phase::Head);
        }
    }

    /// Fails when a head that has begun is not complete in time.
    fn keep_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.awaits_head() {
            self.deadline = None;
            return Ok(());
        }
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + HEAD_DEADLINE)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Drop for FrontStream {
    fn drop(&mut self) {
        if let (Some(io), Some(back)) = (self.io.take(), self.back.take()) {
            // If the owner is gone, the socket closes here.
            let _ = back.send(io.into_inner());
        }
    }
}

impl AsyncRead for FrontStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.open(cx)?;
        self.keep_deadline(cx)?;
        let before = buf.filled().len();
        ready!(self.open(cx)?.poll_read(cx, buf))?;
        self.took(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FrontStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.alpn == Alpn::H2 || self.connection.phase() != Phase::Head {
            return self.open(cx)?.poll_write(cx, data);
        }
        // No request has reached us, so this is pingora's own answer to a head it cannot parse.
        if !self.refused {
            ready!(self.open(cx)?.poll_write(cx, NOT_HTTP))?;
            self.refused = true;
        }
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.is_broken() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.open(cx)?.poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for FrontStream {
    async fn shutdown(&mut self) {
        // The other end may be gone; then there is nobody to say goodbye to.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for FrontStream {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for FrontStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(match self.alpn {
            Alpn::Http1 => ALPN::H1,
            Alpn::H2 => ALPN::H2,
        })
    }
}

impl GetTimingDigest for FrontStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for FrontStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.proxy_digest.clone())
    }
}

impl GetSocketDigest for FrontStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket_digest.clone())
    }
}

impl Peek for FrontStream {}
