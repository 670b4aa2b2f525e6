//! What can be wrong with the store itself, each with whose fault it is and what to do.
//! Always true: an error that is not [`StoreError::Uncertain`] means that nothing was changed.

use super::BatchId;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or does not answer in time.
    #[error("the store cannot be reached ({why}): see that the database runs and the network leads there")]
    Unreachable {
        /// The driver's words.
        why: String,
    },
    /// The connection was lost while the commit was on its way.
    #[error("the store was lost during a commit, which may or may not have been kept ({why})")]
    Uncertain {
        /// Ask for its outcome by this.
        batch: BatchId,
        /// The driver's words.
        why: String,
    },
    /// No room.
    #[error("the store's disk is full ({why}): make room; what was kept stays")]
    Full {
        /// The driver's words.
        why: String,
    },
    /// It may not be written.
    #[error("the store cannot be written ({why}): mend the file's rights or its file system")]
    ReadOnly {
        /// The driver's words.
        why: String,
    },
    /// Another process holds the file.
    #[error(
        "another process holds the store ({why}): one gateway per SQLite file; several share a PostgreSQL"
    )]
    Locked {
        /// The driver's words.
        why: String,
    },
    /// Something was committed since it was looked at.
    #[error("the store was changed meanwhile: look again")]
    Moved,
    /// What is in it makes no sense.
    #[error("the store is damaged ({why}): restore a backup with `doorward admin restore`")]
    Damaged {
        /// What was found.
        why: String,
    },
    /// A newer gateway has written it.
    #[error(
        "the store was written by a newer gateway (it asks for readers of version {needs}, this is {ours}): update this one"
    )]
    TooNew {
        /// The least version that may read it.
        needs: u32,
        /// This program's.
        ours: u32,
    },
}
