//! For how long what was read from a shared store may be gone by: a lease that every confirmed look
//! renews. It reads no clock but the one since boot, which nobody sets. Always true: a look counts from
//! the moment it was begun; a store that nobody shares needs no lease.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

/// An instant since boot, suspended time included: `CLOCK_BOOTTIME`, as a lease runs while a machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot(u64);

impl Boot {
    /// Now. A clock that cannot be read shows the end of time: no lease holds.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
        Self(now.map_or(u64::MAX, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)))
    }

    /// For how long it has passed, at `now`.
    fn age(self, now: Self) -> Duration {
        Duration::from_millis(now.0.saturating_sub(self.0))
    }
}

/// The right to go by what was read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease {
    term: Option<Duration>,
    confirmed: Arc<AtomicU64>,
}

impl Lease {
    /// Of a store that is shared: good for `term` after each confirmation, the first of which is `began`.
    pub fn shared(term: Duration, began: Boot) -> Self {
        Self { term: Some(term), confirmed: Arc::new(AtomicU64::new(began.0)) }
    }

    /// Of a store that nobody else writes.
    pub fn alone() -> Self {
        Self { term: None, confirmed: Arc::default() }
    }

    /// Everything that was committed before `asked` is known now.
    pub fn confirm(&self, asked: Boot) {
        self.confirmed.fetch_max(asked.0, Ordering::Release);
    }

    /// Whether what was read may still be gone by.
    pub fn holds(&self) -> bool {
        self.holds_at(Boot::now())
    }

    /// The same at an instant.
    pub fn holds_at(&self, now: Boot) -> bool {
        self.term.is_none_or(|term| self.age(now) < term)
    }

    /// How long ago the store was last known to be as it was read.
    pub fn age(&self, now: Boot) -> Duration {
        Boot(self.confirmed.load(Ordering::Acquire)).age(now)
    }

    /// How long it is good for; `None`: for ever.
    pub fn term(&self) -> Option<Duration> {
        self.term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_a_term_after_the_last_look_began() {
        let lease = Lease::shared(Duration::from_secs(300), Boot(1_000));
        assert!(lease.holds_at(Boot(300_999)) && !lease.holds_at(Boot(301_000)));
        lease.confirm(Boot(5_000));
        lease.confirm(Boot(2_000));
        assert!(
            lease.holds_at(Boot(304_999)) && !lease.holds_at(Boot(305_000)),
            "a late answer takes nothing back"
        );
        assert!(!lease.holds_at(Boot(u64::MAX)), "a clock that cannot be read");
        assert!(Lease::alone().holds_at(Boot(u64::MAX)));
    }
}
