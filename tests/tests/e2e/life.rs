//! How a gateway begins and ends: one per state folder, and an end that breaks nothing off that can
//! end by itself in time.

use std::{
    io::{ErrorKind, Write},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::sys::signal::Signal;
use tests::{
    company::{Company, DESK, ECHO, POUR, WIKI},
    connections::Connections,
    device::Device,
    gateway::Gateway,
    mirror::read_answer,
    probe::{Ending, drain, echo},
    scene::Scene,
    wait::eventually,
    world::World,
};

tests::tests![
    what_is_open_may_finish_before_the_gateway_ends,
    terminated_twice_the_gateway_ends_at_once,
    interrupted_twice_the_gateway_ends_at_once,
    a_state_folder_has_one_gateway,
    without_a_gateway_the_status_says_so,
];

/// How long a gateway that was asked to end lets what is open go on; both tests end earlier.
const DRAIN: Duration = Duration::from_secs(10);

/// By another service than the one whose connections are watched: one may still get in.
fn wait_until_refused(laptop: &Device) -> Result<()> {
    eventually("new connections are refused", || {
        let refused = laptop.refusal(&format!("{DESK}:{POUR}")).ok()?;
        (refused == ErrorKind::ConnectionRefused).then_some(())
    })
}

fn what_is_open_may_finish_before_the_gateway_ends() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let Connections { mut tcp, mut kept, .. } = Connections::open(&laptop)?;
    let mut upload = laptop.dial(&format!("{WIKI}:80"))?;
    upload
        .write_all(b"POST /upload HTTP/1.1\r\nHost: wiki.corp.example\r\nContent-Length: 10\r\n\r\nfirst")?;
    eventually("the app has the request", || {
        scene.mirror.heads().iter().any(|head| head.starts_with("POST /upload")).then_some(())
    })?;
    let asked = Instant::now();
    scene.gateway.ask_to_end(Signal::SIGTERM)?;
    assert_eq!(drain(&mut kept)?, (0, Ending::Clean), "an idle connection has nothing to finish");
    wait_until_refused(&laptop)?;
    assert_eq!(laptop.refusal(&format!("{WIKI}:80"))?, ErrorKind::ConnectionRefused);
    echo(&mut tcp, "meanwhile")?;
    upload.write_all(b"-last")?;
    let answer = read_answer(&mut upload)?;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("first-last"), "{answer}");
    assert_eq!(drain(&mut upload)?, (0, Ending::Clean));
    drop(tcp);
    assert_eq!(scene.echo.ending()?, Ending::Clean);
    assert_eq!(scene.gateway.outcome()?.code(), Some(0));
    assert!(asked.elapsed() < DRAIN, "it waited although nothing was open");
    Ok(())
}

fn terminated_twice_the_gateway_ends_at_once() -> Result<()> {
    asked_twice(Signal::SIGTERM)
}

fn interrupted_twice_the_gateway_ends_at_once() -> Result<()> {
    asked_twice(Signal::SIGINT)
}

fn asked_twice(signal: Signal) -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let Connections { mut tcp, mut answering, .. } = Connections::open(&laptop)?;
    let asked = Instant::now();
    scene.gateway.ask_to_end(signal)?;
    wait_until_refused(&laptop)?;
    echo(&mut tcp, "meanwhile")?;
    scene.gateway.ask_to_end(signal)?;
    for flow in [&mut tcp, &mut answering] {
        assert_eq!(drain(flow)?, (0, Ending::Reset));
    }
    assert_eq!(scene.echo.ending()?, Ending::Reset, "at the service");
    assert_eq!(scene.gateway.outcome()?.code(), Some(0));
    assert!(asked.elapsed() < DRAIN, "it waited although it was asked twice");
    Ok(())
}

fn a_state_folder_has_one_gateway() -> Result<()> {
    let scene = Scene::start()?;
    let second = scene.gateway.cli(&scene.world.gw, &["gateway"])?;
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another gateway runs with it"), "{said}");
    let laptop = scene.device("laptop")?;
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "the first goes on")
}

fn without_a_gateway_the_status_says_so() -> Result<()> {
    let world = World::new()?;
    let mut gateway = Gateway::prepare(&world.gw)?;
    gateway.write(&Company::new()?)?;
    // Before the first start there is no socket; after a kill there is one that nobody answers.
    for _ in 0..2 {
        for question in ["status", "reload"] {
            let output = gateway.cli(&world.gw, &[question])?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{question}: {said}");
            assert!(said.contains("no gateway runs with the state folder"), "{question}: {said}");
        }
        gateway.start(&world.gw)?;
        gateway.kill()?;
    }
    Ok(())
}
