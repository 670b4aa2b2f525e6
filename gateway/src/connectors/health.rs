//! Whether a connector forwards. It reads no clock: `now` is an argument.
//! Always true: a failure makes sick for a while that doubles with each failure after recovery; a
//! success while sick proves nothing, since other flows may go on failing.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(5);
const MAX_DOUBLINGS: u32 = 4;

/// What is known of one connector.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    last: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    at: Instant,
    until: Instant,
    why: String,
}

impl Health {
    /// A flow failed for a reason that is the connector's. Says whether this is news.
    pub fn fail(&mut self, why: String, now: Instant) -> bool {
        if let Some(last) = self.last.as_mut().filter(|last| now < last.until) {
            // Among the sick the one that failed longest ago is tried first.
            last.at = now;
            return false;
        }
        let until = now + FIRST * 2u32.pow(self.failures.min(MAX_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        self.last = Some(Failure { at: now, until, why });
        true
    }

    /// A flow was opened.
    pub fn succeed(&mut self, now: Instant) {
        if self.sick(now).is_none() {
            self.failures = 0;
        }
    }

    /// When and why it last failed, while others are preferred for it.
    pub fn sick(&self, now: Instant) -> Option<(Instant, &str)> {
        self.last.as_ref().filter(|last| now < last.until).map(|last| (last.at, last.why.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sickness_ends_and_grows() {
        let (mut health, start) = (Health::default(), Instant::now());
        assert!(health.sick(start).is_none());
        assert!(health.fail("a".to_owned(), start));
        assert!(!health.fail("b".to_owned(), start), "it is sick already");
        assert_eq!(health.sick(start), Some((start, "a")));
        let again = start + FIRST / 2;
        assert!(!health.fail("b".to_owned(), again));
        assert_eq!(
            health.sick(again),
            Some((again, "a")),
            "its latest failure counts, its sickness ends as before"
        );
        let later = start + FIRST;
        assert!(health.sick(later).is_none());
        health.fail("c".to_owned(), later);
        assert!(health.sick(later + FIRST).is_some());
        assert!(health.sick(later + 2 * FIRST).is_none());
    }

    #[test]
    fn only_a_success_after_recovery_counts() {
        let (mut health, start) = (Health::default(), Instant::now());
        health.fail("a".to_owned(), start);
        health.succeed(start);
        assert!(health.sick(start).is_some());
        let later = start + FIRST;
        health.succeed(later);
        health.fail("b".to_owned(), later);
        assert!(health.sick(later + FIRST).is_none(), "the doubling began anew");
    }
}
