//! Tells from SQLite's result codes whose fault an error is.
//! It mends nothing: the next call finds out by itself whether the cause is gone.

use rusqlite::{Error, ErrorCode};

use crate::store::{BatchId, StoreError};

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { why },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { why },
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen
                | ErrorCode::SystemIoFailure,
            ) => Self::ReadOnly { why },
            // Rows that are not what we write (no code), a broken file, or a constraint that held until now.
            _ => Self::Damaged { why },
        }
    }
}

/// What an error of COMMIT itself means: when a disk fails to flush, the log may hold the commit all the same.
pub fn of_commit(error: Error, batch: &BatchId) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => {
            StoreError::Uncertain { batch: batch.clone(), why: error.to_string() }
        }
        _ => error.into(),
    }
}
