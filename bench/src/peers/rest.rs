//! Devices at rest: a gateway with many enrolled is started, left alone and told of one change.
//! What a device costs is the difference to a gateway with ten, divided.
//! Always true: nothing is asked of the gateway before its memory was read, since answers take memory too.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use tests::{gateway::Gateway, world::World};

use crate::{
    cpu::Watched,
    enrolled::{self, Enrolled},
    grid::Grid,
    memory::Memory,
    stopwatch::Stopwatch,
};

/// What the others are compared with.
const FEW: u32 = 10;
/// After this the start is over and done with.
const SETTLED: Duration = Duration::from_secs(2);

/// Measures gateways with each of `steps` devices for `idle` seconds.
pub fn measure(steps: &[u32], idle: u64) -> Result<Grid> {
    let mut grid = Grid::default();
    let idle = Duration::from_secs(idle);
    let few = one(FEW, false, idle, None, &mut grid)?;
    for &count in steps {
        for seen in [false, true] {
            one(count, seen, idle, Some(few), &mut grid)?;
        }
    }
    grid.note(
        "Bytes are of resident memory, above the gateway with ten, per device and half a person. \"Seen\": each",
    );
    grid.note("has shaken hands with an earlier run, so where it was and its last label are remembered.");
    Ok(grid)
}

fn one(count: u32, seen: bool, idle: Duration, few: Option<Memory>, grid: &mut Grid) -> Result<Memory> {
    let row = format!("{count} devices{}", if seen { ", seen" } else { "" });
    eprintln!("{row}");
    let world = World::new()?;
    let mut gateway = Gateway::prepare(&world.gw)?;
    let bytes = enrolled::enrol(&gateway, count)?;
    if seen {
        enrolled::remember(&gateway, count)?;
    }
    let watch = Stopwatch::start();
    gateway.launch(&world.gw)?;
    let process = gateway.process()?;
    let ready = watch.until_line(&process.wait_for("gateway::run: ready")?)?;
    thread::sleep(SETTLED);
    let watched = Watched::new(process.id())?;
    let before = watched.used()?;
    thread::sleep(idle);
    let used = watched.used()? - before;
    let memory = Memory::of(process.id())?;
    let watch = Stopwatch::start();
    let name = Enrolled(0).name();
    gateway
        .ask(&world.gw, &["admin", "device", "posture", &name, "disk_encrypted=true", "--source", "mdm"])?;
    let changed = watch.until(Instant::now());
    thread::sleep(SETTLED);
    let after = Memory::of(process.id())?;
    let mut add = |column: &str, figure: f64| grid.add(&row, column, figure);
    let megabytes = |bytes: f64| bytes / 1e6;
    add("store MB", megabytes(bytes as f64));
    add("start s", ready / 1e3);
    add("memory MB", megabytes(memory.now));
    if let Some(few) = few {
        add("bytes each", (memory.now - few.now) / f64::from(count - FEW));
    }
    add("peak MB", megabytes(memory.peak));
    add("idle, % of a core", 100.0 * used.as_secs_f64() / idle.as_secs_f64());
    add("one change ms", changed);
    add("memory after, MB", megabytes(after.now));
    Ok(memory)
}
