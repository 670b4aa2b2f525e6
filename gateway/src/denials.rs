//! Counts denials by reason and keeps the latest, for `doorward status`.
//! It is a memory aid, not the audit log. Always true: bounded, whatever is thrown at it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;

use protocol::{
    id::{DeviceId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::access::Denied;

/// Distinct reasons counted one by one; more are counted together.
const REASONS: usize = 1000;
/// How many of the latest denials are kept.
const LATEST: usize = 100;

/// So many devices' last refusals are remembered,
const REMEMBERED: u64 = 100_000;
/// for so long.
const FOR: Duration = Duration::from_secs(3600);

/// One denial, for the operator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Denial {
    /// When.
    pub at: Timestamp,
    /// Whose device.
    pub device: DeviceId,
    /// Who, if known.
    pub user: Option<UserId>,
    /// What for: a resource, or the address if nothing stands there.
    pub to: String,
    /// The short word it is counted under.
    pub code: String,
    /// Why, in words.
    pub reason: String,
}

/// The counters and the latest denials. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Denials {
    kept: Arc<Mutex<Kept>>,
    last: Cache<DeviceId, Arc<Refused>>,
}

/// What was refused to a device last, for its person.
#[derive(Debug)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// What for.
    pub to: String,
    /// Why, and what would help.
    pub denied: Denied,
}

impl Default for Denials {
    fn default() -> Self {
        let last = Cache::builder().max_capacity(REMEMBERED).time_to_live(FOR).build();
        Self { kept: Arc::default(), last }
    }
}

#[derive(Debug, Default)]
struct Kept {
    counts: BTreeMap<String, u64>,
    latest: VecDeque<Denial>,
}

impl Denials {
    /// Remembers one, under its code and, if a policy is behind it, that policy.
    pub fn record(&self, denial: Denial, policy: Option<&str>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match policy {
            Some(policy) => format!("{}:{policy}", denial.code),
            None => denial.code.clone(),
        };
        let full = kept.counts.len() >= REASONS && !kept.counts.contains_key(&key);
        *kept.counts.entry(if full { "other".to_owned() } else { key }).or_default() += 1;
        kept.latest.push_back(denial);
        if kept.latest.len() > LATEST {
            kept.latest.pop_front();
        }
    }

    /// Remembers it for its person.
    pub fn remember(&self, device: &DeviceId, refused: Refused) {
        self.last.insert(device.clone(), Arc::new(refused));
    }

    /// What was refused to a device last.
    pub fn last_of(&self, device: &DeviceId) -> Option<Arc<Refused>> {
        self.last.get(device)
    }

    /// The counters by reason, and the latest denials, oldest first.
    pub fn report(&self) -> (BTreeMap<String, u64>, Vec<Denial>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.counts.clone(), kept.latest.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_bounded_and_counts_all() {
        let denials = Denials::default();
        for n in 0..3 * REASONS {
            let denial = Denial {
                at: Timestamp::MIN,
                device: "laptop".parse().expect("a name"),
                user: None,
                to: "app/wiki".to_owned(),
                code: "forbidden".to_owned(),
                reason: String::new(),
            };
            denials.record(denial, Some(&format!("p{n}")));
        }
        let (counts, latest) = denials.report();
        assert_eq!(counts.len(), REASONS + 1);
        assert_eq!(counts.values().sum::<u64>(), 3 * REASONS as u64);
        assert_eq!(latest.len(), LATEST);
    }
}
