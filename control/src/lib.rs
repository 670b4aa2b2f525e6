//! Keeps the truth and publishes it: the store of people, devices, connectors and tokens, the view of
//! them that decisions read, administration, and the audit log. It opens no flow and decides none.
//! Always true: what was acknowledged is kept; a revocation never waits for a disk.

pub mod directory;
pub mod journal;
pub mod object;
pub mod revoked;
pub mod store;
