//! What a crash costs: old connections end honestly, new ones work, nobody touches a client.

use std::io::Write;

use anyhow::Result;
use tests::{
    company::{DESK, ECHO, GATEWAY},
    probe::{Ending, drain, echo},
    scene::{Plan, Scene},
    wait::eventually,
};

tests::tests![
    a_killed_gateway_comes_back_without_touching_the_client,
    a_killed_connector_is_replaced_by_the_other,
    a_killed_connector_resets_its_flows,
];

fn a_killed_gateway_comes_back_without_touching_the_client() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let target = format!("{DESK}:{ECHO}");
    let mut old = laptop.dial(&target)?;
    echo(&mut old, "before")?;
    scene.restart_gateway()?;
    scene.wait_until_linked("fra-1")?;
    laptop.wait_until_connected(GATEWAY)?;
    // The client learns that its connection is gone when it next uses it.
    old.write_all(b"after")?;
    assert_eq!(drain(&mut old)?, (0, Ending::Reset));
    echo(&mut laptop.dial(&target)?, "anew")
}

fn a_killed_connector_is_replaced_by_the_other() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.connectors.push("fra-2");
    let mut scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    // Whichever of the two was chosen, it is killed once.
    for killed in ["fra-1", "fra-2"] {
        scene.kill_connector(killed)?;
        eventually("a new flow works", || {
            let mut flow = laptop.dial(&format!("{DESK}:{ECHO}")).ok()?;
            echo(&mut flow, "by the other").ok()
        })?;
        scene.start_connector(killed)?;
        scene.wait_until_linked(killed)?;
    }
    Ok(())
}

fn a_killed_connector_resets_its_flows() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "before")?;
    scene.kill_connector("fra-1")?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    Ok(())
}
