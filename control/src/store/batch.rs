//! Decides what a batch of commits does to what stands, for every database alike: pure, so that no
//! two engines can disagree. Each commit sees what those before it in the batch have done.
//! Always true: a refused commit changes nothing and takes no revision.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{Change, Commit, Expect, ObjectId, Op, Record, Refused, Revision, Unique};

/// The name of a batch, random: by it a batch whose answer was lost is found again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchId(pub Arc<str>);

/// What came of one commit: the revision that wrote it, or why it was not carried out.
pub type Outcome = Result<Revision, Refused>;

/// Commits that share one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its name.
    pub id: BatchId,
    /// In their order.
    pub commits: Vec<Commit>,
}

/// What stands of everything a batch touches; read under the lock that orders all commits.
#[derive(Debug, Default)]
pub struct Standing {
    /// The latest revision.
    pub revision: Revision,
    /// The touched objects that are there, with all their unique values.
    pub objects: HashMap<ObjectId, (Revision, Vec<Unique>)>,
    /// The touched unique values that are taken.
    pub uniques: HashMap<Unique, ObjectId>,
}

/// What a database must write, in one transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// The latest revision from now on.
    pub revision: Revision,
    /// Objects as they are in the end; `None`: gone.
    pub objects: BTreeMap<ObjectId, Option<(Revision, Arc<str>)>>,
    /// For the change log, in order.
    pub changes: Vec<Change>,
    /// Unique values given up, to be removed first.
    pub given_up: BTreeSet<Unique>,
    /// Unique values taken.
    pub taken: BTreeMap<Unique, ObjectId>,
    /// Audit records that wait for their gateway.
    pub records: Vec<Record>,
}

impl Batch {
    /// The objects whose standing decides, each once.
    pub fn objects(&self) -> BTreeSet<&ObjectId> {
        let expected = self.commits.iter().flat_map(|commit| commit.expects.iter().map(|(id, _)| id));
        expected.chain(self.ops().map(Op::id)).collect()
    }

    /// The unique values whose standing decides, each once.
    pub fn uniques(&self) -> BTreeSet<&Unique> {
        let wanted = self.ops().filter_map(|op| match op {
            Op::Put { uniques, .. } => Some(uniques),
            Op::Delete { .. } => None,
        });
        wanted.flatten().collect()
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.commits.iter().flat_map(|commit| &commit.ops)
    }

    /// What is to be written, and what each commit is answered. `standing` must hold everything of
    /// [`Batch::objects`] and [`Batch::uniques`] that is there.
    pub fn decide(&self, mut standing: Standing) -> (Writes, Vec<Outcome>) {
        let mut writes = Writes { revision: standing.revision, ..Writes::default() };
        let outcomes = self.commits.iter().map(|commit| {
            standing.refuses(commit).map_or_else(|| Ok(standing.carry_out(commit, &mut writes)), Err)
        });
        let outcomes = outcomes.collect();
        (writes, outcomes)
    }
}

impl Standing {
    fn refuses(&self, commit: &Commit) -> Option<Refused> {
        let changed = commit.expects.iter().find_map(|(id, expected)| {
            let found = self.objects.get(id).map(|(revision, _)| *revision);
            let holds = match expected {
                Expect::Absent => found.is_none(),
                Expect::At(revision) => found == Some(*revision),
            };
            (!holds).then(|| Refused::Changed { id: id.clone(), expected: *expected, found })
        });
        changed.or_else(|| self.takes_anothers(commit))
    }

    /// A value may pass from one object to another within a commit: what counts is who has it in the end.
    fn takes_anothers(&self, commit: &Commit) -> Option<Refused> {
        let changed: BTreeSet<&ObjectId> = commit.ops.iter().map(Op::id).collect();
        let mut wanted: HashMap<&Unique, &ObjectId> = HashMap::new();
        for op in &commit.ops {
            let Op::Put { id, uniques, .. } = op else { continue };
            for unique in uniques {
                let stands = self.uniques.get(unique).filter(|owner| !changed.contains(owner));
                let before = wanted.insert(unique, id);
                if let Some(owner) = stands.or(before).filter(|owner| *owner != id) {
                    return Some(Refused::Taken { unique: unique.clone(), owner: owner.clone() });
                }
            }
        }
        None
    }

    fn carry_out(&mut self, commit: &Commit, writes: &mut Writes) -> Revision {
        let revision = Revision(self.revision.0 + 1);
        self.revision = revision;
        writes.revision = revision;
        // Everything is given up before anything is taken, so that values may change hands.
        for op in &commit.ops {
            if let Some((_, uniques)) = self.objects.remove(op.id()) {
                for unique in uniques {
                    self.uniques.remove(&unique);
                    writes.taken.remove(&unique);
                    writes.given_up.insert(unique);
                }
                writes.objects.insert(op.id().clone(), None);
            }
        }
        for op in &commit.ops {
            let body = match op {
                Op::Put { id, body, uniques } => {
                    self.objects.insert(id.clone(), (revision, uniques.clone()));
                    for unique in uniques {
                        self.uniques.insert(unique.clone(), id.clone());
                        writes.taken.insert(unique.clone(), id.clone());
                    }
                    writes.objects.insert(id.clone(), Some((revision, body.clone())));
                    Some(body.clone())
                }
                Op::Delete { .. } => None,
            };
            writes.changes.push(Change { revision, id: op.id().clone(), body });
        }
        writes.records.extend(commit.records.iter().cloned());
        revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    fn id(name: &str) -> ObjectId {
        ObjectId::new(Kind::Device, name)
    }

    fn put(name: &str, key: &str) -> Op {
        Op::Put { id: id(name), body: "{}".into(), uniques: vec![Unique::new("key", key)] }
    }

    fn commit(expects: &[(&str, Expect)], ops: Vec<Op>) -> Commit {
        let expects = expects.iter().map(|(name, expect)| (id(name), *expect)).collect();
        Commit { expects, ops, records: Vec::new() }
    }

    fn batch(commits: Vec<Commit>) -> Batch {
        Batch { id: BatchId("b".into()), commits }
    }

    #[test]
    fn each_commit_sees_those_before_it() {
        let batch = batch(vec![
            commit(&[("a", Expect::Absent)], vec![put("a", "k")]),
            commit(&[("a", Expect::Absent)], vec![put("a", "other")]),
            commit(&[("a", Expect::At(Revision(1)))], vec![put("a", "l")]),
            commit(&[], vec![put("b", "k")]),
        ]);
        let (writes, outcomes) = batch.decide(Standing::default());
        let refused = Refused::Changed { id: id("a"), expected: Expect::Absent, found: Some(Revision(1)) };
        assert_eq!(outcomes, [Ok(Revision(1)), Err(refused), Ok(Revision(2)), Ok(Revision(3))]);
        assert_eq!(writes.revision, Revision(3));
        assert_eq!(writes.changes.len(), 3);
        assert_eq!(writes.taken.get(&Unique::new("key", "k")), Some(&id("b")));
    }

    #[test]
    fn a_value_has_one_owner_and_may_change_hands_in_one_commit() {
        let standing = || Standing {
            revision: Revision(7),
            objects: HashMap::from([
                (id("a"), (Revision(3), vec![Unique::new("key", "k")])),
                (id("b"), (Revision(4), vec![Unique::new("key", "l")])),
            ]),
            uniques: HashMap::from([(Unique::new("key", "k"), id("a")), (Unique::new("key", "l"), id("b"))]),
        };
        let stolen = batch(vec![commit(&[], vec![put("b", "k")])]).decide(standing());
        assert_eq!(stolen.1, [Err(Refused::Taken { unique: Unique::new("key", "k"), owner: id("a") })]);
        assert_eq!(stolen.0, Writes { revision: Revision(7), ..Writes::default() }, "nothing of it");
        let swapped = batch(vec![commit(&[], vec![put("a", "l"), put("b", "k")])]).decide(standing());
        assert_eq!(swapped.1, [Ok(Revision(8))]);
        assert_eq!(swapped.0.taken.get(&Unique::new("key", "l")), Some(&id("a")));
        let both = batch(vec![commit(&[], vec![put("c", "m"), put("d", "m")])]).decide(standing());
        assert_eq!(both.1, [Err(Refused::Taken { unique: Unique::new("key", "m"), owner: id("c") })]);
        let freed =
            batch(vec![commit(&[], vec![Op::Delete { id: id("a") }, put("b", "k")])]).decide(standing());
        assert_eq!(freed.1, [Ok(Revision(8))]);
        assert_eq!(freed.0.objects.get(&id("a")), Some(&None));
    }
}
