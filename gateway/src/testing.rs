//! One small company for unit tests: real files in a folder of their own, read by the real parsers.
//! It serves nothing. Always true: what a test decides on, the gateway could have loaded.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use policy::PolicyFile;
use protocol::{target::Proto, time::Timestamp};

use crate::{
    access::{Ask, Question, ResourceId},
    config::{self, address},
    policies::{self, Policies},
    reload::Files,
    snapshot::Snapshot,
};

/// Everything but the apps.
const CONFIG: &str = r#"
[gateway]
endpoint = "gw.example.com:51820"
listen = ["127.0.0.1:51820"]
private_key = "gateway.key"
state = "state"
directory = "directory.toml"
namespace = "private"
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
    /// With these apps and subnets, and these policies.
    pub fn new(resources: &str, policies: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!("doorward-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let company = Self(std::env::temp_dir().join(unique));
        for folder in ["policies", "state"] {
            fs::create_dir_all(company.0.join(folder)).expect("a folder");
        }
        company.write("gateway.key", "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n");
        fs::set_permissions(company.0.join("gateway.key"), fs::Permissions::from_mode(0o600))
            .expect("private");
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
        let directory = config::load_directory(&config.gateway.directory, &config.tunnel)
            .unwrap_or_else(|error| panic!("{error}"));
        let now = Timestamp::from_system(SystemTime::now());
        let addresses = address::plan(&config, &directory, now).expect("addresses");
        let policies = Policies::parse(self.policies(), config.policy.zones.clone())
            .unwrap_or_else(|error| panic!("{error}"));
        Files {
            config: Arc::new(config),
            directory: Arc::new(directory),
            addresses: Arc::new(addresses),
            policies,
        }
    }

    pub fn snapshot(&self, epoch: u64) -> Arc<Snapshot> {
        Arc::new(self.files().snapshot(epoch))
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
