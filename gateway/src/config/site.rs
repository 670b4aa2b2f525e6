//! Every `[[site]]`, and the gateway's own site `local` with its target rules.

use std::collections::BTreeSet;

use protocol::{
    config::{Mistake, Section},
    id::SiteId,
    target::TargetRules,
};

use super::{local, unique::Unique};

/// Where apps and subnets may stand.
#[derive(Debug)]
pub struct Sites {
    /// Every `[[site]]`; never `local`.
    pub names: BTreeSet<SiteId>,
    /// `[local]`: what the gateway itself may dial. `None`: there is no local site.
    pub local: Option<TargetRules>,
}

impl Sites {
    /// Takes the `site` of an app or subnet: one that exists.
    pub(super) fn take(&self, s: &mut Section<'_>) -> Option<SiteId> {
        let site: SiteId = s.text("site")?;
        if site.is_local() {
            if self.local.is_none() {
                s.mistake(
                    "site",
                    "site \"local\" needs a [local] section that says what the gateway itself may dial",
                );
            }
        } else if !self.names.contains(&site) {
            let known: Vec<&str> = self.names.iter().map(SiteId::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            s.mistake("site", format!("there is no [[site]] named \"{site}\"; there is: {known}"));
        }
        Some(site)
    }
}

pub(super) fn read(s: &mut Section<'_>) -> Sites {
    let mut seen = Unique::default();
    let names = s.sections("site", |s| {
        let name: SiteId = s.text("name")?;
        if name.is_local() {
            s.mistake(
                "name",
                "\"local\" is the gateway's own site: it is always there, with [local] for its rules",
            );
            return None;
        }
        seen.claim(s, "name", name.clone());
        Some(name)
    });
    let local = s.has("local").then(|| s.optional_section("local", local::read).unwrap_or_default());
    Sites { names: names.into_iter().collect(), local }
}

/// A site that reaches nothing.
pub(super) fn warn<'a>(
    s: &Section<'_>,
    sites: &Sites,
    used: impl IntoIterator<Item = &'a SiteId>,
    warnings: &mut Vec<Mistake>,
) {
    if sites.local.is_some() && !used.into_iter().any(SiteId::is_local) {
        warnings.push(s.at("local", "nothing stands at site \"local\": this section has no effect"));
    }
}
