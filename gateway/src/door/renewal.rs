//! When a session is renewed before it ends, in passing: a browser on its way to a page goes by the provider,
//! which knows the person or says that it would have to ask. And who has proven anew what a rule asked for, so
//! that nobody is sent in circles. It sends nobody. Always true: nobody is asked anything for a renewal, and who
//! would have to be is left alone for a while.

use std::time::Duration;

use moka::sync::Cache;
use policy::decision::StepUp;
use protocol::{id::DeviceId, time::Timestamp};

use crate::{access, snapshot::Snapshot};

/// In the last part of its life: of twelve hours the last one and a half.
const LAST_PART: u32 = 8;
/// Who could not be renewed is left alone for so long.
const REST: Duration = Duration::from_secs(900);
/// Who came back from the provider so lately is not sent there again for the same.
const JUST_NOW: Duration = Duration::from_secs(60);
/// So many devices are remembered.
const REMEMBERED: u64 = 100_000;

/// Which devices' sessions may be renewed in passing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Renewals {
    resting: Cache<DeviceId, ()>,
    proven: Cache<(DeviceId, StepUp), ()>,
}

impl Default for Renewals {
    fn default() -> Self {
        Self {
            resting: Cache::builder().max_capacity(REMEMBERED).time_to_live(REST).build(),
            proven: Cache::builder().max_capacity(REMEMBERED).time_to_live(JUST_NOW).build(),
        }
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
        known && left < whole / LAST_PART && self.resting.get(device).is_none()
    }

    /// The provider would have had to ask.
    pub fn failed(&self, device: &DeviceId) {
        self.resting.insert(device.clone(), ());
    }

    /// The person signed in, and proved what they were asked for.
    pub fn succeeded(&self, device: &DeviceId, step_up: Option<&StepUp>) {
        self.resting.invalidate(device);
        if let Some(step_up) = step_up {
            self.proven.insert((device.clone(), step_up.clone()), ());
        }
    }

    /// Whether they have just proven this, so that asking for it again would not help.
    pub fn just_proven(&self, device: &DeviceId, step_up: &StepUp) -> bool {
        self.proven.contains_key(&(device.clone(), step_up.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has signed in without it a moment ago is asked all the same.
    #[test]
    fn the_same_is_asked_for_once() {
        let renewals = Renewals::default();
        let (laptop, phone): (DeviceId, DeviceId) =
            ("laptop".parse().expect("a name"), "phone".parse().expect("a name"));
        let asked = |acr: &str| StepUp { max_age: None, acr: Some(acr.to_owned()) };
        renewals.succeeded(&laptop, None);
        assert!(!renewals.just_proven(&laptop, &asked("mfa")));
        renewals.succeeded(&laptop, Some(&asked("mfa")));
        assert!(renewals.just_proven(&laptop, &asked("mfa")));
        assert!(
            !renewals.just_proven(&laptop, &asked("key")) && !renewals.just_proven(&phone, &asked("mfa"))
        );
    }
}
