//! What others hold back: an upstream or a device that never reads, a connector that stands still, a
//! gateway that may open no more files. Whoever does not depend on it is served, and all is well again afterwards.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    company::{DESK, ECHO, POUR},
    device::Device,
    probe::{Ending, echo},
    scene::{Plan, Scene},
    wait::eventually,
};

tests::tests![
    a_frozen_upstream_holds_nobody_up,
    a_frozen_connector_holds_nobody_up,
    a_device_that_reads_nothing_keeps_a_few_flows_whole_and_loses_the_rest,
    out_of_descriptors_new_flows_are_refused_and_later_served,
];

/// Declared by `desk`; here somebody listens who never accepts.
const FROZEN: u16 = 2222;
const FLOWS: usize = 20;

fn staff(connectors: &[&'static str]) -> Result<Plan> {
    let mut plan = Plan::new()?;
    plan.company.person_mut("corp/bob")?.groups.push("corp/staff");
    plan.connectors = connectors.to_vec();
    Ok(plan)
}

fn use_apps(phone: &Device, times: usize) -> Result<()> {
    for _ in 0..times {
        echo(&mut phone.dial(&format!("{DESK}:{ECHO}"))?, "still served")?;
        ensure!(phone.code(&["http://wiki.corp.example/"])? == 200);
    }
    Ok(())
}

/// Writes into every flow until, look after look, none of them takes anything.
fn fill(flows: &mut [TcpStream]) -> Result<()> {
    let data = vec![b'.'; 256 << 10];
    for flow in flows.iter() {
        flow.set_nonblocking(true)?;
    }
    let mut idle = 0;
    eventually("every buffer is full", || {
        let taken: usize = flows.iter_mut().filter_map(|flow| flow.write(&data).ok()).sum();
        idle = if taken == 0 { idle + 1 } else { 0 };
        (idle > 10).then_some(())
    })
}

fn a_frozen_upstream_holds_nobody_up() -> Result<()> {
    let scene = Scene::with(staff(&["fra-1"])?)?;
    let _frozen = scene.world.servers.within(|| TcpListener::bind(("::", FROZEN)))?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    let dial = |_| laptop.dial(&format!("{DESK}:{FROZEN}"));
    let mut flows = (0..FLOWS).map(dial).collect::<Result<Vec<_>>>()?;
    fill(&mut flows)?;
    use_apps(&phone, 10)?;
    use_apps(&laptop, 3)
}

/// One of two connectors is stopped with full buffers in both directions.
fn a_frozen_connector_holds_nobody_up() -> Result<()> {
    let scene = Scene::with(staff(&["fra-1", "fra-2"])?)?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    let dial = |nth| laptop.dial(&format!("{DESK}:{}", if nth % 2 == 0 { ECHO } else { POUR }));
    let mut flows = (0..FLOWS).map(dial).collect::<Result<Vec<_>>>()?;
    let status = scene.status()?;
    let carrier = status["connectors"].as_array().and_then(|rows| rows.iter().find(|row| row["flows"] != 0));
    let carrier =
        carrier.and_then(|row| row["id"].as_str()).context("somebody carries the flows")?.to_owned();
    scene.connector(&carrier)?.signal(Signal::SIGSTOP)?;
    fill(&mut flows)?;
    use_apps(&phone, 10)
}

/// Flows of one device that may stand unread.
const PLACES: usize = 32;
/// As many more.
const BEYOND: usize = 8;
/// More than all buffers behind the gateway's relay hold for a device that does not read.
const STORY: usize = 2 << 20;

/// Everyone who connects is told the same long story.
fn tell(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        thread::spawn(move || {
            stream.write_all(&story())?;
            stream.shutdown(Shutdown::Write)?;
            // Whoever tells stays until the listener leaves, as its kernel does not for long.
            stream.read(&mut [0])
        });
    }
}

fn story() -> Vec<u8> {
    (0..STORY).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect()
}

/// Through a connector, each flow that is not read fills a window of the gateway's.
fn a_device_that_reads_nothing_keeps_a_few_flows_whole_and_loses_the_rest() -> Result<()> {
    let scene = Scene::with(staff(&["fra-1"])?)?;
    let listener = scene.world.servers.within(|| TcpListener::bind(("::", FROZEN)))?;
    thread::spawn(move || tell(&listener));
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    let mut download = phone.dial(&format!("{DESK}:{POUR}"))?;
    let mut some = vec![0; 1 << 20];
    download.read_exact(&mut some)?;

    let dial = |_| laptop.dial(&format!("{DESK}:{FROZEN}"));
    let flows = (0..PLACES + BEYOND).map(dial).collect::<Result<Vec<_>>>()?;
    eventually("those beyond its places are reset", || {
        (scene.status().ok()?["limits"]["flows_stuck"] == BEYOND).then_some(())
    })?;
    let log = scene.gateway.process()?;
    eventually("each has its line", || {
        (log.text().matches("end=\"stuck\"").count() == BEYOND).then_some(())
    })?;
    download.read_exact(&mut some).context("another device's download goes on")?;
    use_apps(&laptop, 3)?;

    let ends = flows.into_iter().map(read_story).collect::<Result<Vec<_>>>()?;
    let whole = ends.iter().filter(|&&ending| ending == Ending::Clean).count();
    assert_eq!((whole, ends.len() - whole), (PLACES, BEYOND), "whole, and reset");
    assert_eq!(scene.status()?["limits"]["flows_stuck"], BEYOND);
    Ok(())
}

/// How the flow ends; if it does so cleanly, nothing of the story may be missing.
fn read_story(mut flow: TcpStream) -> Result<Ending> {
    let mut read = Vec::new();
    match flow.read_to_end(&mut read) {
        Ok(_) => {
            ensure!(read == story(), "{} bytes of {STORY}", read.len());
            Ok(Ending::Clean)
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Ending::Reset),
        Err(error) => Err(error).context("reading a story"),
    }
}

/// A hard limit that leaves room for a few flows only.
fn out_of_descriptors_new_flows_are_refused_and_later_served() -> Result<()> {
    let mut plan = staff(&["fra-1"])?;
    plan.files = Some(100);
    let scene = Scene::with(plan)?;
    let (laptop, phone) = (scene.device("laptop")?, scene.device("phone")?);
    let mut open = phone.dial(&format!("{DESK}:{ECHO}"))?;
    let target = format!("{DESK}:{ECHO}");
    let mut flows = Vec::new();
    let refused = loop {
        ensure!(flows.len() < 100, "more flows than descriptors");
        match tests::probe::dial(laptop.host(), &target) {
            Ok(flow) => flows.push(flow),
            Err(error) => break error.kind(),
        }
    };
    assert!([ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable].contains(&refused), "{refused}");
    assert!(flows.len() > 5, "refused after {} flows", flows.len());
    echo(&mut open, "what was open stays")?;
    let status = scene.status()?;
    let denials = status["denials"].as_object().context("no denials")?;
    assert!(denials.iter().any(|(code, count)| code == "exhausted" && *count != 0), "{denials:?}");
    drop(flows);
    eventually("the laptop is served again", || {
        let mut flow = tests::probe::dial(laptop.host(), &target).ok()?;
        echo(&mut flow, "again").ok()
    })?;
    use_apps(&phone, 3)
}
