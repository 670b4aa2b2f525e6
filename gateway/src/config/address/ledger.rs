//! The allocation itself: pure, from what was kept to what is kept next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::AddressError;
use crate::config::{Part, Tunnel};

/// Long enough that no cache, bookmark or forgotten configuration still means the old owner.
const REST: Duration = Duration::from_secs(30 * 86_400);

/// What is kept of both parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    devices: BTreeMap<String, u32>,
    apps: BTreeMap<String, u32>,
    freed: Freed,
}

/// What was given up, by index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Freed {
    devices: BTreeMap<u32, FreedIndex>,
    apps: BTreeMap<u32, FreedIndex>,
}

/// Who gave an index up, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FreedIndex {
    name: String,
    /// Milliseconds since 1970.
    at: Timestamp,
}

/// A name, and its index if the operator chose one.
pub type Wanted<'a> = (&'a str, Option<u32>);

impl Ledger {
    /// The index of a name.
    pub fn index(&self, part: Part, name: &str) -> Option<u32> {
        match part {
            Part::Devices => self.devices.get(name).copied(),
            Part::Apps => self.apps.get(name).copied(),
        }
    }

    /// What a damaged file would break: two owners of one index, or an index that is never given out.
    pub fn check(&self) -> Result<(), String> {
        for (part, kept) in [("devices", &self.devices), ("apps", &self.apps)] {
            let mut owners: HashMap<u32, &str> = HashMap::new();
            for (name, index) in kept {
                if *index < Tunnel::FIRST {
                    return Err(format!("{part}: {name} has index {index}"));
                }
                if let Some(other) = owners.insert(*index, name) {
                    return Err(format!("{part}: {other} and {name} both have index {index}"));
                }
            }
        }
        Ok(())
    }

    /// The ledger in which everything wanted has an index.
    pub fn next(
        &self,
        tunnel: &Tunnel,
        devices: &[Wanted<'_>],
        apps: &[Wanted<'_>],
        now: Timestamp,
    ) -> Result<Self, AddressError> {
        let of = |part, kept, freed| Allocation { tunnel, part, kept, freed, now };
        let devices = of(Part::Devices, &self.devices, &self.freed.devices).next(devices)?;
        let apps = of(Part::Apps, &self.apps, &self.freed.apps).next(apps)?;
        let freed = Freed { devices: devices.freed, apps: apps.freed };
        Ok(Self { devices: devices.given, apps: apps.given, freed })
    }
}

/// One part of the ledger on its way to the next.
struct Allocation<'a> {
    tunnel: &'a Tunnel,
    part: Part,
    kept: &'a BTreeMap<String, u32>,
    freed: &'a BTreeMap<u32, FreedIndex>,
    now: Timestamp,
}

/// One part of the next ledger.
struct Allocated {
    given: BTreeMap<String, u32>,
    freed: BTreeMap<u32, FreedIndex>,
}

impl Allocation<'_> {
    fn next(&self, wanted: &[Wanted<'_>]) -> Result<Allocated, AddressError> {
        // By name, so that the order of a file never matters.
        let wanted: BTreeMap<&str, Option<u32>> = wanted.iter().copied().collect();
        let mut next = self.stay(&wanted)?;
        let mut used: BTreeSet<u32> = next.values().copied().collect();
        let mut freed = self.given_up(&next, &used);
        let returning = self.returning(&freed);
        let mut candidates = Tunnel::FIRST..=self.tunnel.last();
        for name in wanted.keys() {
            if next.contains_key(*name) {
                continue;
            }
            let fresh = || candidates.find(|index| !used.contains(index) && !freed.contains_key(index));
            let index = returning.get(*name).copied().or_else(fresh).ok_or_else(|| self.full(name))?;
            freed.remove(&index);
            used.insert(index);
            next.insert((*name).to_owned(), index);
        }
        Ok(Allocated { given: next, freed })
    }

    /// The index each name gave up last, while it rests: who comes back finds the old place.
    fn returning(&self, freed: &BTreeMap<u32, FreedIndex>) -> HashMap<String, u32> {
        let mut resting: Vec<_> = freed.iter().filter(|(index, _)| **index <= self.tunnel.last()).collect();
        resting.sort_by_key(|(_, freed)| freed.at);
        resting.into_iter().map(|(index, freed)| (freed.name.clone(), *index)).collect()
    }

    /// Explicit indices, and what was kept for names that are still wanted.
    fn stay(&self, wanted: &BTreeMap<&str, Option<u32>>) -> Result<BTreeMap<String, u32>, AddressError> {
        let mut chosen: HashMap<u32, &str> = HashMap::new();
        let mut next = BTreeMap::new();
        for (name, index) in wanted.iter().filter_map(|(name, index)| Some((*name, (*index)?))) {
            if let Some(owner) = chosen.insert(index, name) {
                return Err(self.taken(name, index, owner));
            }
            next.insert(name.to_owned(), index);
        }
        for name in wanted.iter().filter(|(_, index)| index.is_none()).map(|(name, _)| *name) {
            let Some(index) = self.kept.get(name).copied() else { continue };
            if let Some(chooser) = chosen.get(&index) {
                return Err(self.taken(chooser, index, name));
            }
            if index > self.tunnel.last() {
                let (part, last) = (self.part, self.tunnel.last());
                return Err(AddressError::OutOfRange { part, name: name.to_owned(), index, last });
            }
            next.insert(name.to_owned(), index);
        }
        Ok(next)
    }

    /// What rests: given up now, or less than 30 days ago, and not in use again.
    fn given_up(&self, next: &BTreeMap<String, u32>, used: &BTreeSet<u32>) -> BTreeMap<u32, FreedIndex> {
        let rests = |freed: &FreedIndex| self.now < freed.at.plus(REST);
        let before =
            self.freed.iter().filter(|(_, freed)| rests(freed)).map(|(n, freed)| (*n, freed.clone()));
        let gone = self.kept.iter().filter(|(name, n)| next.get(*name) != Some(*n));
        let now = gone.map(|(name, n)| (*n, FreedIndex { name: name.clone(), at: self.now }));
        before.chain(now).filter(|(n, _)| !used.contains(n)).collect()
    }

    fn taken(&self, name: &str, index: u32, owner: &str) -> AddressError {
        let address = self.tunnel.addresses(self.part, index).0;
        AddressError::Taken { part: self.part, name: name.to_owned(), address, owner: owner.to_owned() }
    }

    fn full(&self, name: &str) -> AddressError {
        let room = self.tunnel.last() - Tunnel::FIRST + 1;
        AddressError::Full { part: self.part, name: name.to_owned(), room }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tunnel() -> Tunnel {
        Tunnel::new("100.64.0.0/24".parse().unwrap(), "fd00:d00:d00::/48".parse().unwrap())
    }

    fn at(days: i64) -> Timestamp {
        Timestamp::from_millis(days * 86_400_000)
    }

    fn next(from: &Ledger, apps: &[Wanted<'_>], days: i64) -> Result<Ledger, AddressError> {
        from.next(&tunnel(), &[], apps, at(days))
    }

    #[test]
    fn who_leaves_and_comes_back_finds_the_old_place() {
        let first = next(&Ledger::default(), &[("a", None), ("b", None)], 0).unwrap();
        assert_eq!((first.index(Part::Apps, "a"), first.index(Part::Apps, "b")), (Some(2), Some(3)));
        let without = next(&first, &[("b", None), ("c", None)], 1).unwrap();
        assert_eq!(without.index(Part::Apps, "c"), Some(4), "2 rests");
        let back = next(&without, &[("a", None), ("b", None), ("c", None)], 20).unwrap();
        assert_eq!(back.index(Part::Apps, "a"), Some(2));
        let late = next(&without, &[("b", None), ("c", None), ("d", None)], 31).unwrap();
        assert_eq!(late.index(Part::Apps, "d"), Some(2), "30 days are over");
    }

    #[test]
    fn an_explicit_address_takes_a_resting_one_but_never_anothers() {
        let first = next(&Ledger::default(), &[("a", None), ("b", None)], 0).unwrap();
        let renamed = next(&first, &[("new", Some(2)), ("b", None)], 1).unwrap();
        assert_eq!(renamed.index(Part::Apps, "new"), Some(2));
        let taken = next(&first, &[("a", None), ("b", None), ("c", Some(3))], 1).expect_err("b has it");
        assert_eq!(
            taken.to_string(),
            "apps c is to have 100.64.0.131, but b has had it since before: give c another address, or b an explicit one of its own"
        );
        let swapped = next(&first, &[("a", Some(3)), ("b", Some(2))], 1).unwrap();
        assert_eq!((swapped.index(Part::Apps, "a"), swapped.index(Part::Apps, "b")), (Some(3), Some(2)));
    }

    #[test]
    fn a_full_or_smaller_prefix_says_so() {
        let names: Vec<String> = (0..126).map(|n| format!("a{n:03}")).collect();
        let wanted: Vec<Wanted<'_>> = names.iter().map(|name| (name.as_str(), None)).collect();
        assert!(next(&Ledger::default(), &wanted[..125], 0).is_ok());
        assert!(matches!(next(&Ledger::default(), &wanted, 0), Err(AddressError::Full { room: 125, .. })));
        let kept = Ledger { apps: BTreeMap::from([("a".to_owned(), 127)]), ..Ledger::default() };
        assert!(matches!(next(&kept, &[("a", None)], 0), Err(AddressError::OutOfRange { last: 126, .. })));
    }

    #[test]
    fn damage_is_noticed() {
        let of = |apps: &[(&str, u32)]| Ledger {
            apps: apps.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            ..Ledger::default()
        };
        assert_eq!(of(&[("a", 2), ("b", 3)]).check(), Ok(()));
        assert_eq!(of(&[("a", 2), ("b", 2)]).check(), Err("apps: a and b both have index 2".to_owned()));
        assert_eq!(of(&[("a", 1)]).check(), Err("apps: a has index 1".to_owned()));
    }

    /// What a file may want at one moment: names out of few, some with an explicit index out of few.
    fn wish() -> impl Strategy<Value = (Vec<(String, Option<u32>)>, i64)> {
        let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h"]);
        let index = prop::option::weighted(0.2, 2..12_u32);
        let names = prop::collection::btree_map(name.prop_map(str::to_owned), index, 0..8);
        let names = names.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_shuffle();
        (names, 0..20_i64)
    }

    proptest! {
        #[test]
        fn one_owner_stable_and_rested(wishes in prop::collection::vec(wish(), 1..30), seed in 0..1000_usize) {
            let mut ledger = Ledger::default();
            let mut day = 0;
            // Who had an index last, and until which day.
            let mut last: HashMap<u32, (String, i64)> = HashMap::new();
            for (names, pause) in wishes {
                day += pause;
                let wanted: Vec<Wanted<'_>> = names.iter().map(|(name, n)| (name.as_str(), *n)).collect();
                let mut turned = wanted.clone();
                turned.rotate_left(seed % wanted.len().max(1));
                let result = next(&ledger, &wanted, day);
                let Ok(after) = result else {
                    prop_assert!(next(&ledger, &turned, day).is_err());
                    continue;
                };
                prop_assert_eq!(&after, &next(&ledger, &turned, day).unwrap(), "order does not matter");
                prop_assert_eq!(after.check(), Ok(()), "one owner per index");
                prop_assert_eq!(after.apps.len(), wanted.len());
                prop_assert!(after.freed.apps.keys().all(|n| !after.apps.values().any(|used| used == n)));
                for (name, explicit) in &wanted {
                    let index = after.index(Part::Apps, name).unwrap();
                    let before = ledger.index(Part::Apps, name);
                    match (explicit, before) {
                        (Some(explicit), _) => prop_assert_eq!(index, *explicit),
                        (None, Some(before)) => prop_assert_eq!(index, before, "what was given stays"),
                        (None, None) => if let Some((owner, until)) = last.get(&index) {
                            prop_assert!(owner == name || day - until >= 30, "{} reused early", index);
                        },
                    }
                }
                last.extend(after.apps.iter().map(|(name, n)| (*n, (name.clone(), day))));
                // An index is given up on the day it is seen missing, not on the day it was last seen.
                for (name, n) in &ledger.apps {
                    if !after.apps.values().any(|used| used == n) {
                        last.insert(*n, (name.clone(), day));
                    }
                }
                ledger = after;
            }
        }
    }
}
