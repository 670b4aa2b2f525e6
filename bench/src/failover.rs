//! Of two connectors of a site the chosen one is killed.
//! The promise: a new connection works in less than a second.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    company::{DESK, ECHO},
    device::Device,
    scene::{Plan, Scene},
    wait::{HANG, eventually},
};

use crate::{client, figures::Table, stopwatch::Stopwatch};

const NAMES: [&str; 2] = ["fra-1", "fra-2"];

/// Kills the chosen one `rounds` times.
pub fn measure(rounds: u16) -> Result<Table> {
    let mut plan = Plan::new()?;
    plan.connectors = NAMES.to_vec();
    let mut scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    let (mut table, mut failed) = (Table::default(), 0);
    for _ in 0..rounds {
        failed += round(&mut scene, &laptop, &mut table)?;
    }
    table.note(format!("Counted from the kill. Promise: below 1000. Attempts that failed first: {failed}."));
    Ok(table)
}

/// Says how many attempts failed before one worked.
fn round(scene: &mut Scene, laptop: &Device, table: &mut Table) -> Result<u32> {
    let target = format!("{DESK}:{ECHO}");
    client::first_echo(laptop.host(), &target, HANG)?;
    let (name, row) = chosen(scene)?;
    let watch = Stopwatch::start();
    scene.kill_connector(name)?;
    // The gateway is there and answers every attempt; none is given up.
    let fresh = client::first_echo(laptop.host(), &target, HANG)?;
    table.add("**a new connection's echo**", [watch.until(fresh.echoed)]);
    scene.start_connector(name)?;
    wait_until_back(scene, name, &row["remote"])?;
    Ok(fresh.failed)
}

/// The connector the next connection tries first, and what the status says of it.
fn chosen(scene: &Scene) -> Result<(&'static str, Value)> {
    eventually("a connector is chosen", || {
        let status = scene.status().ok()?;
        let row = status["connectors"].as_array()?.iter().find(|row| row["chosen"] == true)?;
        let name = NAMES.into_iter().find(|name| row["id"] == *name)?;
        Some((name, row.clone()))
    })
}

/// The killed one's last link may still be on the list: a new one comes from another port.
fn wait_until_back(scene: &Scene, name: &str, before: &Value) -> Result<()> {
    eventually(&format!("{name} is linked anew"), || {
        let status = scene.status().ok()?;
        let row = status["connectors"].as_array()?.iter().find(|row| row["id"] == name)?;
        (!row["remote"].is_null() && row["remote"] != *before).then_some(())
    })
    .context("between two rounds")
}
