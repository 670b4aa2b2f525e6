//! What is in force: files and store are read here, and nowhere else, and become snapshots.
//! It decides nothing. Always true: one task puts snapshots in force, each by itself; a load that
//! fails in any part changes nothing.

mod files;
mod kept;
mod loader;

pub use self::{
    files::{Files, Loaded, Scope},
    kept::{Held, Kept, OpenError, PROOF},
    loader::{Loader, Parts, Reloader, connector_specs},
};
