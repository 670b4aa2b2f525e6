//! A store with any number of enrolled devices and their owners, and the files of a gateway for it.
//! It starts nothing. Always true: the same number is the same device, with the same key and addresses.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context, Result};
use control::{
    object::{Address, Body, Device, DeviceKey, Group, Part, Rest, User},
    seal::{Keyring, Place},
    store::{Commit, Engine, Op, Store, sqlite::Sqlite},
};
use policy::facts::{Fact, Platform, Posture, Source};
use protocol::{key::WgKey, time::Timestamp};
use serde_json::json;
use tests::{
    company::{GUARDS, STAFF},
    gateway::Gateway,
};
use tunnel::PrivateKey;

/// Room for 131,069 devices.
const GATEWAY_TOML: &str = r#"
[gateway]
name = "gw-1"
endpoint = "10.77.0.1:51820"
listen = ["0.0.0.0:51820"]
private_key = "gateway.key"
state = "STATE"

[store]
key = "store.key"

[policy]
dir = "policies"

[tunnel]
v4 = "100.64.0.0/14"
v6 = "fd00:d00:d00::/48"

[dns]
zones = ["corp.example"]
resolvers = []
"#;
/// The tunnel address of device 0; 100.64.0.1 is the gateway's.
const FIRST: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
/// Its place in the devices' part.
const FIRST_INDEX: u32 = 2;
/// The outer address of device 0.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// Where a device's own end of the tunnel is bound.
pub const PORT: u16 = 51820;
/// A handshake label of some time ago, in base64.
const STAMP: &str = "QAAAAGkAAAAAAAAA";
/// 2026-01-01, in milliseconds.
const SINCE: i64 = 1_767_225_600_000;
/// Changes in one commit while a store is filled.
const AT_ONCE: usize = 1000;

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Devices.
    pub devices: u32,
    /// People, each with as many devices as the next.
    pub people: u32,
}

/// A device by its number.
#[derive(Debug, Clone, Copy)]
pub struct Enrolled(pub u32);

impl Enrolled {
    /// Its key.
    pub fn key(self) -> PrivateKey {
        // Not in the first byte, of which Curve25519 ignores three bits.
        let mut bytes = [0x55; 32];
        bytes[8..12].copy_from_slice(&self.0.to_le_bytes());
        PrivateKey::new(bytes)
    }

    /// Its tunnel address.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(FIRST) + self.0)
    }

    /// Its own address on the internet.
    pub fn outside(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(OUTSIDE) + self.0)
    }

    /// Its name.
    pub fn name(self) -> String {
        format!("device-{:06}", self.0)
    }

    /// As the store keeps it, with a posture that was seen at `at`.
    pub fn device(self, size: Size, at: Timestamp) -> Result<Device> {
        let name = self.name().parse()?;
        let fact = |value| Some(Fact { value, source: Source::Mdm, at });
        Ok(Device {
            id: name,
            name: self.name().parse()?,
            owner: person(self.0 / size.devices.div_ceil(size.people)).parse()?,
            keys: vec![DeviceKey { key: self.key().public(), since: since() }],
            groups: [].into(),
            platform: Some(Platform::Linux),
            posture: Posture {
                disk_encrypted: fact(true),
                os_version: Some(Fact { value: 14_005_001, source: Source::Mdm, at }),
                ..Posture::default()
            },
            disabled: None,
            rest: Rest::new(),
        })
    }
}

/// When everything was enrolled.
pub fn since() -> Timestamp {
    Timestamp::from_millis(SINCE)
}

fn person(number: u32) -> String {
    format!("corp/person-{number:06}")
}

/// Puts `size` into an empty store, for a gateway that has `keys`.
pub async fn fill(engine: std::sync::Arc<dyn Engine>, keys: &Keyring, size: Size) -> Result<()> {
    let store = Store::new(engine);
    let name = store.engine().load().await?.meta.store;
    let mut ops = vec![Group { id: STAFF_GROUP.parse()?, within: [].into(), rest: Rest::new() }.put()];
    for number in 0..size.people {
        ops.push(user(number, keys, &name)?.put());
    }
    for number in 0..size.devices {
        let (owner, index) = (Enrolled(number).name(), FIRST_INDEX + number);
        ops.push(Enrolled(number).device(size, since())?.put());
        ops.push(Address { part: Part::Device, owner, index, freed: None, rest: Rest::new() }.put());
    }
    for some in ops.chunks(AT_ONCE) {
        store.commit(commit(some.to_vec())).await?;
    }
    Ok(())
}

/// The group of everybody.
const STAFF_GROUP: &str = "corp/staff";

fn user(number: u32, keys: &Keyring, store: &str) -> Result<User> {
    let id = person(number);
    let place = Place { store, kind: "user", id: &id, field: "key" };
    Ok(User {
        audit: format!("u-{number:016x}").into(),
        key: keys.seal(&place, &[0x55; 32]).into(),
        email: Some(format!("person-{number:06}@corp.example")),
        name: None,
        groups: [STAFF_GROUP.parse()?].into(),
        contract_end: None,
        disabled: None,
        rest: Rest::new(),
        id: id.parse()?,
    })
}

/// These changes, whatever is there.
pub fn commit(ops: Vec<Op>) -> Commit {
    Commit { ops, ..Commit::default() }
}

/// Writes the files of a gateway that keeps `state` there, with `more` in its configuration.
pub fn configure(gateway: &Gateway, state: &str, more: &str) -> Result<()> {
    let folder = gateway.folder();
    fs::write(folder.join("doorward.toml"), GATEWAY_TOML.replace("STATE", state) + more)?;
    fs::create_dir_all(folder.join("policies"))?;
    fs::write(folder.join("policies/staff.cedar"), STAFF)?;
    fs::write(folder.join("policies/guards.cedar"), GUARDS)?;
    Ok(())
}

/// The keys of a gateway's store.
pub fn keys(gateway: &Gateway) -> Result<Keyring> {
    Ok(Keyring::read(&gateway.folder().join("store.key"))?)
}

/// Enrols devices 0 to `count` with a gateway that is not running, a person for two; the bytes of its store.
pub fn enrol(gateway: &Gateway, count: u32) -> Result<u64> {
    configure(gateway, "state", "")?;
    let state = gateway.folder().join("state");
    fs::create_dir_all(&state)?;
    let file = state.join("store.db");
    let engine = std::sync::Arc::new(Sqlite::open(&file)?);
    let keys = keys(gateway)?;
    let size = Size { devices: count, people: count.div_ceil(2) };
    tokio::runtime::Runtime::new()?.block_on(fill(engine, &keys, size))?;
    Ok(fs::metadata(file)?.len())
}

/// Has a gateway that is not running remember all of them, as if each had been here before.
pub fn remember(gateway: &Gateway, count: u32) -> Result<()> {
    let devices = || (0..count).map(|number| (Enrolled(number), Enrolled(number).key().public().to_string()));
    let endpoint = |(device, key): (Enrolled, String)| json!({"key": key, "endpoint": [0, format!("{}:{PORT}", device.outside())]});
    let stamp = |(_, key): (Enrolled, String)| json!({"key": key, "stamp": STAMP});
    let lines: Vec<_> = devices().map(endpoint).chain(devices().map(stamp)).collect();
    let state = gateway.folder().join("state");
    fs::create_dir_all(&state)?;
    fs::write(state.join("peers.json"), serde_json::to_vec(&lines)?)?;
    Ok(())
}

/// How many endpoints a gateway has written down.
pub fn remembered(gateway: &Gateway) -> Option<usize> {
    let text = fs::read(gateway.folder().join("state/peers.json")).ok()?;
    let lines: Vec<serde_json::Value> = serde_json::from_slice(&text).ok()?;
    Some(lines.iter().filter(|line| line.get("endpoint").is_some()).count())
}

/// The gateway's key, as its devices know it.
pub fn gateway_key(gateway: &Gateway) -> Result<WgKey> {
    let text = fs::read_to_string(gateway.folder().join("gateway.key"))?;
    // Both kinds of key are 32 bytes in base64.
    let bytes: WgKey = text.trim().parse().context("the gateway's private key")?;
    Ok(PrivateKey::new(bytes.0).public())
}
