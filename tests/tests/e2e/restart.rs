//! What a crash costs: old connections end honestly, new ones work, nobody touches a client.

use std::{fs, io::Write};

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
    // It writes down where its peers are once a second.
    let (file, key) =
        (scene.gateway.folder().join("state/peers.json"), &scene.company.machine("laptop")?.key);
    eventually("the gateway has written down where the laptop is", || {
        fs::read_to_string(&file).ok()?.contains(&key.public).then_some(())
    })?;
    scene.restart_gateway()?;
    scene.wait_until_linked("fra-1")?;
    laptop.wait_until_connected(GATEWAY)?;
    assert!(
        scene.counter("rehandshake")? > 0,
        "the client came back by its own timers, not because it was called"
    );
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
