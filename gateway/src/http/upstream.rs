//! The app's end: one permit becomes at most one connection, which pingora may keep for later
//! requests to the same app. It decides nothing.
//! Always true: every peer of the product is made here, with every timeout and its own pool key;
//! a connection whose request was broken off is reset, and nothing queued for it is delivered.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType, Result,
    connectors::L4Connect,
    http::ResponseHeader,
    protocols::{
        ALPN, GetProxyDigest,
        l4::{
            socket::SocketAddr as L4Address,
            stream::Stream as L4Stream,
            virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
        },
        raw_connect::ProxyDigest,
    },
    upstreams::peer::HttpPeer,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::UnixStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::refusal::Refusal;
use crate::{
    access::{Open, Permit},
    config::{AppSpec, HttpSpec},
    dial::{Dialer, Upstream},
    limits::{Descriptors, Taken},
};

/// Longer than the dialler's own limit, which gives the clearer error.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence of an app in the middle of an answer: long polls and slow reports take minutes.
const READ_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a WebSocket may be silent; the cut does not wait for it.
pub const TUNNEL_TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);
/// Under the 60 to 75 s of nginx, Envoy and most load balancers, so that a POST seldom meets a server
/// that is just closing; servers that close sooner (Apache, Node: 5 s) are noticed by the pool.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// What a connection to an app takes of the budget: the socket, unless a connector has it; and a pair.
const DESCRIPTORS: u64 = 3;
/// How long a closed connection waits for the other side's close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What one request may open, and what came of it.
#[derive(Debug)]
pub struct Attempt {
    permit: Mutex<Option<Permit<Open>>>,
    failure: Mutex<Option<Refusal>>,
}

impl Attempt {
    /// The permit opens one connection, if none of the pool serves.
    pub fn new(permit: Permit<Open>) -> Self {
        Self { permit: Mutex::new(Some(permit)), failure: Mutex::new(None) }
    }

    /// Why nothing was opened.
    pub fn failure(&self) -> Option<Refusal> {
        lock(&self.failure).clone()
    }
}

/// Opens the connection of one request for pingora.
#[derive(Debug)]
pub struct Opener {
    /// The permit and the outcome.
    pub attempt: Arc<Attempt>,
    /// Who dials.
    pub dialer: Dialer,
    /// For the connector's log.
    pub flow: u64,
    /// Whether the request asks for a tunnel.
    pub upgrade: bool,
    /// Cancelled when access is cut: a request of HTTP/2 outlives its connection by a moment.
    pub cut: CancellationToken,
    /// What may be open.
    pub descriptors: Descriptors,
    /// Cancelled when nothing is kept for later requests any more.
    pub retired: CancellationToken,
}

/// The one place where peers are made. `generation` changes with the configuration, so that no
/// later request runs over a connection that an earlier configuration opened.
pub fn peer(app: &AppSpec, http: &HttpSpec, generation: u64, opener: Opener) -> HttpPeer {
    // pingora compares the address of a pooled connection with the peer's, except for this one.
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1));
    let mut peer = HttpPeer::new(anywhere, false, String::new());
    peer.group_key = pool_key(app, http, generation, opener.upgrade);
    let upgrade = opener.upgrade;
    let options = &mut peer.options;
    options.alpn = ALPN::H1;
    options.connection_timeout = Some(CONNECT_TIMEOUT);
    options.total_connection_timeout = Some(CONNECT_TIMEOUT);
    options.read_timeout = Some(if upgrade { TUNNEL_TIMEOUT } else { READ_TIMEOUT });
    options.write_timeout = Some(WRITE_TIMEOUT);
    // A tunnel that the app refused is parked in the pool, where nothing finds it again.
    options.idle_timeout = Some(if upgrade { Duration::from_secs(1) } else { IDLE_TIMEOUT });
    options.custom_l4 = Some(Arc::new(opener));
    peer
}

/// pingora's own key holds neither who dials nor for which app: without this, two apps at one
/// address would share connections.
fn pool_key(app: &AppSpec, http: &HttpSpec, generation: u64, upgrade: bool) -> u64 {
    let upstream = http.upstream.to_string();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [app.facts.id.as_str(), app.facts.site.as_str(), &upstream] {
        // No part holds a NUL.
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    context.update(&generation.to_be_bytes());
    context.update(&[u8::from(upgrade)]);
    let digest = context.finish();
    let mut key = [0; 8];
    for (to, from) in key.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    u64::from_be_bytes(key)
}

#[async_trait]
impl L4Connect for Opener {
    async fn connect(&self, _: &L4Address) -> Result<L4Stream> {
        let permit = lock(&self.attempt.permit).take();
        let permit =
            permit.ok_or_else(|| Error::explain(ErrorType::InternalError, "the permit is used up"))?;
        let Some(taken) = self.descriptors.take(DESCRIPTORS) else {
            return Err(self.failed(Refusal::Full));
        };
        let opened = tokio::select! {
            biased;
            () = self.cut.cancelled() => return Err(self.failed(Refusal::Internal)),
            opened = self.dialer.open(permit, self.flow) => opened,
        };
        match opened {
            Ok(upstream) => self.carried(upstream, taken),
            Err(error) => Err(self.failed(Refusal::Unreachable(error))),
        }
    }
}

impl Opener {
    fn failed(&self, why: Refusal) -> Box<Error> {
        *lock(&self.attempt.failure) = Some(why);
        Error::explain(ErrorType::ConnectError, "the app cannot be opened")
    }

    fn carried(&self, upstream: Upstream, taken: Taken) -> Result<L4Stream> {
        let link = Link::default();
        let mut stream = if self.upgrade {
            let tunnel = Tunnel { upstream: Some(upstream), link: link.clone(), wrote: false, _taken: taken };
            L4Stream::from(VirtualSocketStream::new(Box::new(tunnel)))
        } else {
            let pair = UnixStream::pair();
            let (ours, theirs) = pair.map_err(|error| {
                Error::because(ErrorType::InternalError, "no socket pair for the app's connection", error)
            })?;
            let carried = carry(ours, upstream, link.clone(), self.retired.clone());
            tokio::spawn(async move {
                let _taken = taken;
                carried.await;
            });
            L4Stream::from(theirs)
        };
        let response = Box::new(ResponseHeader::build(200, None)?);
        stream.set_proxy_digest(ProxyDigest::new(response, Some(Box::new(link))));
        Ok(stream)
    }
}

/// A handle on an app's connection, to reset it.
#[derive(Debug, Clone, Default)]
pub struct Link(CancellationToken);

impl Link {
    /// Resets the connection; what is queued for it is lost.
    pub fn abort(&self) {
        self.0.cancel();
    }

    /// Whether it was reset.
    #[cfg(test)]
    pub fn is_aborted(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Carries bytes between pingora's half of a socket pair and the app until one of them closes.
/// Only real sockets go back to pingora's pool, hence the pair. Ends when pingora lets go of its
/// half: at the latest when the idle connection leaves the pool. Nobody can empty that pool, so the
/// connection ends here when it is `retired`.
async fn carry(mut ours: UnixStream, mut upstream: Upstream, link: Link, retired: CancellationToken) {
    let well = tokio::select! {
        biased;
        () = link.0.cancelled() => false,
        () = retired.cancelled() => return close(upstream).await,
        copied = exchange(&mut ours, &mut upstream) => copied.is_ok(),
    };
    if !well {
        upstream.abort();
    }
}

async fn exchange(ours: &mut UnixStream, upstream: &mut Upstream) -> io::Result<()> {
    let (mut from_pingora, mut to_pingora) = ours.split();
    let (mut from_app, mut to_app) = tokio::io::split(upstream);
    let mut forth = pin!(async {
        tokio::io::copy(&mut from_pingora, &mut to_app).await?;
        to_app.shutdown().await
    });
    let mut back = pin!(async {
        tokio::io::copy(&mut from_app, &mut to_pingora).await?;
        to_pingora.shutdown().await
    });
    tokio::select! {
        sent = &mut forth => {
            sent?;
            timeout(CLOSE_TIMEOUT, back).await?
        }
        answered = &mut back => {
            answered?;
            forth.await
        }
    }
}

/// An upgraded connection as pingora sees it. After each write one read finds nothing yet: pingora
/// 0.9.1 otherwise may see the app's 101 before the end of its own GET, takes that end for the
/// client closing the tunnel, and closes.
#[derive(Debug)]
struct Tunnel {
    upstream: Option<Upstream>,
    link: Link,
    wrote: bool,
    _taken: Taken,
}

impl Tunnel {
    fn open(&mut self) -> io::Result<Pin<&mut Upstream>> {
        self.upstream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let Some(upstream) = self.upstream.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.link.0.is_cancelled() => drop(runtime.spawn(close(upstream))),
            Ok(_) | Err(_) => upstream.abort(),
        }
    }
}

/// Lets the app read what it has been sent, and its own close come.
async fn close(mut upstream: Upstream) {
    let farewell = async {
        upstream.shutdown().await?;
        tokio::io::copy(&mut upstream, &mut tokio::io::sink()).await
    };
    // Whatever comes of it, dropping the connection ends it.
    let _ = timeout(CLOSE_TIMEOUT, farewell).await;
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.wrote) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.open()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
        self.open()?.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()?.poll_shutdown(cx)
    }
}

impl VirtualSocket for Tunnel {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use connector::dial::Site;
    use pingora::upstreams::peer::Peer;
    use policy::facts;

    use protocol::time::Timestamp;

    use super::*;
    use crate::{
        access::{self, Verdict},
        config::{AppKind, IdentityHeaders, PathMode},
        testing::{Company, connect},
    };

    fn app(id: &str, site: &str, upstream: &str) -> AppSpec {
        let facts = facts::App {
            id: id.parse().expect("a name"),
            site: site.parse().expect("a name"),
            groups: BTreeSet::new(),
            sensitivity: 2,
            owners: None,
            tags: BTreeMap::new(),
        };
        let http = HttpSpec {
            upstream: upstream.parse().expect("a target"),
            tls: true,
            path: PathMode::Standard,
            read_methods: Vec::new(),
            allow_origins: Vec::new(),
            identity: IdentityHeaders::default(),
        };
        let kind = AppKind::Http(http);
        AppSpec { facts: Arc::new(facts), hosts: Vec::new(), ports: vec![80], kind, address: None }
    }

    /// For a request without a permit.
    fn opener(upgrade: bool) -> Opener {
        Opener {
            attempt: Arc::new(Attempt { permit: Mutex::default(), failure: Mutex::default() }),
            dialer: Dialer::new(None, Site::default()),
            flow: 1,
            upgrade,
            cut: CancellationToken::new(),
            descriptors: Descriptors::new(100, 0),
            retired: CancellationToken::new(),
        }
    }

    fn peer_of(app: &AppSpec, generation: u64, upgrade: bool) -> HttpPeer {
        let AppKind::Http(http) = &app.kind else { panic!("an HTTP app") };
        peer(app, http, generation, opener(upgrade))
    }

    #[test]
    fn connections_are_shared_only_where_everything_is_the_same() {
        let key = |id, site, upstream, generation, upgrade| {
            peer_of(&app(id, site, upstream), generation, upgrade).reuse_hash()
        };
        let mut keys = vec![
            key("wiki", "fra", "10.0.0.1:80", 1, false),
            key("docs", "fra", "10.0.0.1:80", 1, false),
            key("wiki", "ber", "10.0.0.1:80", 1, false),
            key("wiki", "fra", "10.0.0.1:81", 1, false),
            key("wiki", "fra", "10.0.0.1:80", 2, false),
            key("wiki", "fra", "10.0.0.1:80", 1, true),
        ];
        assert_eq!(keys.first(), Some(&key("wiki", "fra", "10.0.0.1:80", 1, false)));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 6);
    }

    #[test]
    fn no_wait_is_without_end() {
        for upgrade in [false, true] {
            let options = peer_of(&app("wiki", "fra", "10.0.0.1:80"), 1, upgrade).options;
            let waits = [
                options.connection_timeout,
                options.total_connection_timeout,
                options.read_timeout,
                options.write_timeout,
                options.idle_timeout,
            ];
            assert!(waits.iter().all(Option::is_some), "{waits:?}");
        }
    }

    #[tokio::test]
    async fn after_a_cut_a_permit_opens_nothing() {
        let app = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = app.local_addr().expect("an address").port();
        let resource = format!(
            "[[app]]\nname = \"desk\"\nsite = \"local\"\nkind = \"tcp\"\nports = [{port}]\ntarget = \"127.0.0.1\"\n"
        );
        let company = Company::new(&resource, r#"@id("all") permit (principal, action, resource);"#);
        let rules = company.files().config.sites.local.clone().expect("a local site");
        let anywhere = L4Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        for cut in [false, true] {
            let question = connect("desk", &format!("127.0.0.1:{port}"));
            let verdict = access::check(&company.snapshot(1), &question, Timestamp::MIN);
            let Verdict::Allow(allowed) = verdict else { panic!("{verdict:?}") };
            let attempt = Arc::new(Attempt::new(allowed.permit));
            let dialer = Dialer::new(None, Site { rules: rules.clone(), own: Vec::new() });
            let opener = Opener { attempt: attempt.clone(), dialer, ..opener(false) };
            if cut {
                opener.cut.cancel();
            }
            assert_eq!(opener.connect(&anywhere).await.is_err(), cut);
            assert_eq!(attempt.failure().is_some(), cut);
        }
    }

    #[tokio::test]
    async fn without_a_permit_nothing_is_opened() {
        let anywhere = L4Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        assert!(opener(false).connect(&anywhere).await.is_err());
    }
}
