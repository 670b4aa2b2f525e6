//! The answer to a [`Request`](crate::facts::Request). A denial is a value, not an error.

use std::sync::Arc;

use protocol::time::Timestamp;

/// A policy's `@id`.
pub type PolicyId = Arc<str>;

/// Allow until when, or deny and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allow {
        /// The first instant at which the answer may differ; `None` if time alone never changes it.
        until: Option<Timestamp>,
        /// The permits that matched.
        policies: Vec<PolicyId>,
    },
    /// Denied.
    Deny {
        /// The first instant at which the answer may differ; `None` if time alone never changes it.
        until: Option<Timestamp>,
        /// What stood in the way, most telling first; never empty.
        reasons: Vec<Reason>,
    },
}

/// One thing that stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A forbid matched.
    Forbidden {
        /// Which.
        policy: PolicyId,
        /// Its `@reason`, or its title, or its id.
        reason: String,
        /// Its `@advice`.
        advice: Option<String>,
    },
    /// A permit names this person and this resource, but a condition does not hold.
    NotMet {
        /// Which permit.
        policy: PolicyId,
        /// Its `@title`, if any.
        title: Option<String>,
        /// The conditions that fail, in words: `device.disk_encrypted is missing`.
        conditions: Vec<String>,
        /// Its `@advice`.
        advice: Option<String>,
    },
    /// No permit names this person for this resource.
    NoPolicy,
    /// A policy could not be evaluated: the operator's fault, and a denial.
    Error {
        /// Which.
        policy: PolicyId,
        /// Cedar's words; for logs, not for the person denied.
        error: String,
    },
}
