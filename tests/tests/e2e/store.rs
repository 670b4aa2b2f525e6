//! What an administrator takes away is gone at once and stays gone, and nobody else is touched.
//! Why each is allowed or refused is for the crates; here, that stock clients see it.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path, thread};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{
    company::{Company, DESK, ECHO, GATEWAY},
    device::{Device, KeyPair},
    gateway::Gateway,
    probe::{Ending, drain, echo},
    scene::{Plan, Scene},
    wait::eventually,
    world::World,
};

tests::tests![
    a_disabled_device_is_out_and_an_enabled_one_in_untouched,
    a_disabled_user_is_out_and_an_enabled_one_in_untouched,
    who_leaves_a_group_is_out,
    a_disabled_connector_carries_nothing,
    a_new_key_takes_over_from_the_old_one,
    removing_the_key_in_use_cuts,
    a_removed_device_stays_out_whatever_it_kept,
    removing_a_user_takes_nothing_from_another,
    renaming_a_device_cuts_nothing,
    an_acknowledged_command_outlives_a_kill,
    parallel_commands_lose_nothing,
    a_fresh_gateway_has_nobody,
];

/// Administrators at once.
const PARALLEL: usize = 20;

/// Alice's laptop and Bob's phone, who may do the same.
struct Two {
    scene: Scene,
    laptop: Device,
    phone: Device,
}

impl Two {
    fn start() -> Result<Self> {
        let mut plan = Plan::new()?;
        plan.company.person_mut("corp/bob")?.groups.push("corp/staff");
        let scene = Scene::with(plan)?;
        Ok(Self { laptop: scene.device("laptop")?, phone: scene.device("phone")?, scene })
    }

    /// `command` must end what the laptop has open, and leave alone what the phone has.
    fn cuts(&self, command: &str) -> Result<()> {
        let (mut lost, mut kept) = (dial(&self.laptop)?, dial(&self.phone)?);
        self.scene.admin(command)?;
        let ended = drain(&mut lost)?;
        ensure!(ended == (0, Ending::Reset), "{command}: {ended:?}");
        echo(&mut kept, "another's goes on").context(command.to_owned())?;
        echo(&mut dial(&self.phone)?, "and begins").context(command.to_owned())
    }

    /// The laptop is known no more: the session it has and a handshake by its `key` get nowhere.
    fn is_shut_out(&self, key: &KeyPair) -> Result<()> {
        let mut ping = self.laptop.host().command("ping")?;
        ping.args(["-i", "0.2", GATEWAY]);
        let ping = self.laptop.host().start("ping", ping)?;
        self.scene.wait_for_counter("unknown_session", self.scene.counter("unknown_session")?)?;
        let answered = ping.text().matches("bytes from").count();
        self.laptop.restart()?;
        eventually("the status names the key", || {
            self.scene.status().ok()?["unknown_keys"].to_string().contains(&key.public).then_some(())
        })?;
        assert_eq!(ping.text().matches("bytes from").count(), answered, "{}", ping.text());
        Ok(())
    }

    fn key(&self) -> Result<&KeyPair> {
        Ok(&self.scene.company.machine("laptop")?.key)
    }
}

fn dial(device: &Device) -> Result<std::net::TcpStream> {
    let mut flow = device.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "open")?;
    Ok(flow)
}

fn refused(device: &Device) -> Result<()> {
    assert_eq!(device.refusal(&format!("{DESK}:{ECHO}"))?, ErrorKind::ConnectionRefused);
    Ok(())
}

fn a_disabled_device_is_out_and_an_enabled_one_in_untouched() -> Result<()> {
    let two = Two::start()?;
    two.cuts("device disable laptop")?;
    two.is_shut_out(two.key()?)?;
    two.scene.admin("device enable laptop")?;
    two.laptop.wait_until_connected(GATEWAY)?;
    dial(&two.laptop).map(drop)
}

fn a_disabled_user_is_out_and_an_enabled_one_in_untouched() -> Result<()> {
    let two = Two::start()?;
    two.cuts("user disable corp/alice")?;
    refused(&two.laptop)?;
    two.scene.admin("user enable corp/alice")?;
    dial(&two.laptop).map(drop)
}

fn who_leaves_a_group_is_out() -> Result<()> {
    let two = Two::start()?;
    two.cuts("group remove-member corp/staff corp/alice")?;
    refused(&two.laptop)?;
    two.scene.admin("group add-member corp/staff corp/alice")?;
    dial(&two.laptop).map(drop)
}

fn a_disabled_connector_carries_nothing() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut lost = dial(&laptop)?;
    scene.admin("connector disable fra-1")?;
    assert_eq!(drain(&mut lost)?, (0, Ending::Reset));
    assert_eq!(scene.echo.ending()?, Ending::Reset, "at the service");
    assert!(laptop.dial(&format!("{DESK}:{ECHO}")).is_err(), "carried by a disabled connector");
    scene.admin("connector enable fra-1")?;
    scene.wait_until_linked("fra-1")?;
    dial(&laptop).map(drop)
}

/// The key a device speaks by takes along what it carries, also where there is another.
fn removing_the_key_in_use_cuts() -> Result<()> {
    let two = Two::start()?;
    let (old, new) = (two.key()?, KeyPair::fresh()?);
    two.scene.admin(&format!("device key add laptop {}", new.public))?;
    let mut lost = dial(&two.laptop)?;
    two.scene.admin(&format!("device key remove laptop {}", old.public))?;
    assert_eq!(drain(&mut lost)?, (0, Ending::Reset));
    two.is_shut_out(old)
}

/// Both keys work until the old one goes, with whoever holds it. What the device has open by the new one
/// goes on.
fn a_new_key_takes_over_from_the_old_one() -> Result<()> {
    let two = Two::start()?;
    let (old, new) = (two.key()?, KeyPair::fresh()?);
    two.scene.admin(&format!("device key add laptop {}", new.public))?;
    let successor = two.scene.world.device("successor", 12)?;
    let successor = Device::up(successor, &two.scene.device_text("laptop")?, &new, GATEWAY)?;
    let mut kept = dial(&successor).context("by the new key")?;
    two.laptop.wait_until_connected(GATEWAY)?;
    dial(&two.laptop).context("by the old key")?;
    successor.wait_until_connected(GATEWAY)?;
    echo(&mut kept, "speaks last")?;
    two.scene.admin(&format!("device key remove laptop {}", old.public))?;
    two.is_shut_out(old)?;
    successor.wait_until_connected(GATEWAY)?;
    echo(&mut kept, "goes on")?;
    dial(&successor).map(drop)
}

/// C8: the session it had, a new handshake and its old configuration.
fn a_removed_device_stays_out_whatever_it_kept() -> Result<()> {
    let two = Two::start()?;
    let key = two.key()?;
    two.cuts("device remove laptop")?;
    two.is_shut_out(key)?;
    let add = format!("device add laptop --owner corp/alice --public-key {}", key.public);
    let said = two.scene.gateway.admin_refused(&two.scene.world.gw, &add)?;
    assert!(said.contains("was taken from") && said.contains("--again"), "{said}");
    Ok(())
}

/// C7 (headscale#3155).
fn removing_a_user_takes_nothing_from_another() -> Result<()> {
    let two = Two::start()?;
    let refused = two.scene.gateway.admin_refused(&two.scene.world.gw, "user remove corp/alice")?;
    assert!(refused.contains("laptop"), "{refused}");
    two.cuts("user remove corp/alice --with-devices")?;
    two.is_shut_out(two.key()?)?;
    two.phone.reconnect(GATEWAY)?;
    dial(&two.phone)?;
    let devices = two.scene.admin("device list")?;
    assert!(devices.contains("phone") && !devices.contains("laptop"), "{devices}");
    Ok(())
}

fn renaming_a_device_cuts_nothing() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut kept = dial(&laptop)?;
    scene.admin("device rename laptop alices-laptop")?;
    echo(&mut kept, "under another name")?;
    let shown = scene.admin("device show alices-laptop")?;
    assert!(shown.contains("corp/alice"), "{shown}");
    dial(&laptop).map(drop)
}

/// A command, what is asked afterwards, and what the answer must hold.
const COMMANDS: [(&str, &str, &str); 5] = [
    ("device disable laptop --why lost", "device show laptop --json", "lost"),
    ("user add corp/carol --email carol@corp.example", "user show corp/carol --json", "carol@corp.example"),
    ("device rename phone pocket", "device show pocket --json", "corp/bob"),
    ("group add-member corp/guests corp/bob", "group show corp/guests --json", "corp/bob"),
    ("connector token fra --name fra-9", "token list --json", "fra-9"),
];

fn an_acknowledged_command_outlives_a_kill() -> Result<()> {
    let mut scene = Scene::start()?;
    for (command, _, _) in COMMANDS {
        scene.admin(command)?;
        scene.restart_gateway()?;
    }
    for (command, question, answer) in COMMANDS {
        let said = scene.admin(question)?;
        assert!(said.contains(answer), "{command} was forgotten: {said}");
    }
    let device = &scene.company.machine("laptop")?.key;
    let laptop = Device::start(scene.world.device("laptop", 10)?, &scene.device_text("laptop")?, device)?;
    let mut ping = laptop.host().command("ping")?;
    ping.args(["-i", "0.2", GATEWAY]);
    let ping = laptop.host().start("ping", ping)?;
    eventually("the disabled device knocks", || {
        scene.status().ok()?["unknown_keys"].to_string().contains(&device.public).then_some(())
    })?;
    assert!(!ping.text().contains("bytes from"), "{}", ping.text());
    let verified = scene.admin("audit verify")?;
    assert!(verified.starts_with("sound: "), "{verified}");
    let log = scene.admin("audit tail -n 1000")?;
    for (command, _, _) in COMMANDS {
        let verb: Vec<_> = command.split_whitespace().take(2).collect();
        assert!(log.contains(&verb.join(" ")), "{command} is not in the log:\n{log}");
    }
    Ok(())
}

/// C4 (NetBird GO-2026-5646): each writes the same person anew, and none writes over another.
fn parallel_commands_lose_nothing() -> Result<()> {
    let scene = Scene::start()?;
    let groups: Vec<_> = (0..PARALLEL).map(|n| format!("corp/team-{n}")).collect();
    for group in &groups {
        scene.admin(&format!("group add {group}"))?;
    }
    let (gateway, host) = (&scene.gateway, &scene.world.gw);
    thread::scope(|scope| {
        let add = |group| move || gateway.admin(host, &format!("group add-member {group} corp/bob"));
        let all: Vec<_> = groups.iter().map(|group| scope.spawn(add(group))).collect();
        all.into_iter().try_for_each(|one| one.join().expect("it does not panic").map(drop))
    })?;
    let bob = scene.admin("user show corp/bob --json")?;
    for group in &groups {
        assert!(bob.contains(&format!("\"{group}\"")), "{group} was lost: {bob}");
    }
    Ok(())
}

/// C5 (NetBird CVE-2025-10678): no credential that everybody knows, and no way in for other accounts.
fn a_fresh_gateway_has_nobody() -> Result<()> {
    let world = World::new()?;
    let mut gateway = Gateway::prepare(&world.gw)?;
    gateway.write(&Company::new()?)?;
    gateway.start(&world.gw)?;
    for noun in ["user", "group", "device", "connector", "token"] {
        assert_eq!(gateway.admin(&world.gw, &format!("{noun} list --json"))?, "[]\n", "{noun}");
    }
    assert_eq!(gateway.status(&world.gw)?["tunnel"]["peers"], json!([]));
    let state = gateway.folder().join("state");
    let mode = |file: &Path| anyhow::Ok(fs::metadata(file)?.permissions().mode() & 0o777);
    assert_eq!((mode(&state)?, mode(&state.join("doorward.sock"))?), (0o700, 0o600));
    Ok(())
}
