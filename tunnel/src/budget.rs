//! Rates in the space of one instant (the generic cell rate algorithm, ITU-T I.371): one refuses what is
//! too much, one says when it may happen. They count nothing; the caller does.

use std::time::{Duration, Instant};

/// A rate with a burst of one second's worth: when the next unit is due if units are spent evenly.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    due: Option<Instant>,
}

impl Budget {
    /// Spends one unit of `per_second`, or says that none is left.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> bool {
        if per_second == 0 {
            return false;
        }
        let due = self.due.map_or(now, |due| due.max(now));
        let interval = Duration::from_secs(1) / per_second;
        if due + interval > now + Duration::from_secs(1) {
            return false;
        }
        self.due = Some(due + interval);
        true
    }
}

/// Spreads what comes at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    due: Option<Instant>,
}

impl Pace {
    /// When the next may happen: at once, unless `burst` and more came within the last `burst` intervals.
    pub(crate) fn next(&mut self, burst: u32, interval: Duration, now: Instant) -> Instant {
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = Some(due + interval);
        due.checked_sub(interval * burst).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn a_second_of_burst_and_then_the_rate() {
        let now = start();
        let mut budget = Budget::default();
        assert_eq!((0..50).filter(|_| budget.take(10, now)).count(), 10);
        let later = now + Duration::from_millis(200);
        assert_eq!((0..50).filter(|_| budget.take(10, later)).count(), 2);
        assert!(!Budget::default().take(0, now));
    }

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let (now, every) = (start(), Duration::from_millis(2));
        let mut pace = Pace::default();
        let times: Vec<_> = (0..8).map(|_| pace.next(4, every, now) - now).collect();
        assert_eq!(times, [0, 0, 0, 0, 0, 2, 4, 6].map(Duration::from_millis));
        let later = now + every * 100;
        assert_eq!(pace.next(4, every, later), later);
    }
}
