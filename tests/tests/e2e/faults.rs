//! A store that fails: what is known goes on, nothing new is granted that needs it, what is taken away
//! is gone at once and stays gone, and status, probe and log say what helps.

use std::fs;

use anyhow::{Context, Result};
use tests::{
    company::{Company, DESK, ECHO, GATEWAY, write_secret},
    device::KeyPair,
    gateway::Gateway,
    probe::{Ending, drain, echo},
    scene::{Plan, Scene},
    wait::eventually,
    world::World,
};

tests::tests![
    on_a_full_disk_people_work_on_and_are_put_out,
    a_gateway_without_the_right_keys_does_not_start,
    a_store_has_one_gateway,
];

/// The gateway's state folder becomes a disk of two megabytes.
fn on_a_small_disk(scene: &mut Scene) -> Result<()> {
    scene.gateway.kill()?;
    let script = "mv state kept && mkdir state && mount -t tmpfs -o size=2m,mode=0700 small state && \
                  cp -a kept/. state";
    let folder = scene.gateway.folder().display().to_string();
    scene.world.gw.sh("sh", &["-c", &format!("cd {folder} && {script}")])?;
    scene.gateway.start(&scene.world.gw)?;
    scene.wait_until_linked("fra-1")
}

/// Leaves no byte free.
fn fill(scene: &Scene) -> Result<()> {
    let file = scene.gateway.folder().join("state/ballast");
    scene.world.gw.sh("sh", &["-c", &format!("cat /dev/zero >> {} || true", file.display())]).map(drop)
}

fn degraded(scene: &Scene, name: &str) -> Option<String> {
    let status = scene.status().ok()?;
    let state = status["degraded"].as_array()?.iter().find(|state| state["name"] == name)?;
    Some(state.to_string())
}

fn ready(scene: &Scene) -> Result<String> {
    let probe = ["--silent", "--write-out", "%{http_code}", "http://127.0.0.1:9820/readyz"];
    scene.world.gw.sh("curl", &probe)
}

fn on_a_full_disk_people_work_on_and_are_put_out() -> Result<()> {
    let mut plan = Plan::new()?;
    plan.company.more = "[health]\nlisten = [\"127.0.0.1:9820\"]\n".to_owned();
    plan.company.person_mut("corp/bob")?.groups.push("corp/staff");
    let mut scene = Scene::with(plan)?;
    on_a_small_disk(&mut scene)?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    let target = format!("{DESK}:{ECHO}");
    let (mut lost, mut kept) = (laptop.dial(&target)?, phone.dial(&target)?);
    scene.gateway.process()?.expect_errors();
    fill(&scene)?;
    // The first that fails gives back what its log had taken.
    let said = scene.gateway.admin_refused(&scene.world.gw, "user add corp/carol")?;
    assert!(said.contains("the store's disk is full") && said.contains("make room"), "{said}");
    fill(&scene)?;
    echo(&mut kept, "what is open goes on")?;
    echo(&mut phone.dial(&target)?, "who is known gets in")?;
    let said = scene.gateway.admin_refused(&scene.world.gw, "device disable laptop")?;
    assert!(said.contains("but not durable") && said.contains("the store's disk is full"), "{said}");
    assert_eq!(drain(&mut lost)?, (0, Ending::Reset));
    for state in ["store_not_written", "audit_not_written", "revocations_not_durable"] {
        // Each decision that is written down takes some of what is left of the log's last block.
        let told = eventually(&format!("{state} is told"), || {
            echo(&mut phone.dial(&target).ok()?, "who is known gets in").ok()?;
            degraded(&scene, state)
        })?;
        assert!(told.contains("remedy"), "{told}");
        scene.gateway.process()?.wait_for(&format!("DEGRADED {state}: "))?;
        assert!(ready(&scene)?.contains(state), "the probe does not tell {state}");
    }
    let ballast = scene.gateway.folder().join("state/ballast");
    scene.world.gw.sh("rm", &[ballast.to_str().context("a plain name")?])?;
    for state in ["store_not_written", "audit_not_written", "revocations_not_durable"] {
        eventually(&format!("{state} is over"), || degraded(&scene, state).is_none().then_some(()))?;
    }
    scene.restart_gateway()?;
    let shown = scene.admin("device show laptop --json")?;
    assert!(!shown.contains("\"disabled\": null"), "{shown}");
    let users = scene.admin("user list")?;
    assert!(!users.contains("carol"), "what was refused happened: {users}");
    let verified = scene.admin("audit verify")?;
    assert!(verified.starts_with("sound: "), "{verified}");
    scene.wait_until_linked("fra-1")?;
    phone.reconnect(GATEWAY)?;
    echo(&mut phone.dial(&target)?, "and they work on")
}

fn a_gateway_without_the_right_keys_does_not_start() -> Result<()> {
    let world = World::new()?;
    let mut gateway = Gateway::prepare(&world.gw)?;
    gateway.write(&Company::new()?)?;
    gateway.start(&world.gw)?;
    gateway.kill()?;
    let file = gateway.folder().join("store.key");
    let refused = || {
        let output = gateway.cli(&world.gw, &["gateway"])?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        anyhow::Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let own = fs::read_to_string(&file)?;
    write_secret(&file, &format!("first {}\n", KeyPair::fresh()?.private))?;
    let said = refused()?;
    assert!(said.contains("store.key do not open this store's secrets"), "{said}");
    fs::remove_file(&file)?;
    let said = refused()?;
    assert!(said.contains("store.key"), "{said}");
    write_secret(&file, &own)?;
    gateway.start(&world.gw)
}

/// Two state folders, one file of a store.
fn a_store_has_one_gateway() -> Result<()> {
    let world = World::new()?;
    let company = Company::new()?;
    let (mut first, second) = (Gateway::prepare(&world.gw)?, Gateway::prepare(&world.site)?);
    first.write(&company)?;
    second.write(&company)?;
    first.start(&world.gw)?;
    let state = second.folder().join("state");
    fs::create_dir(&state)?;
    fs::hard_link(first.folder().join("state/store.db"), state.join("store.db"))?;
    let output = second.cli(&world.site, &["gateway"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another process holds the store"), "{said}");
    first.admin(&world.gw, "user add corp/carol").map(drop)
}
