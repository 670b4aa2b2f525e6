//! Counts denials by reason and keeps the latest, for `doorward status`.
//! It is a memory aid, not the audit log. Always true: bounded, whatever is thrown at it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{
    id::{DeviceId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Distinct reasons counted one by one; more are counted together.
const REASONS: usize = 1000;
/// How many of the latest denials are kept.
const LATEST: usize = 100;

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
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    counts: BTreeMap<String, u64>,
    latest: VecDeque<Denial>,
}

impl Denials {
    /// Remembers one, under its code and, if a policy is behind it, that policy.
    pub fn record(&self, denial: Denial, policy: Option<&str>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// The counters by reason, and the latest denials, oldest first.
    pub fn report(&self) -> (BTreeMap<String, u64>, Vec<Denial>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
