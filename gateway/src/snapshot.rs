//! Everything a decision reads, immutable and swapped as a whole: configuration, directory,
//! addresses, policies. It does not load or watch anything.
//! Always true: what one snapshot answers comes from one version of every file.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use policy::{Engine, facts};
use protocol::{
    id::{AppId, DeviceId, SiteId, SubnetId, UserId},
    target::{Host, Proto, Target, canonical},
};
use tunnel::PeerSpec;

use crate::{
    access::{Ask, Question, ResourceId},
    config::{
        AppKind, AppSpec, Config, DeviceRecord, Directory,
        address::{Addresses, Plan},
    },
    dns::DnsView,
    reach::{Destination, Reach},
};

/// One version of the truth.
#[derive(Debug)]
pub struct Snapshot {
    epoch: u64,
    config: Arc<Config>,
    directory: Arc<Directory>,
    addresses: Arc<Plan>,
    engine: Arc<Engine>,
    apps: HashMap<AppId, Arc<AppSpec>>,
    subnets: HashMap<SubnetId, Arc<facts::Subnet>>,
    reach: Reach,
    dns: Arc<DnsView>,
}

impl Snapshot {
    /// Joins the parts; `epoch` grows with every snapshot of a run.
    pub fn new(
        epoch: u64,
        config: Arc<Config>,
        directory: Arc<Directory>,
        addresses: Arc<Plan>,
        engine: Arc<Engine>,
    ) -> Self {
        let gateway = vec![IpAddr::V4(config.tunnel.gateway_v4()), IpAddr::V6(config.tunnel.gateway_v6())];
        let apps: HashMap<_, _> = config.apps.iter().map(|app| (app.facts.id.clone(), app.clone())).collect();
        let vip = |app: &AppId| addresses.apps.get(app).map(|vip| [IpAddr::V4(vip.v4), IpAddr::V6(vip.v6)]);
        let reach = Reach::new(
            gateway,
            config.apps.iter().filter_map(|app| Some((&app.facts.id, vip(&app.facts.id)?))),
            config.exact_targets(),
            config.subnets.iter().map(|subnet| (subnet.cidr, subnet.id.clone())),
        );
        let dns = Arc::new(dns_view(&config, &addresses));
        let subnets = config.subnets.iter().map(|subnet| (subnet.id.clone(), subnet.clone())).collect();
        Self { epoch, config, directory, addresses, engine, apps, subnets, reach, dns }
    }

    /// Which version this is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// People and devices.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Who has which tunnel address.
    pub fn addresses(&self) -> &Arc<Plan> {
        &self.addresses
    }

    /// The policies.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What the name server answers.
    pub fn dns(&self) -> &Arc<DnsView> {
        &self.dns
    }

    /// An enrolled device.
    pub fn device(&self, id: &DeviceId) -> Option<Arc<facts::Device>> {
        self.directory.devices.get(id).map(|record| record.facts.clone())
    }

    /// An enabled user.
    pub fn user(&self, id: &UserId) -> Option<Arc<facts::User>> {
        self.directory.users.get(id).cloned()
    }

    /// Whether the user is there but disabled.
    pub fn is_disabled(&self, id: &UserId) -> bool {
        self.directory.disabled.contains(id)
    }

    /// An app.
    pub fn app(&self, id: &AppId) -> Option<&Arc<AppSpec>> {
        self.apps.get(id)
    }

    /// What stands at `to`.
    pub fn resolve(&self, to: SocketAddr) -> Destination {
        self.reach.resolve(to, |id| self.apps.get(id).map(|app| &**app))
    }

    /// The facts of what is asked for, where it stands, and what would be dialled. `None` as well if
    /// this version of the files puts the target elsewhere: an open flow that rode the subnet does not
    /// outlive the load that makes its target an app.
    pub fn resource(&self, question: &Question) -> Option<(facts::Resource<'_>, SiteId, Target)> {
        match (&question.resource, &question.ask) {
            (ResourceId::App(id), ask) => {
                let app = self.apps.get(id)?;
                let target = match (ask, &app.kind) {
                    (Ask::Connect { proto: Proto::Tcp, target }, AppKind::Tcp(tcp)) => {
                        is_target(app, &tcp.target, target).then(|| target.clone())?
                    }
                    (Ask::Http { host, .. }, AppKind::Http(http)) => {
                        app.hosts.iter().any(|known| **known == **host).then(|| http.upstream.clone())?
                    }
                    (Ask::Connect { .. }, AppKind::Http(_) | AppKind::Tcp(_))
                    | (Ask::Http { .. }, AppKind::Tcp(_)) => {
                        return None;
                    }
                };
                Some((facts::Resource::App(&app.facts), app.facts.site.clone(), target))
            }
            (ResourceId::Subnet(id), Ask::Connect { target, .. }) => {
                let subnet = self.subnets.get(id).filter(|_| self.is_of_subnet(target, id))?;
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
        let devices = self.directory.devices.iter();
        let peer = |(id, record): (&DeviceId, &Arc<DeviceRecord>)| {
            let Addresses { v4, v6 } = *self.addresses.devices.get(id)?;
            Some(PeerSpec { device: id.clone(), keys: record.keys.clone(), v4, v6 })
        };
        devices.filter_map(peer).collect()
    }

    /// Every address that answers a ping.
    pub fn echo(&self) -> impl Iterator<Item = IpAddr> {
        self.reach.echo()
    }
}

fn is_target(app: &AppSpec, host: &Host, asked: &Target) -> bool {
    let same = match (host, &asked.host) {
        (Host::Ip(known), Host::Ip(ip)) => canonical(*known) == canonical(*ip),
        (Host::Ip(_) | Host::Name(_), asked) => host == asked,
    };
    same && app.ports.contains(&asked.port)
}

fn dns_view(config: &Config, plan: &Plan) -> DnsView {
    let mut names = HashMap::new();
    for app in &config.apps {
        if let Some(vip) = plan.apps.get(&app.facts.id) {
            names.extend(app.hosts.iter().map(|host| (host.clone(), (vip.v4, vip.v6))));
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
