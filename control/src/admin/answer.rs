//! What an administrator is told: data for programs, a table or a text for people, notes beside it.
//! Always true: `Debug` shows none of it, since a new token stands in it once.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What came of a request.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What `--json` prints.
    pub data: Value,
    /// What of `data`, a list, stands in the table.
    pub columns: Vec<String>,
    /// For standard error.
    pub notes: Vec<String>,
    /// What is printed in the place of `data`.
    pub text: Option<String>,
    /// Why the command fails for all that: what was looked at is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Answer {
    pub(super) fn new(data: Value) -> Self {
        Self { data, ..Self::default() }
    }

    pub(super) fn columns(self, columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(ToString::to_string).collect(), ..self }
    }

    pub(super) fn text(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(hidden)")
    }
}
