//! What people see of a connector: presence, forwarding, and why it is or is not the one chosen.
//! Always true: at most one connector of a site is chosen, the one that the next flow tries first.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Instant};

use protocol::id::{ConnectorId, SiteId};

use super::{
    ConnectorSpec,
    table::{Link, Table},
};

/// One configured connector.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnectorStatus {
    /// Its name.
    pub id: ConnectorId,
    /// Its site.
    pub site: SiteId,
    /// Since when it is connected.
    pub connected_since: Option<String>,
    /// Where from.
    pub remote: Option<SocketAddr>,
    /// Over how many connections.
    pub connections: usize,
    /// Its software version.
    pub version: Option<String>,
    /// Flows it carries now.
    pub flows: usize,
    /// Datagrams dropped on its links, on either side, for want of room or a flow.
    pub datagrams_dropped: u64,
    /// Whether the next flow to its site tries it first.
    pub chosen: bool,
    /// Why it is chosen or not.
    pub why: String,
    /// What went wrong last, even if all is well now.
    pub last_error: Option<String>,
}

impl Table {
    /// Every configured connector, in the configured order.
    pub fn status(&self, now: Instant) -> Vec<ConnectorStatus> {
        self.specs().iter().map(|spec| self.status_of(spec, now)).collect()
    }

    fn status_of(&self, spec: &ConnectorSpec, now: Instant) -> ConnectorStatus {
        let links: Vec<&Link> = self.links_of(spec).collect();
        let first = links.iter().find(|link| !link.leaving).or(links.first());
        let record = self.record(&spec.id);
        let (chosen, why) = self.why(spec, now);
        ConnectorStatus {
            id: spec.id.clone(),
            site: spec.site.clone(),
            connected_since: first.map(|link| link.since.to_string()),
            remote: first.map(|link| link.connection.remote_address()),
            connections: links.len(),
            version: first.map(|link| link.software.clone()),
            flows: links.iter().map(|link| link.flows.load(Ordering::Relaxed)).sum(),
            datagrams_dropped: record.map_or(0, |record| record.dropped)
                + links.iter().map(|link| link.dropped()).sum::<u64>(),
            chosen,
            why,
            last_error: record.and_then(|record| record.last_error.clone()),
        }
    }

    fn why(&self, spec: &ConnectorSpec, now: Instant) -> (bool, String) {
        let ranked = self.ranked(&spec.site, now);
        let chosen = ranked.first().is_some_and(|first| first.id == spec.id);
        let sick = self.record(&spec.id).and_then(|record| record.health.sick(now)).map(|(_, why)| why);
        let connected = self.links_of(spec).next().is_some();
        let usable = ranked.iter().any(|other| other.id == spec.id);
        let why = match (chosen, sick) {
            (true, None) if ranked.len() == 1 => "the only one connected".to_owned(),
            (true, None) => "the first that is connected and forwards".to_owned(),
            (true, Some(why)) => format!("nobody does better, though: {why}"),
            (false, _) if !connected => "not connected".to_owned(),
            (false, _) if !usable => "leaving".to_owned(),
            (false, Some(why)) => why.to_owned(),
            (false, None) => "stands by".to_owned(),
        };
        (chosen, why)
    }
}
