//! One small company for unit tests: real files in a folder of their own, read by the real parsers.
//! It serves nothing. Always true: what a test decides on, the gateway could have loaded.

pub mod faulty;
pub mod provider;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use control::{
    audit::{AuditKey, Log},
    directory::View,
    object::{self, Body},
    seal::Keyring,
    store::{Commit, Lease, Loaded, Meta, Object, Op, Revision},
};
use policy::PolicyFile;
use protocol::{id::UserId, target::Proto, time::Timestamp};

use crate::{
    access::{Ask, Question, ResourceId},
    books::{Books, place_of},
    config::{self, Config, Directory, Part, Tunnel},
    policies::{self, Policies},
    snapshot::Snapshot,
    truth::Files,
};

/// Everything but the apps.
const CONFIG: &str = r#"
[gateway]
endpoint = "gw.example.com:51820"
listen = ["127.0.0.1:51820"]
private_key = "gateway.key"
state = "state"
namespace = "private"
[store]
key = "store.key"
[policy]
dir = "policies"
[tunnel]
v4 = "100.64.0.0/16"
v6 = "fd00:d00:d00::/48"
[dns]
zones = ["corp.example"]
resolvers = []
[devices]
routes = []
[local]
allow = ["127.0.0.1/32"]
"#;

/// Devices alone.
const NO_SIGN_IN: &str = "[session]\nrequired = false\n";
/// Who signs people in; it is never asked.
const SIGN_IN: &str = r#"
[[provider]]
name = "corp"
issuer = "https://login.corp.example"
client_id = "doorward"
groups = ["*"]
"#;

/// Alice, her laptop and her groups.
pub const DIRECTORY: &str = r#"
[[group]]
id = "corp/dev"
[[group]]
id = "corp/ops"
[[user]]
id = "corp/alice"
email = "alice@corp.example"
groups = ["corp/dev", "corp/ops"]
[[device]]
name = "laptop"
owner = "corp/alice"
keys = ["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="]
"#;

/// What the store in [`Company::view`] is called, for which people's keys are sealed.
const STORE: &str = "test";
/// A name for the one policy file there is.
const POLICIES: &str = "policies/test.cedar";

/// The folder; removed when dropped.
#[derive(Debug)]
pub struct Company(PathBuf);

impl Drop for Company {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Company {
    /// With these apps and subnets, and these policies; nobody has to sign in.
    pub fn new(resources: &str, policies: &str) -> Self {
        Self::with(&format!("{NO_SIGN_IN}{resources}"), policies)
    }

    /// The same; everybody has to sign in, and the store it fills has a session of every device.
    pub fn signing_in(resources: &str, policies: &str) -> Self {
        Self::with(&format!("{SIGN_IN}{resources}"), policies)
    }

    /// With whatever else the configuration says, and these policies.
    pub fn with(resources: &str, policies: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!("doorward-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let company = Self(std::env::temp_dir().join(unique));
        for folder in ["policies", "state"] {
            fs::create_dir_all(company.0.join(folder)).expect("a folder");
        }
        company.write("gateway.key", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n");
        fs::set_permissions(company.0.join("gateway.key"), fs::Permissions::from_mode(0o600))
            .expect("private");
        Keyring::create(&company.0.join("store.key")).expect("keys");
        company.write("doorward.toml", &format!("{CONFIG}{resources}\n"));
        company.write("directory.toml", DIRECTORY);
        company.write(POLICIES, policies);
        company
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Writes one file anew; its name is relative to the folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("written");
    }

    pub fn write_policies(&self, text: &str) {
        self.write(POLICIES, text);
    }

    pub fn policies(&self) -> Vec<PolicyFile> {
        let config = config::load(&self.0.join("doorward.toml")).unwrap_or_else(|error| panic!("{error}"));
        policies::texts(&config).expect("a folder")
    }

    /// What the files say now, without waiting for the folder to be quiet.
    pub fn files(&self) -> Files {
        let config = config::load(&self.0.join("doorward.toml")).unwrap_or_else(|error| panic!("{error}"));
        let policies = Policies::parse(self.policies(), config.policy.zones.clone())
            .unwrap_or_else(|error| panic!("{error}"));
        Files { config: Arc::new(config), policies }
    }

    /// What fills a store with what directory.toml lists, and an address for every app.
    pub fn fill(&self, config: &Config) -> Commit {
        let file = self.0.join("directory.toml");
        let text = fs::read_to_string(&file).expect("a file");
        let listed = config::read_directory(&file, &text, &config.tunnel, &config.sites)
            .unwrap_or_else(|error| panic!("{error}"));
        let keys = Keyring::read(&self.0.join("store.key")).expect("keys");
        let seal = |user: &UserId| keys.seal(&place_of(STORE, user), &[7; 32]).into();
        let mut ops = listed_objects(&listed, config, &seal);
        if config.session.required {
            let devices = listed.devices.iter();
            ops.extend(devices.map(|device| session(device.id.as_str(), device.owner.as_str()).put()));
        }
        Commit { ops, ..Commit::default() }
    }

    /// A store so filled.
    pub fn view(&self, config: &Config) -> View {
        let revision = Revision(1);
        let object = |op: Op| match op {
            Op::Put { id, body, .. } => Object { id, revision, body },
            Op::Delete { .. } => unreachable!("only puts are made"),
        };
        let objects = self.fill(config).ops.into_iter().map(object).collect();
        let meta = Meta { store: STORE.into(), epoch: 1, revision, closed: Vec::new() };
        View::new(&Loaded { meta, objects }, [])
    }

    /// An audit log in the state folder.
    pub fn books(&self) -> Books {
        let state = self.0.join("state");
        let key = AuditKey::read_or_create(&state.join("audit.key")).expect("a key");
        let (log, _) = Log::open(&state.join("audit"), "test", key, Default::default()).expect("a log");
        let keys = Keyring::read(&self.0.join("store.key")).expect("keys");
        Books::new(log, Arc::new(ArcSwap::from_pointee(keys)), "test".into())
    }

    pub fn snapshot(&self, epoch: u64) -> Arc<Snapshot> {
        let files = self.files();
        let directory = self.view(&files.config).directory().clone();
        let engine = files.policies.engine().clone();
        Arc::new(Snapshot::new(epoch, files.config, engine, directory, Lease::alone()))
    }
}

fn listed_objects(listed: &Directory, config: &Config, seal: &dyn Fn(&UserId) -> Arc<str>) -> Vec<Op> {
    let at = Timestamp::MIN;
    let disabled = || object::Disabled { at, by: "test".into(), why: None };
    let rest = object::Rest::new;
    let groups = listed.groups.iter().map(|group| {
        let within = group.within.iter().cloned().collect();
        object::Group { id: group.id.clone(), within, rest: rest() }.put()
    });
    let users = listed.users.iter().map(|user| {
        object::User {
            id: user.id.clone(),
            audit: format!("u-{}", user.id.as_str().len()).into(),
            key: seal(&user.id),
            email: user.email.clone(),
            name: None,
            groups: user.groups.iter().cloned().collect(),
            contract_end: user.contract_end,
            disabled: user.disabled.then(disabled),
            rest: rest(),
        }
        .put()
    });
    let since = |device: &config::directory::Device| device.key_since.unwrap_or(at);
    let devices = listed.devices.iter().map(|device| {
        let keys = device.keys.iter().map(|key| object::DeviceKey { key: *key, since: since(device) });
        object::Device {
            id: device.id.clone(),
            name: device.id.clone(),
            owner: device.owner.clone(),
            keys: keys.collect(),
            groups: device.groups.clone(),
            platform: device.platform,
            posture: device.posture.clone(),
            disabled: None,
            rest: rest(),
        }
        .put()
    });
    let address = |part, owner: &str, index| {
        object::Address { part, owner: owner.to_owned(), index, freed: None, rest: rest() }.put()
    };
    let explicit = |part, address: Option<Ipv4Addr>| address.and_then(|v4| config.tunnel.index(part, v4));
    let own = (Tunnel::FIRST..).zip(&listed.devices).map(|(n, device)| {
        address(
            object::Part::Device,
            device.id.as_str(),
            explicit(Part::Devices, device.address).unwrap_or(n),
        )
    });
    let apps = (Tunnel::FIRST..).zip(&config.apps).map(|(n, app)| {
        let index = explicit(Part::Apps, app.address).unwrap_or(n);
        address(object::Part::App, app.facts.id.as_str(), index)
    });
    groups.chain(users).chain(devices).chain(own).chain(apps).collect()
}

/// A session that lasts.
pub fn session(device: &str, user: &str) -> object::Session {
    object::Session {
        id: format!("s-{device}").into(),
        user: user.parse().expect("an id"),
        device: device.parse().expect("a name"),
        provider: "corp".parse().expect("a name"),
        subject: "subject".into(),
        at: Timestamp::MIN,
        expires: Timestamp::MAX,
        auth_time: None,
        amr: Default::default(),
        acr: None,
        sid: None,
        refresh: None,
        refreshed: Timestamp::MIN,
        refreshing: None,
        suspended: None,
        rest: object::Rest::new(),
    }
}

/// Alice's laptop asks for a connection to a TCP app.
pub fn connect(app: &str, target: &str) -> Question {
    Question {
        device: "laptop".parse().expect("a name"),
        source: "100.64.0.9".parse().expect("an address"),
        resource: ResourceId::App(app.parse().expect("a name")),
        ask: Ask::Connect { proto: Proto::Tcp, target: target.parse().expect("a target") },
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}
