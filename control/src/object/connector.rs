//! A connector: which key may link, and for which site it then speaks.
//! What it may dial is its own file's business, where the site lies the gateway's.
//! Always true: a key belongs to one connector.

use protocol::{
    id::{ConnectorId, SiteId},
    key::LinkPin,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Body, Disabled, Kind, Rest};
use crate::store::Unique;

/// The set of values that are keys of connectors.
pub const PINS: &str = "connector key";

/// An agent at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connector {
    /// Its name.
    pub id: ConnectorId,
    /// Where it stands; never `local`.
    pub site: SiteId,
    /// Its key.
    #[serde(with = "super::text")]
    pub pin: LinkPin,
    /// When it joined or was added.
    pub since: Timestamp,
    /// Shut, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for Connector {
    const KIND: Kind = Kind::Connector;

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn uniques(&self) -> Vec<Unique> {
        vec![Unique::new(PINS, self.pin.to_string())]
    }
}
