//! What an administrator learns from the audit log about what just happened to somebody.
//! The chain itself is proven in `control`; here, that the words of a page lead to the record.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    company::{DESK, ECHO},
    device::Device,
    gateway::product,
    probe::echo,
    process::Process,
    scene::{Plan, Scene},
    wait::eventually,
};

tests::tests![a_denial_is_explained_by_the_id_of_its_page, who_follows_the_log_sees_a_decision_as_it_happens];

const WIKI: &str = "http://wiki.corp.example/secret-plans?token=canary";

/// The request id that a refused person is shown.
fn refused_with_id(laptop: &Device) -> Result<String> {
    let output = laptop.curl(&["--header", "Accept: application/json", WIKI])?;
    let page: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
    Ok(page["request_id"].as_str().context("no request id")?.to_owned())
}

fn unhealthy() -> Result<Scene> {
    let mut plan = Plan::new()?;
    plan.company.machine_mut("laptop")?.encrypted = Some(false);
    Scene::with(plan)
}

fn a_denial_is_explained_by_the_id_of_its_page() -> Result<()> {
    let mut scene = unhealthy()?;
    let laptop = scene.device("laptop")?;
    let id = refused_with_id(&laptop)?;
    // Decisions are written down together, soon after.
    let explained =
        eventually("the log knows the request", || scene.admin(&format!("audit explain {id}")).ok())?;
    let policy_condition_remedy = ["guard-disk", "Disk encryption is off", "Turn on disk encryption"];
    for part in policy_condition_remedy.into_iter().chain(["DENIED", "corp/alice", "laptop", "/secret-plans"])
    {
        assert!(explained.contains(part), "{part} is missing in:\n{explained}");
    }
    assert!(!explained.contains("canary"), "a query was kept:\n{explained}");
    scene.admin("device posture laptop disk_encrypted=true --source mdm")?;
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "the remedy helps")?;
    scene.restart_gateway()?;
    assert_eq!(scene.admin(&format!("audit explain {id}"))?, explained, "another day, another answer");
    let verified = scene.admin("audit verify")?;
    assert!(verified.starts_with("sound: "), "{verified}");
    Ok(())
}

fn who_follows_the_log_sees_a_decision_as_it_happens() -> Result<()> {
    let scene = unhealthy()?;
    let laptop = scene.device("laptop")?;
    let follower = follow(&scene)?;
    follower.wait_for("gateway")?;
    let id = refused_with_id(&laptop)?;
    let line = follower.wait_for(&id)?;
    assert!(line.contains("denied app/wiki") && line.contains("alice@corp.example"), "{line}");
    Ok(())
}

fn follow(scene: &Scene) -> Result<Process> {
    let mut command = product(&scene.world.gw, "doorward")?;
    command.args(["admin", "audit", "tail", "--follow", "--config"]);
    command.arg(scene.gateway.folder().join("doorward.toml"));
    scene.world.gw.start("follower", command)
}
