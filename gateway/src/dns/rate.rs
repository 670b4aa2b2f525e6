//! How many relayed questions a device may ask; pure, the clock is an argument.
//! Always true: bounded, however many devices there are.

use std::{collections::HashMap, time::Instant};

use protocol::id::DeviceId;

/// At once: a browser opening a full session asks some tens of names.
const BURST: f64 = 200.0;
/// Then this many a second.
const PER_SECOND: f64 = 50.0;
/// Devices remembered; one that is forgotten starts with a full bucket.
const DEVICES: usize = 100_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn tokens_at(&self, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.tokens + earned).min(BURST)
    }
}

/// One bucket per device.
#[derive(Debug, Default)]
pub struct Rates {
    buckets: HashMap<DeviceId, Bucket>,
}

impl Rates {
    /// Takes one question from the device's allowance; whether there was one.
    pub fn take(&mut self, device: &DeviceId, now: Instant) -> bool {
        if self.buckets.len() >= DEVICES && !self.buckets.contains_key(device) {
            self.buckets.retain(|_, bucket| bucket.tokens_at(now) < BURST);
            if self.buckets.len() >= DEVICES {
                return false;
            }
        }
        let full = Bucket { tokens: BURST, at: now };
        let bucket = self.buckets.entry(device.clone()).or_insert(full);
        let tokens = bucket.tokens_at(now);
        let allowed = tokens >= 1.0;
        *bucket = Bucket { tokens: if allowed { tokens - 1.0 } else { tokens }, at: now };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_a_rate_and_each_device_its_own() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let (one, two) = ("one".parse().expect("a name"), "two".parse().expect("a name"));
        let asked = (0..1000).filter(|_| rates.take(&one, start)).count();
        assert_eq!(asked, 200);
        assert!(rates.take(&two, start));
        let later = start + Duration::from_millis(100);
        assert_eq!((0..1000).filter(|_| rates.take(&one, later)).count(), 5);
    }

    #[test]
    fn forgets_whoever_has_a_full_bucket() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let device = |n: usize| format!("d{n}").parse().expect("a name");
        assert!((0..DEVICES).all(|n| rates.take(&device(n), start)));
        assert!(!rates.take(&device(DEVICES), start), "all are busy");
        assert!(rates.take(&device(DEVICES), start + Duration::from_secs(10)));
        assert_eq!(rates.buckets.len(), 1);
    }
}
