//! What to tell the person when no handshake completes: once, after a while, with everything worth
//! checking; and once more when it completes after all.
//! It prints nothing and reads no clock.

use std::time::{Duration, Instant};

/// A handshake takes one round trip; after this long something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether and when to speak.
#[derive(Debug)]
pub struct Advice {
    deadline: Instant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Told,
    Done,
}

/// What to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// No answer so far.
    NoAnswer,
    /// It works now, after we said that it does not.
    Connected,
}

impl Advice {
    /// Begins to wait.
    pub fn new(now: Instant) -> Self {
        Self { deadline: now + PATIENCE, state: State::Waiting }
    }

    /// When to ask again, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        (self.state == State::Waiting).then_some(self.deadline)
    }

    /// What to say now, if anything.
    pub fn next(&mut self, connected: bool, now: Instant) -> Option<Say> {
        let (state, say) = match self.state {
            State::Waiting if connected => (State::Done, None),
            State::Waiting if now >= self.deadline => (State::Told, Some(Say::NoAnswer)),
            State::Told if connected => (State::Done, Some(Say::Connected)),
            State::Waiting | State::Told | State::Done => (self.state, None),
        };
        self.state = state;
        say
    }
}

/// The text for no answer.
pub fn no_answer(endpoint: &str, public_key: &str) -> String {
    format!(
        "no answer from {endpoint} for {} seconds; still trying. Check that\n\
         \x20 - Endpoint is the gateway and nothing between blocks UDP to it\n\
         \x20 - this device is enrolled there under its public key {public_key}\n\
         \x20 - PublicKey under [Peer] is the gateway's key\n\
         \x20 - this computer's clock is right (a handshake older than the last one is refused)",
        PATIENCE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_handshake_is_not_worth_a_word() {
        let start = Instant::now();
        let mut advice = Advice::new(start);
        assert_eq!(advice.next(false, start + Duration::from_secs(4)), None);
        assert_eq!(advice.next(true, start + Duration::from_secs(4)), None);
        assert_eq!(advice.next(false, start + Duration::from_secs(60)), None);
        assert_eq!(advice.deadline(), None);
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        let start = Instant::now();
        let mut advice = Advice::new(start);
        let late = advice.deadline().unwrap();
        assert_eq!(advice.next(false, late), Some(Say::NoAnswer));
        assert_eq!(advice.next(false, late + PATIENCE), None);
        assert_eq!(advice.next(true, late + PATIENCE), Some(Say::Connected));
        assert_eq!(advice.next(true, late + PATIENCE), None);
    }
}
