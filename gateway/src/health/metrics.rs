//! The gateway's status as Prometheus text (exposition format 0.0.4), made anew for every scrape.
//! It counts nothing itself and names no person, device or address, so that the number of series is bounded.
//! Always true: what only grows is a counter and ends in `_total`; units are seconds and bytes.

use std::fmt::{Display, Write};

use crate::{connectors::ConnectorStatus, dataplane::Load, sessions, status::Status};

/// What the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Those of the limits that fall again.
const IN_USE: [&str; 3] = ["descriptors_used", "descriptors_most", "registered"];

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Metrics that grow by families.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let mut head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            // Before the first sample only: a family without any is left out.
            self.0 += &std::mem::take(&mut head);
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            writeln!(self.0, "{name}{labels} {value}").expect("writing to a String succeeds");
        }
    }

    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help, [(Vec::new(), value)]);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(super) fn text(status: &Status) -> String {
    let mut out = Text::default();
    gateway(&mut out, status);
    data_plane(&mut out, status);
    refusals(&mut out, status);
    signed_in(&mut out, &status.sessions);
    connectors(&mut out, &status.connectors);
    out.0
}

fn gateway(out: &mut Text, status: &Status) {
    let started = status.started.millis() as f64 / 1000.0;
    out.family("doorward_build_info", "The gateway's version.", [(vec![("version", &*status.version)], 1)]);
    out.one("doorward_start_time_seconds", "When it started, since 1970.", started);
    let degraded = status.degraded.iter().map(|state| (vec![("state", &*state.name)], 1));
    out.family("doorward_degraded", "A state in which it does less than it should.", degraded);
    let ready = !status.degraded.iter().any(|state| state.refuses);
    out.one("doorward_ready", "Whether it should get new devices, as /readyz says.", u8::from(ready));
    let policies = &status.policies;
    out.one("doorward_policies", "Policies in force.", policies.count);
    let print = vec![("fingerprint", &*policies.fingerprint)];
    out.family("doorward_policies_info", "The fingerprint of the policies in force.", [(print, 1)]);
    let compared = [
        ("agreed", policies.compared - policies.mismatches.min(policies.compared)),
        ("contradicted", policies.mismatches),
        ("dropped", policies.not_compared),
    ];
    out.family(
        "doorward_decisions_compared_total",
        "Decisions picked to be compared with Cedar's authorizer; contradicted must be 0.",
        compared.map(|(outcome, count)| (vec![("outcome", outcome)], count)),
    );
}

fn data_plane(out: &mut Text, status: &Status) {
    out.one("doorward_flows", "Connections and datagram flows that are open.", status.flows.len());
    let numbers: Vec<String> = (0..status.tunnel.shards.len()).map(|number| number.to_string()).collect();
    let mut each = |name: &str, help: &str, of: fn(&Load) -> u64| {
        let loads = numbers.iter().zip(&status.tunnel.shards);
        out.family(name, help, loads.map(|(number, load)| (vec![("shard", &**number)], of(load))));
    };
    each("doorward_keys", "Enrolled keys.", |load| load.peers as u64);
    each("doorward_keys_awake", "Enrolled keys that hold cipher state.", |load| load.awake as u64);
    each("doorward_shard_flows", "Flows the packet core knows, ending ones too.", |load| load.flows as u64);
    let received = "Bytes received from the enrolled keys, inside the tunnel; falls when a key goes.";
    each("doorward_keys_received_bytes", received, |load| load.received);
    let sent = "Bytes sent to the enrolled keys, inside the tunnel; falls when a key goes.";
    each("doorward_keys_sent_bytes", sent, |load| load.sent);
    let over = "Datagrams and packets that another thread has to take.";
    each("doorward_handed_over_total", over, |load| load.handed_over);
    let full = "Those of them that were dropped, because too many waited.";
    each("doorward_handed_over_dropped_total", full, |load| load.handover_full);
    out.family(
        "doorward_tunnel_events_total",
        "Packets, handshakes and limits by what became of them.",
        status.tunnel.counters.iter().map(|(event, count)| (vec![("event", &**event)], *count)),
    );
}

fn refusals(out: &mut Text, status: &Status) {
    let denials = status.denials.iter().map(|(key, count)| {
        let (reason, policy) = key.split_once(':').unwrap_or((key, ""));
        (vec![("reason", reason), ("policy", policy)], *count)
    });
    out.family("doorward_denials_total", "Denials by reason and, if one is behind it, policy.", denials);
    let (used, hit): (Vec<_>, Vec<_>) = status
        .limits
        .iter()
        .map(|(what, count)| (vec![("what", &**what)], *count))
        .partition(|(labels, _)| labels.iter().any(|(_, what)| IN_USE.contains(what)));
    out.family("doorward_in_use", "How much of each bounded thing is used, and may be.", used);
    out.family("doorward_limit_hits_total", "What was refused or dropped for a limit.", hit);
}

fn signed_in(out: &mut Text, sessions: &sessions::Report) {
    let sessions::Report { active, suspended, over, due, late, asks, providers } = sessions;
    let state = |(state, count): (&'static str, u64)| (vec![("state", state)], count);
    let states = [("active", *active), ("suspended", *suspended), ("over", *over)];
    out.family("doorward_sessions", "People signed in on devices, by whether it counts.", states.map(state));
    let refresh = "Sessions about which their provider is to be asked; late ones are due as well.";
    out.family("doorward_sessions_refresh", refresh, [("due", *due), ("late", *late)].map(state));
    out.one("doorward_sessions_leader", "Whether it is this gateway that asks.", u8::from(*asks));
    let troubled = |provider: &sessions::ProviderReport| u8::from(provider.trouble.is_some());
    let each = providers.iter().map(|one| (vec![("provider", one.name.as_str())], troubled(one)));
    out.family("doorward_provider_trouble", "Whether it failed when it was spoken to last.", each);
}

fn connectors(out: &mut Text, connectors: &[ConnectorStatus]) {
    let mut each = |name: &str, help: &str, of: fn(&ConnectorStatus) -> u64| {
        let labels = |c: &ConnectorStatus| [c.site.to_string(), c.id.to_string()];
        let rows: Vec<_> = connectors.iter().map(|c| (labels(c), of(c))).collect();
        let rows =
            rows.iter().map(|([site, id], value)| (vec![("site", &**site), ("connector", &**id)], *value));
        out.family(name, help, rows);
    };
    each("doorward_connector_up", "Whether it is connected.", |c| (c.connections > 0).into());
    each("doorward_connector_chosen", "Whether the next flow to its site tries it first.", |c| {
        c.chosen.into()
    });
    each("doorward_connector_flows", "Flows it carries.", |c| c.flows as u64);
    let dropped = "Datagrams dropped on its links, for want of room or a flow.";
    each("doorward_connector_datagrams_dropped_total", dropped, |c| c.datagrams_dropped);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::health::Degraded;

    /// Every line is what the format allows; returns the samples.
    fn samples(text: &str) -> Vec<(&str, &str)> {
        let (mut helped, mut typed, mut seen) = (HashSet::new(), HashSet::new(), Vec::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(helped.insert(rest.split_once(' ').expect("help").0), "twice: {line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                typed.insert(name);
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let name = series.split('{').next().expect("a name");
                assert!(
                    helped.contains(name) && typed.contains(name) && name.starts_with("doorward_"),
                    "{line}"
                );
                assert!(value.parse::<f64>().is_ok(), "{line}");
                seen.push((series, value));
            }
        }
        seen
    }

    #[test]
    fn what_status_says_is_measured() {
        let mut status = crate::status::example();
        status.degraded = vec![Degraded::new("peers_file", "the disk is full", "free some").refusing()];
        status.denials = [("forbidden:guard \"x\"".to_owned(), 7), ("no_resource".to_owned(), 2)].into();
        status.limits = [("descriptors_used".to_owned(), 12), ("dns_dropped".to_owned(), 3)].into();
        status.tunnel.shards = vec![Load { peers: 5, awake: 2, ..Load::default() }, Load::default()];
        status.tunnel.counters = [("handshake".to_owned(), 9)].into();
        (status.policies.compared, status.policies.mismatches) = (10, 1);
        let text = text(&status);
        let samples = samples(&text);
        for expected in [
            ("doorward_degraded{state=\"peers_file\"}", "1"),
            ("doorward_ready", "0"),
            ("doorward_denials_total{reason=\"forbidden\",policy=\"guard \\\"x\\\"\"}", "7"),
            ("doorward_denials_total{reason=\"no_resource\",policy=\"\"}", "2"),
            ("doorward_in_use{what=\"descriptors_used\"}", "12"),
            ("doorward_limit_hits_total{what=\"dns_dropped\"}", "3"),
            ("doorward_keys{shard=\"0\"}", "5"),
            ("doorward_keys_awake{shard=\"0\"}", "2"),
            ("doorward_keys{shard=\"1\"}", "0"),
            ("doorward_tunnel_events_total{event=\"handshake\"}", "9"),
            ("doorward_decisions_compared_total{outcome=\"agreed\"}", "9"),
            ("doorward_decisions_compared_total{outcome=\"contradicted\"}", "1"),
            ("doorward_connector_up{site=\"fra\",connector=\"fra-1\"}", "0"),
            ("doorward_sessions{state=\"active\"}", "3"),
            ("doorward_sessions{state=\"suspended\"}", "1"),
            ("doorward_sessions_refresh{state=\"late\"}", "1"),
            ("doorward_sessions_leader", "1"),
            ("doorward_provider_trouble{provider=\"corp\"}", "1"),
            ("doorward_provider_trouble{provider=\"desk\"}", "0"),
            ("doorward_start_time_seconds", "1795262400.5"),
        ] {
            assert!(samples.contains(&expected), "{expected:?} is not in\n{text}");
        }
        assert!(!text.contains("laptop") && !text.contains("alice"), "{text}");
    }
}
