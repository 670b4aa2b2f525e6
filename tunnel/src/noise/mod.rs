//! The seam between the core and the cipher: what a WireGuard implementation must do for us.
//! Two implementations: [`boring`] in the product, `model` for tests that move the clock.
//! A cipher knows keys and sessions; it knows no endpoints, devices or flows.

mod boring;
pub(crate) mod cookie;
mod initiation;
mod limiter;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "a cipher for tests panics where it is misused")]
pub(crate) mod model;

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use protocol::key::WgKey;

pub(crate) use boring::{Boring, BoringPeer};

use crate::{config::Stamp, counters::Count};

/// The longest message that is not data (an initiation, WireGuard paper §5.4.2).
pub(crate) const HANDSHAKE_BYTES: usize = 148;
/// A cookie reply (§5.4.7).
pub(crate) const COOKIE_BYTES: usize = 64;
/// What a data message adds to its packet (§5.4.6): 16 bytes of header, 16 of tag.
pub(crate) const DATA_OVERHEAD: usize = 32;

/// The kind of a datagram, by its first word and length (§5.4.2–5.4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    /// Carries our index, as the rest do.
    Response(u32),
    Cookie(u32),
    Data(u32),
}

impl Kind {
    pub(crate) fn of(datagram: &[u8]) -> Option<Self> {
        let head: &[u8; 12] = datagram.first_chunk()?;
        let word = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        match (word(0)?, datagram.len()) {
            (1, HANDSHAKE_BYTES) => Some(Self::Initiation),
            (2, 92) => Some(Self::Response(word(8)?)),
            (3, COOKIE_BYTES) => Some(Self::Cookie(word(4)?)),
            (4, DATA_OVERHEAD..) => Some(Self::Data(word(4)?)),
            _ => None,
        }
    }

    /// The receiver index, if it has one.
    pub(crate) fn index(self) -> Option<u32> {
        match self {
            Self::Initiation => None,
            Self::Response(index) | Self::Cookie(index) | Self::Data(index) => Some(index),
        }
    }
}

/// Whether a handshake message may cost us key agreements now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Pass,
    /// Under load: send this cookie reply to the source instead.
    Cookie([u8; COOKIE_BYTES]),
    Refused(Count),
}

/// Who claims to have sent an initiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// A key we do not know; unproven.
    Stranger(WgKey),
    /// A key we know, proven by the label it sealed; it may still be a replay.
    Known(WgKey, Stamp),
    Invalid,
}

/// Why a message was refused by a peer's cipher state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Its session is not, or no longer, known.
    NoSession,
    /// Its counter was used.
    Replayed,
    /// It did not decrypt, or does not fit.
    Invalid,
}

/// What receiving came to; lengths are of the caller's buffer, from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Good, and nothing inside.
    Nothing,
    /// Good: send this much to the source.
    Reply(usize),
    /// Good: this much is an inner packet.
    Packet(usize),
    /// Data that decrypted into something that is not an IP packet.
    Garbage,
    Failed(Failure),
}

/// What a tick came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ticked {
    Nothing,
    Send(usize),
    /// No keys are left and no handshake is under way.
    Expired,
}

/// The gateway's static key and its defence against handshake floods.
pub(crate) trait Noise: Send {
    /// Checks the MACs of an initiation or response, and the rate of both.
    fn admit(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Admission;
    /// Reads the sender of an initiation. `known` spares strangers the second key agreement.
    fn open(&self, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Opened;
    /// Fresh cipher state for a peer; `index` is below 2^24 and unique among those alive.
    fn peer(&self, key: &WgKey, index: u32, now: Instant) -> Box<dyn NoisePeer>;
}

/// One peer's handshake and sessions. Buffers hold the message plus [`DATA_OVERHEAD`], and at least
/// [`HANDSHAKE_BYTES`].
pub(crate) trait NoisePeer: Send {
    fn receive(&mut self, from: IpAddr, datagram: &[u8], out: &mut [u8], now: Instant) -> Received;
    /// Encrypts; zero, and nothing is kept, without a session.
    fn send(&mut self, packet: &[u8], out: &mut [u8], now: Instant) -> usize;
    /// Starts a handshake; zero if one is under way.
    fn begin(&mut self, out: &mut [u8], now: Instant) -> usize;
    /// Starts a handshake, even if one is under way.
    fn initiate(&mut self, out: &mut [u8], now: Instant) -> usize;
    fn tick(&mut self, out: &mut [u8], now: Instant) -> Ticked;
    fn has_session(&self, now: Instant) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_word_and_length() {
        let message = |kind: u32, len: usize| {
            let mut m = vec![9; len];
            m[..4].copy_from_slice(&kind.to_le_bytes());
            m
        };
        let index = u32::from_le_bytes([9; 4]);
        assert_eq!(Kind::of(&message(1, 148)), Some(Kind::Initiation));
        assert_eq!(Kind::of(&message(2, 92)), Some(Kind::Response(index)));
        assert_eq!(Kind::of(&message(3, 64)), Some(Kind::Cookie(index)));
        assert_eq!(Kind::of(&message(4, 32)), Some(Kind::Data(index)));
        for bad in [message(1, 147), message(4, 31), message(5, 148), vec![], vec![4; 11]] {
            assert_eq!(Kind::of(&bad), None);
        }
    }
}
