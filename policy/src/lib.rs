//! Given facts and a time, answers allow (until when) or deny (why, what would fix it).
//! It does not fetch facts, read clocks or remember anything between two decisions.
//! Always true: an evaluation error denies; the oracle and the index give the same answer.

pub mod decision;
pub mod facts;
