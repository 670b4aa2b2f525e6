//! What an operator would write: people, devices, apps and policies, rendered as the gateway's files.
//! It is typed only where tests make changes; the rest is text.
//! Always true: a fresh company is one in which Alice, on her healthy laptop, may reach every app but
//! `vault`, and Bob, whose device is the phone, may reach nothing.

use std::{collections::BTreeMap, fmt::Write as _, fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};

use crate::device::KeyPair;

/// The gateway's address on the internet.
pub const OUTSIDE: &str = "10.77.0.1";
/// The gateway's tunnel address.
pub const GATEWAY: &str = "100.64.0.1";
/// The tunnel address of the app `wiki`.
pub const WIKI: &str = "100.64.128.7";
/// The tunnel address of the app `vault`, whose upstream is the wiki's too.
pub const VAULT: &str = "100.64.128.8";
/// The tunnel address of the app `desk`: every TCP port it declares.
pub const DESK: &str = "100.64.128.9";

/// Where the services of the private network are.
pub const SERVER: &str = "10.50.0.9";
/// The same over IPv6.
pub const SERVER_V6: &str = "[fd50::9]";
/// Echoes.
pub const ECHO: u16 = 7000;
/// Pours.
pub const POUR: u16 = 7001;
/// Declared by `desk`, but nobody listens.
pub const CLOSED: u16 = 7999;

/// A person.
pub struct Person {
    /// `<provider>/<name>`.
    pub id: &'static str,
    /// Every group listed must exist: `corp/staff`, `corp/guests`.
    pub groups: Vec<&'static str>,
    /// Whether the account is shut.
    pub disabled: bool,
}

/// A device.
pub struct Machine {
    /// Its id.
    pub name: &'static str,
    /// Whose it is.
    pub owner: &'static str,
    /// Its key pair; the gateway sees the public half.
    pub key: KeyPair,
    /// Its tunnel address is `100.64.0.<number>`, and `10.77.0.<number>` is its own.
    pub number: u8,
    /// Whether its disk is encrypted, if anybody said so.
    pub encrypted: Option<bool>,
}

impl Machine {
    /// A healthy one with a fresh key.
    pub fn new(name: &'static str, owner: &'static str, number: u8) -> Result<Self> {
        Ok(Self { name, owner, key: KeyPair::fresh()?, number, encrypted: Some(true) })
    }
}

/// The whole of the gateway's files.
pub struct Company {
    /// What the gateway is called, if there are several.
    pub name: Option<&'static str>,
    /// Where devices and connectors look for the gateway.
    pub outside: &'static str,
    /// Everybody.
    pub people: Vec<Person>,
    /// Every device.
    pub machines: Vec<Machine>,
    /// Cedar by file name, without `.cedar`.
    pub policies: BTreeMap<&'static str, String>,
    /// Connectors of the site `fra`: name and pin.
    pub connectors: Vec<(String, String)>,
    /// Whether people must sign in, and reach `wiki` and `vault` over TLS.
    pub sign_in: bool,
    /// Who is asked for names that are not the company's.
    pub resolvers: Vec<&'static str>,
    /// Data-plane threads of the gateway, if it does not choose.
    pub shards: Option<u8>,
    /// Added to `doorward.toml`.
    pub more: String,
}

const APPS: &str = r#"
[[site]]
name = "fra"

[[app]]
name = "wiki"
site = "fra"
kind = "http"
tls = false
hosts = ["wiki.corp.example"]
upstream = "http://10.50.0.7:8080"
address = "100.64.128.7"
groups = ["staff"]

[[app]]
name = "vault"
site = "fra"
kind = "http"
tls = false
hosts = ["vault.corp.example"]
upstream = "http://10.50.0.7:8080"
address = "100.64.128.8"

[[app]]
name = "desk"
site = "fra"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [2222, 5432, 7000, 7001, 7999]
target = "10.50.0.9"
address = "100.64.128.9"
groups = ["staff"]

[[subnet]]
name = "fra-v4"
site = "fra"
cidr = "10.50.0.0/24"
groups = ["staff"]

[[subnet]]
name = "fra-v6"
site = "fra"
cidr = "fd50::/64"
groups = ["staff"]
"#;

const HEAD: &str = r#"
listen = ["0.0.0.0:51820", "[::]:51820"]
private_key = "gateway.key"
state = "state"

[store]
key = "store.key"

[policy]
dir = "policies"

[policy.zones]
berlin = "Europe/Berlin"

[tunnel]
v4 = "100.64.0.0/16"
v6 = "fd00:d00:d00::/48"

[dns]
zones = ["corp.example"]
resolvers = []

[devices]
routes = ["10.50.0.0/16", "fd50::/64"]

[connectors]
listen = ["0.0.0.0:51821", "[::]:51821"]
private_key = "link.key"
"#;

/// Who may do what; tests replace it.
pub const STAFF: &str = r#"
@id("staff")
@title("Staff reach the apps of staff")
permit (principal in Doorward::Group::"corp/staff", action in Doorward::Action::"access",
        resource in Doorward::AppGroup::"staff");
"#;

/// Under which conditions anybody may do anything.
pub const GUARDS: &str = r#"
@id("guard-disk")
@reason("Disk encryption is off, or nothing has confirmed it")
@advice("Turn on disk encryption")
forbid (principal, action in Doorward::Action::"access", resource)
unless { context has device && context.device has disk_encrypted && context.device.disk_encrypted.value };

@id("guard-owner")
forbid (principal, action in Doorward::Action::"access", resource)
unless { context has device && context.device.owner == principal };
"#;

impl Company {
    /// Alice in `corp/staff` with a healthy laptop, Bob in no group with a healthy phone.
    pub fn new() -> Result<Self> {
        let person = |id, groups| Person { id, groups, disabled: false };
        Ok(Self {
            name: None,
            outside: OUTSIDE,
            people: vec![person("corp/alice", vec!["corp/staff"]), person("corp/bob", vec![])],
            machines: vec![Machine::new("laptop", "corp/alice", 10)?, Machine::new("phone", "corp/bob", 11)?],
            policies: BTreeMap::from([("staff", STAFF.to_owned()), ("guards", GUARDS.to_owned())]),
            connectors: Vec::new(),
            sign_in: false,
            resolvers: Vec::new(),
            shards: None,
            more: String::new(),
        })
    }

    /// A device by name.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines.iter().find(|machine| machine.name == name).with_context(|| format!("no device {name}"))
    }

    /// The same, to be changed.
    pub fn machine_mut(&mut self, name: &str) -> Result<&mut Machine> {
        self.machines
            .iter_mut()
            .find(|machine| machine.name == name)
            .with_context(|| format!("no device {name}"))
    }

    /// A person by id, to be changed.
    pub fn person_mut(&mut self, id: &str) -> Result<&mut Person> {
        self.people.iter_mut().find(|person| person.id == id).with_context(|| format!("no person {id}"))
    }

    /// Writes every file but the keys.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("doorward.toml"), self.gateway_toml()?)?;
        fs::write(folder.join("directory.toml"), self.directory_toml()?)?;
        let policies = folder.join("policies");
        fs::create_dir_all(&policies)?;
        for entry in fs::read_dir(&policies)? {
            fs::remove_file(entry?.path())?;
        }
        for (name, text) in &self.policies {
            fs::write(policies.join(format!("{name}.cedar")), text)?;
        }
        Ok(())
    }

    fn gateway_toml(&self) -> Result<String> {
        let name = self.name.map(|name| format!("name = {name:?}\n")).unwrap_or_default();
        let shards = self.shards.map(|shards| format!("shards = {shards}\n")).unwrap_or_default();
        let apps = if self.sign_in {
            APPS.replace("tls = false\n", "")
        } else {
            format!("[session]\nrequired = false\n{APPS}")
        };
        let head = HEAD.replace("resolvers = []", &format!("resolvers = {:?}", self.resolvers));
        Ok(format!("[gateway]\n{name}{shards}endpoint = \"{}:51820\"{head}{apps}{}", self.outside, self.more))
    }

    fn directory_toml(&self) -> Result<String> {
        let mut text = String::from("[[group]]\nid = \"corp/staff\"\n[[group]]\nid = \"corp/guests\"\n");
        for (name, pin) in &self.connectors {
            writeln!(text, "[[connector]]\nname = {name:?}\nsite = \"fra\"\nkey = {pin:?}")?;
        }
        for Person { id, groups, disabled } in &self.people {
            let email = format!("{}@corp.example", id.trim_start_matches("corp/"));
            writeln!(
                text,
                "[[user]]\nid = {id:?}\nemail = {email:?}\ngroups = {groups:?}\ndisabled = {disabled}"
            )?;
        }
        for Machine { name, owner, key, number, encrypted } in &self.machines {
            writeln!(text, "[[device]]\nname = {name:?}\nowner = {owner:?}\nkeys = [{:?}]", key.public)?;
            writeln!(text, "address = \"100.64.0.{number}\"\nkey_since = {SINCE}\nplatform = \"linux\"")?;
            if let Some(value) = encrypted {
                writeln!(
                    text,
                    "[device.posture]\ndisk_encrypted = {{ value = {value}, source = \"mdm\", at = {SINCE} }}"
                )?;
            }
        }
        Ok(text)
    }
}

/// Before every clock a test sets.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// Writes a file only its owner may read, as keys must be.
pub fn write_secret(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
