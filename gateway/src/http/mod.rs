//! The HTTP front: takes a device's connection to an app's address, ends TLS on it, and answers every
//! request of it by itself, from the app or with a refusal that explains. pingora is used as a library.
//! Always true: no request reaches an app before [`Gate`](crate::gate::Gate) has allowed it, and a
//! cut connection is reset on both sides, with nothing queued delivered.

mod admit;
mod connection;
mod cookie;
mod head;
mod headers;
mod origin;
mod page;
mod path;
mod proxy;
mod refusal;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod upstream;
mod wire;

use std::{fmt, num::NonZero, sync::Arc, time::Duration};

use pingora::{
    apps::{HttpServerOptions, ServerApp},
    protocols::{
        Stream,
        http::v2::server::{H2Options, default_h2_options},
    },
    proxy::HttpProxy,
    server::configuration::ServerConf,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    admit::Decides,
    connection::Connection,
    proxy::{KEEP_ALIVE, Proxy},
    stream::FrontStream,
    wire::Wire,
};
pub use self::{
    origin::{Asked, CrossSite, guard},
    page::section,
    refusal::obstacles,
};
pub use crate::gate::FrontFlow;
use crate::{dial::Dialer, gate::Gate, limits::Descriptors, reach::Speaks, tls::TlsFront};

/// Idle connections to apps that are kept, over all apps.
const POOL: usize = 256;
/// How often a request is tried: once more if the app closed a kept connection just then.
const TRIES: usize = 2;
/// How long a closed connection is read on, so that the device gets the answer before a reset.
const LINGER: Duration = Duration::from_secs(2);
/// How much of an unread upload is taken while lingering.
const LINGER_BYTES: u64 = 1024 * 1024;
/// How long a shutdown waits for requests under way.
const DRAIN: Duration = Duration::from_secs(20);

/// Requests of one HTTP/2 connection at once (RFC 9113 §6.5.2 asks for 100 at least).
const STREAMS: u32 = 100;
/// What an HTTP/2 request's head may have, uncompressed; the same as in HTTP/1.
const HEAD: u32 = 64 * 1024;
/// What an HTTP/2 device may send ahead of the app: of one request, and of all of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const WINDOW: u32 = 1024 * 1024;
/// What of each answer waits for an HTTP/2 device to take it.
const SEND_BUFFER: usize = 64 * 1024;

/// What HTTP/2 is bounded by.
fn h2_options() -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

/// The HTTP front of all apps. Cheap to clone.
#[derive(Clone)]
pub struct HttpFront(Arc<Parts>);

struct Parts {
    proxy: Arc<HttpProxy<Proxy>>,
    gate: Arc<dyn Decides>,
    tls: TlsFront,
    connections: TaskTracker,
    stop: CancellationToken,
    retired: CancellationToken,
}

impl fmt::Debug for HttpFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFront").field("connections", &self.0.connections.len()).finish_non_exhaustive()
    }
}

impl HttpFront {
    /// A front that asks `gate` about every request, opens apps with `dialer` and within `descriptors`,
    /// and ends TLS with `tls`.
    pub fn new(gate: Gate, dialer: Dialer, descriptors: Descriptors, tls: TlsFront) -> Self {
        Self::deciding(Arc::new(gate), dialer, descriptors, tls)
    }

    fn deciding(gate: Arc<dyn Decides>, dialer: Dialer, descriptors: Descriptors, tls: TlsFront) -> Self {
        let conf = ServerConf {
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            upstream_keepalive_pool_size: POOL,
            max_retries: TRIES,
            ..ServerConf::default()
        };
        let retired = CancellationToken::new();
        let mut options = HttpServerOptions::default();
        // Not to be proxied: so that it is refused by us, with our words.
        options.allow_connect_method_proxying = true;
        options.h2_idle_timeout = Some(KEEP_ALIVE);
        let judging = Proxy::new(gate.clone(), dialer, descriptors, retired.clone());
        let mut proxy = HttpProxy::new(judging, Arc::new(conf));
        proxy.server_options = Some(options);
        proxy.h2_options = Some(h2_options());
        proxy.handle_init_modules();
        Self(Arc::new(Parts {
            proxy: Arc::new(proxy),
            gate,
            tls,
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            retired,
        }))
    }

    /// Answers a connection's requests until it ends or is cut. `shutdown` must stay open.
    pub async fn serve(&self, socket: TcpStream, flow: Arc<FrontFlow>, shutdown: watch::Receiver<bool>) {
        let under_way = self.0.connections.token();
        let Some(wire) = self.wire(socket, &flow).await else { return };
        let connection = Arc::new(Connection::new(flow, shutdown.clone(), under_way));
        let Ok((front, returned)) = FrontStream::new(wire, connection.clone()) else { return };
        let front: Stream = Box::new(front);
        let mut work = Box::pin(self.0.proxy.process_new(front, &shutdown));
        let ended = tokio::select! {
            biased;
            () = self.cut(&connection.flow) => false,
            _ = &mut work => true,
        };
        if !ended {
            // Before pingora lets go of the apps' connections, which would look like a plain close.
            connection.cut();
            let why = connection.flow.cut().why().map(tracing::field::display);
            tracing::info!(target: "flow", device = %connection.flow.device(), app = %connection.flow.app(),
                why, "the connection to the front was cut");
        }
        drop(work);
        let Ok(mut wire) = returned.await else { return };
        if ended && !connection.is_broken() {
            tokio::select! {
                biased;
                () = self.cut(&connection.flow) => reset(wire.socket()),
                () = linger(&mut wire) => {}
            }
        } else {
            reset(wire.socket());
        }
    }

    /// The connection as it is spoken there; `None` if the handshake came to nothing. Only names of the
    /// app that stands there are answered.
    async fn wire(&self, socket: TcpStream, flow: &FrontFlow) -> Option<Wire> {
        match flow.speaks() {
            Speaks::Http | Speaks::ToHttps => return Some(Wire::Plain(socket)),
            Speaks::Https => {}
        }
        let app = self.0.gate.app(flow.app())?;
        let stands_here = |name: &str| app.hosts.iter().any(|host| host == name);
        match self.0.tls.accept(socket, stands_here, self.cut(flow)).await {
            Ok(secured) => Some(secured.into()),
            Err(error) => {
                tracing::info!(target: "flow", device = %flow.device(), app = %flow.app(), %error, "no TLS");
                None
            }
        }
    }

    /// Closes idle connections, lets requests under way finish, then resets what is left.
    pub async fn drain(&self) {
        self.0.proxy.cleanup().await;
        self.0.connections.close();
        if timeout(DRAIN, self.0.connections.wait()).await.is_err() {
            self.0.stop.cancel();
            self.0.connections.wait().await;
        }
    }

    /// Closes what is kept open to apps for later requests: to be called when there will be none.
    pub fn retire(&self) {
        self.0.retired.cancel();
    }

    async fn cut(&self, flow: &FrontFlow) {
        tokio::select! {
            () = flow.cut().token().cancelled() => {}
            () = self.0.stop.cancelled() => {}
        }
    }
}

/// Makes the close that follows a reset: a plain one would still deliver what is queued, and then
/// look like a regular end.
fn reset(socket: &TcpStream) {
    // A socket that is gone needs none.
    let _ = socket.set_zero_linger();
}

/// Reads on after our end of the stream: closing with unread bytes would reset the connection and
/// could take our last answer with it.
async fn linger(wire: &mut Wire) {
    let farewell = async {
        wire.shutdown().await?;
        let mut rest = wire.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whatever comes of it, the socket is closed next.
    let _ = timeout(LINGER, farewell).await;
}
