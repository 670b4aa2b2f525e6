//! The HTTP front: takes a device's connection to an app's address and answers every request of it
//! by itself, from the app or with a refusal that explains. pingora is used as a library.
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
mod tests;
mod upstream;

use std::{fmt, num::NonZero, sync::Arc, time::Duration};

use pingora::{
    apps::{HttpServerOptions, ServerApp},
    protocols::Stream,
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

use self::{admit::Decides, connection::Connection, proxy::Proxy, stream::FrontStream};
pub use crate::gate::FrontFlow;
use crate::{dial::Dialer, gate::Gate};

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

/// The HTTP front of all apps. Cheap to clone.
#[derive(Clone)]
pub struct HttpFront(Arc<Parts>);

struct Parts {
    proxy: Arc<HttpProxy<Proxy>>,
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
    /// A front that asks `gate` about every request and opens apps with `dialer`.
    pub fn new(gate: Gate, dialer: Dialer) -> Self {
        Self::deciding(Arc::new(gate), dialer)
    }

    fn deciding(gate: Arc<dyn Decides>, dialer: Dialer) -> Self {
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
        let mut proxy = HttpProxy::new(Proxy::new(gate, dialer, retired.clone()), Arc::new(conf));
        proxy.server_options = Some(options);
        proxy.handle_init_modules();
        Self(Arc::new(Parts {
            proxy: Arc::new(proxy),
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            retired,
        }))
    }

    /// Answers a connection's requests until it ends or is cut. `shutdown` must stay open.
    pub async fn serve(&self, stream: TcpStream, flow: Arc<FrontFlow>, shutdown: watch::Receiver<bool>) {
        let _under_way = self.0.connections.token();
        let connection = Arc::new(Connection::new(flow, shutdown.clone()));
        let Ok((front, returned)) = FrontStream::new(stream, connection.clone()) else { return };
        let front: Stream = Box::new(front);
        let mut work = Box::pin(self.0.proxy.process_new(front, &shutdown));
        let ended = tokio::select! {
            biased;
            () = self.cut(&connection) => false,
            _ = &mut work => true,
        };
        if !ended {
            // Before pingora lets go of the app's connection, which would look like a plain close.
            connection.over(false);
            let why = connection.flow.cut().why().map(tracing::field::display);
            tracing::info!(target: "flow", device = %connection.flow.device(), app = %connection.flow.app(),
                why, "the connection to the front was cut");
        }
        drop(work);
        let Ok(mut socket) = returned.await else { return };
        if ended && !connection.is_broken() {
            tokio::select! {
                biased;
                () = self.cut(&connection) => reset(&socket),
                () = linger(&mut socket) => {}
            }
        } else {
            reset(&socket);
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

    async fn cut(&self, connection: &Connection) {
        tokio::select! {
            () = connection.flow.cut().token().cancelled() => {}
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
async fn linger(socket: &mut TcpStream) {
    let farewell = async {
        socket.shutdown().await?;
        let mut rest = socket.take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whatever comes of it, the socket is closed next.
    let _ = timeout(LINGER, farewell).await;
}
