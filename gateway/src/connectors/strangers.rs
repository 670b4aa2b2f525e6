//! Who was turned away at the link: remembered for status, logged at a bounded rate.
//! Always true: a flood neither fills memory nor the log, and is counted.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use protocol::{key::LinkPin, time::Timestamp};

const MAX: usize = 32;
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Somebody who was turned away.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stranger {
    /// The key it showed, if it came so far.
    pub key: Option<String>,
    /// Where it came from last.
    pub remote: SocketAddr,
    /// Why it was turned away last.
    pub reason: String,
    /// How often.
    pub attempts: u64,
    /// When last.
    pub last_seen: String,
}

#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: VecDeque<Stranger>,
    logged: Option<Instant>,
    unlogged: u64,
}

impl Strangers {
    /// Remembers a refusal, and logs it unless one was just logged.
    pub fn turned_away(&mut self, key: Option<LinkPin>, remote: SocketAddr, reason: String, now: Instant) {
        let key = key.map(|pin| pin.to_string());
        if self.logged.is_none_or(|last| now.duration_since(last) >= LOG_EVERY) {
            tracing::warn!(
                key = key.as_deref().unwrap_or("none"), %remote, reason, unlogged = self.unlogged,
                "turned away at the connector link"
            );
            (self.logged, self.unlogged) = (Some(now), 0);
        } else {
            self.unlogged += 1;
        }
        self.remember(key, remote, reason);
    }

    /// The latest, newest first.
    pub fn list(&self) -> Vec<Stranger> {
        self.seen.iter().cloned().collect()
    }

    fn remember(&mut self, key: Option<String>, remote: SocketAddr, reason: String) {
        let same = |other: &Stranger| other.key == key && other.remote.ip() == remote.ip();
        let known = self.seen.iter().position(same).and_then(|index| self.seen.remove(index));
        let attempts = known.map_or(0, |stranger| stranger.attempts) + 1;
        let last_seen = Timestamp::from_system(SystemTime::now()).to_string();
        self.seen.push_front(Stranger { key, remote, reason, attempts, last_seen });
        self.seen.truncate(MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_bounded() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        for i in 0..100u8 {
            let remote = SocketAddr::from(([192, 0, 2, i], 1));
            strangers.turned_away(Some(LinkPin([i; 32])), remote, "unknown".to_owned(), now);
            strangers.turned_away(Some(LinkPin([i; 32])), remote, "unknown".to_owned(), now);
        }
        assert_eq!(strangers.list().len(), MAX);
        assert_eq!(strangers.list()[0].attempts, 2);
        assert_eq!(strangers.unlogged, 199);
    }
}
