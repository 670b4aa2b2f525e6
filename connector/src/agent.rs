//! The running connector: what all its links and flows share, and the handle to reload and drain it.
//! It reads no file and no signal.
//! Always true: what a reload cannot change is refused and everything stays as it was; after a drain
//! no task, flow or connection is left.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{key::LinkPin, link::ALPN, target::Target};
use quinn::ClientConfig;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{Config, dial::Site, gateways, quic, relay::Stalls};

/// Flows to one address that may wait for it, of all devices together: 512 MiB at most.
const STALLS: usize = 128;

/// Why a connector does not start or reload.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine's own addresses are unknown, and they must not be dialled.
    #[error("cannot read this machine's addresses: {0}")]
    Addresses(#[from] io::Error),
    /// TLS does not take the key.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Keys are part of every link.
    #[error("private_key and gateway_key change only with a restart")]
    KeysChanged,
}

/// What links and flows share.
pub(crate) struct Agent {
    /// How gateways are dialled.
    pub client: ClientConfig,
    /// Tells this process from another with the same key.
    pub instance: [u8; 16],
    /// What may be dialled now.
    pub site: watch::Sender<Arc<Site>>,
    /// Cuts every flow.
    pub cut: CancellationToken,
    /// A link was lost: perhaps the gateway has other addresses now.
    pub lost: Notify,
    /// Targets that do not take what they are sent.
    pub stalls: Stalls<IpAddr>,
    seats: Semaphore,
    refused: AtomicU64,
}

impl Agent {
    /// A flow's place among those carried at a time.
    pub fn seat(&self) -> Option<SemaphorePermit<'_>> {
        let seat = self.seats.try_acquire().ok();
        if seat.is_none() {
            let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(refused, "as many flows as may be: refusing one more");
        }
        seat
    }
}

/// A running connector; dropping it makes it leave like a drain without a limit.
pub struct Connector {
    agent: Arc<Agent>,
    gateways: watch::Sender<Vec<Target>>,
    keys: (LinkPin, LinkPin),
    leaving: CancellationToken,
    links: JoinHandle<()>,
}

impl Connector {
    /// Starts to dial the gateways; carries at most `flows` at a time.
    pub fn start(config: Config, flows: usize) -> Result<Self, StartError> {
        let keys = (config.private_key.pin(), config.gateway_key);
        let mut instance = [0; 16];
        SystemRandom::new().fill(&mut instance).expect("the system gives randomness");
        let agent = Arc::new(Agent {
            client: quic::client(&config.private_key, config.gateway_key, ALPN)?,
            instance,
            site: watch::Sender::new(Arc::new(Site::here(config.targets)?)),
            cut: CancellationToken::new(),
            lost: Notify::new(),
            stalls: Stalls::new(STALLS),
            seats: Semaphore::new(flows),
            refused: AtomicU64::new(0),
        });
        let (gateways, leaving) = (watch::Sender::new(config.gateways), CancellationToken::new());
        let links = tokio::spawn(gateways::keep(agent.clone(), gateways.subscribe(), leaving.clone()));
        Ok(Self { agent, gateways, keys, leaving, links })
    }

    /// Takes over new gateways and targets. Flows go on, except those whose address the new rules do
    /// not permit.
    pub fn reload(&self, config: Config) -> Result<(), StartError> {
        if self.keys != (config.private_key.pin(), config.gateway_key) {
            return Err(StartError::KeysChanged);
        }
        let site = Site::here(config.targets)?;
        self.agent.site.send_replace(Arc::new(site));
        self.gateways.send_if_modified(|current| {
            let changed = *current != config.gateways;
            *current = config.gateways;
            changed
        });
        Ok(())
    }

    /// Takes no more flows, lets the open ones go on for at most `limit`, cuts the rest and ends.
    pub async fn drain(mut self, limit: Duration) {
        self.leaving.cancel();
        if timeout(limit, &mut self.links).await.is_err() {
            tracing::warn!("the drain's time is over: cutting the flows that are left");
            self.agent.cut.cancel();
            // An error is a panic of the task, which has been logged and has ended it.
            let _ = self.links.await;
        }
    }
}
