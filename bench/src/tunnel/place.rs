//! The contenders, each in a world of its own: our gateway (dialling itself, and through a connector)
//! and WireGuard daemons whose kernel forwards. Clients, services and networks are the same.
//! Always true: every contender's client reaches every service before anything is measured.

use std::net::SocketAddr;

use anyhow::{Context, Result};
// Without the colons it would be this file's own tests.
use ::tests::{
    company::Machine,
    device::KeyPair,
    host::Host,
    process::Process,
    scene::{Plan, Scene},
    services,
    wait::eventually,
    wan::{Path, Wan},
    world::World,
};

use super::end::{Daemon, End, Peer};
use crate::{
    cpu::Watched,
    load::{self, GREET, Page, Services},
};

/// The server on the leg that the gateway itself has into the private network.
const NEAR: &str = "10.52.0.9";
/// The same server where only the connector reaches it.
const FAR: &str = "10.50.0.9";
/// What clients send into the tunnel.
const ROUTES: &str = "100.64.0.0/16,10.50.0.0/16,10.52.0.0/16";
/// Where the page is.
const PAGE: u16 = 7180;
/// The clients' numbers. One does the work; the others hold idle connections, of which one device may
/// have 8192, or are hostile.
const NUMBERS: [u8; 3] = [10, SECOND, 13];
/// The second client's number: the end of its tunnel address.
pub const SECOND: u8 = 12;

/// Apps and rules beside those every test has.
const MORE: &str = r#"
[local]
allow = ["10.52.0.0/24"]

[[app]]
name = "near"
site = "local"
kind = "http"
tls = false
hosts = ["near.corp.example"]
upstream = "http://10.52.0.9:7180"
address = "100.64.128.20"
groups = ["staff"]

[[app]]
name = "far"
site = "fra"
kind = "http"
tls = false
hosts = ["far.corp.example"]
upstream = "http://10.50.0.9:7180"
address = "100.64.128.21"
groups = ["staff"]

[[subnet]]
name = "near-v4"
site = "local"
cidr = "10.52.0.0/24"
groups = ["staff"]
"#;

/// What is measured, and from where.
pub struct Contender {
    /// Its row.
    pub name: String,
    /// Which place of [`Place`] it is in.
    pub place: usize,
    /// The server as its clients see it.
    pub server: &'static str,
    /// The page.
    pub page: Page,
    /// The gateway, and whoever else has to work for it.
    pub watched: Vec<(&'static str, Watched)>,
}

impl Contender {
    /// One of the bench's services.
    pub fn service(&self, port: u16) -> Result<SocketAddr> {
        format!("{}:{port}", self.server).parse().context("a server is an address")
    }
}

/// How places are set up, beside who is in them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting {
    /// Our gateway's data-plane threads, if not as many as it chooses.
    pub shards: Option<u8>,
    /// What is between clients and gateways.
    pub between: Option<Path>,
}

impl Setting {
    /// Where clients find the gateway of this world, and the path there.
    fn way(self, world: &World) -> Result<(&'static str, Option<Wan>)> {
        let Some(path) = self.between else { return Ok(("10.77.0.1:51820", None)) };
        plain(&world.servers)?;
        let (listen, to) = (WAN.parse()?, "10.77.0.1:51820".parse()?);
        Ok((WAN, Some(world.gw.within(|| Wan::start(listen, to, path).context("the path"))?)))
    }
}

/// Where the path to a gateway begins.
const WAN: &str = "10.77.0.1:52820";

/// A world with clients that are up. What it holds is kept running.
pub struct Place {
    /// The clients.
    pub clients: Vec<Host>,
    /// The services behind the gateway.
    pub services: Services,
    _ends: Vec<End>,
    _nginx: Process,
    _scene: Option<Scene>,
    _world: Option<World>,
    wan: Option<Wan>,
}

/// Our gateway with a connector, and its two contenders.
pub fn doorward(place: usize, client: &Daemon, setting: Setting) -> Result<(Place, Vec<Contender>)> {
    let mut plan = Plan::new()?;
    plan.company.shards = setting.shards;
    plan.company.more = MORE.to_owned();
    for (number, name) in [(SECOND, "second"), (13, "third")] {
        plan.company.machines.push(Machine::new(name, "corp/alice", number)?);
    }
    let scene = Scene::with(plan)?;
    second_leg(&scene.world)?;
    let gateway = public_key(&scene.device_text("laptop")?)?;
    let (endpoint, wan) = setting.way(&scene.world)?;
    let (mut clients, mut ends) = (Vec::new(), Vec::new());
    for name in ["laptop", "second", "third"] {
        let machine = scene.company.machine(name)?;
        let host = scene.world.device(name, machine.number)?;
        let peer = Peer { key: &gateway, allowed: ROUTES, endpoint: Some(endpoint) };
        let address = format!("100.64.0.{}/32", machine.number);
        ends.push(End::start(&host, client, &machine.key, &address, 51820, &[peer])?);
        clients.push(host);
    }
    let gateway = Watched::new(scene.gateway.process()?.id())?;
    let connector = Watched::new(scene.connector("fra-1")?.id())?;
    let page = |at: &str, host| anyhow::Ok(Page { at: at.parse()?, host });
    let contender =
        |name: &str, server, page, watched| Contender { name: name.to_owned(), place, server, page, watched };
    let contenders = vec![
        contender(
            "doorward",
            NEAR,
            page("100.64.128.20:80", "near.corp.example")?,
            vec![("gateway", gateway)],
        ),
        contender(
            "doorward + connector",
            FAR,
            page("100.64.128.21:80", "far.corp.example")?,
            vec![("gateway", gateway), ("connector", connector)],
        ),
    ];
    let services = Services::start(&scene.world.servers)?;
    let nginx = services::nginx(&scene.world.servers, PAGE)?;
    finish(
        Place { clients, services, _ends: ends, _nginx: nginx, _scene: Some(scene), _world: None, wan },
        contenders,
    )
}

/// A daemon that decrypts, and a kernel that forwards: no policy, no termination.
pub fn forwarding(
    place: usize,
    name: String,
    gateway: &Daemon,
    client: &Daemon,
    setting: Setting,
) -> Result<(Place, Vec<Contender>)> {
    let world = World::new()?;
    second_leg(&world)?;
    world.gw.sh("sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
    world.servers.ip("route add 100.64.0.0/16 via 10.52.0.1")?;
    let own = KeyPair::fresh()?;
    let keys = NUMBERS.iter().map(|_| KeyPair::fresh()).collect::<Result<Vec<_>>>()?;
    let addresses = NUMBERS.map(|number| format!("100.64.0.{number}/32"));
    let peers = keys.iter().zip(&addresses);
    let peers: Vec<_> =
        peers.map(|(key, address)| Peer { key: &key.public, allowed: address, endpoint: None }).collect();
    let end = End::start(&world.gw, gateway, &own, "100.64.0.1/32", 51820, &peers)?;
    let watched = vec![("gateway", Watched::new(end.id())?)];
    let (endpoint, wan) = setting.way(&world)?;
    let (mut clients, mut ends) = (Vec::new(), vec![end]);
    for ((number, key), address) in NUMBERS.into_iter().zip(&keys).zip(&addresses) {
        let host = world.device(&format!("client{number}"), number)?;
        let peer = Peer { key: &own.public, allowed: ROUTES, endpoint: Some(endpoint) };
        ends.push(End::start(&host, client, key, address, 51820, &[peer])?);
        clients.push(host);
    }
    let page = Page { at: format!("{NEAR}:{PAGE}").parse()?, host: "near.corp.example" };
    let contenders = vec![Contender { name, place, server: NEAR, page, watched }];
    let services = Services::start(&world.servers)?;
    let nginx = services::nginx(&world.servers, PAGE)?;
    finish(
        Place { clients, services, _ends: ends, _nginx: nginx, _scene: None, _world: Some(world), wan },
        contenders,
    )
}

/// Gives the gateway's host a leg of its own in the private network.
fn second_leg(world: &World) -> Result<()> {
    world.plug(&world.gw, "eth1", "private", &["10.52.0.1/24"])?;
    world.servers.ip(&format!("address add {NEAR}/24 dev eth0"))?;
    // Connections that were just closed must not run a bench out of ports.
    for host in [&world.gw, &world.site] {
        roomy(host)?;
    }
    Ok(())
}

fn roomy(host: &Host) -> Result<()> {
    host.sh("sysctl", &["-qw", "net.ipv4.ip_local_port_range=2000 65000", "net.ipv4.tcp_tw_reuse=1"])?;
    Ok(())
}

/// Over a path that loses, a host's congestion control counts for more than who carries. Linux has CUBIC
/// unless told otherwise, and a namespace may be refused it where the machine has been told: then Reno,
/// which is the same at such rates (RFC 9438 §4.3).
fn plain(host: &Host) -> Result<()> {
    let choose = |name: &str| host.sh("sysctl", &["-qw", &format!("net.ipv4.tcp_congestion_control={name}")]);
    choose("cubic").or_else(|_| choose("reno")).map(drop)
}

/// Waits until every client reaches every contender's server.
fn finish(place: Place, contenders: Vec<Contender>) -> Result<(Place, Vec<Contender>)> {
    for client in &place.clients {
        roomy(client)?;
        if place.wan.is_some() {
            plain(client)?;
        }
        for contender in &contenders {
            let greet = contender.service(GREET)?;
            eventually(&format!("{} reaches {}", client.name(), contender.name), || {
                load::dial(client, greet).ok()
            })?;
        }
    }
    Ok((place, contenders))
}

/// The gateway's key in the text a device is handed.
fn public_key(text: &str) -> Result<String> {
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "PublicKey").then(|| value.trim().to_owned())
    });
    key.context("no PublicKey in the device's text")
}
