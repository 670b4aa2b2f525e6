//! Revocations that hold here and are not durable yet: written down beside the store, and brought about
//! in it as soon as it can be written. It cuts nothing: that was done before.
//! Always true: what is in the list counts for nothing, and leaves the list only once the store says so.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use control::{
    admin::revoke_commit,
    journal::{Entry, Journal},
    store::{CommitError, Store, StoreError},
};
use protocol::time::Timestamp;
use tokio::sync::Notify;

use crate::{
    health::{Degraded, Health},
    truth::Reloader,
};

/// While the store cannot be written it is tried this often.
const TRY: Duration = Duration::from_secs(1);
/// What it is called in status.
const STATE: &str = "revocations_not_durable";

/// The list, with the way into the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Durable(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    reloader: Reloader,
    health: Health,
    journal: Journal,
    waiting: Mutex<Vec<Entry>>,
    more: Notify,
    /// Whoever brings about does all that waits, in order.
    turn: tokio::sync::Mutex<()>,
}

impl Durable {
    /// With what the journal says; the view has it already.
    pub fn new(store: Store, reloader: Reloader, health: Health, journal: Journal) -> std::io::Result<Self> {
        let waiting = Mutex::new(journal.read()?);
        let (more, turn) = (Notify::new(), tokio::sync::Mutex::default());
        let durable = Self(Arc::new(Inner { store, reloader, health, journal, waiting, more, turn }));
        durable.tell();
        Ok(durable)
    }

    /// Adds revocations whose commit failed; whether they survive a restart.
    pub fn add(&self, entries: Vec<Entry>) -> std::io::Result<()> {
        let written = self.0.journal.add(&entries);
        self.waiting().extend(entries);
        self.tell();
        self.0.more.notify_one();
        written
    }

    /// Brings about what waits, for ever.
    pub async fn run(self) {
        loop {
            if self.waiting().is_empty() {
                self.0.more.notified().await;
            } else if self.try_all().await.is_err() {
                tokio::time::sleep(TRY).await;
            }
        }
    }

    /// Brings about what waits now; whether there was anything.
    pub async fn settle(&self) -> Result<bool, StoreError> {
        let any = !self.waiting().is_empty();
        if any {
            self.try_all().await?;
        }
        Ok(any)
    }

    async fn try_all(&self) -> Result<(), StoreError> {
        let _turn = self.0.turn.lock().await;
        let waiting = self.waiting().clone();
        let mut done = 0;
        let mut result = Ok(());
        for entry in &waiting {
            result = self.bring_about(entry).await;
            if result.is_err() {
                break;
            }
            done += 1;
        }
        let left: Vec<Entry> = {
            let mut waiting = self.waiting();
            waiting.drain(..done);
            waiting.clone()
        };
        if done > 0 {
            if let Err(error) = self.0.journal.keep(&left) {
                // What stays in it is brought about once more, which changes nothing.
                tracing::warn!(%error, "the journal of revocations cannot be shortened");
            }
            let durable = waiting.into_iter().take(done).map(|entry| entry.revoked).collect();
            self.0.reloader.give_back(durable).await;
        }
        self.tell();
        result
    }

    /// Until the store says the same. One that another gateway changes meanwhile is looked at again.
    async fn bring_about(&self, entry: &Entry) -> Result<(), StoreError> {
        loop {
            self.0.reloader.catch_up().await?;
            let (view, now) = (self.0.reloader.view(), Timestamp::from_system(SystemTime::now()));
            let Some(commit) = revoke_commit(&view, &entry.revoked, now, &entry.by) else { return Ok(()) };
            match self.0.store.commit(commit).await {
                Ok(_) | Err(CommitError::Refused(_)) => {}
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
    }

    fn tell(&self) {
        let waiting = self.waiting();
        let Some(first) = waiting.first() else { return self.0.health.clear(STATE) };
        let cause = format!(
            "{} revocations hold here but are not in the store, the oldest of {}: {}",
            waiting.len(),
            first.at,
            first.revoked
        );
        self.0.health.set(Degraded::new(STATE, cause, "mend the store; they become durable by themselves"));
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
