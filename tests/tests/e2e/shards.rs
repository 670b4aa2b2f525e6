//! Several data-plane threads: what one thread does for one device, four do for four. The kernel brings an
//! initiation to any of them, data to the one whose session it is.

use std::{fs, io::Write};

use anyhow::{Context, Result, ensure};
use tests::{
    company::{Company, DESK, ECHO, GATEWAY, Machine, SERVER, SERVER_V6},
    connections::Connections,
    datagrams::{Answering, Asking},
    device::Device,
    probe::{Ending, drain, echo},
    scene::{Plan, Scene},
    wait::eventually,
};

tests::tests![
    every_thread_serves_its_devices,
    a_cut_reaches_the_right_thread,
    an_initiation_may_arrive_anywhere,
    all_come_back_after_a_kill,
    who_roams_stays_connected,
    a_device_with_a_new_address_moves,
];

const SHARDS: u8 = 4;
const NAMES: [&str; 4] = ["laptop", "desktop", "tablet", "reader"];

/// Alice's four devices, by their addresses one for each thread.
fn scene() -> Result<Scene> {
    let mut company = Company::new()?;
    company.shards = Some(SHARDS);
    company.machines.retain(|machine| machine.name == "laptop");
    for (name, number) in NAMES.into_iter().zip(10..).skip(1) {
        company.machines.push(Machine::new(name, "corp/alice", number)?);
    }
    Scene::with(Plan { company, ..Plan::new()? })
}

fn devices(scene: &Scene) -> Result<Vec<Device>> {
    NAMES.iter().map(|name| scene.device(name)).collect()
}

/// What the status says of each thread.
fn loads(scene: &Scene, what: &str) -> Result<Vec<u64>> {
    let status = scene.status()?;
    let loads = status["tunnel"]["shards"].as_array().context("no shards")?;
    loads.iter().map(|load| load[what].as_u64().with_context(|| format!("no {what} in {load}"))).collect()
}

fn every_thread_serves_its_devices() -> Result<()> {
    let scene = scene()?;
    let (_v4, _v6) = [SERVER, SERVER_V6]
        .map(|address| Answering::listen(&scene.world.servers, &format!("{address}:9000")))
        .into();
    let devices = devices(&scene)?;
    let mut open = Vec::new();
    for device in &devices {
        // By name, so by DNS.
        ensure!(device.page(&["http://wiki.corp.example/"])?.contains("corp/alice"), "a page");
        open.push(Connections::open(device)?);
        for address in [SERVER, SERVER_V6] {
            Asking::of(device.host(), &format!("{address}:9000"))?.echo(b"datagram")?;
        }
    }
    ensure!(loads(&scene, "peers")? == [1; 4] && loads(&scene, "awake")? == [1; 4]);
    ensure!(loads(&scene, "flows")?.iter().all(|&flows| flows >= 4), "{}", scene.status()?);
    ensure!(loads(&scene, "handover_full")? == [0; 4], "{}", scene.status()?);
    open.iter_mut().try_for_each(Connections::expect_open)?;
    let told = scene.gateway.ask(&scene.world.gw, &["status"])?;
    ensure!(
        told.contains("4 shards, each with sockets and a TUN queue; the kernel steers datagrams"),
        "{told}"
    );
    Ok(())
}

fn a_cut_reaches_the_right_thread() -> Result<()> {
    let mut scene = scene()?;
    let devices = devices(&scene)?;
    let mut open = devices.iter().map(Connections::open).collect::<Result<Vec<_>>>()?;
    for name in &NAMES[..3] {
        scene.change(|company| company.machine_mut(name).map(|machine| machine.encrypted = Some(false)))?;
        open.remove(0).expect_cut()?;
        open.iter_mut().try_for_each(Connections::expect_open)?;
    }
    // One that is gone altogether.
    scene.change(|company| {
        company.machines.retain(|machine| machine.name != NAMES[3]);
        Ok(())
    })?;
    open.remove(0).expect_cut()?;
    ensure!(loads(&scene, "peers")?.iter().sum::<u64>() == 3);
    Ok(())
}

fn an_initiation_may_arrive_anywhere() -> Result<()> {
    let scene = scene()?;
    let devices = devices(&scene)?;
    // Nothing but handshakes and pings passed so far: pings find their way by the session's index.
    let mut next = devices.iter().cycle();
    eventually("an initiation arrives at another thread", || {
        if scene.counter("handed_over").ok()? > 0 {
            return Some(());
        }
        next.next()?.reconnect(GATEWAY).ok()?;
        None
    })?;
    for device in &devices {
        echo(&mut device.dial(&format!("{DESK}:{ECHO}"))?, "anywhere")?;
    }
    ensure!(scene.counter("unknown_key")? == 0, "a key of another thread is no stranger's");
    Ok(())
}

fn all_come_back_after_a_kill() -> Result<()> {
    let mut scene = scene()?;
    let devices = devices(&scene)?;
    let target = format!("{DESK}:{ECHO}");
    let mut old = devices.iter().map(|device| device.dial(&target)).collect::<Result<Vec<_>>>()?;
    old.iter_mut().try_for_each(|flow| echo(flow, "before"))?;
    let file = scene.gateway.folder().join("state/peers.json");
    eventually("the gateway has written down where all are", || {
        let text = fs::read_to_string(&file).ok()?;
        scene.company.machines.iter().all(|machine| text.contains(&machine.key.public)).then_some(())
    })?;
    scene.restart_gateway()?;
    scene.wait_until_linked("fra-1")?;
    for (device, old) in devices.iter().zip(&mut old) {
        device.wait_until_connected(GATEWAY)?;
        old.write_all(b"after")?;
        ensure!(drain(old)? == (0, Ending::Reset));
        echo(&mut device.dial(&target)?, "anew")?;
    }
    ensure!(scene.counter("rehandshake")? >= 4, "they were called back: {}", scene.status()?);
    Ok(())
}

/// Where the gateway says that a device is.
fn endpoint(scene: &Scene, name: &str) -> Option<String> {
    let status = scene.status().ok()?;
    let peer = status["tunnel"]["peers"].as_array()?.iter().find(|peer| peer["device"] == name)?;
    peer["endpoint"].as_str().map(str::to_owned)
}

fn who_roams_stays_connected() -> Result<()> {
    let scene = scene()?;
    let devices = devices(&scene)?;
    let mut open = devices.iter().map(Connections::open).collect::<Result<Vec<_>>>()?;
    for (at, device) in devices.iter().enumerate() {
        let (address, port) = (format!("10.77.0.{}", 100 + at), 40_000 + u16::try_from(at)?);
        device.roam(&format!("{address}/24"), port)?;
        open[at].expect_open()?;
        let there = format!("{address}:{port}");
        ensure!(endpoint(&scene, NAMES[at]) == Some(there), "{}", scene.status()?);
    }
    open.iter_mut().try_for_each(Connections::expect_open)
}

/// It belongs to another thread then, with its key and what is known of it.
fn a_device_with_a_new_address_moves() -> Result<()> {
    let mut scene = scene()?;
    let laptop = scene.device("laptop")?;
    let open = Connections::open(&laptop)?;
    let awake = |scene: &Scene| loads(scene, "awake");
    let before = awake(&scene)?;
    scene.change(|company| company.machine_mut("laptop").map(|laptop| laptop.number += 10))?;
    open.expect_cut()?;
    drop(laptop);
    // The kernel takes its time to forget the old one's link.
    let laptop = eventually("a laptop with the new address", || scene.device("laptop").ok())?;
    Connections::open(&laptop)?;
    ensure!(before != awake(&scene)?, "{}", scene.status()?);
    Ok(())
}
