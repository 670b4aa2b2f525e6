//! A rate with a burst of one second's worth, in the space of one instant (the generic cell rate
//! algorithm, ITU-T I.371). It counts nothing; the caller does.

use std::time::{Duration, Instant};

/// When the next unit is due if units are spent evenly.
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
}
