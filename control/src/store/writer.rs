//! The way to the store for everybody who writes: one task gathers commits into batches, one durable
//! transaction each. It reads no meaning. Always true: a commit is answered once, and an answer that
//! says it was kept is only given when it was.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{Batch, BatchId, Commit, Engine, Outcome, Refused, Revision, StoreError};

/// Commits that may wait; who comes later waits to wait.
const WAITING: usize = 4096;
/// Commits that share a transaction at most.
const LARGEST: usize = 256;
/// For how long the outcome of a batch that may have been kept is asked for.
const RESOLVE: Duration = Duration::from_secs(10);
/// Between two such questions.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Why a commit was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// It was looked at and not carried out.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store could not do it, or cannot say whether it did.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer = Result<Revision, CommitError>;
type Waiting = (Commit, oneshot::Sender<Answer>);

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Arc<dyn Engine>,
    queue: mpsc::Sender<Waiting>,
    committed: Notify,
    writing: Mutex<Option<StoreError>>,
    reading: Mutex<Option<StoreError>>,
}

impl Store {
    /// Over a database, with its writer, which ends with the last clone.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let committed = Notify::new();
        let inner = Inner { engine, queue, committed, writing: Mutex::default(), reading: Mutex::default() };
        let store = Self(Arc::new(inner));
        tokio::spawn(write(Arc::downgrade(&store.0), waiting));
        store
    }

    /// The database, for what is not a commit.
    pub fn engine(&self) -> &dyn Engine {
        &*self.0.engine
    }

    /// Carries it out, or says why not. Returns when it is durable.
    pub async fn commit(&self, commit: Commit) -> Answer {
        let (sender, answer) = oneshot::channel();
        let gone = || StoreError::Unreachable { why: "the gateway is shutting down".to_owned() };
        self.0.queue.send((commit, sender)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Returns when something was committed here since the last call.
    pub async fn committed(&self) {
        self.0.committed.notified().await;
    }

    /// What kept the latest write from being kept, while nothing was kept since.
    pub fn not_writing(&self) -> Option<StoreError> {
        self.0.writing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What kept the latest look from seeing, while nothing was seen since.
    pub fn not_reading(&self) -> Option<StoreError> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a write ended that was no commit.
    pub fn wrote<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        *self.0.writing.lock().unwrap_or_else(PoisonError::into_inner) = done.as_ref().err().cloned();
        done
    }

    /// Notes how a look ended.
    pub(super) fn looked<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        *self.0.reading.lock().unwrap_or_else(PoisonError::into_inner) = done.as_ref().err().cloned();
        done
    }
}

/// Random, hence nobody else's.
fn batch_id() -> Result<BatchId, StoreError> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| StoreError::Unreachable { why: "the system gives no random numbers".to_owned() })?;
    Ok(BatchId(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()))
}

async fn write(inner: std::sync::Weak<Inner>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut taken = Vec::new();
    while waiting.recv_many(&mut taken, LARGEST).await > 0 {
        let Some(inner) = inner.upgrade() else { return };
        let store = Store(inner);
        let (commits, senders): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
        let outcomes = store.wrote(write_batch(store.engine(), commits).await);
        store.0.committed.notify_one();
        match outcomes {
            Ok(outcomes) => {
                // Who does not wait any more needs no answer.
                let answer = |(sender, outcome): (oneshot::Sender<Answer>, Outcome)| {
                    let _ = sender.send(outcome.map_err(CommitError::from));
                };
                senders.into_iter().zip(outcomes).for_each(answer);
            }
            Err(error) => senders.into_iter().for_each(|sender| {
                let _ = sender.send(Err(error.clone().into()));
            }),
        }
    }
}

async fn write_batch(engine: &dyn Engine, commits: Vec<Commit>) -> Result<Vec<Outcome>, StoreError> {
    let batch = Batch { id: batch_id()?, commits };
    match engine.commit(&batch).await {
        Err(StoreError::Uncertain { batch, why }) => resolve(engine, batch, why).await,
        certain => certain,
    }
}

/// Asks what became of a batch until the store says so. A batch that was not kept is told as such, and is
/// its callers' to send again.
async fn resolve(engine: &dyn Engine, batch: BatchId, why: String) -> Result<Vec<Outcome>, StoreError> {
    let end = Instant::now() + RESOLVE;
    while Instant::now() < end {
        match engine.outcome(&batch).await {
            Ok(Some(outcomes)) => return Ok(outcomes),
            Ok(None) => return Err(StoreError::Unreachable { why }),
            Err(_) => sleep(ASK_AGAIN).await,
        }
    }
    Err(StoreError::Uncertain { batch, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::{Fault, Memory, put};

    #[tokio::test]
    async fn commits_that_wait_share_a_transaction() {
        let engine = Arc::new(Memory::default());
        let store = Store::new(engine.clone());
        let held = engine.hold();
        let first = tokio::spawn({
            let store = store.clone();
            async move { store.commit(put("a")).await }
        });
        engine.held_one().await;
        let rest: Vec<_> = (0..9)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.commit(put(&format!("b{n}"))).await })
            })
            .collect();
        while store.0.queue.capacity() > WAITING - 9 {
            tokio::task::yield_now().await;
        }
        drop(held);
        first.await.unwrap().unwrap();
        for one in rest {
            one.await.unwrap().unwrap();
        }
        assert_eq!(engine.batches(), [1, 9]);
    }

    #[tokio::test]
    async fn a_lost_answer_is_looked_up() {
        for (fault, kept) in [(Fault::LostAfter, true), (Fault::LostBefore, false)] {
            let engine = Arc::new(Memory::default());
            let store = Store::new(engine.clone());
            engine.fail(fault);
            let answer = store.commit(put("a")).await;
            assert_eq!(answer.is_ok(), kept, "{answer:?}");
            assert_eq!(store.not_writing().is_some(), !kept);
            store.commit(put("b")).await.unwrap();
            assert!(store.not_writing().is_none(), "the next one is kept");
        }
    }
}
