//! Given facts and a time, answers allow (until when) or deny (why, what would fix it).
//! It does not fetch facts or read clocks, and keeps nothing between two decisions but samples and counters.
//! Always true: an evaluation error denies; the oracle and the index give the same answer.

pub mod decision;
pub mod facts;

mod answer;
mod appeal;
mod cedar;
mod clock;
mod engine;
mod error;
mod explain;
mod formula;
mod hearing;
mod index;
mod lint;
mod load;
mod oracle;
mod probe;
mod question;
mod rule;
mod schema;
mod shadow;
mod step_up;
mod zone;

pub use engine::Engine;
pub use error::{LoadError, LoadErrors};
pub use lint::Lint;
pub use load::PolicyFile;
pub use shadow::{Mismatch, Sample, Shadow, Tallied};
pub use zone::Zone;
