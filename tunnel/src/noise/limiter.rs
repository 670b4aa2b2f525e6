//! What keeps a flood of handshake messages from costing us key agreements. Who returns a cookie has
//! a budget of its own that no forger of addresses can spend, shared fairly between sources; all
//! others share the second, and get cookies when it is spent. It does not know who is a peer.
//! Always true: memory is fixed, and what is not proven to come from a source is not held against it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use protocol::key::WgKey;

use super::{
    Admission,
    cookie::{Cookies, derive, mac32},
};
use crate::{
    budget::Budget,
    config::{CookieSecret, HandshakeLimits},
    counters::Count,
};

/// 256 KiB; among a thousand flooding sources, one in sixteen others shares a bucket with one.
const BUCKETS: usize = 1 << 14;

/// The only place where handshake messages are counted.
pub(super) struct Limiter {
    cookies: Cookies,
    limits: HandshakeLimits,
    unverified: Budget,
    verified: Budget,
    replies: Budget,
    sources: Sources,
}

impl Limiter {
    /// For the gateway with this public key.
    pub(super) fn new(public: &WgKey, secret: &CookieSecret, limits: HandshakeLimits) -> Self {
        Self {
            cookies: Cookies::new(public, secret),
            limits,
            unverified: Budget::default(),
            verified: Budget::default(),
            replies: Budget::default(),
            sources: Sources::new(secret),
        }
    }

    pub(super) fn admit(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Admission {
        let Some(message) = self.cookies.read(datagram) else {
            return Admission::Refused(Count::HandshakeInvalid);
        };
        let spent = if !self.cookies.returned(&message, from, now) {
            None
        } else if !self.sources.take(from.ip(), self.cookies.epoch(now), self.limits.source_per_second, now) {
            Some(Count::SourceLimited)
        } else if !self.verified.take(self.limits.verified_per_second, now) {
            Some(Count::HandshakeLimited)
        } else {
            return Admission::Pass;
        };
        // Open to those with a cookie too: many devices behind one address come back together.
        if self.unverified.take(self.limits.unverified_per_second, now) {
            return Admission::Pass;
        }
        match spent {
            Some(reason) => Admission::Refused(reason),
            None if self.replies.take(self.limits.cookies_per_second, now) => {
                Admission::Cookie(self.cookies.reply(&message, from, now))
            }
            None => Admission::Refused(Count::CookieLimited),
        }
    }
}

/// A rate for each source that returned a cookie. A source has the bucket that a secret hash names, and
/// another in the next epoch: there is no table to fill, a bucket recovers within a second, and who
/// shares one with a flooder does not for long.
struct Sources {
    key: [u8; 32],
    buckets: Vec<Budget>,
}

impl Sources {
    fn new(secret: &CookieSecret) -> Self {
        Self { key: derive(secret, b"source"), buckets: vec![Budget::default(); BUCKETS] }
    }

    fn take(&mut self, from: IpAddr, epoch: u64, per_second: u32, now: Instant) -> bool {
        // As Linux has it: who has a v6 address has its /64.
        let [a, b, ..] = match from.to_canonical() {
            IpAddr::V4(addr) => self.hash(epoch, &addr.octets()),
            IpAddr::V6(addr) => self.hash(epoch, &addr.octets()[..8]),
        };
        let bucket = usize::from(u16::from_le_bytes([a, b])) % BUCKETS;
        self.buckets.get_mut(bucket).is_some_and(|bucket| bucket.take(per_second, now))
    }

    fn hash(&self, epoch: u64, source: &[u8]) -> [u8; 32] {
        mac32(&self.key, &[&epoch.to_le_bytes(), source])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        noise::cookie::client::{open, prove},
        testing::start,
    };

    const GATEWAY: WgKey = WgKey([3; 32]);
    const LIMITS: HandshakeLimits = HandshakeLimits {
        unverified_per_second: 3,
        verified_per_second: 40,
        source_per_second: 4,
        cookies_per_second: 10_000,
    };

    fn limiter(now: Instant) -> Limiter {
        Limiter::new(&GATEWAY, &CookieSecret::new([1; 32], now), LIMITS)
    }

    fn message(cookie: Option<[u8; 16]>) -> [u8; 148] {
        let mut message = [7; 148];
        prove(&mut message, &GATEWAY, cookie);
        message
    }

    /// Of 20 messages, those that pass; with the cookie that came, if one did.
    fn burst(
        limiter: &mut Limiter,
        from: &str,
        cookie: Option<[u8; 16]>,
        now: Instant,
    ) -> (usize, Option<[u8; 16]>) {
        let (mut passed, mut got, message) = (0, None, message(cookie));
        for _ in 0..20 {
            match limiter.admit(from.parse().unwrap(), &message, now) {
                Admission::Pass => passed += 1,
                Admission::Cookie(reply) => got = open(&reply, &GATEWAY, &message[116..132]),
                Admission::Refused(_) => {}
            }
        }
        (passed, got)
    }

    /// Spends the budget without cookies, and gets one for each source.
    fn cookies<const N: usize>(
        limiter: &mut Limiter,
        from: [&str; N],
        now: Instant,
    ) -> [Option<[u8; 16]>; N] {
        burst(limiter, "192.0.2.1:1", None, now);
        from.map(|from| burst(limiter, from, None, now).1)
    }

    #[test]
    fn a_wrong_mac_costs_no_budget() {
        let now = start();
        let mut limiter = limiter(now);
        for _ in 0..10 {
            let refused = limiter.admit(([192, 0, 2, 1], 1).into(), &[7; 148], now);
            assert_eq!(refused, Admission::Refused(Count::HandshakeInvalid));
        }
        assert_eq!(burst(&mut limiter, "192.0.2.1:1", None, now).0, 3);
    }

    /// Case D8.
    #[test]
    fn each_source_has_its_own_rate() {
        let now = start();
        let mut limiter = limiter(now);
        let [a, b, c, d] = ["192.0.2.1:1", "192.0.2.1:2", "[2001:db8::1]:1", "[2001:db8::2:0:0:1]:1"];
        let [ac, bc, cc, dc] = cookies(&mut limiter, [a, b, c, d], now);
        assert_eq!(burst(&mut limiter, a, ac, now).0, 4);
        assert_eq!(burst(&mut limiter, b, bc, now).0, 0, "another port is no other source");
        assert_eq!(burst(&mut limiter, c, cc, now).0, 4);
        assert_eq!(burst(&mut limiter, d, dc, now).0, 0, "nor is another address of one /64");
        let later = now + Duration::from_millis(500);
        assert_eq!(burst(&mut limiter, b, bc, later).0, 2 + 1, "half of its rate, and of the other budget");
    }

    /// Case D8: neither budget is spent by those who have the other.
    #[test]
    fn who_returns_a_cookie_and_who_does_not_spend_apart() {
        let now = start();
        let mut limiter = limiter(now);
        let sources: Vec<_> = (1..=30).map(|n| format!("198.51.100.{n}:1")).collect();
        let held: Vec<_> = sources.iter().map(|from| cookies(&mut limiter, [from], now)[0]).collect();
        let passed =
            sources.iter().zip(&held).map(|(from, cookie)| burst(&mut limiter, from, *cookie, now).0);
        assert_eq!(passed.sum::<usize>(), 40, "thirty times four, were it not for the budget of all");
        let message = message(held[29]);
        let refused = limiter.admit(sources[29].parse().unwrap(), &message, now);
        assert_eq!(refused, Admission::Refused(Count::SourceLimited));
        let later = now + Duration::from_secs(1);
        assert_eq!(burst(&mut limiter, &sources[0], held[0], later).0, 4 + 3);
        assert_eq!(burst(&mut limiter, "203.0.113.1:1", None, later).0, 0);
        assert_eq!(burst(&mut limiter, &sources[1], held[1], later).0, 4);
    }

    #[test]
    fn any_number_of_sources_takes_the_same_memory_and_lasts_a_second() {
        let now = start();
        let mut sources = Sources::new(&CookieSecret::new([1; 32], now));
        for n in 0..50_000_u32 {
            while sources.take(n.to_be_bytes().into(), 0, 2, now) {}
        }
        let honest = [203, 0, 113, 1].into();
        assert!(!sources.take(honest, 0, 2, now), "somebody spent its bucket");
        assert_eq!(sources.buckets.len(), BUCKETS);
        assert!(sources.take(honest, 0, 2, now + Duration::from_secs(1)));
    }

    #[test]
    fn who_shares_a_bucket_with_a_flooder_does_not_in_the_next_epoch() {
        let now = start();
        let secret = CookieSecret::new([1; 32], now);
        let flooder: IpAddr = [192, 0, 2, 1].into();
        let spent = |epoch| {
            let mut sources = Sources::new(&secret);
            while sources.take(flooder, epoch, 1, now) {}
            sources
        };
        let (mut first, mut second) = (spent(0), spent(1));
        let neighbour = (0..200_000_u32).map(|n| (0x0a00_0000 + n).to_be_bytes().into());
        let mut neighbour = neighbour.filter(|&addr| !first.take(addr, 0, 1_000_000, now));
        assert!(second.take(neighbour.next().unwrap(), 1, 1, now));
    }
}
