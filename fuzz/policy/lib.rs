//! What a configuration knows of `policy`, without its engine: reading one needs no Cedar.
#![allow(dead_code, reason = "whatever only the engine uses")]

#[path = "../../policy/src/facts.rs"]
pub mod facts;
#[path = "../../policy/src/zone.rs"]
mod zone;

pub use zone::Zone;

/// As `policy::PolicyFile`, which stands beside the parser of policies.
#[derive(Debug)]
pub struct PolicyFile {
    /// Its name, for messages.
    pub name: String,
    /// What is in it.
    pub text: String,
}
