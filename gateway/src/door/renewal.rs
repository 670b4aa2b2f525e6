//! When a session is renewed before it ends, in passing: a browser on its way to a page goes by the provider,
//! which knows the person or says that it would have to ask. It sends nobody.
//! Always true: nobody is asked anything for it, and who would have to be is left alone for a while.

use std::time::Duration;

use moka::sync::Cache;
use protocol::{id::DeviceId, time::Timestamp};

use crate::{access, snapshot::Snapshot};

/// In the last part of its life: of twelve hours the last one and a half.
const LAST_PART: u32 = 8;
/// Who could not be renewed is left alone for so long.
const REST: Duration = Duration::from_secs(900);
/// So many devices are remembered.
const REMEMBERED: u64 = 100_000;

/// Which devices' sessions may be renewed in passing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Renewals(Cache<DeviceId, ()>);

impl Default for Renewals {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_live(REST).build())
    }
}

impl Renewals {
    /// Whether the session of a device is to be renewed now.
    pub fn is_due(&self, snapshot: &Snapshot, device: &DeviceId, now: Timestamp) -> bool {
        let Some(owner) = snapshot.device(device).map(|device| &device.facts.owner) else { return false };
        let Ok(session) = access::session(snapshot, device, owner, now) else { return false };
        let provider = snapshot.directory().session(device).map(|session| &session.provider);
        let known = snapshot.config().providers.iter().any(|one| Some(&one.spec.id) == provider);
        let left = now.until(session.expires);
        // One that cannot be refreshed lasts shorter than others.
        let whole = session.at.until(session.expires);
        known && left < whole / LAST_PART && self.0.get(device).is_none()
    }

    /// The provider would have had to ask.
    pub fn failed(&self, device: &DeviceId) {
        self.0.insert(device.clone(), ());
    }

    /// The person signed in.
    pub fn succeeded(&self, device: &DeviceId) {
        self.0.invalidate(device);
    }
}
