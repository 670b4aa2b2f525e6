//! The walls between crates and around what we build on, held by tests.
//! They read manifests and sources; they run nothing.
//! Always true: a wall names its reason, and an exception names its own.

mod arrows;
mod cases;
mod licence;
mod outsiders;
mod sources;

use cargo_metadata::{Metadata, MetadataCommand};

/// The workspace and its dependencies on Linux, which is what ships.
fn metadata() -> Metadata {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked", "--filter-platform", &target].map(str::to_owned);
    MetadataCommand::new().other_options(options).exec().expect("cargo metadata works in a checkout")
}
