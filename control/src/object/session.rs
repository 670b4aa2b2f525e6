//! A person signed in on a device. Its secrets are sealed; what the provider said of the person stands
//! with the person. Always true: a device has one session at most, and it is its owner's.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    id::{DeviceId, ProviderId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Body, Kind, Rest};
use crate::store::Unique;

/// The set of values that are devices with a session.
pub const DEVICES: &str = "session of device";

/// A person signed in on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Random; no secret: the device proves itself by its key.
    pub id: Arc<str>,
    /// Who.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// Who says so.
    pub provider: ProviderId,
    /// What it calls them in logout tokens; not always what `user` is made of.
    pub subject: Arc<str>,
    /// When the person came back from the provider last.
    pub at: Timestamp,
    /// From when on it is over, whatever happens.
    pub expires: Timestamp,
    /// When the person proved who they are, if the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
    /// By which means, in the provider's words (RFC 8176).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub amr: BTreeSet<String>,
    /// How strongly, in the provider's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The provider's own name of its session, by which it ends ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Arc<str>>,
    /// Sealed: what asks the provider whether all of this still holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Arc<str>>,
    /// When the provider confirmed it last.
    pub refreshed: Timestamp,
    /// The question to the provider that is under way, or whose answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshing: Option<Refreshing>,
    /// It counts for nothing, since two places use its device's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A question to the provider, written down before it is asked: it may use up what it is asked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refreshing {
    /// Since when.
    pub at: Timestamp,
    /// By which gateway.
    pub by: Arc<str>,
}

/// Why a session counts for nothing until the person signs in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Since when.
    pub at: Timestamp,
    /// What was seen.
    pub why: String,
}

impl Body for Session {
    const KIND: Kind = Kind::Session;

    fn name(&self) -> String {
        self.id.as_ref().to_owned()
    }

    fn uniques(&self) -> Vec<Unique> {
        vec![Unique::new(DEVICES, self.device.as_str())]
    }
}
