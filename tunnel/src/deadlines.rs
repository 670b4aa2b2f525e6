//! What is due when. One deadline per key: setting it again moves it.
//! It holds instants, never reads them.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Instant,
};

/// A queue of deadlines, each known by its key.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    queue: BTreeSet<(Instant, K)>,
    at: HashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Deadlines<K> {
    pub(crate) fn new() -> Self {
        Self { queue: BTreeSet::new(), at: HashMap::new() }
    }

    pub(crate) fn set(&mut self, key: K, at: Instant) {
        self.clear(key);
        self.at.insert(key, at);
        self.queue.insert((at, key));
    }

    pub(crate) fn clear(&mut self, key: K) {
        if let Some(at) = self.at.remove(&key) {
            self.queue.remove(&(at, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// Takes out one key whose deadline has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    /// How many deadlines are set; both halves must agree.
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.queue.len(), self.at.len(), "a deadline is in both indexes");
        self.queue.len()
    }

    /// When `key` is due.
    pub(crate) fn at(&self, key: K) -> Option<Instant> {
        self.at.get(&key).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::start;

    #[test]
    fn moves_and_pops_in_order() {
        let now = start();
        let mut deadlines = Deadlines::new();
        deadlines.set(1, now + Duration::from_secs(1));
        deadlines.set(2, now + Duration::from_secs(2));
        deadlines.set(1, now + Duration::from_secs(3));
        assert_eq!(deadlines.next(), Some(now + Duration::from_secs(2)));
        assert_eq!(deadlines.pop(now), None);
        assert_eq!(deadlines.pop(now + Duration::from_secs(5)), Some(2));
        deadlines.clear(1);
        assert_eq!(deadlines.len(), 0);
    }
}
