//! Everything a decision reads, immutable and swapped as a whole: configuration, policies, and the
//! directory of the store. It does not load or watch anything.
//! Always true: what one snapshot answers comes from one version of every file and one revision.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use control::{
    directory::{DeviceRecord, Directory, Person},
    store::Lease,
};
use policy::{Engine, facts};
use protocol::{
    id::{AppId, DeviceId, SiteId, SubnetId, UserId},
    target::{Host, Proto, Target, canonical},
};
use tunnel::PeerSpec;

use crate::{
    access::{Ask, Question, ResourceId},
    config::{AppKind, AppSpec, Config, Part, Tunnel},
    dns::DnsView,
    reach::{Destination, Reach},
};

/// The tunnel addresses of an app or a device.
type Addresses = (Ipv4Addr, Ipv6Addr);

/// One version of the truth.
#[derive(Debug)]
pub struct Snapshot {
    epoch: u64,
    files: Arc<Files>,
    directory: Directory,
    lease: Lease,
}

/// What follows from the files and from where their apps are reached.
#[derive(Debug)]
struct Files {
    generation: u64,
    config: Arc<Config>,
    engine: Arc<Engine>,
    apps: HashMap<AppId, Arc<AppSpec>>,
    subnets: HashMap<SubnetId, Arc<facts::Subnet>>,
    reach: Reach,
    dns: Arc<DnsView>,
}

impl Files {
    fn new(generation: u64, config: Arc<Config>, engine: Arc<Engine>, directory: &Directory) -> Self {
        let gateway = vec![IpAddr::V4(config.tunnel.gateway_v4()), IpAddr::V6(config.tunnel.gateway_v6())];
        let apps: HashMap<_, _> = config.apps.iter().map(|app| (app.facts.id.clone(), app.clone())).collect();
        let range = Tunnel::FIRST..=config.tunnel.last();
        let addresses = |app: &AppId| -> Option<Addresses> {
            let index = directory.app_index(app).filter(|index| range.contains(index))?;
            Some(config.tunnel.addresses(Part::Apps, index))
        };
        let vip = |app: &AppId| addresses(app).map(|(v4, v6)| [IpAddr::V4(v4), IpAddr::V6(v6)]);
        let reach = Reach::new(
            gateway,
            config.apps.iter().filter_map(|app| Some((&app.facts.id, vip(&app.facts.id)?))),
            config.exact_targets(),
            config.subnets.iter().map(|subnet| (subnet.cidr, subnet.id.clone())),
        );
        let dns = Arc::new(dns_view(&config, addresses));
        let subnets = config.subnets.iter().map(|subnet| (subnet.id.clone(), subnet.clone())).collect();
        Self { generation, config, engine, apps, subnets, reach, dns }
    }
}

impl Snapshot {
    /// Joins the parts; `epoch` grows with every snapshot of a run. `lease` says for how long the
    /// directory may be gone by.
    pub fn new(
        epoch: u64,
        config: Arc<Config>,
        engine: Arc<Engine>,
        directory: Directory,
        lease: Lease,
    ) -> Self {
        let files = Arc::new(Files::new(epoch, config, engine, &directory));
        Self { epoch, files, directory, lease }
    }

    /// The next version, with the same files and apps at the same addresses.
    pub fn with(&self, directory: Directory) -> Self {
        Self { epoch: self.epoch + 1, files: self.files.clone(), directory, lease: self.lease.clone() }
    }

    /// Which version this is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Which version of the files this is: the first epoch they were in force with.
    pub fn generation(&self) -> u64 {
        self.files.generation
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.files.config
    }

    /// People, devices and connectors.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The policies.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.files.engine
    }

    /// What the name server answers.
    pub fn dns(&self) -> &Arc<DnsView> {
        &self.files.dns
    }

    /// For how long the directory may be gone by.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// A device, whatever its state.
    pub fn device(&self, id: &DeviceId) -> Option<&Arc<DeviceRecord>> {
        self.directory.device(id)
    }

    /// A person, whatever their state.
    pub fn user(&self, id: &UserId) -> Option<&Arc<Person>> {
        self.directory.user(id)
    }

    /// An app.
    pub fn app(&self, id: &AppId) -> Option<&Arc<AppSpec>> {
        self.files.apps.get(id)
    }

    /// What stands at `to`.
    pub fn resolve(&self, to: SocketAddr) -> Destination {
        self.files.reach.resolve(to, |id| self.files.apps.get(id).map(|app| &**app))
    }

    /// The facts of what is asked for, where it stands, and what would be dialled. `None` as well if
    /// this version of the files puts the target elsewhere: an open flow that rode the subnet does not
    /// outlive the load that makes its target an app.
    pub fn resource(&self, question: &Question) -> Option<(facts::Resource<'_>, SiteId, Target)> {
        match (&question.resource, &question.ask) {
            (ResourceId::App(id), ask) => {
                let app = self.files.apps.get(id)?;
                let target = match (ask, &app.kind) {
                    (Ask::Connect { proto: Proto::Tcp, target }, AppKind::Tcp(tcp)) => {
                        is_target(app, &tcp.target, target).then(|| target.clone())?
                    }
                    (Ask::Http { host, .. }, AppKind::Http(http)) => {
                        app.hosts.iter().any(|known| **known == **host).then(|| http.upstream.clone())?
                    }
                    (Ask::Connect { .. }, AppKind::Http(_) | AppKind::Tcp(_) | AppKind::Through(_))
                    | (Ask::Http { .. }, AppKind::Tcp(_) | AppKind::Through(_)) => return None,
                };
                Some((facts::Resource::App(&app.facts), app.facts.site.clone(), target))
            }
            (ResourceId::Subnet(id), Ask::Connect { target, .. }) => {
                let subnet = self.files.subnets.get(id).filter(|_| self.is_of_subnet(target, id))?;
                Some((facts::Resource::Subnet(subnet), subnet.site.clone(), target.clone()))
            }
            (ResourceId::Subnet(_), Ask::Http { .. }) => None,
        }
    }

    fn is_of_subnet(&self, target: &Target, id: &SubnetId) -> bool {
        let Host::Ip(ip) = target.host else { return false };
        let stands = self.resolve(SocketAddr::new(ip, target.port));
        matches!(stands, Destination::Subnet { subnet, .. } if subnet == *id)
    }

    /// The devices as the tunnel needs them.
    pub fn peers(&self) -> Vec<PeerSpec> {
        self.directory.devices().filter_map(|record| self.peer(record)).collect()
    }

    /// One of them; none if it may not come in.
    pub fn peer(&self, record: &DeviceRecord) -> Option<PeerSpec> {
        let (v4, v6) = self.addresses_of(record)?;
        let device = record.facts.id.clone();
        let may = record.enabled && !record.keys.is_empty();
        may.then(|| PeerSpec { device, keys: record.keys.clone(), v4, v6 })
    }

    /// A device's tunnel addresses.
    pub fn addresses_of(&self, record: &DeviceRecord) -> Option<Addresses> {
        let tunnel = &self.files.config.tunnel;
        let index = record.index.filter(|index| (Tunnel::FIRST..=tunnel.last()).contains(index))?;
        Some(tunnel.addresses(Part::Devices, index))
    }

    /// Every address that answers a ping.
    pub fn echo(&self) -> impl Iterator<Item = IpAddr> {
        self.files.reach.echo()
    }
}

fn is_target(app: &AppSpec, host: &Host, asked: &Target) -> bool {
    let same = match (host, &asked.host) {
        (Host::Ip(known), Host::Ip(ip)) => canonical(*known) == canonical(*ip),
        (Host::Ip(_) | Host::Name(_), asked) => host == asked,
    };
    same && app.ports.contains(&asked.port)
}

fn dns_view(config: &Config, addresses: impl Fn(&AppId) -> Option<Addresses>) -> DnsView {
    let mut names = HashMap::new();
    let door = (config.tunnel.gateway_v4(), config.tunnel.gateway_v6());
    names.insert(config.door.name.clone(), door);
    for app in &config.apps {
        if let Some(vip) = addresses(&app.facts.id) {
            names.extend(app.hosts.iter().map(|host| (host.clone(), vip)));
        }
    }
    let subnets = config.subnets.iter().map(|subnet| subnet.cidr);
    DnsView {
        names,
        zones: config.dns.zones.clone(),
        resolvers: config.dns.resolvers.clone(),
        guarded: subnets.chain(config.tunnel.nets()).collect(),
    }
}
