//! The budget of file descriptors: new flows are refused with a reason before the process runs out.
//! It does not open or close anything. Always true: what a guard took is given back when it drops.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A budget of descriptors. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Descriptors(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: u64,
    used: AtomicU64,
}

/// Some descriptors of the budget, given back when dropped.
#[derive(Debug)]
pub struct Taken {
    budget: Arc<Budget>,
    count: u64,
}

impl Descriptors {
    /// Nine tenths of what a process that may open `most` can still open with `own` of its own; the rest
    /// is for logs, reloads and the door itself.
    pub fn new(most: u64, own: u64) -> Self {
        Self(Arc::new(Budget { limit: most.saturating_sub(own) / 10 * 9, used: AtomicU64::new(0) }))
    }

    /// Takes `count`, or nothing if that would exceed the budget.
    pub fn take(&self, count: u64) -> Option<Taken> {
        let grow = |used: u64| used.checked_add(count).filter(|sum| *sum <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).ok()?;
        Some(Taken { budget: self.0.clone(), count })
    }

    /// How many are in use, and how many may be.
    pub fn usage(&self) -> (u64, u64) {
        (self.0.used.load(Ordering::Relaxed), self.0.limit)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_beyond_nine_tenths_and_takes_back() {
        let descriptors = Descriptors::new(130, 30);
        let most = descriptors.take(89).expect("89 of 90");
        assert!(descriptors.take(2).is_none());
        let last = descriptors.take(1).expect("90 of 90");
        drop(most);
        assert_eq!(descriptors.usage(), (1, 90));
        drop(last);
        assert_eq!(descriptors.usage(), (0, 90));
    }
}
