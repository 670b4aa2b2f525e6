//! What is open dies with the right to it: by a reset, with nothing queued after it, on both sides.
//! A clean end would make a cut download look complete, so it never counts as a cut.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, ensure};
use tests::{
    company::{Company, DESK, ECHO, GUARDS, POUR, STAFF, WIKI},
    device::Device,
    probe::{Ending, drain, echo, shrink_window},
    scene::{Plan, Scene},
    wait::eventually,
};
use tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

tests::tests![
    a_posture_edit_cuts_and_a_repair_lets_in_again,
    removing_the_user_cuts,
    removing_the_group_cuts,
    removing_the_device_cuts,
    a_policy_edit_cuts,
    an_unrelated_edit_cuts_nothing,
    a_hang_up_signal_reloads_too,
    nothing_queued_arrives_after_a_cut,
    the_end_of_a_time_window_cuts_tcp,
    the_end_of_a_time_window_cuts_http,
    the_end_of_a_time_window_cuts_websockets,
];

/// An echoing flow from Alice's laptop.
fn open(laptop: &Device) -> Result<TcpStream> {
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "before")?;
    Ok(flow)
}

/// `edit` must end an open flow on both sides.
fn cuts(edit: impl FnOnce(&mut Company) -> Result<()>) -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = open(&laptop)?;
    scene.change(edit)?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset), "at the device");
    assert_eq!(scene.echo.ending()?, Ending::Reset, "at the service");
    Ok(())
}

pub fn a_posture_edit_cuts_and_a_repair_lets_in_again() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = open(&laptop)?;
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    assert_eq!(laptop.refusal(&format!("{DESK}:{ECHO}"))?, ErrorKind::ConnectionRefused);
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(true)))?;
    open(&laptop).map(drop)
}

fn removing_the_user_cuts() -> Result<()> {
    cuts(|company| {
        company.people.retain(|person| person.id != "corp/alice");
        company.machines.retain(|machine| machine.owner != "corp/alice");
        Ok(())
    })
}

fn removing_the_group_cuts() -> Result<()> {
    cuts(|company| company.person_mut("corp/alice").map(|alice| alice.groups.clear()))
}

fn removing_the_device_cuts() -> Result<()> {
    cuts(|company| {
        company.machines.retain(|machine| machine.name != "laptop");
        Ok(())
    })
}

fn a_policy_edit_cuts() -> Result<()> {
    cuts(|company| {
        company.policies.insert("staff", STAFF.replace("corp/staff", "corp/guests"));
        Ok(())
    })
}

fn an_unrelated_edit_cuts_nothing() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = open(&laptop)?;
    scene.change(|company| {
        company.policies.insert("guards", GUARDS.replace("Turn on", "Please turn on"));
        company.machine_mut("phone").map(|phone| phone.encrypted = Some(false))
    })?;
    echo(&mut flow, "after")
}

fn a_hang_up_signal_reloads_too() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = open(&laptop)?;
    scene.company.machine_mut("laptop")?.encrypted = Some(false);
    scene.gateway.write(&scene.company)?;
    scene.gateway.hang_up()?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    Ok(())
}

fn nothing_queued_arrives_after_a_cut() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{POUR}"))?;
    shrink_window(&flow)?;
    let waiting = wait_until_stalled(&laptop)?;
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.encrypted = Some(false)))?;
    assert_eq!(scene.pour.ending()?, Ending::Reset, "at the service");
    // What the device's own kernel held already is all that may come.
    let (came, ending) = drain(&mut flow)?;
    assert_eq!(ending, Ending::Reset);
    assert!(came <= waiting, "{came} bytes came, {waiting} were there before the cut");
    Ok(())
}

/// Looks that must agree before a transfer counts as stalled.
const AGREED: u32 = 5;

/// Waits until the device's socket holds unread data and takes no more; how much it holds.
fn wait_until_stalled(laptop: &Device) -> Result<usize> {
    let (mut last, mut agreed) = (0, 0);
    eventually("the receive buffer is full", || {
        let sockets =
            laptop.host().sh("ss", &["--no-header", "--tcp", "--numeric", "state", "established"]).ok()?;
        let held = sockets.split_whitespace().next()?.parse().ok()?;
        agreed = if held > 0 && held == last { agreed + 1 } else { 0 };
        last = held;
        (agreed == AGREED).then_some(held)
    })
}

/// 17:00 in Berlin on a Monday in winter, when the permit below ends.
const CLOSING_TIME: u64 = 1_795_449_600;

/// Alice may work until 17:00; the clock shows 16:50.
fn office_hours() -> Result<Scene> {
    let mut plan = Plan::new()?;
    let condition = "when { context.zone.berlin.weekday <= 5 && context.zone.berlin.minute < 1020 };";
    plan.company
        .policies
        .insert("staff", STAFF.trim_end().trim_end_matches(';').to_owned() + "\n" + condition);
    plan.clock = Some(CLOSING_TIME - 600);
    Scene::with(plan)
}

fn the_end_of_a_time_window_cuts_tcp() -> Result<()> {
    let mut scene = office_hours()?;
    let laptop = scene.device("laptop")?;
    let mut flow = open(&laptop)?;
    scene.set_clock(CLOSING_TIME - 1)?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    assert_eq!(laptop.refusal(&format!("{DESK}:{ECHO}"))?, ErrorKind::ConnectionRefused);
    Ok(())
}

fn the_end_of_a_time_window_cuts_http() -> Result<()> {
    let mut scene = office_hours()?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{WIKI}:80"))?;
    flow.write_all(b"GET /hold HTTP/1.1\r\nHost: wiki.corp.example\r\n\r\n")?;
    read_until(&mut flow, "begun")?;
    scene.set_clock(CLOSING_TIME - 1)?;
    let (_, ending) = drain(&mut flow)?;
    assert_eq!(ending, Ending::Reset, "a response that was cut looks complete");
    assert_eq!(laptop.code(&["http://wiki.corp.example/"])?, 403);
    Ok(())
}

fn read_until(flow: &mut TcpStream, text: &str) -> Result<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = flow.read(&mut buffer).context("reading the beginning of the response")?;
        ensure!(count > 0, "ended before {text:?}: {}", String::from_utf8_lossy(&seen));
        seen.extend(buffer.iter().take(count));
    }
    Ok(())
}

fn the_end_of_a_time_window_cuts_websockets() -> Result<()> {
    let mut scene = office_hours()?;
    let laptop = scene.device("laptop")?;
    let flow = laptop.dial(&format!("{WIKI}:80"))?;
    let (mut socket, _) = tungstenite::client("ws://wiki.corp.example/live", flow)?;
    socket.send(Message::text("hello"))?;
    assert_eq!(socket.read()?, Message::text("hello"));
    scene.set_clock(CLOSING_TIME - 1)?;
    match socket.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, CloseCode::Policy),
        Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        // tungstenite's word for a connection that ended without a closing handshake.
        Err(Error::Protocol(_)) => {}
        other => panic!("the WebSocket went on: {other:?}"),
    }
    Ok(())
}
