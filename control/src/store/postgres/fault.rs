//! Tells from SQLSTATE (PostgreSQL, appendix A) whose fault an error is, in words that hold no secret.
//! It mends nothing: a connection that met an error is not used again.

use std::error::Error as _;

use tokio_postgres::{Error, error::DbError};

use crate::store::{StoreError, schema::damaged};

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let why = words(&error);
        let Some(code) = error.as_db_error().map(|error| error.code().code()) else {
            return Self::Unreachable { why };
        };
        match code {
            "53100" => Self::Full { why },
            // Read-only transaction, no privilege, input/output error.
            "25006" | "42501" | "58030" => Self::ReadOnly { why },
            // Connection, credentials, no such database, transaction rolled back, resources, not in the
            // prerequisite state, operator's intervention.
            _ if ["08", "28", "3D", "40", "53", "55", "57", "25"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Unreachable { why }
            }
            _ => Self::Damaged { why },
        }
    }
}

/// The server's words, or the driver's with its causes. Neither holds the URL or the password.
fn words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return said(error);
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn said(error: &DbError) -> String {
    format!("{} ({})", error.message(), error.code().code())
}

/// A number from or for a column: PostgreSQL's are signed, ours are not.
pub fn integer<A, B: TryFrom<A>>(number: A) -> Result<B, StoreError> {
    B::try_from(number).map_err(|_| damaged("a number in it is out of range"))
}
