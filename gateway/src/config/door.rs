//! `[door]`: the name of the portal inside the tunnel. Absent: `door` under the first zone.

use std::sync::Arc;

use protocol::config::Section;

use super::{
    AppSpec,
    dns::Dns,
    text::{DnsName, is_under},
};

/// `[door]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Lower case, under a zone of ours; no app's.
    pub name: String,
}

impl Door {
    /// The origin of the portal, as browsers write it.
    pub fn origin(&self) -> String {
        format!("https://{}", self.name)
    }

    /// Where a provider sends people back to when they have signed out.
    pub fn signed_out(&self) -> String {
        format!("{}/signed-out", self.origin())
    }
}

pub(super) fn read(s: &mut Section<'_>, dns: Option<&Dns>, apps: &[Arc<AppSpec>]) -> Option<Door> {
    let zone = dns.and_then(|dns| dns.zones.first());
    let usual = zone.map(|zone| format!("door.{zone}"));
    let given = s.has("door").then(|| s.optional_section("door", |s| walk(s, dns))).flatten();
    let name = given.or(usual)?;
    if let Some(app) = apps.iter().find(|app| app.hosts.contains(&name)) {
        let reason = format!("{name} is the portal's, and a name of app {}: say [door] name", app.facts.id);
        s.mistake("door", reason);
    }
    Some(Door { name })
}

fn walk(s: &mut Section<'_>, dns: Option<&Dns>) -> Option<String> {
    let DnsName(name) = s.text("name")?;
    if let Some(dns) = dns.filter(|dns| !dns.zones.iter().any(|zone| is_under(&name, zone))) {
        s.mistake("name", format!("{name} is under none of dns.zones: {}", dns.zones.join(", ")));
    }
    Some(name)
}
