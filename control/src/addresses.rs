//! Who gets which index of a part of the tunnel prefix: pure, from the addresses that are kept to what
//! is written next. It knows no address, only indices. Always true: one owner per index; an index stays
//! with its owner, and goes to another by itself only after it rested for 30 days.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use protocol::{id::AppId, time::Timestamp};

use crate::{
    directory::{Objects, View},
    object::{Address, Body, Kind, Part},
    store::{Commit, Expect, ObjectId, Op},
};

/// Long enough that no cache, bookmark or forgotten configuration still means the old owner.
pub const REST: Duration = Duration::from_secs(30 * 86_400);

/// Why indices cannot be given out as wanted; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// An explicit index is another's.
    #[error(
        "{part} {owner} is to have the tunnel address of index {index}, but {holder} has it: choose another, or give {holder} an explicit one of its own"
    )]
    Taken {
        /// In which part.
        part: Part,
        /// Who wants it.
        owner: String,
        /// The index.
        index: u32,
        /// Who has it.
        holder: String,
    },
    /// The prefix became smaller.
    #[error(
        "{part} {owner} has the tunnel address of index {index}, but tunnel.v4 has room up to {last}: make tunnel.v4 larger again, or give {owner} an explicit address"
    )]
    OutOfRange {
        /// In which part.
        part: Part,
        /// Whose.
        owner: String,
        /// The index.
        index: u32,
        /// The last index there is.
        last: u32,
    },
    /// No index is left.
    #[error(
        "no tunnel address is left for {part} {owner}: tunnel.v4 has room for {room}, those given up in the last 30 days included"
    )]
    Full {
        /// In which part.
        part: Part,
        /// Who gets none.
        owner: String,
        /// How many there are.
        room: u32,
    },
}

/// What makes every app of `wanted` have an index, some a chosen one, and no other app: new ones are given
/// the lowest free, those not wanted any more rest. `None` if that is so already.
pub fn apps(
    view: &View,
    wanted: &[(AppId, Option<u32>)],
    pool: RangeInclusive<u32>,
    now: Timestamp,
) -> Result<Option<Commit>, AddressError> {
    let wanted: Wanted<'_> = wanted.iter().map(|(app, index)| (app.as_str(), *index)).collect();
    let kept = Kept { objects: view.objects(), part: Part::App, pool, now };
    let commit = kept.change(&wanted, |owner| !wanted.contains_key(owner))?;
    Ok((!commit.ops.is_empty()).then_some(commit))
}

/// Who is to have an index, and which if somebody chose it. By name, so that no order matters.
pub(crate) type Wanted<'a> = BTreeMap<&'a str, Option<u32>>;

/// The addresses of one part as they are kept.
pub(crate) struct Kept<'a> {
    pub objects: &'a Objects,
    pub part: Part,
    pub pool: RangeInclusive<u32>,
    pub now: Timestamp,
}

/// What is there, found by index and by owner.
struct Standing<'a> {
    by_index: HashMap<u32, &'a Arc<Address>>,
    by_owner: HashMap<&'a str, &'a Arc<Address>>,
}

impl Kept<'_> {
    /// What makes everyone `wanted` have an index and those `gone` none; everybody else keeps theirs.
    pub fn change(&self, wanted: &Wanted<'_>, gone: impl Fn(&str) -> bool) -> Result<Commit, AddressError> {
        let mine = || self.objects.all::<Address>().filter(|address| address.part == self.part);
        let standing = Standing {
            by_index: mine().map(|address| (address.index, address)).collect(),
            by_owner: mine().map(|address| (address.owner.as_str(), address)).collect(),
        };
        let given = self.give(wanted, &gone, &standing)?;
        let mut next: BTreeMap<String, Address> = BTreeMap::new();
        for (owner, index) in &given {
            next.insert((*owner).to_owned(), self.address(owner, *index, None));
        }
        let taken: BTreeSet<u32> = given.values().copied().collect();
        let mut deleted: BTreeSet<&str> = BTreeSet::new();
        for address in standing.by_index.values().filter(|address| !keeps(&given, address)) {
            let leaves =
                address.freed.is_none() && (given.contains_key(&*address.owner) || gone(&address.owner));
            let freed = if leaves { Some(self.now) } else { address.freed };
            if taken.contains(&address.index) {
                deleted.insert(&address.owner);
            } else if given.contains_key(&*address.owner) {
                // Its owner moves: what it had rests under a name that is nobody's.
                let past = format!("{}@{}", address.owner, address.index);
                next.insert(past.clone(), self.address(&past, address.index, freed));
            } else if leaves {
                next.insert(address.owner.clone(), Address { freed, ..Address::clone(address) });
            }
        }
        deleted.retain(|owner| !next.contains_key(*owner));
        Ok(self.commit(&standing, next.into_values(), deleted))
    }

    /// The index of everyone wanted.
    fn give<'w>(
        &self,
        wanted: &Wanted<'w>,
        gone: &impl Fn(&str) -> bool,
        standing: &Standing<'_>,
    ) -> Result<BTreeMap<&'w str, u32>, AddressError> {
        let mut given = self.chosen(wanted, gone, standing)?;
        let mut used: BTreeSet<u32> = given.values().copied().collect();
        let open: Vec<&'w str> =
            wanted.iter().filter(|(_, index)| index.is_none()).map(|(owner, _)| *owner).collect();
        for owner in &open {
            let Some(address) = standing.by_owner.get(owner) else { continue };
            let (index, last) = (address.index, *self.pool.end());
            if self.pool.contains(&index) {
                if used.insert(index) {
                    given.insert(owner, index);
                }
            } else if address.freed.is_none() {
                return Err(AddressError::OutOfRange {
                    part: self.part,
                    owner: (*owner).to_owned(),
                    index,
                    last,
                });
            }
        }
        let mut fresh = self.pool.clone().filter(|index| !standing.by_index.contains_key(index));
        let mut rested = self.rested(standing).into_iter();
        for owner in open {
            if !given.contains_key(owner) {
                let index = fresh.find(|index| !used.contains(index));
                let index = index.or_else(|| rested.find(|index| !used.contains(index)));
                let index = index.ok_or_else(|| self.full(owner))?;
                used.insert(index);
                given.insert(owner, index);
            }
        }
        Ok(given)
    }

    /// The indices somebody chose, which may rest or be given up now, but are no other's.
    fn chosen<'w>(
        &self,
        wanted: &Wanted<'w>,
        gone: &impl Fn(&str) -> bool,
        standing: &Standing<'_>,
    ) -> Result<BTreeMap<&'w str, u32>, AddressError> {
        let mut choosers: HashMap<u32, &str> = HashMap::new();
        let mut chosen = BTreeMap::new();
        for (owner, index) in wanted.iter().filter_map(|(owner, index)| Some((*owner, (*index)?))) {
            let holder = standing.by_index.get(&index).filter(|holder| {
                let moves = wanted.get(&*holder.owner).is_some_and(Option::is_some);
                holder.freed.is_none() && holder.owner != owner && !moves && !gone(&holder.owner)
            });
            let holder = holder.map(|holder| holder.owner.as_str()).or(choosers.insert(index, owner));
            if let Some(holder) = holder {
                let (owner, holder) = (owner.to_owned(), holder.to_owned());
                return Err(AddressError::Taken { part: self.part, owner, index, holder });
            }
            chosen.insert(owner, index);
        }
        Ok(chosen)
    }

    /// Who rested long enough, the longest first.
    fn rested(&self, standing: &Standing<'_>) -> Vec<u32> {
        let ended = |address: &Address| address.freed.filter(|freed| freed.plus(REST) <= self.now);
        let all = standing.by_index.values().filter_map(|address| Some((ended(address)?, address.index)));
        let ordered: BTreeSet<_> = all.filter(|(_, index)| self.pool.contains(index)).collect();
        ordered.into_iter().map(|(_, index)| index).collect()
    }

    fn address(&self, owner: &str, index: u32, freed: Option<Timestamp>) -> Address {
        let before = self.objects.get::<Address>(&format!("{}/{owner}", self.part));
        let rest = before.map(|before| before.rest.clone()).unwrap_or_default();
        Address { part: self.part, owner: owner.to_owned(), index, freed, rest }
    }

    fn commit(
        &self,
        standing: &Standing<'_>,
        next: impl Iterator<Item = Address>,
        deleted: BTreeSet<&str>,
    ) -> Commit {
        let mut commit = Commit::default();
        let mut expect = |id: &ObjectId| {
            let revision = self.objects.revision::<Address>(&id.id);
            commit.expects.push((id.clone(), revision.map_or(Expect::Absent, Expect::At)));
        };
        for owner in deleted {
            let id = ObjectId::new(Kind::Address, format!("{}/{owner}", self.part));
            expect(&id);
            commit.ops.push(Op::Delete { id });
        }
        let differs =
            |address: &Address| standing.by_owner.get(&*address.owner).is_none_or(|b| ***b != *address);
        for address in next.filter(differs) {
            expect(&address.object());
            commit.ops.push(address.put());
        }
        commit
    }

    fn full(&self, owner: &str) -> AddressError {
        let room = (self.pool.end() + 1).saturating_sub(*self.pool.start());
        AddressError::Full { part: self.part, owner: owner.to_owned(), room }
    }
}

/// Whether its owner goes on having it.
fn keeps(given: &BTreeMap<&str, u32>, address: &Address) -> bool {
    given.get(&*address.owner) == Some(&address.index)
}

#[cfg(test)]
mod tests;
