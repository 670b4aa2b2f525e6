//! A WireGuard key that was taken from its device: it is not let in again by mistake.
//! Always true: it stays when the device goes, and a backup brings no key around it.

use std::sync::Arc;

use protocol::{id::DeviceId, key::WgKey, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{Body, Kind, Rest};

/// A key that was taken from its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The key.
    #[serde(with = "super::text")]
    pub key: WgKey,
    /// Whose it was.
    pub device: DeviceId,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Arc<str>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for Revocation {
    const KIND: Kind = Kind::Revocation;

    fn name(&self) -> String {
        self.key.to_string()
    }
}
