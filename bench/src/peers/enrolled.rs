//! The files of a gateway with any number of enrolled devices, one person for every two of them.
//! It starts nothing. Always true: the same number is the same device, with the same key and addresses.

use std::{fmt::Write as _, fs, net::Ipv4Addr};

use anyhow::{Context, Result};
use protocol::key::WgKey;
use serde_json::json;
use tests::{
    company::{GUARDS, STAFF},
    gateway::Gateway,
};
use tunnel::PrivateKey;

/// Room for 131,069 devices.
const GATEWAY_TOML: &str = r#"
[gateway]
endpoint = "10.77.0.1:51820"
listen = ["0.0.0.0:51820"]
private_key = "gateway.key"
state = "state"
directory = "directory.toml"

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
/// The outer address of device 0.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// Where a device's own end of the tunnel is bound.
pub const PORT: u16 = 51820;
/// A handshake label of some time ago, in base64.
const STAMP: &str = "QAAAAGkAAAAAAAAA";

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
}

/// Enrols devices 0 to `count` with a gateway that is not running; the bytes of its directory.
pub fn enrol(gateway: &Gateway, count: u32) -> Result<usize> {
    let folder = gateway.folder();
    fs::write(folder.join("doorward.toml"), GATEWAY_TOML)?;
    fs::create_dir_all(folder.join("policies"))?;
    fs::write(folder.join("policies/staff.cedar"), STAFF)?;
    fs::write(folder.join("policies/guards.cedar"), GUARDS)?;
    let directory = directory(count)?;
    fs::write(folder.join("directory.toml"), &directory)?;
    Ok(directory.len())
}

fn directory(count: u32) -> Result<String> {
    let mut text = String::from("[[group]]\nid = \"corp/staff\"\n");
    for person in 0..count.div_ceil(2) {
        writeln!(
            text,
            "[[user]]\nid = \"corp/person-{person:06}\"\nemail = \"person-{person:06}@corp.example\"\n\
             groups = [\"corp/staff\"]"
        )?;
    }
    for number in 0..count {
        let device = Enrolled(number);
        writeln!(
            text,
            "[[device]]\nname = \"device-{number:06}\"\nowner = \"corp/person-{:06}\"\nkeys = [\"{}\"]\n\
             address = \"{}\"\nkey_since = {SINCE}\nplatform = \"linux\"\n[device.posture]\n\
             disk_encrypted = {{ value = true, source = \"mdm\", at = {SINCE} }}\n\
             os_version = {{ value = \"14.5.1\", source = \"mdm\", at = {SINCE} }}",
            number / 2,
            device.key().public(),
            device.address(),
        )?;
    }
    Ok(text)
}

const SINCE: &str = "2026-01-01T00:00:00Z";

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
