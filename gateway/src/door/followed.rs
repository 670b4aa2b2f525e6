//! Which step-ups were followed just now, so that nobody goes in circles whom that did not help.
//! It sends nobody. Always true: one that was never followed is never in the way; bounded, and soon forgotten.

use std::time::Duration;

use moka::sync::Cache;
use policy::decision::StepUp;
use protocol::id::DeviceId;

/// Who came back so lately is not sent away again for the same.
const JUST_NOW: Duration = Duration::from_secs(60);
/// So many are remembered.
const REMEMBERED: u64 = 100_000;

/// The step-ups that were followed just now. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Followed(Cache<(DeviceId, StepUp), ()>);

impl Default for Followed {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_live(JUST_NOW).build())
    }
}

impl Followed {
    /// The person on a device came back and bears what was asked for.
    pub fn note(&self, device: &DeviceId, step_up: StepUp) {
        self.0.insert((device.clone(), step_up), ());
    }

    /// Whether they did so just now.
    pub fn just_now(&self, device: &DeviceId, step_up: &StepUp) -> bool {
        self.0.contains_key(&(device.clone(), step_up.clone()))
    }
}
