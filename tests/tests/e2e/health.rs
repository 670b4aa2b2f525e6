//! Health for machines: what answers where, and that a degraded state is told, measured and ended.
//! Which paths and methods the listener knows is tested where it stands.

use std::{fs, io::ErrorKind};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tests::{
    company::{DESK, ECHO, GATEWAY, OUTSIDE},
    probe::echo,
    scene::{Plan, Scene},
    wait::eventually,
};

tests::tests![
    metrics_and_probes_answer_on_the_private_listener_only,
    a_degraded_state_is_told_and_ends,
    a_gateway_that_drains_is_not_ready,
];

const HEALTH: &str = "http://127.0.0.1:9820";

fn start() -> Result<Scene> {
    let mut plan = Plan::new()?;
    plan.company.more = "[health]\nlisten = [\"127.0.0.1:9820\"]\n".to_owned();
    Scene::with(plan)
}

fn ask(scene: &Scene, path: &str) -> Result<String> {
    scene.world.gw.sh("curl", &["--silent", "--fail", "--max-time", "60", &format!("{HEALTH}{path}")])
}

/// H13: on no listener but its own; an app keeps these paths for itself.
fn metrics_and_probes_answer_on_the_private_listener_only() -> Result<()> {
    let scene = start()?;
    let laptop = scene.device("laptop")?;
    let listening = scene.world.gw.sh("ss", &["--no-header", "--listening", "--tcp", "--numeric"])?;
    let listening: Vec<_> = listening.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(listening, ["127.0.0.1:9820"], "a listener that this test does not know");
    assert_eq!(ask(&scene, "/healthz")?, "ok\n");
    assert_eq!(ask(&scene, "/readyz")?, "[]");
    let metrics = ask(&scene, "/metrics")?;
    assert!(metrics.contains("\ndoorward_ready 1\n"), "{metrics}");
    assert!(metrics.contains("doorward_connector_up{site=\"fra\",connector=\"fra-1\"} 1"), "{metrics}");
    for place in [format!("{OUTSIDE}:9820"), format!("{GATEWAY}:9820"), format!("{OUTSIDE}:80")] {
        assert_eq!(laptop.refusal(&place)?, ErrorKind::ConnectionRefused, "{place}");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/vars", "/server-status"] {
        let arrived = laptop.page(&[&format!("http://wiki.corp.example{path}")])?;
        assert!(arrived.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{path} became\n{arrived}");
        assert_eq!(laptop.code(&[&format!("http://vault.corp.example{path}")])?, 403, "{path}");
        let stranger =
            laptop.code(&["--header", "Host: localhost", &format!("http://wiki.corp.example{path}")])?;
        assert_eq!(stranger, 421, "{path}");
    }
    Ok(())
}

/// peers.json cannot be written where a folder of that name stands.
fn a_degraded_state_is_told_and_ends() -> Result<()> {
    let scene = start()?;
    let file = scene.gateway.folder().join("state/peers.json");
    eventually("a folder stands in the way", || {
        let _ = fs::remove_file(&file);
        fs::create_dir(&file).ok()
    })?;
    let laptop = scene.device("laptop")?;
    let states = |count: usize| {
        eventually(&format!("{count} degraded states"), || {
            let states = scene.status().ok()?["degraded"].as_array()?.clone();
            (states.len() == count).then_some(states)
        })
    };
    assert_eq!(states(1)?[0]["name"], "peers_file");
    let table = scene.gateway.ask(&scene.world.gw, &["status"])?;
    let line = table.lines().find(|line| line.starts_with("DEGRADED")).context("a line")?;
    assert!(line.starts_with("DEGRADED peers_file: ") && line.contains("; what helps: "), "{line}");
    assert!(ask(&scene, "/metrics")?.contains("\ndoorward_degraded{state=\"peers_file\"} 1\n"));
    assert!(ask(&scene, "/readyz")?.contains("peers_file"), "told, but ready all the same");
    fs::remove_dir(&file)?;
    laptop.reconnect(GATEWAY)?;
    states(0)?;
    assert!(!ask(&scene, "/metrics")?.contains("doorward_degraded"));
    assert!(file.is_file());
    Ok(())
}

/// An open connection keeps it draining.
fn a_gateway_that_drains_is_not_ready() -> Result<()> {
    let mut scene = start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "open")?;
    let probe = ["--silent", "--write-out", "%{http_code}", &format!("{HEALTH}/readyz")];
    assert_eq!(scene.world.gw.sh("curl", &probe)?, "[]200");
    scene.gateway.ask_to_end(Signal::SIGTERM)?;
    let said = eventually("the gateway is not ready", || {
        scene.world.gw.sh("curl", &probe).ok().filter(|said| said.ends_with("503"))
    })?;
    assert!(said.contains("\"name\":\"draining\""), "{said}");
    drop(flow);
    assert!(scene.gateway.outcome()?.success());
    Ok(())
}
