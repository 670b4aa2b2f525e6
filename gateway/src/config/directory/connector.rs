//! Every `[[connector]]`: its site and its key.

use protocol::{
    config::Section,
    id::{ConnectorId, SiteId},
    key::LinkPin,
};

use crate::config::{Sites, unique::Unique};

/// An agent that may dial in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// Its name.
    pub id: ConnectorId,
    /// Where it stands; never `local`.
    pub site: SiteId,
    /// Its key.
    pub pin: LinkPin,
}

pub(super) fn read(s: &mut Section<'_>, sites: &Sites) -> Vec<Connector> {
    let (mut names, mut pins) = (Unique::default(), Unique::default());
    s.sections("connector", |s| read_one(s, sites, &mut names, &mut pins))
}

fn read_one(
    s: &mut Section<'_>,
    sites: &Sites,
    names: &mut Unique<ConnectorId>,
    pins: &mut Unique<LinkPin>,
) -> Option<Connector> {
    let id: Option<ConnectorId> = s.text("name");
    if let Some(id) = &id {
        names.claim(s, "name", id.clone());
    }
    let site: Option<SiteId> = sites.take(s);
    if site.as_ref().is_some_and(SiteId::is_local) {
        s.mistake("site", "the gateway itself dials at \"local\": no connector stands there");
    }
    let pin: Option<LinkPin> = s.text("key");
    if let Some(pin) = pin {
        pins.claim(s, "key", pin);
    }
    Some(Connector { id: id?, site: site?, pin: pin? })
}
