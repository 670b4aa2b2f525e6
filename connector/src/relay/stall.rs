//! Bytes that came over the link and that their taker does not take: how long, and for how many flows.
//! Each such flow holds the window of its stream (4 MiB), so a party has few places for them.
//! Always true: only a flow that waits owns a timer; one that moves, or has a place, goes on for ever.

use std::{
    collections::HashMap,
    future::pending,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// Until then a flow that does not move needs no place: a Wi-Fi that comes back. Within it a party without
/// places makes us hold no more than the link delivers.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who takes this much within the patience is slow, but moves: 6.5 KB/s. To hold more windows than it has
/// places, a party must read as fast from each. (The kernel takes more when a third of its buffer is free:
/// for who is slow, some 20 KB.)
const ENOUGH: usize = 64 * 1024;

/// How many flows each party may leave standing.
#[derive(Debug)]
pub struct Stalls<K> {
    each: usize,
    parties: Mutex<HashMap<K, Weak<Semaphore>>>,
    reset: Arc<AtomicU64>,
}

/// One party's places.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    reset: Arc<AtomicU64>,
}

impl<K: Clone + Eq + Hash> Stalls<K> {
    /// As many for `each` party.
    pub fn new(each: usize) -> Self {
        Self { each, parties: Mutex::default(), reset: Arc::default() }
    }

    /// The places that the flows of `party` share.
    pub fn of(&self, party: &K) -> Places {
        let mut parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
        let free = parties.get(party).and_then(Weak::upgrade).unwrap_or_else(|| {
            parties.retain(|_, free| free.strong_count() > 0);
            let free = Arc::new(Semaphore::new(self.each));
            parties.insert(party.clone(), Arc::downgrade(&free));
            free
        });
        Places { free, reset: self.reset.clone() }
    }

    /// Flows that found no place.
    pub fn reset(&self) -> u64 {
        self.reset.load(Ordering::Relaxed)
    }
}

/// How a flow fares whose bytes may wait.
pub(super) struct Stall<'a> {
    places: &'a Places,
    /// Until when it may wait, while it does.
    until: Option<Instant>,
    /// Taken since it began to wait.
    taken: usize,
    place: Option<SemaphorePermit<'a>>,
}

impl<'a> Stall<'a> {
    pub fn new(places: &'a Places) -> Self {
        Self { places, until: None, taken: 0, place: None }
    }

    /// Resolves when the flow has waited too long and there is no place for it. To be polled while bytes
    /// wait; may be dropped and called again.
    pub async fn too_long(&mut self) {
        if self.place.is_none() {
            sleep_until(self.until(Instant::now())).await;
            if !self.claim() {
                return;
            }
        }
        pending().await
    }

    fn until(&mut self, now: Instant) -> Instant {
        *self.until.get_or_insert(now + PATIENCE)
    }

    /// Takes a place; whether there was one.
    fn claim(&mut self) -> bool {
        self.place = self.places.free.try_acquire().ok();
        if self.place.is_none() {
            self.places.reset.fetch_add(1, Ordering::Relaxed);
        }
        self.place.is_some()
    }

    /// Some bytes were taken, and as many wait still.
    pub fn took(&mut self, bytes: usize, waiting: usize) {
        self.taken += bytes;
        if waiting == 0 || self.taken >= ENOUGH {
            *self = Self::new(self.places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: usize = 2;

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn each_party_has_its_own_places_and_the_first_come_keep_them() {
        let stalls = Stalls::new(EACH);
        let (greedy, other) = (stalls.of(&"greedy"), stalls.of(&"other"));
        let mut flows: Vec<_> = (0..EACH + 3).map(|_| Stall::new(&greedy)).collect();
        let found: Vec<bool> = flows.iter_mut().map(Stall::claim).collect();
        assert_eq!(found, [true, true, false, false, false]);
        assert_eq!(stalls.reset(), 3);
        assert!(!Stall::new(&stalls.of(&"greedy")).claim(), "all flows of a party share its places");
        assert!(Stall::new(&other).claim(), "another party's places");
        drop(flows);
        assert!(Stall::new(&greedy).claim(), "a place comes back with its flow's end");
    }

    #[test]
    fn parties_without_flows_are_forgotten() {
        let stalls = Stalls::new(EACH);
        for party in 0..100 {
            stalls.of(&party);
        }
        assert_eq!(stalls.parties.lock().unwrap().len(), 1);
    }

    #[test]
    fn who_moves_or_drains_gets_new_patience_and_gives_its_place_back() {
        let stalls = Stalls::new(1);
        let places = stalls.of(&());
        let mut flow = Stall::new(&places);
        let (first, second) = (later(0), later(60));
        assert_eq!(flow.until(first), first + PATIENCE);
        flow.took(ENOUGH - 1, 1);
        assert_eq!(flow.until(second), first + PATIENCE, "hardly anything was taken");
        flow.took(1, 1);
        assert_eq!(flow.until(second), second + PATIENCE, "it moves");
        flow.took(1, 0);
        assert_eq!(flow.until(first), first + PATIENCE, "nothing waits any more");
        for (bytes, waiting, back) in [(1, 1, false), (ENOUGH, 1, true), (1, 0, true)] {
            flow = Stall::new(&places);
            assert!(flow.claim());
            flow.took(bytes, waiting);
            assert_eq!(Stall::new(&places).claim(), back, "{bytes} taken, {waiting} wait");
        }
    }

    #[tokio::test]
    async fn who_has_a_place_waits_without_a_timer() {
        let stalls = Stalls::new(1);
        let places = stalls.of(&());
        let mut flow = Stall::new(&places);
        assert!(flow.claim());
        flow.until = Some(Instant::now() - PATIENCE);
        let mut waits = std::pin::pin!(flow.too_long());
        std::future::poll_fn(|context| {
            assert!(waits.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn who_waited_too_long_without_a_place_is_told() {
        let stalls = Stalls::new(0);
        let places = stalls.of(&());
        let mut flow = Stall::new(&places);
        flow.until = Some(Instant::now() - PATIENCE);
        flow.too_long().await;
        assert_eq!(stalls.reset(), 1);
    }
}
