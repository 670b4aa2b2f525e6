//! What the door is made of, and what it is called.
//! It answers nothing. Always true: names and providers are those of the configuration in force.

use std::{net::IpAddr, sync::Arc};

use axum::extract::Request;
use http::header;
use protocol::id::ProviderId;
use tokio::sync::Semaphore;

use super::{Renewals, Visitor};
use crate::{
    authority::{Root, Roots},
    config,
    denials::Denials,
    live::Live,
    sessions::Sessions,
    snapshot::Snapshot,
};

/// Sign-ins that wait for a provider's answer at once.
const UNDER_WAY: usize = 64;
/// Devices that wait for news at once.
const WATCHERS: usize = 1024;

/// The door. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door(pub(super) Arc<Inner>);

/// What the door needs.
#[derive(Debug)]
pub struct Parts {
    /// What is in force and open.
    pub live: Live,
    /// What begins and ends sessions.
    pub sessions: Sessions,
    /// Why things were refused.
    pub denials: Denials,
    /// What devices may have to trust.
    pub roots: Roots,
    /// Whose session may be renewed in passing.
    pub renewals: Renewals,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub parts: Parts,
    pub under_way: Semaphore,
    pub watchers: Semaphore,
}

impl Door {
    /// Of these parts.
    pub fn new(parts: Parts) -> Self {
        let (under_way, watchers) = (Semaphore::new(UNDER_WAY), Semaphore::new(WATCHERS));
        Self(Arc::new(Inner { parts, under_way, watchers }))
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.parts.live.snapshot()
    }

    /// Its name in the configuration in force.
    pub fn name(&self) -> String {
        self.snapshot().config().door.name.clone()
    }

    /// As browsers write it.
    pub fn origin(&self) -> String {
        self.snapshot().config().door.origin()
    }

    /// Where a provider sends people back to.
    pub fn callback(origin: &str, provider: &ProviderId) -> String {
        format!("{origin}/callback/{provider}")
    }

    pub(super) fn provider(snapshot: &Snapshot, id: &str) -> Option<config::Provider> {
        let mut providers = snapshot.config().providers.iter();
        providers.find(|provider| provider.spec.id.as_str() == id).cloned()
    }

    /// Whether a request is for the door by its name. Without TLS its address will do as well: a page
    /// whose name was bent to this address asks for its own name (DNS rebinding).
    pub(super) fn is_meant(&self, request: &Request, visitor: &Visitor) -> bool {
        let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let host = host.or_else(|| Some(request.headers().get(header::HOST)?.to_str().ok()?.to_owned()));
        let Some(host) = host else { return false };
        let port = if visitor.secure { ":443" } else { ":80" };
        let name = host.strip_suffix(port).unwrap_or(&host).to_ascii_lowercase();
        let snapshot = self.snapshot();
        let tunnel = &snapshot.config().tunnel;
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let ours = [IpAddr::V4(tunnel.gateway_v4()), IpAddr::V6(tunnel.gateway_v6())];
        name.strip_suffix('.').unwrap_or(&name) == snapshot.config().door.name
            || !visitor.secure && address.is_ok_and(|address| ours.contains(&address))
    }

    pub(super) fn root(&self) -> Option<Arc<Root>> {
        self.0.parts.roots.load_full()
    }
}
