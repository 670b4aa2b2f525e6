//! How long to wait before dialling again. It waits for nothing itself.
//! Always true: the first wait is none, later ones double up to a cap, each drawn at random from the
//! upper half, so that many connectors do not return at one moment.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

const FIRST: Duration = Duration::from_millis(250);
const CAP: Duration = Duration::from_secs(15);
/// Doublings after which the cap is reached.
const MAX_DOUBLINGS: u32 = 6;

/// The waits of one link.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait; `draw` is random in 0..=1.
    pub fn next(&mut self, draw: f64) -> Duration {
        let attempts = self.attempts;
        self.attempts = (attempts + 1).min(MAX_DOUBLINGS + 1);
        match attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST * 2u32.pow(doublings)).min(CAP).mul_f64(0.5 + draw / 2.0),
        }
    }

    /// The link was steady: the next failure is a first one.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A random number in 0..=1.
pub fn draw() -> f64 {
    let mut bytes = [0; 2];
    SystemRandom::new().fill(&mut bytes).expect("the system gives randomness");
    f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        assert_eq!(backoff.next(0.0).as_millis(), 7500);
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::ZERO);
    }

    #[test]
    fn draws_are_in_range() {
        assert!((0..100).all(|_| (0.0..=1.0).contains(&draw())));
    }
}
