//! A gateway on a store with many devices, left alone: its start, its memory, and that it commits nothing.
//! Always true: nothing is asked of the gateway before its memory was read, since answers take memory too.

use std::{thread, time::Duration};

use anyhow::Result;
// Without the colons it would be this file's own tests.
use ::tests::{gateway::Gateway, world::World};
use control::store::Revision;

use super::place::Place;
use crate::{grid::Grid, memory::Memory, stopwatch::Stopwatch};

/// After this the start is over and done with.
const SETTLED: Duration = Duration::from_secs(3);

/// Starts `gateway` twice.
pub fn measure(
    world: &World,
    gateway: &mut Gateway,
    place: &Place,
    idle: u64,
    database: &str,
    grid: &mut Grid,
) -> Result<()> {
    place.configure(gateway)?;
    let watch = Stopwatch::start();
    gateway.launch(&world.gw)?;
    let process = gateway.process()?;
    let ready = watch.until_line(&process.wait_for("gateway::run: ready")?)?;
    thread::sleep(SETTLED);
    let memory = Memory::of(process.id())?;
    gateway.kill()?;
    grid.add("gateway start s", database, ready / 1e3);
    grid.add("gateway MB", database, memory.now / 1e6);
    grid.add("gateway peak MB", database, memory.peak / 1e6);
    let before = revision(place)?;
    gateway.launch(&world.gw)?;
    gateway.process()?.wait_for("gateway::run: ready")?;
    thread::sleep(Duration::from_secs(idle));
    gateway.kill()?;
    grid.add("idle commits", database, (revision(place)?.0 - before.0) as f64);
    Ok(())
}

/// The store's, while no gateway has its file.
fn revision(place: &Place) -> Result<Revision> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { Ok(place.open().await?.load().await?.meta.revision) })
}
