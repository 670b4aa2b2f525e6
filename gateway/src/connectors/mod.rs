//! The gateway's end of the connector link: who is connected, who is chosen, and flows through them.
//! It decides no access: a flow is opened only for who holds a permit, by the dialer above.
//! Always true: only configured keys are admitted, one process per key; removal cuts at once; health
//! is forwarding, not presence; what is chosen, and why, can be seen.

mod accept;
mod datagrams;
mod health;
mod join;
mod open;
mod server;
mod sources;
mod status;
mod strangers;
mod stream;
mod table;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

pub use connector::key::{LinkKey, LinkKeyError};
use protocol::{
    id::{ConnectorId, SiteId},
    key::LinkPin,
    link::LinkEnd,
    target::{Proto, Target},
};
use quinn::{Endpoint, ServerConfig};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    datagrams::{LinkDatagrams, Told},
    join::{NotJoined, Redeem},
    open::OpenError,
    status::ConnectorStatus,
    strangers::Stranger,
    stream::LinkStream,
};
use self::{join::Joins, table::Table};

/// How long a drain waits for flows to end; by then the side of the devices has had its time.
const DRAIN: Duration = Duration::from_secs(5);
/// For the last packets to leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connector as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorSpec {
    /// Its name.
    pub id: ConnectorId,
    /// The site whose targets it opens.
    pub site: SiteId,
    /// Its key.
    pub pin: LinkPin,
}

/// Why the registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen for connectors on {0} (UDP): {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// TLS does not take the key.
    #[error("cannot set up TLS for connectors: {0}")]
    Tls(#[from] rustls::Error),
}

/// All connectors, connected or not. A clone is another handle to the same.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

struct Inner {
    table: Mutex<Table>,
    joins: Joins,
    instance: [u8; 16],
    server: ServerConfig,
    endpoints: Vec<Endpoint>,
    stopped: CancellationToken,
    tasks: TaskTracker,
    /// One token for each flow.
    flows: TaskTracker,
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no code panics while it holds the table")
    }
}

impl Registry {
    /// Listens; admits nobody until [`configure`](Self::configure).
    pub async fn start(listen: &[SocketAddr], key: LinkKey) -> Result<Self, StartError> {
        let config = server::config(&key)?;
        let open = |address: &SocketAddr| {
            server::listen(*address, &key, config.clone())
                .map_err(|error| StartError::Listen(*address, error))
        };
        let endpoints: Vec<_> = listen.iter().map(open).collect::<Result<_, _>>()?;
        let mut instance = [0; 16];
        SystemRandom::new().fill(&mut instance).expect("the system gives randomness");
        let inner = Arc::new(Inner {
            table: Mutex::new(Table::default()),
            joins: Joins::default(),
            instance,
            server: config,
            endpoints,
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
            flows: TaskTracker::new(),
        });
        for endpoint in &inner.endpoints {
            inner.tasks.spawn(accept::run(inner.clone(), endpoint.clone()));
        }
        Ok(Self { inner })
    }

    /// Who may connect from now on. A connector that is gone, or has another key or site, is cut.
    pub fn configure(&self, allowed: Vec<ConnectorSpec>) {
        self.inner.table().configure(allowed);
    }

    /// Who lets connectors join; until it is told, none joins.
    pub fn redeem_with(&self, redeemer: Arc<dyn Redeem>) {
        self.inner.joins.redeem_with(redeemer);
    }

    /// How many have joined, how many were refused, and how many sources of failures were forgotten early.
    pub fn joins(&self) -> [(&'static str, u64); 3] {
        self.inner.joins.counters()
    }

    /// Opens a TCP connection to `target` through a connector of `site`; `flow` is its number in both logs.
    pub async fn open(&self, site: &SiteId, target: &Target, flow: u64) -> Result<LinkStream, OpenError> {
        open::open(&self.inner, site, target, flow).await
    }

    /// Opens a flow of UDP or echo to `target` through a connector of `site`.
    pub async fn open_datagrams(
        &self,
        site: &SiteId,
        proto: Proto,
        target: &Target,
        flow: u64,
    ) -> Result<LinkDatagrams, OpenError> {
        open::open_datagrams(&self.inner, site, (proto, target), flow).await
    }

    /// Every configured connector.
    pub fn status(&self) -> Vec<ConnectorStatus> {
        self.inner.table().status(Instant::now())
    }

    /// Who was turned away lately: unknown keys and broken handshakes.
    pub fn strangers(&self) -> Vec<Stranger> {
        self.inner.table().strangers.list()
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.inner.endpoints.iter().filter_map(|endpoint| endpoint.local_addr().ok()).collect()
    }

    /// Opens no more flows, waits a while for the open ones to end, then closes every link.
    pub async fn drain(&self) {
        let asks = self.inner.table().drain();
        for ask in asks {
            // A link that does not take it is busy or gone; its connector will see the close.
            let _ = ask.try_send(accept::Ask::Goaway);
        }
        self.inner.flows.close();
        if timeout(DRAIN, self.inner.flows.wait()).await.is_err() {
            tracing::warn!(flows = self.inner.flows.len(), "the drain's time is over: cutting what is left");
        }
        self.inner.stopped.cancel();
        for endpoint in &self.inner.endpoints {
            endpoint.close(LinkEnd::Shutdown.code().into(), b"");
        }
        let idle = async {
            for endpoint in &self.inner.endpoints {
                endpoint.wait_idle().await;
            }
        };
        tokio::select! {
            () = idle => {}
            () = sleep(FAREWELL) => {}
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}
