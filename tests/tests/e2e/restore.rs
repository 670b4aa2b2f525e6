//! Going back to a backup, and keys that rotate, on a gateway at work.
//! What a restore makes of each kind of object is tested where that is decided.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use tests::{
    company::{DESK, ECHO, Machine, Person, write_secret},
    device::KeyPair,
    probe::echo,
    scene::{Plan, Scene},
    services,
};

tests::tests![
    what_has_ended_since_a_backup_stays_ended,
    a_store_moves_to_another_engine_by_its_backup,
    after_a_disaster_everything_is_denied_until_a_person_has_looked,
    a_backup_without_room_leaves_nothing_and_says_so,
    keys_rotate_while_everything_goes_on,
];

fn admin(scene: &Scene, arguments: &[&str]) -> Result<String> {
    scene.gateway.ask(&scene.world.gw, &[&["admin"], arguments].concat())
}

fn data(scene: &Scene, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&admin(scene, &[arguments, &["--json"]].concat())?)?)
}

/// What must not work says.
fn refused(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let output = scene.gateway.cli(&scene.world.gw, &[&["admin"], arguments].concat())?;
    assert!(!output.status.success(), "{arguments:?} was done");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn backup(scene: &Scene) -> Result<String> {
    let file = scene.gateway.folder().join("backup.jsonl");
    let file = file.to_str().context("a plain name")?.to_owned();
    admin(scene, &["backup", &file])?;
    Ok(file)
}

fn degraded(scene: &Scene) -> Result<Value> {
    let states = scene.status()?["degraded"].as_array().context("states")?.clone();
    Ok(states.into_iter().map(|state| state["name"].clone()).collect())
}

/// C13.
fn what_has_ended_since_a_backup_stays_ended() -> Result<()> {
    let mut plan = Plan::new()?;
    for (id, name, number) in
        [("corp/carol", "tablet", 20), ("corp/dave", "desktop", 21), ("corp/erin", "watch", 22)]
    {
        plan.company.people.push(Person { id, groups: vec!["corp/staff"], disabled: false });
        plan.company.machines.push(Machine::new(name, id, number)?);
    }
    let scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    let watch = scene.device("watch")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    let mut ended = watch.dial(&format!("{DESK}:{ECHO}"))?;
    admin(&scene, &["connector", "token", "fra", "--name", "fra-2"])?;
    let file = backup(&scene)?;
    assert!(refused(&scene, &["backup", &file])?.contains("is there already"));

    let key = &scene.company.machine("desktop")?.key.public;
    let spare = KeyPair::fresh()?.public;
    admin(&scene, &["device", "key", "add", "desktop", &spare])?;
    admin(&scene, &["device", "key", "remove", "desktop", key])?;
    admin(&scene, &["device", "disable", "watch"])?;
    admin(&scene, &["group", "remove-member", "corp/staff", "corp/carol"])?;
    admin(
        &scene,
        &["device", "add", "late", "--owner", "corp/alice", "--public-key", &KeyPair::fresh()?.public],
    )?;
    echo(&mut flow, "before")?;

    let proposed = admin(&scene, &["restore", &file])?;
    assert!(proposed.contains("--yes"), "{proposed}");
    data(&scene, &["device", "show", "late"])?;
    let restored = data(&scene, &["restore", &file, "--yes"])?;
    assert_eq!((&restored["closed"], &restored["voided_tokens"]), (&json!([]), &json!(1)), "{restored}");
    assert_eq!(degraded(&scene)?, json!([]));
    echo(&mut flow, "after")?;
    assert!(echo(&mut ended, "cut").is_err(), "it was cut when the device was disabled");
    assert!(!data(&scene, &["device", "show", "watch"])?["disabled"].is_null());
    assert_eq!(data(&scene, &["user", "show", "corp/carol"])?["groups"], json!([]));
    assert!(!data(&scene, &["device", "show", "desktop"])?["disabled"].is_null(), "its only key was removed");
    assert!(refused(&scene, &["device", "key", "add", "desktop", key])?.contains("again"), "and is barred");
    refused(&scene, &["device", "show", "late"])?;
    assert_eq!(data(&scene, &["token", "list"])?, json!([]));
    let audited = data(&scene, &["audit", "grep", "backup restore"])?.to_string();
    assert!(audited.contains("device watch") && !audited.contains("carol"), "{audited}");
    admin(&scene, &["audit", "verify"]).map(drop)
}

fn a_store_moves_to_another_engine_by_its_backup() -> Result<()> {
    let mut scene = Scene::start()?;
    let file = backup(&scene)?;
    let users = data(&scene, &["user", "list"])?;
    let _server = services::postgres(&scene.world.gw, 5432)?;
    let folder = scene.gateway.folder().clone();
    write_secret(&folder.join("store.url"), "postgres://tester@127.0.0.1:5432/postgres?sslmode=disable\n")?;
    let config = folder.join("doorward.toml");
    let text = fs::read_to_string(&config)?.replacen("[gateway]", "[gateway]\nname = \"gateway\"", 1);
    let shared = "key = \"store.key\"\n\n[store.postgres]\nurl = \"store.url\"";
    fs::write(&config, text.replacen("key = \"store.key\"", shared, 1))?;
    scene.restart_gateway()?;
    assert_eq!(data(&scene, &["user", "list"])?, json!([]), "another store");
    let restored = data(&scene, &["restore", &file, "--yes"])?;
    assert_eq!((&restored["closed"], &restored["again"]), (&json!([]), &json!([])));
    assert_eq!(data(&scene, &["user", "list"])?, users);
    scene.wait_until_linked("fra-1")?;
    let laptop = scene.device("laptop")?;
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "as before")?;
    scene.restart_gateway()?;
    assert_eq!(data(&scene, &["user", "list"])?, users);
    Ok(())
}

/// All that is left is the backup and the keys.
fn after_a_disaster_everything_is_denied_until_a_person_has_looked() -> Result<()> {
    let mut scene = Scene::start()?;
    let file = backup(&scene)?;
    let laptop = scene.device("laptop")?;
    scene.gateway.kill()?;
    fs::remove_dir_all(scene.gateway.folder().join("state"))?;
    scene.gateway.start(&scene.world.gw)?;
    let restored = data(&scene, &["restore", &file, "--yes"])?;
    assert!(restored["closed"].as_array().is_some_and(|closed| !closed.is_empty()), "{restored}");
    scene.wait_until_linked("fra-1")?;
    laptop.wait_until_connected(tests::company::GATEWAY)?;
    assert!(laptop.dial(&format!("{DESK}:{ECHO}")).is_err(), "everything is denied");
    assert!(scene.status()?["degraded"].to_string().contains("store_closed"));
    admin(&scene, &["restore", "--confirm"])?;
    echo(&mut laptop.dial(&format!("{DESK}:{ECHO}"))?, "confirmed")
}

fn a_backup_without_room_leaves_nothing_and_says_so() -> Result<()> {
    let scene = Scene::start()?;
    let disk = scene.gateway.folder().join("disk");
    fs::create_dir(&disk)?;
    let options = Some("size=4k,mode=0777");
    scene.world.gw.within(|| mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), options))?;
    scene.world.gw.within(|| fs::write(disk.join("filler"), [0; 4096]))?;
    let left = || scene.world.gw.within(|| count(&disk));
    let file = disk.join("backup.jsonl");
    let said = refused(&scene, &["backup", file.to_str().context("a plain name")?])?;
    assert!(said.contains("nothing was kept") && said.contains("No space left"), "{said}");
    assert_eq!(left()?, 1, "the filler");
    backup(&scene).map(drop)
}

fn count(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder)?.count())
}

fn keys_rotate_while_everything_goes_on() -> Result<()> {
    let mut scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    let keys = scene.gateway.folder().join("store.key");
    let (old, before) = (fs::read_to_string(&keys)?, backup(&scene)?);
    // Two people, the proof, and the certificate authority.
    let rotated = data(&scene, &["key", "rotate"])?;
    assert_eq!((&rotated["sealed"], &rotated["removed"]), (&json!(4), &json!(["first"])), "{rotated}");
    echo(&mut flow, "meanwhile")?;
    let new = fs::read_to_string(&keys)?;
    assert!(!new.contains("first"), "the old key is gone");
    assert!(refused(&scene, &["restore", &before, "--yes"])?.contains("key first"));
    drop(flow);
    scene.restart_gateway()?;
    assert_eq!(data(&scene, &["key", "list"])?[0]["secrets"], 4);
    scene.gateway.kill()?;
    write_secret(&keys, &old)?;
    let output = scene.gateway.cli(&scene.world.gw, &["gateway"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("do not open this store's secrets"), "{said}");
    Ok(())
}
