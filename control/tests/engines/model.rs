//! What a store is, in plain maps; and a storm of seeded acts that an engine and the model both undergo.
//! The model knows nothing of `Batch::decide`: it carries out one commit at a time, in its own words.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use control::{
    object::Kind,
    store::{
        Batch, Change, Changes, Commit, Engine, Expect, Loaded, ObjectId, Op, Outcome, Record, Revision,
        Unique,
    },
};

use crate::{chance::Chance, fixture::batch};

/// Everything a reader can see of objects.
pub type Seen = BTreeMap<ObjectId, (Revision, Arc<str>)>;

/// The reference.
#[derive(Debug, Default, Clone)]
pub struct Model {
    pub revision: u64,
    pub objects: BTreeMap<ObjectId, (Revision, Arc<str>, Vec<Unique>)>,
    pub records: Vec<Record>,
}

impl Model {
    /// Carries a commit out, or says that it must be refused.
    pub fn commit(&mut self, commit: &Commit) -> Result<Revision, ()> {
        for (id, expect) in &commit.expects {
            let found = self.objects.get(id).map(|object| object.0);
            if found
                != match expect {
                    Expect::Absent => None,
                    Expect::At(revision) => Some(*revision),
                }
            {
                return Err(());
            }
        }
        let mut next = self.clone();
        next.revision += 1;
        for op in &commit.ops {
            next.objects.remove(op.id());
            if let Op::Put { id, body, uniques } = op {
                next.objects.insert(id.clone(), (Revision(next.revision), body.clone(), uniques.clone()));
            }
        }
        let mut taken = BTreeSet::new();
        if !next.objects.values().flat_map(|object| &object.2).all(|unique| taken.insert(unique)) {
            return Err(());
        }
        for record in &commit.records {
            if next.records.iter().all(|known| known.id != record.id) {
                next.records.push(record.clone());
            }
        }
        *self = next;
        Ok(Revision(self.revision))
    }

    /// What a reader must see.
    pub fn seen(&self) -> Seen {
        self.objects.iter().map(|(id, object)| (id.clone(), (object.0, object.1.clone()))).collect()
    }

    /// Carries a batch out as the engine did, and holds its answers to the model's.
    pub fn follow(&mut self, batch: &Batch, outcomes: &[Outcome]) {
        assert_eq!(batch.commits.len(), outcomes.len());
        for (commit, outcome) in batch.commits.iter().zip(outcomes) {
            let expected = self.commit(commit);
            assert_eq!(outcome.clone().map_err(drop), expected, "{commit:?} was answered {outcome:?}");
        }
    }

    /// Holds what an engine shows to the model.
    pub async fn hold(&self, engine: &dyn Engine) {
        let loaded = engine.load().await.unwrap();
        assert_eq!(loaded.meta.revision.0, self.revision);
        assert_eq!(seen(&loaded), self.seen());
        assert_eq!(engine.records("g").await.unwrap(), self.records);
    }
}

/// What was loaded, by name.
pub fn seen(loaded: &Loaded) -> Seen {
    let object =
        |object: &control::store::Object| (object.id.clone(), (object.revision, object.body.clone()));
    loaded.objects.iter().map(object).collect()
}

/// A reader that only follows the log.
pub struct Watcher {
    pub store: Arc<str>,
    pub at: Revision,
    pub seen: Seen,
}

impl Watcher {
    /// One that begins now.
    pub async fn new(engine: &dyn Engine) -> Self {
        let loaded = engine.load().await.unwrap();
        Self { store: loaded.meta.store.clone(), at: loaded.meta.revision, seen: seen(&loaded) }
    }

    /// Takes what there is, `most` at a time, to the end; false if the log does not reach back so far.
    pub async fn catch_up(&mut self, engine: &dyn Engine, most: usize) -> bool {
        loop {
            let Changes::Since { meta, changes } = engine.changes(&self.store, self.at, most).await.unwrap()
            else {
                return false;
            };
            let few = changes.len() < most;
            assert!(changes.is_sorted_by_key(|change| change.revision));
            for Change { revision, id, body } in changes {
                assert!(revision > self.at, "a revision was split");
                match body {
                    Some(body) => self.seen.insert(id, (revision, body)),
                    None => self.seen.remove(&id),
                };
                self.at = self.at.max(Revision(revision.0 - 1));
            }
            if few {
                self.at = meta.revision;
                return true;
            }
            self.at = Revision(self.at.0 + 1);
        }
    }
}

/// A device of the storm.
pub fn id(number: u64) -> ObjectId {
    ObjectId::new(Kind::ALL[(number % 3) as usize], format!("o{number}"))
}

/// A commit that mostly fits what stands.
pub fn commit(chance: &mut Chance, model: &Model) -> Commit {
    let mut commit = Commit::default();
    let mut touched = BTreeSet::new();
    for _ in 0..chance.below(4) {
        let id = id(chance.below(12));
        if !touched.insert(id.clone()) {
            continue;
        }
        let stands = model.objects.get(&id).map(|object| object.0);
        match chance.below(8) {
            0 => commit.expects.push((id.clone(), Expect::Absent)),
            1 => commit.expects.push((id.clone(), Expect::At(Revision(chance.below(model.revision + 2))))),
            2..5 => commit.expects.push((id.clone(), stands.map_or(Expect::Absent, Expect::At))),
            _ => {}
        }
        if chance.once_in(4) {
            commit.ops.push(Op::Delete { id });
        } else {
            let uniques = (0..chance.below(3)).map(|space| value(chance, space)).collect();
            let body = format!(r#"{{"unknown":{},"name":"'\"é\\n"}}"#, chance.next()).into();
            commit.ops.push(Op::Put { id, body, uniques });
        }
    }
    if chance.once_in(4) {
        let id = format!("r{}", chance.below(400)).into();
        commit.records.push(Record { id, gateway: "g".into(), body: "{}".into() });
    }
    commit
}

fn value(chance: &mut Chance, space: u64) -> Unique {
    Unique::new(if space == 0 { "key" } else { "name" }, format!("v{}", chance.below(20)))
}

/// One to three commits for one transaction, and what the model makes of them.
pub fn next(model: &mut Model, chance: &mut Chance) -> Vec<Commit> {
    let mut commits = Vec::new();
    for _ in 0..=chance.below(3) {
        let commit = commit(chance, model);
        let _ = model.commit(&commit);
        commits.push(commit);
    }
    commits
}

/// The next transaction, done to both.
pub async fn step(engine: &dyn Engine, model: &mut Model, chance: &mut Chance) {
    let batch = batch(next(&mut model.clone(), chance));
    let outcomes = engine.commit(&batch).await.unwrap();
    model.follow(&batch, &outcomes);
    let kept = engine.outcome(&batch.id).await.unwrap();
    assert_eq!(kept, outcomes.iter().any(Result::is_ok).then(|| outcomes.clone()));
    if chance.once_in(10) && kept.is_some() {
        assert_eq!(engine.commit(&batch).await.unwrap(), outcomes, "sent twice, carried out once");
    }
}
