//! What a database must do to keep the store. It says nothing of who asks when: that is `Store`'s.
//! Always true of an implementation: commits of all gateways are in one order, that of their
//! revisions; what `commit` has returned survives a kill -9 and a power cut.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use protocol::time::Timestamp;

use super::{Batch, BatchId, Change, Object, Outcome, Record, Revision, StoreError};

/// What the store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Random; another after a restore, so that no watcher goes on as if nothing had happened.
    pub store: Arc<str>,
    /// Grows with every restore; the first is 1.
    pub epoch: u64,
    /// The latest commit.
    pub revision: Revision,
    /// Why nothing may be granted from it until a person confirms, after a restore; empty otherwise.
    pub closed: Vec<String>,
}

/// Everything, of one moment.
#[derive(Debug)]
pub struct Loaded {
    /// The moment.
    pub meta: Meta,
    /// Every object of a kind this version knows.
    pub objects: Vec<Object>,
}

/// What was committed after a revision.
#[derive(Debug)]
pub enum Changes {
    /// In the order of their revisions. Complete up to the last one's revision, which is whole, and if there
    /// are fewer than were asked for, up to `meta.revision`.
    Since {
        /// As of the moment they were read.
        meta: Meta,
        /// The changes.
        changes: Vec<Change>,
    },
    /// The log does not reach back so far, or the store was restored: load again.
    Behind,
}

/// Grows with every holder of a lease, so that a late act of an earlier one is told from the present's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// Something seen rather than decided: outside the order of commits, watched by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What kind of thing was seen.
    pub kind: Arc<str>,
    /// Of what.
    pub id: Arc<str>,
    /// JSON.
    pub body: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// A database that keeps the store.
#[async_trait]
pub trait Engine: std::fmt::Debug + Send + Sync + 'static {
    /// In one word: `sqlite`, `postgresql`.
    fn name(&self) -> &'static str;

    /// Whether other gateways may write it: then what was read is good for a lease only.
    fn is_shared(&self) -> bool;

    /// Everything, of one moment.
    async fn load(&self) -> Result<Loaded, StoreError>;

    /// What was committed after `since` to the store named `store`: whole revisions, up to the one that
    /// reaches `most` changes, so at least one if there is one.
    async fn changes(&self, store: &str, since: Revision, most: usize) -> Result<Changes, StoreError>;

    /// Returns when something may have been committed by another gateway. A hint that may be lost, and
    /// that never comes from a store nobody shares: who watches also looks by the clock.
    async fn hint(&self);

    /// Carries the batch out in one durable transaction: each commit by [`Batch::decide`], in order. One
    /// that was kept already is not carried out again, but answered as it was.
    async fn commit(&self, batch: &Batch) -> Result<Vec<Outcome>, StoreError>;

    /// What came of a batch, if it was kept; one of which every commit was refused is not.
    async fn outcome(&self, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError>;

    /// The records that wait to be written into the chain of `gateway`, oldest first.
    async fn records(&self, gateway: &str) -> Result<Vec<Record>, StoreError>;

    /// Forgets records that were written.
    async fn written(&self, records: &[Arc<str>]) -> Result<(), StoreError>;

    /// Keeps what was seen, over what was seen of the same before.
    async fn observe(&self, seen: &[Observation]) -> Result<(), StoreError>;

    /// What was seen of a kind.
    async fn observed(&self, kind: &str) -> Result<Vec<Observation>, StoreError>;

    /// Takes, or goes on holding, the lease `name` for `holder` and `time`, by the database's own clock;
    /// `None` while another holds it. A new holder gets a greater fence; who goes on holding keeps theirs.
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<Option<Fence>, StoreError>;

    /// Gives the lease up, if it is still held with `fence`.
    async fn release(&self, name: &str, holder: &str, fence: Fence) -> Result<(), StoreError>;

    /// Forgets changes and batches older than `horizon`, by the database's own clock.
    async fn prune(&self, horizon: Duration) -> Result<(), StoreError>;

    /// Puts `objects` in the place of everything, in one transaction: a new store name, the next epoch and
    /// revision, an empty change log, and `closed`. Observations go; records of the audit log stay, and
    /// `records` join them. Every object gets the new revision. [`StoreError::Moved`] if the store is not at
    /// `over` any more: what was committed since would be lost unseen.
    async fn replace(&self, with: Replacement) -> Result<Meta, StoreError>;

    /// Opens a store that was closed by [`Engine::replace`]. `records` stand or fall with it.
    async fn confirm(&self, records: &[Record]) -> Result<Meta, StoreError>;
}

/// What a restore puts in the place of everything.
#[derive(Debug, Clone, Default)]
pub struct Replacement {
    /// The store's name and the revision it was made from; `None` if whatever is there may go.
    pub over: Option<(Arc<str>, Revision)>,
    /// The new store's name, random.
    pub store: Arc<str>,
    /// Every object with its unique values.
    pub objects: Vec<(super::ObjectId, Arc<str>, Vec<super::Unique>)>,
    /// Why it stays closed until a person confirms; empty if it need not.
    pub closed: Vec<String>,
    /// What the audit log says of it.
    pub records: Vec<Record>,
}
