//! Who may ask how often: a burst at once, then a rate. Pure, the clock is an argument.
//! Always true: bounded, however many ask; who is forgotten had asked for nothing lately.

use std::{collections::HashMap, hash::Hash, time::Instant};

/// What one of them may ask.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// At once.
    pub burst: f64,
    /// Then this many a second.
    pub per_second: f64,
    /// So many who ask are remembered; while all of them are busy, nobody else is heard.
    pub remembered: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn tokens_at(&self, now: Instant, allowance: Allowance) -> f64 {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * allowance.per_second;
        (self.tokens + earned).min(allowance.burst)
    }
}

/// One bucket for each who asks.
#[derive(Debug)]
pub struct Rates<K> {
    allowance: Allowance,
    buckets: HashMap<K, Bucket>,
}

impl<K: Eq + Hash + Clone> Rates<K> {
    /// The same allowance for each.
    pub fn new(allowance: Allowance) -> Self {
        Self { allowance, buckets: HashMap::new() }
    }

    /// Takes one question from what `who` may ask; whether there was one.
    pub fn take(&mut self, who: &K, now: Instant) -> bool {
        let allowance = self.allowance;
        if self.buckets.len() >= allowance.remembered && !self.buckets.contains_key(who) {
            self.buckets.retain(|_, bucket| bucket.tokens_at(now, allowance) < allowance.burst);
            if self.buckets.len() >= allowance.remembered {
                return false;
            }
        }
        let full = Bucket { tokens: allowance.burst, at: now };
        let bucket = self.buckets.entry(who.clone()).or_insert(full);
        let tokens = bucket.tokens_at(now, allowance);
        let allowed = tokens >= 1.0;
        *bucket = Bucket { tokens: if allowed { tokens - 1.0 } else { tokens }, at: now };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ALLOWANCE: Allowance = Allowance { burst: 200.0, per_second: 50.0, remembered: 1000 };

    #[test]
    fn a_burst_then_a_rate_and_each_its_own() {
        let (mut rates, start) = (Rates::new(ALLOWANCE), Instant::now());
        let asked = (0..1000).filter(|_| rates.take(&"one", start)).count();
        assert_eq!(asked, 200);
        assert!(rates.take(&"two", start));
        let later = start + Duration::from_millis(100);
        assert_eq!((0..1000).filter(|_| rates.take(&"one", later)).count(), 5);
    }

    #[test]
    fn forgets_whoever_has_a_full_bucket() {
        let (mut rates, start) = (Rates::new(ALLOWANCE), Instant::now());
        assert!((0..ALLOWANCE.remembered).all(|n| rates.take(&n, start)));
        assert!(!rates.take(&ALLOWANCE.remembered, start), "all are busy");
        assert!(rates.take(&ALLOWANCE.remembered, start + Duration::from_secs(10)));
        assert_eq!(rates.buckets.len(), 1);
    }
}
