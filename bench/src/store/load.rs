//! Loading a store, in a process of its own, so that no memory of before is in the figures.
//! Always true: what is counted as memory stays while the view is used.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use control::directory::View;
use serde_json::json;
// Without the colons it would be this file's own tests.
use ::tests::programs;

use super::place::{self, Place};
use crate::{grid::Grid, memory::Memory};

/// The process: loads the store at `address` and prints what it took.
pub fn load(address: &str) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let view = runtime.block_on(async {
        let engine = place::open(address).await?;
        let (before, start) = (Memory::own()?, Instant::now());
        let loaded = engine.load().await?;
        let read = start.elapsed();
        let view = View::new(&loaded, []);
        let took = start.elapsed();
        drop(loaded);
        let after = Memory::own()?;
        let said = json!({
            "read s": read.as_secs_f64(), "load s": took.as_secs_f64(),
            "load MB": (after.now - before.now) / 1e6, "load peak MB": (after.peak - before.now) / 1e6,
        });
        println!("{said}");
        anyhow::Ok(view)
    })?;
    // Until here, for its memory was counted.
    drop(view);
    Ok(())
}

/// Has it done.
pub fn measure(place: &Place, database: &str, grid: &mut Grid) -> Result<()> {
    let mut command = Command::new(programs::ours("bench")?);
    let output = command.args(["load-store", &place.address()?]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "loading: {}", output.status);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    for figure in ["read s", "load s", "load MB", "load peak MB"] {
        grid.add(figure, database, said[figure].as_f64().context("no figure")?);
    }
    Ok(())
}
