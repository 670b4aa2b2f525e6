//! Remembers who knocked with a key of no device, for status and one log line per key.
//! The keys are claimed, not proven. Always true: bounded; the oldest is forgotten first.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{key::WgKey, time::Timestamp};

use crate::status::UnknownKey;

/// How many keys are remembered.
const REMEMBERED: usize = 100;

/// The latest knocks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Unknown(Arc<Mutex<Vec<UnknownKey>>>);

impl Unknown {
    /// One more knock.
    pub fn knocked(&self, key: WgKey, from: SocketAddr, at: Timestamp) {
        let key = key.to_string();
        let mut knocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match knocks.iter().position(|knock| knock.key == key) {
            Some(seen) => knocks.remove(seen).count,
            None => {
                tracing::warn!(key, %from, "handshake with a key of no device: not enrolled, or removed");
                0
            }
        };
        knocks.insert(0, UnknownKey { key, from, count: count + 1, at });
        knocks.truncate(REMEMBERED);
    }

    /// Latest first.
    pub fn rows(&self) -> Vec<UnknownKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_key_and_stays_bounded() {
        let unknown = Unknown::default();
        let from = "192.0.2.1:9".parse().unwrap();
        for n in 0..=255 {
            unknown.knocked(WgKey([n; 32]), from, Timestamp::MIN);
        }
        unknown.knocked(WgKey([200; 32]), from, Timestamp::MAX);
        let rows = unknown.rows();
        assert_eq!(rows.len(), REMEMBERED);
        assert_eq!((rows[0].count, rows[0].at), (2, Timestamp::MAX));
    }
}
