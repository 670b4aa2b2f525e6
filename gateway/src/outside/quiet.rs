//! How often the log hears of what strangers say: once a second for each provider.
//! Always true: what is left out is counted, and said with the next.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::id::ProviderId;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// What was said last. Its keys are providers of the configuration, so that there are few.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<HashMap<ProviderId, Said>>);

#[derive(Debug)]
struct Said {
    at: Instant,
    left_out: u64,
}

impl Quiet {
    /// Whether to say something of `provider` now, and how often nothing was said since the last time.
    pub fn lets(&self, provider: &ProviderId, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(said) = all.get_mut(provider) else {
            all.insert(provider.clone(), Said { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(said.at) < EVERY {
            said.left_out += 1;
            return None;
        }
        said.at = now;
        Some(std::mem::take(&mut said.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_for_each_and_the_rest_is_counted() {
        let (quiet, start) = (Quiet::default(), Instant::now());
        let [corp, partners]: [ProviderId; 2] = ["corp", "partners"].map(|id| id.parse().expect("an id"));
        let at = |millis| start + Duration::from_millis(millis);
        let said = [at(0), at(1), at(999), at(1000), at(1001), at(3000)].map(|now| quiet.lets(&corp, now));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!(quiet.lets(&partners, at(1)), Some(0));
    }
}
