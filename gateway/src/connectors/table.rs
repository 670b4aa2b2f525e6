//! Who is configured, who is connected and how each fares. It waits for nothing.
//! Always true: a link in the table belongs to a configured connector; of one key, the links that are
//! not leaving belong to one process; both counts are bounded.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use connector::datagrams::Datagrams;
use protocol::{
    id::{ConnectorId, SiteId},
    key::LinkPin,
    link::LinkEnd,
    time::Timestamp,
};
use quinn::Connection;
use tokio::sync::mpsc;

use super::{ConnectorSpec, accept::Ask, health::Health, strangers::Strangers};

/// Connections of one process.
const MAX_SET: usize = 4;
/// Connections with one key: of the process that serves, and of one that leaves.
const MAX_PER_KEY: usize = 2 * MAX_SET;

/// One admitted connection.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub pin: LinkPin,
    /// Which process it belongs to.
    pub instance: [u8; 16],
    pub software: String,
    pub since: Timestamp,
    pub connection: Connection,
    /// To the task that has its control stream.
    pub asks: mpsc::Sender<Ask>,
    /// It takes no more flows.
    pub leaving: bool,
    pub flows: Arc<AtomicUsize>,
    pub carries_datagrams: bool,
    pub datagrams: Arc<Datagrams>,
    /// Datagrams that the other end has dropped, by its own account.
    pub dropped_there: Arc<AtomicU64>,
}

impl Link {
    fn is(&self, other: &Connection) -> bool {
        self.connection.stable_id() == other.stable_id()
    }

    /// Datagrams that were dropped on it, on either side.
    pub fn dropped(&self) -> u64 {
        self.datagrams.dropped() + self.dropped_there.load(Ordering::Relaxed)
    }

    /// Ends it, and with it every flow on it.
    pub fn close(&self, why: LinkEnd) {
        self.connection.close(why.code().into(), b"");
    }
}

/// What is remembered of a connector, connected or not.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub health: Health,
    pub last_error: Option<String>,
    /// Datagrams dropped on links that have ended.
    pub dropped: u64,
}

/// A connector that can take a flow, and its links.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub id: ConnectorId,
    pub links: Vec<Link>,
}

/// Why a link is not admitted.
#[derive(Debug)]
pub(super) enum Denied {
    /// It never will be, as things are.
    End(LinkEnd),
    /// Another process has these links; whether it lives must be asked.
    Rivals(Vec<Link>),
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub strangers: Strangers,
    specs: Vec<ConnectorSpec>,
    links: Vec<Link>,
    records: HashMap<ConnectorId, Record>,
    draining: bool,
}

impl Table {
    /// Replaces who may connect; cuts who may not as what it was admitted as.
    pub fn configure(&mut self, specs: Vec<ConnectorSpec>) {
        let before = std::mem::replace(&mut self.specs, specs);
        let stays = |link: &Link| {
            let of = |specs: &[ConnectorSpec]| specs.iter().find(|spec| spec.pin == link.pin).cloned();
            of(&before) == of(&self.specs)
        };
        let (kept, cut): (Vec<_>, Vec<_>) = self.links.drain(..).partition(stays);
        self.links = kept;
        for link in cut {
            tracing::info!(key = %link.pin, remote = %link.connection.remote_address(), "connector removed: cut");
            link.close(LinkEnd::Removed);
        }
        self.records.retain(|id, _| self.specs.iter().any(|spec| spec.id == *id));
    }

    /// Takes in a link that has said Hello.
    pub fn admit(&mut self, link: &Link) -> Result<ConnectorId, Denied> {
        if self.draining {
            return Err(Denied::End(LinkEnd::Shutdown));
        }
        let spec = self.specs.iter().find(|spec| spec.pin == link.pin);
        let id = spec.map(|spec| spec.id.clone()).ok_or(Denied::End(LinkEnd::UnknownKey))?;
        let same_key = || self.links.iter().filter(|other| other.pin == link.pin);
        let rivals: Vec<Link> =
            same_key().filter(|other| other.instance != link.instance && !other.leaving).cloned().collect();
        if !rivals.is_empty() {
            return Err(Denied::Rivals(rivals));
        }
        let set = same_key().filter(|other| other.instance == link.instance).count();
        if set >= MAX_SET || same_key().count() >= MAX_PER_KEY {
            return Err(Denied::End(LinkEnd::Enough));
        }
        self.links.push(link.clone());
        Ok(id)
    }

    /// Forgets a link that has ended.
    pub fn remove(&mut self, connection: &Connection, error: Option<String>) {
        let Some(index) = self.links.iter().position(|link| link.is(connection)) else { return };
        let link = self.links.swap_remove(index);
        if let Some(spec) = self.specs.iter().find(|spec| spec.pin == link.pin) {
            self.records.entry(spec.id.clone()).or_default().dropped += link.dropped();
        }
        if let Some(error) = error {
            self.note(&link.pin, error);
        }
    }

    /// The link takes no more flows.
    pub fn leave(&mut self, connection: &Connection) {
        self.links.iter_mut().filter(|link| link.is(connection)).for_each(|link| link.leaving = true);
    }

    /// Admits and chooses nobody from now on; returns whom to tell.
    pub fn drain(&mut self) -> Vec<mpsc::Sender<Ask>> {
        self.draining = true;
        self.links.iter().map(|link| link.asks.clone()).collect()
    }

    /// Another process showed the key of one that is connected.
    pub fn second_instance(&mut self, pin: &LinkPin, remote: SocketAddr) {
        tracing::warn!(
            alarm = true, key = %pin, %remote,
            "a second connector with this key was refused: the key is on two machines, or was stolen"
        );
        self.note(pin, format!("a second connector with this key was refused; it came from {remote}"));
    }

    /// Remembers what went wrong with the connector of this key.
    pub fn note(&mut self, pin: &LinkPin, error: String) {
        if let Some(spec) = self.specs.iter().find(|spec| spec.pin == *pin) {
            self.records.entry(spec.id.clone()).or_default().last_error = Some(error);
        }
    }

    /// A flow failed for a reason that is the connector's.
    pub fn failed(&mut self, id: &ConnectorId, why: String, now: Instant) {
        if !self.specs.iter().any(|spec| spec.id == *id) {
            return;
        }
        let record = self.records.entry(id.clone()).or_default();
        if record.health.fail(why.clone(), now) {
            tracing::warn!(connector = %id, why, "the connector does not forward: others are preferred");
            record.last_error = Some(why);
        }
    }

    /// The connector did what it was asked.
    pub fn succeeded(&mut self, id: &ConnectorId, now: Instant) {
        if let Some(record) = self.records.get_mut(id) {
            record.health.succeed(now);
        }
    }

    /// The connectors of a site that can take a flow, the one to try first first: those that forward
    /// in the configured order, then the sick, least recently failed first.
    pub fn ranked(&self, site: &SiteId, now: Instant) -> Vec<Candidate> {
        if self.draining {
            return Vec::new();
        }
        let mut ranked: Vec<_> = self
            .specs
            .iter()
            .filter(|spec| spec.site == *site)
            .filter_map(|spec| {
                let links: Vec<_> = self.links_of(spec).filter(|link| !link.leaving).cloned().collect();
                let sick = self.record(&spec.id).and_then(|record| record.health.sick(now)).map(|(at, _)| at);
                (!links.is_empty()).then(|| (sick, Candidate { id: spec.id.clone(), links }))
            })
            .collect();
        // The sort is stable, and `None` is less than any time.
        ranked.sort_by_key(|(sick, _)| *sick);
        ranked.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Who is configured.
    pub fn specs(&self) -> &[ConnectorSpec] {
        &self.specs
    }

    /// What is remembered of a connector.
    pub fn record(&self, id: &ConnectorId) -> Option<&Record> {
        self.records.get(id)
    }

    /// A connector's links.
    pub fn links_of(&self, spec: &ConnectorSpec) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.pin == spec.pin)
    }
}
