//! The crate from outside: loading, deciding, looking ahead, explaining, and failing shut.

#![expect(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod administer;
mod agree;
mod explain;
mod facts;
mod fail_open;
mod generate;
mod lints;
mod load;
mod step_up;
mod until;
