//! The store: objects by kind and id, each at the revision of the commit that wrote it last.
//! It knows no meaning of a body. Always true: the order of revisions is the order of commits, and a
//! reader who has seen revision n has seen everything up to n.

pub mod batch;
mod engine;
mod error;
mod follow;
mod lease;
#[cfg(test)]
pub(crate) mod memory;
pub mod postgres;
pub mod schema;
pub mod sqlite;
mod writer;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::{
    batch::{Batch, BatchId, Outcome},
    engine::{Changes, Engine, Fence, Loaded, Meta, Observation, Replacement},
    error::StoreError,
    follow::{News, follow, news},
    lease::{Boot, Lease},
    writer::{CommitError, Store},
};
use crate::object::Kind;

/// Where in the order of all commits something was written; the first commit is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub id: Arc<str>,
}

impl ObjectId {
    /// The object of `kind` named `id`.
    pub fn new(kind: Kind, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: id.into() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub id: ObjectId,
    /// The commit that wrote it last.
    pub revision: Revision,
    /// JSON.
    pub body: Arc<str>,
}

/// One line of the change log: an object as it became, or that it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The commit it belongs to.
    pub revision: Revision,
    /// What changed.
    pub id: ObjectId,
    /// JSON; `None` if it was deleted.
    pub body: Option<Arc<str>>,
}

/// A value that no two objects may have: a key, an address, a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unique {
    /// In which set of values.
    pub space: Arc<str>,
    /// The value.
    pub value: Arc<str>,
}

impl Unique {
    /// `value` in `space`.
    pub fn new(space: &str, value: impl Into<Arc<str>>) -> Self {
        Self { space: space.into(), value: value.into() }
    }
}

/// What must hold of an object for a commit to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// There is none of this name.
    Absent,
    /// It is as it was when this was read.
    At(Revision),
}

/// One change to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Write it, over what is there.
    Put {
        /// Which.
        id: ObjectId,
        /// JSON.
        body: Arc<str>,
        /// All its unique values; those it had before and has no more are given up.
        uniques: Vec<Unique>,
    },
    /// Remove it, if it is there.
    Delete {
        /// Which.
        id: ObjectId,
    },
}

impl Op {
    /// What it changes.
    pub fn id(&self) -> &ObjectId {
        match self {
            Self::Put { id, .. } | Self::Delete { id } => id,
        }
    }
}

/// An audit record that stands or falls with its commit. It waits in the store until its gateway has
/// written it into its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Unique, so that writing it twice is noticed.
    pub id: Arc<str>,
    /// Into whose chain.
    pub gateway: Arc<str>,
    /// JSON.
    pub body: Arc<str>,
}

/// What is carried out as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// What must hold before.
    pub expects: Vec<(ObjectId, Expect)>,
    /// What changes, each object once.
    pub ops: Vec<Op>,
    /// What the audit log says of it.
    pub records: Vec<Record>,
}

/// Why a commit was not carried out; nothing of it was. Not a fault of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refused {
    /// A precondition does not hold.
    #[error("{id} was changed meanwhile: look again")]
    Changed {
        /// Of which object.
        id: ObjectId,
        /// What was expected.
        expected: Expect,
        /// What is there.
        found: Option<Revision>,
    },
    /// A unique value is another's.
    #[error("{} {} is {owner}'s already", unique.space, unique.value)]
    Taken {
        /// The value.
        unique: Unique,
        /// Whose.
        owner: ObjectId,
    },
}
