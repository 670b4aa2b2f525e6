//! Carries a plan out: cuts what counts for nothing from now on, commits, and has it in force.
//! It plans nothing. Always true: what takes something away cuts first; if the store cannot keep it, it
//! holds all the same, is written down beside the store, and becomes durable by itself.

use control::{
    audit::Entry,
    journal,
    revoked::Revoked,
    session::Plan,
    store::{CommitError, Revision, Store, StoreError},
};

use crate::{
    admin::{Durable, now},
    books::Books,
    truth::Reloader,
};

/// What a plan is carried out with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Carrier {
    /// The store.
    pub store: Store,
    /// Puts in force.
    pub reloader: Reloader,
    /// Revocations ahead of the store.
    pub durable: Durable,
    /// The audit log.
    pub books: Books,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// The commit; none if there was nothing to write.
    pub revision: Option<Revision>,
    /// How many open connections were cut.
    pub cut: usize,
}

/// Why it was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotCarried {
    /// Somebody was faster: look again.
    #[error("others change the same all the time")]
    Again,
    /// The store did not keep it. What it takes away holds here.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Carrier {
    /// Carries `plan` out for `by`; `entries` are its audit records and stand or fall with it. Once begun it
    /// comes to its end, also if nobody waits for that any more: whoever asked may close their browser.
    pub async fn carry_out(&self, plan: Plan, entries: Vec<Entry>, by: &str) -> Result<Carried, NotCarried> {
        let (carrier, by) = (self.clone(), by.to_owned());
        let work = tokio::spawn(async move { carrier.carried_out(plan, entries, &by).await });
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a plan was not carried out to its end");
            Err(NotCarried::Again)
        })
    }

    async fn carried_out(&self, plan: Plan, entries: Vec<Entry>, by: &str) -> Result<Carried, NotCarried> {
        let Plan { commit, revoked } = plan;
        let Some(mut commit) = commit else { return Ok(Carried { revision: None, cut: 0 }) };
        if revoked.is_empty() && self.durable.settle().await? {
            // Or what was taken away before would be taken away after.
            return Err(NotCarried::Again);
        }
        commit.records = entries.iter().map(|entry| self.books.record(entry)).collect();
        let cut = if revoked.is_empty() { 0 } else { self.reloader.revoke(revoked.clone()).await };
        match self.store.commit(commit).await {
            Ok(revision) => {
                let caught_up = self.reloader.catch_up().await;
                let cut = cut + caught_up.inspect_err(|_| self.await_store(&revoked, by))?;
                self.reloader.give_back(revoked).await;
                self.books.write_down(&self.store, entries, revision).await;
                Ok(Carried { revision: Some(revision), cut })
            }
            Err(CommitError::Refused(_)) => {
                self.reloader.give_back(revoked).await;
                self.reloader.catch_up().await?;
                Err(NotCarried::Again)
            }
            Err(CommitError::Store(error)) => {
                self.await_store(&revoked, by);
                entries.into_iter().for_each(|entry| self.books.log().note(entry));
                Err(error.into())
            }
        }
    }

    /// Lets it hold until the store is seen to say the same.
    fn await_store(&self, revoked: &[Revoked], by: &str) {
        if revoked.is_empty() {
            return;
        }
        let entry =
            |revoked: &Revoked| journal::Entry { revoked: revoked.clone(), at: now(), by: by.to_owned() };
        if let Err(error) = self.durable.add(revoked.iter().map(entry).collect()) {
            tracing::error!(%error, "a revocation could not be kept beside the store either");
        }
    }
}
