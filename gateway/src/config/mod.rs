//! doorward.toml, and directory.toml to import: from what an operator wrote to values that cannot be wrong.
//! It reads these files, and the key files and policy texts they name; it starts nothing.
//! Always true: a [`Config`] or [`Directory`] has passed every check, references included; what is
//! merely doubtful stands in [`Config::warnings`]; no secret is printed.

mod app;
mod audit;
mod connector;
mod device;
pub mod directory;
mod dns;
mod door;
mod effective;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gateway;
mod health;
mod join;
mod key_file;
mod local;
mod newcomer;
mod policy;
mod provider;
mod session;
mod site;
mod store;
mod subnet;
mod text;
mod tls;
mod tunnel;
mod unique;

use std::{
    collections::HashSet,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use ::policy::facts::Subnet;
use protocol::config::{Mistake, Mistakes, Section};

pub use self::{
    app::{AppKind, AppSpec, ExactTarget, HttpSpec, IdentityHeaders, PathMode, TcpSpec},
    audit::{Audit, Otlp},
    connector::LinkListener,
    device::Devices,
    directory::{Directory, read as read_directory},
    dns::Dns,
    door::Door,
    gateway::{Gateway, MAX_SHARDS, Namespace},
    health::Health,
    join::Join,
    newcomer::{newcomer, section},
    policy::Policies,
    provider::Provider,
    session::Session,
    site::Sites,
    store::{Database, Shared, Store},
    tls::Tls,
    tunnel::{Part, Tunnel},
};
pub(crate) use self::{
    key_file::{KeyFileError, tls as read_tls_key},
    text::is_under,
};

/// Everything doorward.toml says.
#[derive(Debug)]
pub struct Config {
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[health]`.
    pub health: Health,
    /// `[policy]`.
    pub policy: Policies,
    /// `[tunnel]`.
    pub tunnel: Tunnel,
    /// `[dns]`.
    pub dns: Dns,
    /// `[devices]`.
    pub devices: Devices,
    /// `[tls]`.
    pub tls: Tls,
    /// Every `[[site]]`, and `[local]`.
    pub sites: Sites,
    /// `[connectors]`; without it no connector links.
    pub links: Option<LinkListener>,
    /// `[store]`.
    pub store: Store,
    /// `[audit]`.
    pub audit: Audit,
    /// `[session]`.
    pub session: Session,
    /// `[door]`.
    pub door: Door,
    /// `[join]`; without it nothing stands on the internet but WireGuard and the connectors' link.
    pub join: Option<Join>,
    /// Every `[[provider]]`.
    pub providers: Vec<Provider>,
    /// Every `[[app]]`, in the order of the file, and after them what providers have in the tunnel.
    pub apps: Vec<Arc<AppSpec>>,
    /// Every `[[subnet]]`, in the order of the file.
    pub subnets: Vec<Arc<Subnet>>,
    /// What is allowed but doubtful, each with its place.
    pub warnings: Vec<String>,
}

impl Config {
    /// What is in force, as TOML, with secrets hidden.
    pub fn effective(&self) -> String {
        effective::text(self)
    }

    /// What gateways that share a store should have alike, as text to be compared.
    pub fn shared_part(&self) -> String {
        effective::shared(self)
    }

    /// The names for which TLS is answered.
    pub fn tls_names(&self) -> HashSet<String> {
        let apps = self.apps.iter().filter(|app| app.is_over_tls());
        let ours = self.join.iter().map(|join| join.name.clone()).chain([self.door.name.clone()]);
        apps.flat_map(|app| app.hosts.iter().cloned()).chain(ours).collect()
    }

    /// Addresses by which an app is reached around its name; see [`ExactTarget`].
    pub fn exact_targets(&self) -> impl Iterator<Item = ExactTarget<'_>> {
        self.apps.iter().filter_map(|app| app.exact_targets()).flatten()
    }
}

/// Why a file was not loaded; the operator's to mend, and `Display` says how.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file says something wrong.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

/// Reads doorward.toml and the key files it names.
pub fn load(file: &Path) -> Result<Config, LoadError> {
    let text = read_text(file)?;
    let mut warnings = Vec::new();
    let mut config = protocol::config::read(file, &text, |s| walk(s, &mut warnings))?;
    warnings.sort();
    config.warnings = warnings.iter().map(Mistake::to_string).collect();
    Ok(config)
}

/// Far above 100,000 devices; keeps a wrong path (a disk image) from filling the memory.
const LARGEST: u64 = 64 << 20;

fn read_text(file: &Path) -> Result<String, LoadError> {
    let read = || {
        let mut text = String::new();
        let length = std::fs::File::open(file)?.take(LARGEST).read_to_string(&mut text)?;
        if length as u64 == LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 MiB"));
        }
        Ok(text)
    };
    read().map_err(|source| LoadError::Read { file: file.to_owned(), source })
}

/// Reads every section before it looks at any result, so that all mistakes are seen.
fn walk(s: &mut Section<'_>, warnings: &mut Vec<Mistake>) -> Option<Config> {
    let mut has_name = false;
    let gateway = s.section("gateway", |s| {
        has_name = s.has("name");
        gateway::read(s)
    });
    let store = s.section("store", |s| store::read(s, gateway.as_ref(), has_name));
    let audit = audit::read(s);
    let health = health::read(s, warnings);
    let policy = s.section("policy", policy::read);
    let tunnel = s.section("tunnel", tunnel::read);
    let dns = s.section("dns", |s| dns::read(s, tunnel.as_ref()));
    let devices = device::read(s, gateway.as_ref(), tunnel.as_ref(), warnings);
    let sites = site::read(s);
    let links = connector::read(s, gateway.as_ref());
    let tls = tls::read(s);
    let around = app::Around { sites: &sites, dns: dns.as_ref(), tunnel: tunnel.as_ref(), tls: &tls };
    let apps = app::read(s, &around, warnings);
    let providers = provider::read(s, &sites, warnings);
    let session = session::read(s, warnings);
    if session.required && providers.is_empty() {
        let reason = "there is no [[provider]]: nobody can sign in, so that nothing can be reached";
        warnings.push(s.at("provider", reason));
    }
    let door = door::read(s, dns.as_ref(), &apps);
    if let Some(name) = door.as_ref().map(|door| &door.name).filter(|name| !tls.covers(name)) {
        let reason = format!("no certificate is for {name}, the portal: nobody can open it");
        warnings.push(s.at("tls", reason));
    }
    let join = join::read(s, dns.as_ref(), &tls, warnings);
    let through = providers.iter().flat_map(|provider| provider.through_tunnel.iter().cloned());
    let apps: Vec<_> = apps.into_iter().chain(through).collect();
    let subnets = subnet::read(
        s,
        &subnet::Around { sites: &sites, devices: &devices, tunnel: tunnel.as_ref() },
        warnings,
    );
    site::warn(
        s,
        &sites,
        apps.iter().map(|app| &app.facts.site).chain(subnets.iter().map(|net| &net.site)),
        warnings,
    );
    Some(Config {
        gateway: gateway?,
        health,
        policy: policy?,
        tunnel: tunnel?,
        dns: dns?,
        devices,
        tls,
        sites,
        links,
        store: store?,
        audit,
        session,
        door: door?,
        join,
        providers,
        apps,
        subnets,
        warnings: Vec::new(),
    })
}
