//! The audit log: who was let in where, who administered what, in a chain of lines with signed checkpoints.
//! It decides nothing and asks nobody. Always true: what was awaited is durable, and there once; a line
//! that was changed, taken out or put in is found; what names a person is sealed under that person's key.

mod chain;
mod entry;
mod explain;
mod export;
mod files;
mod key;
mod log;
mod read;
mod recover;
mod say;
mod verify;
mod writer;

pub use self::{
    chain::{Hash, Line, NoHash},
    entry::{
        Admin, BarePath, Decided, Entry, Identity, Obstacle, Operator, Person, Repair, Session, SessionEvent,
        Torn, Verdict,
    },
    explain::{Ending, Explanation, explain},
    export::{Collector, Export, ExportError, Exported},
    key::{AuditKey, Head, KeyError, NoKey, PublicKey},
    log::{AuditError, Log, Options, Retention, Status},
    read::{Filter, Found, Opener, Tail, Who, grep},
    verify::{Chain, Problem, Report, What, verify},
};
