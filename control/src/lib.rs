//! Keeps the truth and publishes it: the store of people, devices, connectors and tokens, the view of
//! them that decisions read, administration, sign-in, and the audit log. It opens no flow and decides none.
//! Always true: what was acknowledged is kept; a revocation never waits for a disk.

pub mod addresses;
pub mod admin;
pub mod audit;
pub mod backup;
pub mod directory;
#[cfg(test)]
mod folder;
pub mod journal;
pub mod object;
pub mod oidc;
mod outbound;
pub mod private;
pub mod restore;
pub mod revoked;
pub mod seal;
pub mod session;
pub mod store;
