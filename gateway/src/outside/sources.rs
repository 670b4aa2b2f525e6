//! How many connections are open, in all and from one source. It closes none.
//! Always true: a place is given back when its guard drops; a source of IPv6 is a whole /64, since its owner
//! has every address in it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// In all.
pub(super) const MOST: usize = 256;
/// From one source.
pub(super) const MOST_OF_ONE: usize = 16;

/// Who is counted as one.
pub(super) fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into(),
    }
}

/// The open ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// None of them is 0.
    by_source: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Too many are open.
    All,
    /// Too many of this source are.
    Source,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    sources: Sources,
    source: IpAddr,
}

impl Sources {
    /// A place for one more from `source`.
    pub fn enter(&self, source: IpAddr) -> Result<Place, Full> {
        let mut open = self.open();
        let own = open.by_source.get(&source).copied().unwrap_or_default();
        // Said of the source first: it can do something about it.
        if own >= MOST_OF_ONE {
            return Err(Full::Source);
        }
        if open.all >= MOST {
            return Err(Full::All);
        }
        open.all += 1;
        open.by_source.insert(source, own + 1);
        Ok(Place { sources: self.clone(), source })
    }

    /// How many are open.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.open().all
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sources.open();
        open.all -= 1;
        match open.by_source.get_mut(&self.source) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(open.by_source.remove(&self.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_has_a_network_is_one_source() {
        for (one, other) in [
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(source(ip(one)), source(ip(other)));
        }
        for (one, other) in [
            ("2001:db8:0:1::1", "2001:db8:0:2::1"),
            ("192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ] {
            assert_ne!(source(ip(one)), source(ip(other)));
        }
    }

    #[test]
    fn places_are_counted_per_source_and_in_all_and_given_back() {
        let sources = Sources::default();
        let from = |n: usize| IpAddr::from([10, 0, 0, u8::try_from(n).expect("few")]);
        let mut held = Vec::new();
        for n in 0..MOST / MOST_OF_ONE {
            held.extend((0..MOST_OF_ONE).map(|_| sources.enter(from(n)).expect("a place")));
        }
        assert_eq!(sources.enter(from(0)).err(), Some(Full::Source));
        assert_eq!(sources.enter(from(99)).err(), Some(Full::All));
        held.pop();
        let other = sources.enter(from(99)).expect("one is free");
        drop((held, other));
        assert!(sources.open().by_source.is_empty() && sources.open().all == 0);
    }
}
