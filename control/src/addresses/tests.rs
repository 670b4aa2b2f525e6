//! The allocator alone: one owner, stable, rested, whatever is wanted in whatever order.
//! The store is a plain map. Always true of a model: who had an index last, and until when.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::store::{Loaded, Meta, Object, Revision};

#[derive(Clone, Default)]
struct Store(BTreeMap<ObjectId, Arc<str>>);

impl Store {
    fn view(&self) -> View {
        let object = |(id, body): (&ObjectId, &Arc<str>)| Object {
            id: id.clone(),
            revision: Revision(1),
            body: body.clone(),
        };
        let meta = Meta { store: "s".into(), epoch: 1, revision: Revision(1), closed: Vec::new() };
        View::new(&Loaded { meta, objects: self.0.iter().map(object).collect() }, [])
    }

    /// The store after everything wanted has an index.
    fn next(&self, wanted: &[(AppId, Option<u32>)], last: u32, days: i64) -> Result<Self, AddressError> {
        let mut next = self.clone();
        let now = Timestamp::from_millis(days * 86_400_000);
        let Some(commit) = apps(&self.view(), wanted, 2..=last, now)? else { return Ok(next) };
        assert!(!commit.ops.is_empty() && commit.expects.len() == commit.ops.len());
        for op in commit.ops {
            match op {
                Op::Put { id, body, .. } => next.0.insert(id, body),
                Op::Delete { id } => next.0.remove(&id),
            };
        }
        Ok(next)
    }

    fn all(&self) -> Vec<Address> {
        self.0.iter().map(|(id, body)| Address::read(id, body).unwrap()).collect()
    }

    fn index(&self, app: &str) -> Option<u32> {
        self.all().into_iter().find(|one| one.owner == app && one.freed.is_none()).map(|one| one.index)
    }
}

fn want(all: &[(&str, Option<u32>)]) -> Vec<(AppId, Option<u32>)> {
    all.iter().map(|(app, index)| (app.parse().unwrap(), *index)).collect()
}

fn next(from: &Store, wanted: &[(&str, Option<u32>)], days: i64) -> Result<Store, AddressError> {
    from.next(&want(wanted), 126, days)
}

#[test]
fn who_leaves_and_comes_back_finds_the_old_place() {
    let first = next(&Store::default(), &[("a", None), ("b", None)], 0).unwrap();
    assert_eq!((first.index("a"), first.index("b")), (Some(2), Some(3)));
    let same = apps(&first.view(), &want(&[("b", None), ("a", None)]), 2..=126, Timestamp::MIN);
    assert_eq!(same, Ok(None), "nothing to do");
    let without = next(&first, &[("b", None), ("c", None)], 1).unwrap();
    assert_eq!((without.index("a"), without.index("c")), (None, Some(4)), "2 rests");
    let back = next(&without, &[("a", None), ("b", None), ("c", None)], 20).unwrap();
    assert_eq!(back.index("a"), Some(2));
    let late = next(&without, &[("b", None), ("c", None), ("d", None)], 31).unwrap();
    assert_eq!(late.index("d"), Some(5), "what was never used comes first");
}

#[test]
fn an_explicit_index_takes_a_resting_one_but_never_anothers() {
    let first = next(&Store::default(), &[("a", None), ("b", None)], 0).unwrap();
    let renamed = next(&first, &[("new", Some(2)), ("b", None)], 1).unwrap();
    assert_eq!(renamed.index("new"), Some(2));
    let taken = next(&first, &[("a", None), ("b", None), ("c", Some(3))], 1).err();
    let (owner, holder) = ("c".to_owned(), "b".to_owned());
    assert_eq!(taken, Some(AddressError::Taken { part: Part::App, owner, index: 3, holder }));
    let swapped = next(&first, &[("a", Some(3)), ("b", Some(2))], 1).unwrap();
    assert_eq!((swapped.index("a"), swapped.index("b")), (Some(3), Some(2)));
    let moved = next(&first, &[("a", Some(9)), ("b", None)], 1).unwrap();
    let fresh = next(&moved, &[("a", None), ("b", None), ("c", None)], 2).unwrap();
    assert_eq!((fresh.index("a"), fresh.index("c")), (Some(9), Some(4)), "what it left rests as well");
}

#[test]
fn a_full_or_smaller_prefix_says_so() {
    let of = |last| Store::default().next(&want(&[("a", None), ("b", None)]), last, 0);
    assert!(of(3).is_ok());
    assert!(matches!(of(2), Err(AddressError::Full { room: 1, .. })));
    let kept = next(&Store::default(), &[("a", Some(100))], 0).unwrap();
    let smaller = kept.next(&want(&[("a", None)]), 62, 1);
    assert!(matches!(smaller, Err(AddressError::OutOfRange { index: 100, last: 62, .. })));
}

/// What may be wanted at one moment: names out of few, some with an explicit index out of few.
fn wish() -> impl Strategy<Value = (Vec<(AppId, Option<u32>)>, i64)> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h"]);
    let index = prop::option::weighted(0.2, 2..12_u32);
    let names = prop::collection::btree_map(name, index, 0..8);
    let names = names.prop_map(|map| want(&map.into_iter().collect::<Vec<_>>()));
    (names, 0..20_i64)
}

proptest! {
    #[test]
    fn one_owner_stable_and_rested(
        wishes in prop::collection::vec(wish(), 1..30),
        seed in 0..1000_usize,
        last_index in 9..14_u32,
    ) {
        let mut store = Store::default();
        let mut day = 0;
        // Who had an index last, and until which day.
        let mut last: HashMap<u32, (String, i64)> = HashMap::new();
        for (wanted, pause) in wishes {
            day += pause;
            let mut turned = wanted.clone();
            turned.rotate_left(seed % wanted.len().max(1));
            let Ok(after) = store.next(&wanted, last_index, day) else {
                prop_assert!(store.next(&turned, last_index, day).is_err());
                continue;
            };
            prop_assert_eq!(&after.0, &store.next(&turned, last_index, day).unwrap().0, "order does not matter");
            let mut indices = HashSet::new();
            prop_assert!(after.all().iter().all(|one| indices.insert(one.index)), "one owner per index");
            prop_assert_eq!(after.all().iter().filter(|one| one.freed.is_none()).count(), wanted.len());
            for (app, explicit) in &wanted {
                let index = after.index(app.as_str()).unwrap();
                match (explicit, store.index(app.as_str())) {
                    (Some(explicit), _) => prop_assert_eq!(index, *explicit),
                    (None, Some(before)) => prop_assert_eq!(index, before, "what was given stays"),
                    (None, None) => if let Some((owner, until)) = last.get(&index) {
                        prop_assert!(owner == app.as_str() || day - until >= 30, "{} reused early", index);
                    },
                }
            }
            let held = |store: &Store| store.all().into_iter().filter(|one| one.freed.is_none()).collect::<Vec<_>>();
            last.extend(held(&after).into_iter().map(|one| (one.index, (one.owner, day))));
            // An index is given up on the day it is seen missing, not on the day it was last seen.
            for one in held(&store) {
                if after.index(&one.owner) != Some(one.index) && !held(&after).iter().any(|now| now.index == one.index) {
                    last.insert(one.index, (one.owner, day));
                }
            }
            store = after;
        }
    }
}
