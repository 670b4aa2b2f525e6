//! Where joining failed too often lately; pure, the clock is an argument.
//! Always true: bounded, however many sources there are; what is forgotten for want of room is counted.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// So many failures within [`WHILE`] shut a source.
const MOST: u32 = 5;
/// Failures count for so long, and a source is shut for so long.
const WHILE: Duration = Duration::from_secs(60);
/// Sources remembered.
const SOURCES: usize = 4096;
/// Who has one address of IPv6 has all that begin with the same 64 bits.
const PREFIX: u128 = !0 << 64;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    until: Instant,
}

/// The sources of failures.
#[derive(Debug, Default)]
pub(super) struct Sources {
    failures: HashMap<IpAddr, Failures>,
    forgotten: u64,
}

impl Sources {
    /// Whether nothing of this source is looked at now.
    pub fn is_shut(&self, source: IpAddr, now: Instant) -> bool {
        self.failures.get(&whole(source)).is_some_and(|of| of.count >= MOST && now < of.until)
    }

    /// One more failure.
    pub fn failed(&mut self, source: IpAddr, now: Instant) {
        let source = whole(source);
        if self.failures.len() >= SOURCES && !self.failures.contains_key(&source) {
            self.make_room(now);
        }
        let of = self.failures.entry(source).or_insert(Failures { count: 0, until: now });
        if now >= of.until {
            *of = Failures { count: 0, until: now + WHILE };
        }
        of.count += 1;
        if of.count == MOST {
            of.until = now + WHILE;
        }
    }

    /// Sources forgotten before their time.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Whoever has so many addresses forgets one of its own: nobody else is kept out.
    fn make_room(&mut self, now: Instant) {
        self.failures.retain(|_, of| now < of.until);
        if self.failures.len() < SOURCES {
            return;
        }
        let first = self.failures.iter().min_by_key(|(_, of)| of.until).map(|(source, _)| *source);
        if let Some(first) = first {
            self.failures.remove(&first);
            self.forgotten += 1;
        }
    }
}

fn whole(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & PREFIX).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ip;

    #[test]
    fn the_fifth_failure_within_a_minute_shuts_for_a_minute() {
        let (mut sources, start, one) = (Sources::default(), Instant::now(), ip("192.0.2.1"));
        let at = |seconds| start + Duration::from_secs(seconds);
        (0..4).for_each(|second| sources.failed(one, at(second)));
        assert!(!sources.is_shut(one, at(4)));
        sources.failed(one, at(40));
        assert!(sources.is_shut(one, at(99)) && !sources.is_shut(ip("192.0.2.2"), at(41)));
        assert!(!sources.is_shut(one, at(100)));
        sources.failed(one, at(100));
        assert!(!sources.is_shut(one, at(100)), "it begins anew");
    }

    #[test]
    fn failures_that_are_long_ago_do_not_count() {
        let (mut sources, start, one) = (Sources::default(), Instant::now(), ip("192.0.2.1"));
        for minute in 0..9 {
            let now = start + WHILE * minute;
            (1..MOST).for_each(|_| sources.failed(one, now));
            assert!(!sources.is_shut(one, now));
        }
    }

    #[test]
    fn the_addresses_of_one_network_are_one_source() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        (0..5).for_each(|n| sources.failed(ip(&format!("2001:db8::{n}")), now));
        assert!(sources.is_shut(ip("2001:db8::ffff:1"), now) && !sources.is_shut(ip("2001:db8:0:1::1"), now));
    }

    #[test]
    fn the_oldest_is_forgotten_and_counted() {
        let (mut sources, start) = (Sources::default(), Instant::now());
        let source = |n: u32| IpAddr::V4((0x0a00_0000 + n).into());
        for n in 0..SOURCES as u32 {
            (0..MOST).for_each(|_| sources.failed(source(n), start + Duration::from_millis(n.into())));
        }
        let now = start + Duration::from_secs(5);
        sources.failed(ip("192.0.2.1"), now);
        assert_eq!((sources.failures.len(), sources.forgotten()), (SOURCES, 1));
        assert!(!sources.is_shut(source(0), now) && sources.is_shut(source(1), now));
        sources.failed(ip("192.0.2.2"), now + 2 * WHILE);
        assert_eq!((sources.failures.len(), sources.forgotten()), (1, 1), "what is over makes room");
    }
}
