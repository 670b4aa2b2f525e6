//! Notices that one key is used from two places: handshakes come from one endpoint, then another, then
//! the first again, faster than a device that moves makes them.
//! It ends nothing. Always true: bounded per device; a device that only moves on is never suspected.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use protocol::{id::DeviceId, key::WgKey};

/// A device alone makes a handshake every two minutes (WireGuard, REKEY_AFTER_TIME), wherever it is; two
/// that take the tunnel from each other make one every 15 to 25 s.
const WITHIN: Duration = Duration::from_secs(120);
/// So often must the tunnel have gone back to where it was: a phone between two networks may do it once.
const RETURNS: usize = 3;

/// What was seen of each device's key.
#[derive(Debug)]
pub struct Duplicates {
    seen: HashMap<(DeviceId, WgKey), Seen>,
    full: usize,
}

/// So many are remembered before the first is forgotten.
const FULL: usize = 1024;

impl Default for Duplicates {
    fn default() -> Self {
        Self { seen: HashMap::new(), full: FULL }
    }
}

#[derive(Debug)]
struct Seen {
    here: SocketAddr,
    before: Option<SocketAddr>,
    returns: Vec<Instant>,
}

impl Duplicates {
    /// A handshake of `device` with `key` came from `endpoint`; the other place if two use it.
    pub fn handshake(
        &mut self,
        device: &DeviceId,
        key: WgKey,
        endpoint: SocketAddr,
        now: Instant,
    ) -> Option<SocketAddr> {
        let seen = self.seen.entry((device.clone(), key)).or_insert_with(|| Seen {
            here: endpoint,
            before: None,
            returns: Vec::new(),
        });
        if seen.here == endpoint {
            return None;
        }
        let other = seen.here;
        seen.returns.retain(|at| now.duration_since(*at) < WITHIN);
        if seen.before == Some(endpoint) {
            seen.returns.push(now);
        } else {
            seen.returns.clear();
        }
        seen.before = Some(std::mem::replace(&mut seen.here, endpoint));
        if seen.returns.len() < RETURNS {
            return None;
        }
        seen.returns.clear();
        Some(other)
    }

    /// Forgets keys that are not enrolled any more.
    pub fn keep(&mut self, is_enrolled: impl Fn(&DeviceId, WgKey) -> bool) {
        self.seen.retain(|(device, key), _| is_enrolled(device, *key));
        self.full = FULL.max(self.seen.len() * 2);
    }

    /// Whether it is time to forget some: twice as many as the last time.
    pub fn is_full(&self) -> bool {
        self.seen.len() >= self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::address;

    const A: &str = "192.0.2.1:4000";
    const B: &str = "198.51.100.2:5000";
    const C: &str = "203.0.113.3:6000";

    /// The second at which two places are noticed, if they are.
    fn noticed(from: &[(u64, &str)]) -> Option<u64> {
        let (mut duplicates, start) = (Duplicates::default(), Instant::now());
        let device = "laptop".parse().expect("a name");
        let suspects = |(second, from): &(u64, &str)| {
            let at = start + Duration::from_secs(*second);
            duplicates.handshake(&device, WgKey([1; 32]), address(from), at).map(|_| *second)
        };
        from.iter().find_map(suspects)
    }

    #[test]
    fn two_places_that_take_turns_are_noticed() {
        let turns = [(0, A), (15, B), (30, A), (45, B), (60, A), (75, B)];
        assert_eq!(noticed(&turns), Some(60));
        let quick = [(0, A), (1, B), (2, A), (3, B), (4, A)];
        assert_eq!(noticed(&quick), Some(4));
    }

    #[test]
    fn a_device_that_moves_is_not_suspected() {
        for honest in [
            &[(0, A), (120, A), (240, A), (360, A)][..],
            &[(0, A), (10, B), (20, C), (30, A), (40, B), (50, C), (60, A)],
            // Home, train, home, and once more: at the pace of one device's own handshakes.
            &[(0, A), (120, B), (240, A), (360, B), (480, A), (600, B)],
            // Between two networks, once there and back within a minute.
            &[(0, A), (20, B), (40, A), (160, A), (280, A)],
        ] {
            assert_eq!(noticed(honest), None, "{honest:?}");
        }
    }

    #[test]
    fn keys_that_went_are_forgotten() {
        let mut duplicates = Duplicates::default();
        let device: DeviceId = "laptop".parse().expect("a name");
        duplicates.handshake(&device, WgKey([1; 32]), address(A), Instant::now());
        duplicates.keep(|_, _| false);
        assert!(duplicates.seen.is_empty());
    }
}
