//! The gateway's one HTTP listener on the internet: a provider tells here that somebody signed out there, a
//! probe asks whether it answers, and that is all. It signs nobody in and shows no page.
//! Always true: who proves nothing writes nothing; whose address it is the connection says and no header
//! does; connections, exchanges and verifications are bounded, in all and per source, and what is refused
//! is counted.

mod logout;
mod quiet;
mod refused;
mod sources;
#[cfg(test)]
pub(crate) mod tests;
mod unanswered;

use std::{
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use self::{
    quiet::Quiet,
    refused::{Kind, Refused},
    sources::{Full, Sources, source},
    unanswered::Unanswered,
};
use crate::{
    limits::Descriptors,
    rate::{Allowance, Rates},
    routes::{Route, router},
    sessions::Sessions,
    tls::{Certificates, TlsFront},
};

/// Providers send a token of about 1 KiB.
const LARGEST_BODY: usize = 64 << 10;
/// No head of theirs is nearly as long.
const LARGEST_HEAD: usize = 16 << 10;
/// How long a request head may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A connection ends after this long, handshake and answer included: who has more to say dials again.
const VISIT: Duration = Duration::from_secs(15);
/// Tokens that are verified and obeyed at once; a look at the provider's keys may take ten seconds.
const AT_ONCE: usize = 8;
/// What a source may say; a provider that signs many people out at once has a burst.
const ALLOWANCE: Allowance = Allowance { burst: 50.0, per_second: 10.0, remembered: 10_000 };
/// How many wait in the kernel to be accepted.
const BACKLOG: u32 = 256;
/// Rest after a failed accept, so that the loop does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The listener's part that answers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outside(Arc<Inner>);

/// What it is made of.
#[derive(Debug)]
pub struct Parts {
    /// The name it answers to.
    pub name: String,
    /// What ends sessions, and who may say so.
    pub sessions: Sessions,
    /// What it shows.
    pub certificates: Certificates,
    /// Of which each connection takes one.
    pub descriptors: Descriptors,
}

#[derive(Debug)]
struct Inner {
    name: String,
    sessions: Sessions,
    tls: TlsFront,
    descriptors: Descriptors,
    sources: Sources,
    rates: Mutex<Rates<IpAddr>>,
    verifying: Arc<Semaphore>,
    unanswered: Unanswered,
    quiet: Quiet,
    refused: Refused,
}

/// Who is at the other end, by the connection alone: there is no proxy of ours in front, so that whatever
/// a header says of it (`X-Forwarded-For` and its kind) is a stranger's word.
#[derive(Debug, Clone, Copy)]
struct Remote(SocketAddr);

/// Opens every address; an IPv6 one is IPv6 alone, so that the IPv4 one can be had beside it.
///
/// # Errors
/// One of them cannot be bound; the error names it.
pub fn bind(listen: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let named = |address: &SocketAddr, error: io::Error| {
        let helps = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                ": ports below 1024 need CAP_NET_BIND_SERVICE (deploy/doorward.service tells how)"
            }
            io::ErrorKind::AddrInUse => ": something else listens there, or this gateway runs already",
            io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
            _ => "",
        };
        io::Error::new(error.kind(), format!("join.listen {address}: {error}{helps}"))
    };
    listen.iter().map(|address| bind_one(*address).map_err(|error| named(address, error))).collect()
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What answers.
pub(crate) fn routes() -> [Route<Outside>; 2] {
    [
        Route::post("/backchannel-logout/{provider}", logout::backchannel),
        Route::get("/healthz", || async { "ok\n" }),
    ]
}

impl Outside {
    /// Of these parts.
    ///
    /// # Errors
    /// The system gives no randomness for TLS.
    pub fn new(parts: Parts) -> Result<Self, rustls::Error> {
        let Parts { name, sessions, certificates, descriptors } = parts;
        // One of its own, so that what strangers try is counted apart. Providers need no HTTP/2.
        let tls = TlsFront::http1(certificates)?;
        Ok(Self(Arc::new(Inner {
            name,
            sessions,
            tls,
            descriptors,
            sources: Sources::default(),
            rates: Mutex::new(Rates::new(ALLOWANCE)),
            verifying: Arc::new(Semaphore::new(AT_ONCE)),
            unanswered: Unanswered::default(),
            quiet: Quiet::default(),
            refused: Refused::default(),
        })))
    }

    /// Serves `listeners` until the gateway drains.
    pub fn serve(&self, listeners: Vec<TcpListener>, draining: &watch::Receiver<bool>) {
        for listener in listeners {
            tokio::spawn(self.clone().accept_all(listener, draining.clone()));
        }
    }

    /// What was refused, by why.
    pub fn refused(&self) -> impl Iterator<Item = (String, u64)> {
        let own = self.0.refused.counts().map(|(why, count)| (why.to_owned(), count));
        let tls = self.0.tls.refused().map(|(why, count)| (format!("outside_{why}"), count));
        own.into_iter().chain(tls)
    }

    async fn accept_all(self, listener: TcpListener, mut draining: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                // Also if nobody can drain any more.
                _ = draining.wait_for(|draining| *draining) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, remote)) => self.admit(socket, remote),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on join.listen");
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// Gives a connection its place, or lets it go.
    fn admit(&self, socket: TcpStream, remote: SocketAddr) {
        let place = match self.0.sources.enter(source(remote.ip())) {
            Ok(place) => place,
            Err(Full::All) => return self.0.refused.count(Kind::Full),
            Err(Full::Source) => return self.0.refused.count(Kind::SourceFull),
        };
        let Some(descriptor) = self.0.descriptors.take(1) else {
            return self.0.refused.count(Kind::Descriptors);
        };
        let this = self.clone();
        tokio::spawn(async move {
            let _held = (place, descriptor);
            if timeout(VISIT, this.attend(socket, Remote(remote))).await.is_err() {
                this.0.refused.count(Kind::Slow);
            }
        });
    }

    async fn attend(&self, socket: TcpStream, remote: Remote) {
        let name = self.0.name.as_str();
        // Who came to nothing is counted there; on the internet that is no news.
        let Ok(secured) = self.0.tls.accept(socket, |asked| asked == name, pending()).await else { return };
        let routes = router(routes())
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(middleware::from_fn_with_state(self.clone(), for_us))
            .layer(Extension(remote))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(self.clone());
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        let http1 = &mut builder.http1();
        http1.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(LARGEST_HEAD);
        // Who goes away has heard enough.
        let _ =
            builder.serve_connection(TokioIo::new(secured.stream), TowerToHyperService::new(routes)).await;
    }

    /// Whether a source may say something now.
    fn may_say(&self, remote: Remote) -> bool {
        let mut rates = self.0.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(&source(remote.0.ip()), Instant::now())
    }

    /// Whether a request is for this name; on which port is the network's business.
    fn is_named(&self, request: &Request) -> bool {
        let host = request.uri().authority().map(|authority| authority.as_str());
        let host = host.or_else(|| request.headers().get(header::HOST)?.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(&self.0.name)
    }
}

/// Nothing is said to who wants something else, and nothing is to be kept.
async fn for_us(State(outside): State<Outside>, request: Request, next: Next) -> Response {
    let mut response = if outside.is_named(&request) {
        next.run(request).await
    } else {
        StatusCode::MISDIRECTED_REQUEST.into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
