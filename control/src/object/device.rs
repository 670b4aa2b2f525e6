//! A device with its keys and what is known of its state. Its id stays; its name may change.
//! Always true: a key belongs to one device; an id is no other device's name.

use std::collections::BTreeSet;

use policy::facts::{Platform, Posture};
use protocol::{
    id::{DeviceGroupId, DeviceId, UserId},
    key::WgKey,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Body, Disabled, Kind, Rest};
use crate::store::Unique;

/// The most keys of a device: two while one takes over from the other.
pub const MOST_KEYS: usize = 2;

/// The set of values that are keys of devices.
pub const KEYS: &str = "device key";
/// The set of values by which devices are named.
pub const NAMES: &str = "device name";

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The name it was given first; never changes.
    pub id: DeviceId,
    /// What people call it now.
    pub name: DeviceId,
    /// Whose it is.
    pub owner: UserId,
    /// One, or two while rotating; the oldest first.
    pub keys: Vec<DeviceKey>,
    /// Sets it is in.
    #[serde(default)]
    pub groups: BTreeSet<DeviceGroupId>,
    /// Kind of operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What is known of its state.
    #[serde(default)]
    pub posture: Posture,
    /// Shut, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

/// A WireGuard key of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKey {
    /// The public half.
    #[serde(with = "super::text")]
    pub key: WgKey,
    /// When it was added.
    pub since: Timestamp,
}

impl Body for Device {
    const KIND: Kind = Kind::Device;

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn uniques(&self) -> Vec<Unique> {
        let keys = self.keys.iter().map(|key| Unique::new(KEYS, key.key.to_string()));
        let names = BTreeSet::from([&self.id, &self.name]);
        keys.chain(names.into_iter().map(|name| Unique::new(NAMES, name.as_str()))).collect()
    }
}
