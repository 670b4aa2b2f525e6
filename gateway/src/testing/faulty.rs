//! A store whose calls fail as a test says, counted so that none is left out.
//! Always true: what it does not fail it passes on as it is.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use control::store::{
    Batch, BatchId, Changes, Engine, Fence, Loaded, Meta, Observation, Outcome, Record, Replacement,
    Revision, StoreError,
};
use tokio::sync::RwLock;

/// Before or after it was done.
#[derive(Debug, Clone, Copy)]
pub enum When {
    Before,
    After,
}

/// A store of which some calls fail.
#[derive(Debug)]
pub struct Faulty {
    /// What does not fail.
    pub engine: Arc<dyn Engine>,
    calls: AtomicUsize,
    fails: Mutex<Range<usize>>,
    when: When,
    /// While somebody holds it for writing, no commit goes through.
    pub held: RwLock<()>,
}

impl Faulty {
    /// One that does not fail yet.
    pub fn over(engine: Arc<dyn Engine>, when: When) -> Arc<Self> {
        let (calls, fails, held) = (AtomicUsize::new(0), Mutex::new(0..0), RwLock::default());
        Arc::new(Self { engine, calls, fails, when, held })
    }

    /// From now on calls are counted anew, and these fail.
    pub fn fail(&self, calls: Range<usize>) {
        *self.fails.lock().expect("no panic") = calls;
        self.calls.store(0, Ordering::SeqCst);
    }

    /// How many calls there were since.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn call<T>(&self, done: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let lost = || StoreError::Unreachable { why: "a fault of the test".to_owned() };
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = self.fails.lock().expect("no panic").contains(&number);
        match (fails, self.when) {
            (true, When::Before) => Err(lost()),
            (true, When::After) => done.await.and_then(|_| Err(lost())),
            (false, _) => done.await,
        }
    }
}

#[async_trait]
impl Engine for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn is_shared(&self) -> bool {
        false
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.call(self.engine.load()).await
    }
    async fn changes(&self, store: &str, since: Revision, most: usize) -> Result<Changes, StoreError> {
        self.call(self.engine.changes(store, since, most)).await
    }
    async fn hint(&self) {
        self.engine.hint().await;
    }
    async fn commit(&self, batch: &Batch) -> Result<Vec<Outcome>, StoreError> {
        let _through = self.held.read().await;
        let done = self.call(self.engine.commit(batch)).await;
        match (done, self.when) {
            (Err(StoreError::Unreachable { why }), When::After) => {
                Err(StoreError::Uncertain { batch: batch.id.clone(), why })
            }
            (done, _) => done,
        }
    }
    async fn outcome(&self, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError> {
        self.call(self.engine.outcome(batch)).await
    }
    async fn records(&self, gateway: &str) -> Result<Vec<Record>, StoreError> {
        self.call(self.engine.records(gateway)).await
    }
    async fn written(&self, records: &[Arc<str>]) -> Result<(), StoreError> {
        self.call(self.engine.written(records)).await
    }
    async fn observe(&self, seen: &[Observation]) -> Result<(), StoreError> {
        self.call(self.engine.observe(seen)).await
    }
    async fn observed(&self, kind: &str) -> Result<Vec<Observation>, StoreError> {
        self.call(self.engine.observed(kind)).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<Option<Fence>, StoreError> {
        self.call(self.engine.lease(name, holder, time)).await
    }
    async fn release(&self, name: &str, holder: &str, fence: Fence) -> Result<(), StoreError> {
        self.call(self.engine.release(name, holder, fence)).await
    }
    async fn prune(&self, horizon: Duration) -> Result<(), StoreError> {
        self.call(self.engine.prune(horizon)).await
    }
    async fn replace(&self, with: Replacement) -> Result<Meta, StoreError> {
        self.call(self.engine.replace(with)).await
    }
    async fn confirm(&self, records: &[Record]) -> Result<Meta, StoreError> {
        self.call(self.engine.confirm(records)).await
    }
}
