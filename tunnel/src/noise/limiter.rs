//! What keeps a flood of handshakes from costing us key agreements: MAC check, then a count per
//! second, then cookies. One global count for now; it does not know who is a peer.
//! It wraps boringtun's limiter, which draws its cookie secret and reads the clock inside.

use std::{net::IpAddr, sync::Arc};

use boringtun::{
    noise::{TunnResult, rate_limiter::RateLimiter},
    x25519::PublicKey,
};

use super::Admission;

/// The only place where handshake messages are counted.
pub(super) struct Limiter {
    counted: RateLimiter,
    uncounted: Arc<RateLimiter>,
}

impl Limiter {
    pub(super) fn new(public: &PublicKey, per_second: u32) -> Self {
        Self { counted: RateLimiter::new(public, u64::from(per_second)), uncounted: uncounted(public) }
    }

    pub(super) fn admit(&self, from: IpAddr, datagram: &[u8], out: &mut [u8]) -> Admission {
        match self.counted.verify_packet(Some(from), datagram, out) {
            Ok(_) => Admission::Pass,
            Err(TunnResult::WriteToNetwork(cookie)) => Admission::Cookie(cookie.len()),
            Err(_) => Admission::Invalid,
        }
    }

    /// To be called once a second.
    pub(super) fn refill(&self) {
        self.counted.reset_count();
    }

    /// For each peer's state, which verifies a second time what passed here: it must not count again.
    pub(super) fn uncounted(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.uncounted)
    }
}

/// A limiter that only checks MACs.
pub(super) fn uncounted(public: &PublicKey) -> Arc<RateLimiter> {
    Arc::new(RateLimiter::new(public, u64::MAX))
}
