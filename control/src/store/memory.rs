//! A store in memory for unit tests, with faults to order. It keeps nothing beyond the process.
//! Always true: it decides by [`Batch::decide`], like every engine.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use super::{
    Batch, BatchId, Change, Changes, Commit, Engine, Fence, Loaded, Meta, Object, ObjectId, Observation, Op,
    Outcome, Record, Revision, StoreError, Unique, batch::Standing, engine::Replacement,
};
use crate::object::Kind;

/// What goes wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is lost after the commit was kept.
    LostAfter,
    /// The connection is lost before it was.
    LostBefore,
    /// A look fails.
    Reading,
}

#[derive(Debug, Default)]
struct Kept {
    revision: Revision,
    oldest: Revision,
    objects: HashMap<ObjectId, (Revision, Vec<Unique>, Arc<str>)>,
    uniques: HashMap<Unique, ObjectId>,
    changes: Vec<Change>,
    outcomes: HashMap<BatchId, Vec<Outcome>>,
    sizes: Vec<usize>,
    fault: Option<Fault>,
}

/// The store.
#[derive(Debug, Default)]
pub struct Memory {
    kept: Mutex<Kept>,
    gate: Arc<AsyncMutex<()>>,
    arrived: Notify,
}

/// A commit of one new object.
pub fn put(name: &str) -> Commit {
    let id = ObjectId::new(Kind::Group, name);
    Commit { ops: vec![Op::Put { id, body: "{}".into(), uniques: Vec::new() }], ..Commit::default() }
}

impl Memory {
    /// Holds every commit back until the guard is dropped.
    pub fn hold(&self) -> OwnedMutexGuard<()> {
        self.gate.clone().try_lock_owned().expect("nobody commits yet")
    }

    /// Returns when a commit has arrived.
    pub async fn held_one(&self) {
        self.arrived.notified().await;
    }

    /// How many commits each transaction had.
    pub fn batches(&self) -> Vec<usize> {
        self.kept.lock().expect("no panic").sizes.clone()
    }

    /// The next call of its kind goes wrong.
    pub fn fail(&self, fault: Fault) {
        self.kept.lock().expect("no panic").fault = Some(fault);
    }
}

impl Kept {
    fn meta(&self) -> Meta {
        Meta { store: "memory".into(), epoch: 1, revision: self.revision, closed: Vec::new() }
    }

    fn fails(&mut self, fault: Fault) -> bool {
        let now = self.fault == Some(fault);
        if now {
            self.fault = None;
        }
        now
    }

    fn carry_out(&mut self, batch: &Batch) -> Vec<Outcome> {
        let objects = self.objects.iter().map(|(id, (at, uniques, _))| (id.clone(), (*at, uniques.clone())));
        let standing =
            Standing { revision: self.revision, objects: objects.collect(), uniques: self.uniques.clone() };
        let (writes, outcomes) = batch.decide(standing);
        writes.given_up.iter().for_each(|unique| {
            self.uniques.remove(unique);
        });
        let mut uniques: BTreeMap<ObjectId, Vec<Unique>> = BTreeMap::new();
        for (unique, owner) in writes.taken {
            uniques.entry(owner.clone()).or_default().push(unique.clone());
            self.uniques.insert(unique, owner);
        }
        for (id, body) in writes.objects {
            self.objects.remove(&id);
            if let Some((at, body)) = body {
                let uniques = uniques.remove(&id).unwrap_or_default();
                self.objects.insert(id, (at, uniques, body));
            }
        }
        self.changes.extend(writes.changes);
        self.revision = writes.revision;
        self.outcomes.insert(batch.id.clone(), outcomes.clone());
        outcomes
    }
}

#[async_trait]
impl Engine for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        let kept = self.kept.lock().expect("no panic");
        let object = |(id, (revision, _, body)): (&ObjectId, &(Revision, Vec<Unique>, Arc<str>))| Object {
            id: id.clone(),
            revision: *revision,
            body: body.clone(),
        };
        Ok(Loaded { meta: kept.meta(), objects: kept.objects.iter().map(object).collect() })
    }

    async fn changes(&self, _: &str, since: Revision, most: usize) -> Result<Changes, StoreError> {
        let mut kept = self.kept.lock().expect("no panic");
        if kept.fails(Fault::Reading) {
            return Err(StoreError::Unreachable { why: "ordered".to_owned() });
        }
        if since < kept.oldest {
            return Ok(Changes::Behind);
        }
        let changes = kept.changes.iter().filter(|change| change.revision > since).take(most).cloned();
        Ok(Changes::Since { meta: kept.meta(), changes: changes.collect() })
    }

    async fn hint(&self) {
        std::future::pending().await
    }

    async fn commit(&self, batch: &Batch) -> Result<Vec<Outcome>, StoreError> {
        self.arrived.notify_one();
        let _held = self.gate.lock().await;
        let mut kept = self.kept.lock().expect("no panic");
        let uncertain = || StoreError::Uncertain { batch: batch.id.clone(), why: "ordered".to_owned() };
        if kept.fails(Fault::LostBefore) {
            return Err(uncertain());
        }
        kept.sizes.push(batch.commits.len());
        let outcomes = kept.carry_out(batch);
        if kept.fails(Fault::LostAfter) { Err(uncertain()) } else { Ok(outcomes) }
    }

    async fn outcome(&self, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError> {
        Ok(self.kept.lock().expect("no panic").outcomes.get(batch).cloned())
    }

    async fn records(&self, _: &str) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    async fn written(&self, _: &[Arc<str>]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn observe(&self, _: &[Observation]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn observed(&self, _: &str) -> Result<Vec<Observation>, StoreError> {
        Ok(Vec::new())
    }

    async fn lease(&self, _: &str, _: &str, _: Duration) -> Result<Option<Fence>, StoreError> {
        Ok(Some(Fence(1)))
    }

    async fn release(&self, _: &str, _: &str, _: Fence) -> Result<(), StoreError> {
        Ok(())
    }

    async fn prune(&self, _: Duration) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().expect("no panic");
        kept.oldest = kept.revision;
        kept.changes.clear();
        Ok(())
    }

    async fn replace(&self, _: Replacement) -> Result<Meta, StoreError> {
        Err(StoreError::ReadOnly { why: "no unit test restores".to_owned() })
    }

    async fn confirm(&self, _: &[Record]) -> Result<Meta, StoreError> {
        Ok(self.kept.lock().expect("no panic").meta())
    }
}
