//! The store under many devices, in either database: what it costs to load, to commit and to follow, what a
//! gateway on it has of the machine, and how soon a device that is shut out is cut.
//! Always true: SQLite's file and PostgreSQL's are on a disk, and both flush every commit.

mod commits;
mod cut;
mod load;
mod place;
mod rest;

use std::num::{NonZeroU16, NonZeroU32};

use anyhow::Result;
use clap::Args;
use tests::{gateway::Gateway, world::World};

pub use self::load::load;
use self::place::{Kind, Place};
use crate::{
    enrolled::{self, Size},
    grid::Grid,
};

/// How it is measured.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Devices in the store
    #[arg(long, default_value = "100000")]
    devices: NonZeroU32,
    /// People in the store
    #[arg(long, default_value = "20000")]
    people: NonZeroU32,
    /// Commits one after the other, and as many that are followed
    #[arg(long, default_value = "500")]
    commits: NonZeroU16,
    /// Seconds for which many commit at a time
    #[arg(long, default_value = "5")]
    seconds: u64,
    /// Seconds over which commits of an idle gateway are counted
    #[arg(long, default_value = "10")]
    idle: u64,
    /// How often a device is shut out, on each gateway
    #[arg(long, default_value = "100")]
    rounds: NonZeroU16,
}

/// Measures both engines, and devices that are shut out; the tables as text.
pub fn measure(options: &Options) -> Result<String> {
    let mut grid = Grid::default();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        engine(kind, options, &mut grid)?;
    }
    grid.note(format!(
        "{} devices of {} people. Load: reading the store and making the view of it, in a process of",
        options.devices, options.people
    ));
    grid.note(
        "its own. Followed: from the call of `commit` until a follower's view has it; by another: through",
    );
    grid.note("connections of its own. Gateway: the real one, started on that store. Idle: commits in a second start");
    grid.note(format!("and {} s at rest.", options.idle));
    let cuts = cut::measure(options.rounds.get())?;
    Ok(format!("{grid}\n\n{cuts}"))
}

fn engine(kind: Kind, options: &Options, grid: &mut Grid) -> Result<()> {
    let size = Size { devices: options.devices.get(), people: options.people.get() };
    let database = kind.name();
    eprintln!("{database}: filling");
    let world = World::new()?;
    let mut gateway = Gateway::prepare(&world.gw)?;
    let place = Place::new(kind)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime
        .block_on(async { enrolled::fill(place.open().await?, &enrolled::keys(&gateway)?, size).await })?;
    eprintln!("{database}: loading");
    load::measure(&place, database, grid)?;
    eprintln!("{database}: committing");
    runtime.block_on(commits::measure(&place, size, options, database, grid))?;
    // With every task that still holds the store.
    drop(runtime);
    eprintln!("{database}: a gateway");
    rest::measure(&world, &mut gateway, &place, options.idle, database, grid)
}
