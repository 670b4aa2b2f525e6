//! What `doorward status` shows, as data and as a table.
//! It does not gather anything. Always true: every number says what it counts, every time its unit.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use protocol::{target::Proto, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    connectors::{ConnectorStatus, Stranger},
    dataplane::{self, Load},
    denials::Denial,
    flows::FlowRow,
    health::Degraded,
    sessions, table,
};

/// The gateway as it is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's version.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// What the set-up could not have, and what serves instead.
    pub notes: Vec<String>,
    /// What the gateway does not do as it should, why, and what helps.
    pub degraded: Vec<Degraded>,
    /// The policies in force.
    pub policies: Policies,
    /// Peers and packet counters.
    pub tunnel: dataplane::Report,
    /// Open flows with their decision.
    pub flows: Vec<FlowRow>,
    /// Denials by reason since the start.
    pub denials: BTreeMap<String, u64>,
    /// The latest denials, oldest first.
    pub latest_denials: Vec<Denial>,
    /// Handshakes with keys of no device, latest first.
    pub unknown_keys: Vec<UnknownKey>,
    /// Who is signed in, counted, and the providers.
    pub sessions: sessions::Report,
    /// Connectors, the chosen one of each site and why.
    pub connectors: Vec<ConnectorStatus>,
    /// Link attempts that were turned away, with the key they showed.
    pub strangers: Vec<Stranger>,
    /// How much of each bounded thing is used, and what was refused for it.
    pub limits: BTreeMap<String, u64>,
}

/// The policies in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policies {
    /// SHA-256 over every policy and the schema.
    pub fingerprint: String,
    /// How many.
    pub count: usize,
    /// What the linter says.
    pub lints: Vec<String>,
    /// Decisions of the index that were compared with Cedar's own authorizer.
    pub compared: u64,
    /// Decisions that were due to be, but too many were waiting.
    pub not_compared: u64,
    /// Those in which the two differed: must be 0. Above it Cedar's authorizer decides alone.
    pub mismatches: u64,
}

/// Someone knocked with a key of no device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnknownKey {
    /// The key, as claimed.
    pub key: String,
    /// From where, last.
    pub from: std::net::SocketAddr,
    /// How often.
    pub count: u64,
    /// When last.
    pub at: Timestamp,
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "doorward {} since {}", self.version, self.started)?;
        let print = self.policies.fingerprint.get(..12).unwrap_or(&self.policies.fingerprint);
        writeln!(
            f,
            "policies: {} in force ({print}), {} lints",
            self.policies.count,
            self.policies.lints.len()
        )?;
        writeln!(f, "data plane: {}", self.data_plane())?;
        for note in self.notes.iter().chain(&self.policies.lints) {
            writeln!(f, "note: {note}")?;
        }
        for Degraded { name, cause, remedy, .. } in &self.degraded {
            writeln!(f, "DEGRADED {name}: {cause}; what helps: {remedy}")?;
        }
        self.shards(f)?;
        self.peers(f)?;
        self.signed_in(f)?;
        self.open(f)?;
        self.denied(f)?;
        self.knocks(f)?;
        self.links(f)?;
        writeln!(f, "\nLIMITS")?;
        self.limits.iter().try_for_each(|(name, count)| writeln!(f, "  {name:<28} {count}"))
    }
}

impl Status {
    /// How many data-plane threads there are, and how datagrams come to them.
    fn data_plane(&self) -> String {
        let steering = match (self.tunnel.shards.len(), self.tunnel.steered) {
            (..=1, _) => return "1 shard".to_owned(),
            (_, true) => "the kernel steers datagrams to them",
            (_, false) => {
                "the kernel refused to steer datagrams: they are handed over, and `shards = 1` may serve better"
            }
        };
        format!("{} shards, each with sockets and a TUN queue; {steering}", self.tunnel.shards.len())
    }

    fn shards(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.tunnel.shards.iter().enumerate().map(|(number, load)| {
            let Load { peers, awake, flows, received, sent, handed_over, handover_full } = *load;
            let [number, peers, awake, flows] = [number, peers, awake, flows].map(|n| n.to_string());
            let [received, sent, over, full] =
                [received, sent, handed_over, handover_full].map(|n| n.to_string());
            [number, peers, awake, flows, received, sent, over, full]
        });
        let rows = rows.filter(|_| self.tunnel.shards.len() > 1).collect();
        let head = ["shard", "keys", "awake", "flows", "received B", "sent B", "handed over", "dropped"];
        titled(f, "SHARDS", head, rows)
    }

    fn peers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.tunnel.peers.iter().map(|peer| {
            [
                peer.device.to_string(),
                or_dash(peer.endpoint),
                peer.handshake_s.map_or_else(|| "never".to_owned(), |s| format!("{s} s ago")),
                peer.received.to_string(),
                peer.sent.to_string(),
                peer.key.clone(),
            ]
        });
        titled(f, "PEERS", ["device", "endpoint", "handshake", "received B", "sent B", "key"], rows.collect())
    }

    fn signed_in(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions::Report { active, suspended, over, due, late, asks, providers } = &self.sessions;
        let asker = if *asks { "this gateway" } else { "another gateway, or none" };
        let counts = [active, suspended, over, due, late].map(ToString::to_string);
        let [active, suspended, over, due, late] = counts;
        let row = [active, suspended, over, due, late, asker.to_owned()];
        let none = providers.is_empty() && row[..3].iter().all(|count| count == "0");
        let head = ["active", "suspended", "over", "refresh due", "refresh late", "providers asked by"];
        titled(f, "SESSIONS", head, if none { Vec::new() } else { vec![row] })?;
        let rows = providers.iter().map(|provider| {
            let (since, text) = provider.trouble.as_ref().map(|it| (it.since, it.text.clone())).unzip();
            [provider.name.to_string(), or_dash(since), or_dash(text)]
        });
        titled(f, "PROVIDERS", ["provider", "trouble since", "trouble"], rows.collect())
    }

    fn open(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.flows.iter().map(|flow| {
            [
                flow.device.to_string(),
                or_dash(flow.user.as_ref()),
                flow.proto.to_string(),
                if flow.proto == Proto::Icmp { flow.to.ip().to_string() } else { flow.to.to_string() },
                or_dash(flow.resource.as_ref()),
                format!("{} {}", flow.decision, flow.policies.join(",")),
                or_dash(flow.until),
                or_dash(flow.connector.as_ref()),
            ]
        });
        titled(
            f,
            "FLOWS",
            ["device", "user", "proto", "to", "resource", "decision", "until", "connector"],
            rows.collect(),
        )
    }

    fn denied(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.denials.iter().map(|(reason, count)| [reason.clone(), count.to_string()]);
        titled(f, "DENIALS", ["reason", "count"], counts.collect())?;
        let latest = self.latest_denials.iter().rev().take(10).map(|denial| {
            [
                denial.at.to_string(),
                denial.device.to_string(),
                or_dash(denial.user.as_ref()),
                denial.to.clone(),
                denial.reason.clone(),
            ]
        });
        titled(f, "LATEST DENIALS", ["at", "device", "user", "to", "why"], latest.collect())
    }

    fn links(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.connectors.iter().map(|connector| {
            [
                connector.site.to_string(),
                connector.id.to_string(),
                if connector.chosen { "chosen".to_owned() } else { String::new() },
                connector.why.clone(),
                or_dash(connector.remote),
                connector.flows.to_string(),
                connector.datagrams_dropped.to_string(),
                or_dash(connector.last_error.as_ref()),
            ]
        });
        let head = ["site", "connector", "", "why", "remote", "flows", "dropped", "last error"];
        titled(f, "CONNECTORS", head, rows.collect())?;
        let rows = self.strangers.iter().map(|stranger| {
            [
                or_dash(stranger.key.as_ref()),
                stranger.remote.to_string(),
                stranger.attempts.to_string(),
                stranger.reason.clone(),
            ]
        });
        titled(f, "LINKS TURNED AWAY", ["key", "from", "count", "why"], rows.collect())
    }

    fn knocks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.unknown_keys.iter().map(|knock| {
            [knock.key.clone(), knock.from.to_string(), knock.count.to_string(), knock.at.to_string()]
        });
        titled(f, "UNKNOWN KEYS", ["key", "from", "count", "last"], rows.collect())
    }
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Writes rows under a title; nothing if there are no rows.
fn titled<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    head: [&str; N],
    rows: Vec<[String; N]>,
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    table::lines(&head, &rows).iter().try_for_each(|line| writeln!(f, "  {line}"))
}

/// A quiet gateway with one device and a connector that is away.
#[cfg(test)]
pub(crate) fn example() -> Status {
    let text = r#"{
        "version": "1", "started": 1795262400500, "notes": [], "degraded": [],
        "policies": {"fingerprint": "f00d", "count": 2, "lints": [], "compared": 0, "not_compared": 0,
                     "mismatches": 0},
        "tunnel": {"peers": [{"device": "laptop", "key": "k", "endpoint": null, "handshake_s": null,
                              "received": 0, "sent": 0}],
                   "counters": {}, "flows": 0, "shards": [], "steered": false},
        "flows": [], "denials": {}, "latest_denials": [], "unknown_keys": [],
        "sessions": {"active": 3, "suspended": 1, "over": 0, "due": 2, "late": 1, "asks": true,
                     "providers": [{"name": "corp", "trouble": {"since": 1795262400500, "text": "it is gone"}},
                                   {"name": "desk", "trouble": null}]},
        "connectors": [{"id": "fra-1", "site": "fra", "connected_since": null, "remote": null, "connections": 0,
                        "version": null, "flows": 0, "datagrams_dropped": 0, "chosen": false,
                        "why": "not connected", "last_error": null}],
        "strangers": [], "limits": {}
    }"#;
    serde_json::from_str(text).expect("a status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_degraded_state_says_why_and_what_helps() {
        let mut status = example();
        assert!(!status.to_string().contains("DEGRADED"));
        status.degraded = vec![Degraded::new("peers_file", "the disk is full", "free some")];
        assert!(
            status.to_string().contains("\nDEGRADED peers_file: the disk is full; what helps: free some\n")
        );
    }

    #[test]
    fn sessions_are_counted_and_a_provider_in_trouble_says_so() {
        let mut status = example();
        let text = status.to_string();
        let lines: Vec<&str> = text.lines().skip_while(|line| *line != "SESSIONS").take(7).collect();
        let expected = [
            "SESSIONS",
            "  active  suspended  over  refresh due  refresh late  providers asked by",
            "  3       1          0     2            1             this gateway",
            "",
            "PROVIDERS",
            "  provider  trouble since             trouble",
            "  corp      2026-11-21T12:00:00.500Z  it is gone",
        ];
        assert_eq!(lines, expected);
        status.sessions = sessions::Report::default();
        assert!(!status.to_string().contains("SESSIONS"), "nobody can sign in here");
    }

    struct Shown;

    impl Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let rows = vec![["a".to_owned(), "10".to_owned()], ["longer".to_owned(), "2".to_owned()]];
            titled(f, "TITLE", ["name", "n"], rows)?;
            titled(f, "EMPTY", ["name"], Vec::new())
        }
    }

    #[test]
    fn columns_line_up_and_empty_tables_stay_silent() {
        assert_eq!(Shown.to_string(), "\nTITLE\n  name    n\n  a       10\n  longer  2\n");
    }
}
