//! Two gateways over one PostgreSQL: what is taken away at one is gone at the other, what was
//! acknowledged by one is kept by the other, and one that is cut off grants nothing beyond its lease.

use std::{fs, io::ErrorKind, thread};

use anyhow::{Context, Result};
use tests::{
    company::{Company, DESK, ECHO, GATEWAY, Machine, write_secret},
    connector::{Connector, TARGETS},
    device::Device,
    gateway::Gateway,
    host::Host,
    mirror::Mirror,
    probe::{Ending, drain, echo},
    process::Process,
    services,
    streams::{Manner, Stream},
    wait::eventually,
    world::World,
};

tests::tests![
    what_one_gateway_takes_away_is_gone_at_the_other,
    what_one_gateway_acknowledged_the_other_keeps,
    a_gateway_without_its_store_grants_nothing_beyond_its_lease,
    a_gateway_without_its_store_puts_out_at_once_and_tells_the_others_later,
    gateways_that_differ_say_so,
];

/// Where the database is: on the internet, so that a gateway can be cut off from it.
pub const DATABASE: &str = "10.77.0.4";

/// What the gateways show the database, which asks for none.
pub const PASSWORD: &str = "password-that-is-a-canary";

/// A gateway and its machine.
pub struct Side {
    /// Its machine.
    pub host: Host,
    /// The gateway.
    pub gateway: Gateway,
    /// What is in its files.
    pub company: Company,
}

impl Side {
    /// Another of the same deployment, whose keys are `like`'s.
    fn new(host: Host, name: &'static str, outside: &'static str, like: Option<&Self>) -> Result<Self> {
        let gateway = Gateway::prepare(&host)?;
        let mut company = Company::new()?;
        (company.name, company.outside) = (Some(name), outside);
        company.person_mut("corp/bob")?.groups.push("corp/staff");
        company.machines.push(Machine::new("tablet", "corp/bob", 12)?);
        if let Some(like) = like {
            for key in ["gateway.key", "link.key", "store.key"] {
                fs::copy(like.gateway.folder().join(key), gateway.folder().join(key))?;
            }
        }
        let url = format!("postgres://tester:{PASSWORD}@{DATABASE}:5432/postgres?sslmode=disable\n");
        write_secret(&gateway.folder().join("store.url"), &url)?;
        Ok(Self { host, gateway, company })
    }

    fn start(&mut self) -> Result<()> {
        self.gateway.write(&self.company)?;
        self.gateway.start(&self.host)
    }

    pub fn admin(&self, words: &str) -> Result<String> {
        self.gateway.admin(&self.host, words)
    }

    fn degraded(&self, name: &str) -> Option<String> {
        let status = self.gateway.status(&self.host).ok()?;
        let state = status["degraded"].as_array()?.iter().find(|state| state["name"] == name)?;
        Some(state.to_string())
    }

    fn wait_until_linked(&self) -> Result<()> {
        eventually("the connector is linked", || {
            let status = self.gateway.status(&self.host).ok()?;
            (!status["connectors"][0]["connected_since"].is_null()).then_some(())
        })
    }

    /// The network drops what goes to the database, or brings it again.
    pub fn part_from_store(&self, parted: bool) -> Result<()> {
        let what = if parted { "add" } else { "delete" };
        self.host.ip(&format!("route {what} blackhole {DATABASE}/32")).map(drop)
    }

    fn ready(&self) -> Result<String> {
        let probe = ["--silent", "--write-out", "%{http_code}", "http://127.0.0.1:9820/readyz"];
        self.host.sh("curl", &probe)
    }
}

/// Two of them, the database and a site.
pub struct Pair {
    /// One.
    pub a: Side,
    /// The other.
    pub b: Side,
    /// The web server behind the app `wiki`.
    mirror: Mirror,
    _running: (Stream, Process, Process),
    /// The hosts.
    pub world: World,
}

impl Pair {
    /// With a `lease` as the files write it.
    pub fn start(lease: &str) -> Result<Self> {
        Self::with(lease, |_| Ok(()))
    }

    /// The same, with changes to each before it starts.
    pub fn with(lease: &str, edit: impl Fn(&mut Side) -> Result<()>) -> Result<Self> {
        let world = World::new()?;
        let mirror = Mirror::listen(&world.servers, 8080)?;
        let echo = Stream::listen(&world.servers, ECHO, Manner::Echo)?;
        let database = services::postgres(&world.device("database", 4)?, 5432)?;
        let mut a = Side::new(world.device("gw-a", 6)?, "a", "10.77.0.6", None)?;
        let mut b = Side::new(world.device("gw-b", 7)?, "b", "10.77.0.7", Some(&a))?;
        let mut connector = Connector::prepare(&world.site, "fra-1")?;
        connector.gateways = vec!["10.77.0.6", "10.77.0.7"];
        for side in [&mut a, &mut b] {
            side.company.more = format!(
                "[store.postgres]\nurl = \"store.url\"\nlease = {lease:?}\n\
                 [health]\nlisten = [\"127.0.0.1:9820\"]\n\
                 [[app]]\nname = \"auto\"\nsite = \"fra\"\nkind = \"tcp\"\nhosts = [\"auto.corp.example\"]\n\
                 ports = [7100]\ntarget = \"10.50.0.9\"\n"
            );
            side.company.connectors.push(("fra-1".to_owned(), connector.pin.clone()));
            edit(side)?;
            side.start()?;
        }
        a.gateway.import(&a.host)?;
        let linked = connector.start(&world.site, &a.gateway.pin, TARGETS)?;
        a.wait_until_linked()?;
        b.wait_until_linked()?;
        Ok(Self { a, b, mirror, _running: (echo, database, linked), world })
    }

    /// A device that is connected to one of them.
    pub fn device(&self, side: &Side, name: &str) -> Result<Device> {
        let machine = self.a.company.machine(name)?;
        let text = side.admin(&format!("device config {name}"))?;
        Device::up(self.world.device(name, machine.number)?, &text, &machine.key, GATEWAY)
    }
}

fn dial(device: &Device) -> Result<std::net::TcpStream> {
    let mut flow = device.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "open")?;
    Ok(flow)
}

fn what_one_gateway_takes_away_is_gone_at_the_other() -> Result<()> {
    let pair = Pair::start("60s")?;
    let (laptop, phone) = (pair.device(&pair.b, "laptop")?, pair.device(&pair.a, "phone")?);
    let address = |device: &Device| device.host().sh("getent", &["ahostsv4", "auto.corp.example"]);
    assert_eq!(address(&laptop)?, address(&phone)?, "apps have one address everywhere");
    let (mut lost, mut kept) = (dial(&laptop)?, dial(&phone)?);
    pair.a.admin("device disable laptop")?;
    assert_eq!(drain(&mut lost)?, (0, Ending::Reset));
    echo(&mut kept, "another's goes on")?;
    pair.b.admin("device enable laptop")?;
    laptop.reconnect(GATEWAY)?;
    dial(&laptop)?;
    pair.b.admin("user disable corp/bob")?;
    assert_eq!(drain(&mut kept)?, (0, Ending::Reset));
    Ok(())
}

fn what_one_gateway_acknowledged_the_other_keeps() -> Result<()> {
    let mut pair = Pair::start("60s")?;
    pair.a.admin("user add corp/carol")?;
    pair.a.admin("device disable laptop --why lost")?;
    pair.a.gateway.kill()?;
    eventually("B has both", || {
        let (users, laptop) = (pair.b.admin("user list").ok()?, pair.b.admin("device show laptop").ok()?);
        (users.contains("corp/carol") && laptop.contains("lost")).then_some(())
    })?;
    pair.b.admin("group add-member corp/staff corp/carol")?;
    pair.b.gateway.kill()?;
    pair.a.gateway.start(&pair.a.host)?;
    let carol = pair.a.admin("user show corp/carol")?;
    assert!(carol.contains("corp/staff"), "{carol}");
    let verified = pair.a.admin("audit verify")?;
    assert!(verified.starts_with("sound: "), "{verified}");
    Ok(())
}

/// D5 (firezone#9892).
fn a_gateway_without_its_store_grants_nothing_beyond_its_lease() -> Result<()> {
    let pair = Pair::start("5s")?;
    let (laptop, phone) = (pair.device(&pair.b, "laptop")?, pair.device(&pair.b, "phone")?);
    let key = &pair.a.company.machine("laptop")?.key.public;
    let peers = || anyhow::Ok(pair.b.gateway.status(&pair.b.host)?["tunnel"]["peers"].to_string());
    assert!(peers()?.contains(key));
    let (mut first, mut second) = (dial(&laptop)?, dial(&phone)?);
    pair.b.part_from_store(true)?;
    pair.a.admin("device disable laptop")?;
    // What B has read it goes by; not for long.
    echo(&mut first, "B cannot know")?;
    dial(&phone).context("within the lease")?;
    for flow in [&mut first, &mut second] {
        assert_eq!(drain(flow)?, (0, Ending::Reset));
    }
    assert_eq!(phone.refusal(&format!("{DESK}:{ECHO}"))?, ErrorKind::ConnectionRefused);
    let denials = pair.b.gateway.status(&pair.b.host)?["denials"].clone();
    assert!(denials["store_lost"].as_u64() >= Some(1), "{denials}");
    let ready = pair.b.ready()?;
    assert!(ready.contains("store_lost") && ready.ends_with("503"), "{ready}");
    // From here on the laptop asks and asks.
    let mut asking = laptop.host().command("sh")?;
    asking.args(["-c", "while :; do curl --silent --max-time 1 http://10.50.0.7:8080/never; done"]);
    let _asking = laptop.host().start("asking", asking)?;
    pair.b.part_from_store(false)?;
    eventually("others come back untouched", || {
        let mut flow = phone.dial(&format!("{DESK}:{ECHO}")).ok()?;
        echo(&mut flow, "again").ok()
    })?;
    eventually("B knows the laptop no more", || (!peers().ok()?.contains(key)).then_some(()))?;
    let never = pair.mirror.heads().into_iter().find(|head| head.starts_with("GET /never"));
    assert_eq!(never, None, "B let in who was put out meanwhile");
    eventually("B is ready", || pair.b.ready().ok()?.ends_with("200").then_some(()))
}

fn a_gateway_without_its_store_puts_out_at_once_and_tells_the_others_later() -> Result<()> {
    let pair = Pair::start("60s")?;
    let (phone, tablet) = (pair.device(&pair.a, "phone")?, pair.device(&pair.b, "tablet")?);
    let (mut far, mut near) = (dial(&phone)?, dial(&tablet)?);
    pair.b.part_from_store(true)?;
    let (gateway, host) = (&pair.b.gateway, &pair.b.host);
    let said = thread::scope(|scope| {
        let disabling = scope.spawn(|| gateway.admin_refused(host, "user disable corp/bob"));
        assert_eq!(drain(&mut near)?, (0, Ending::Reset));
        assert!(!disabling.is_finished(), "the cut waited for the store");
        disabling.join().expect("it does not panic")
    })?;
    assert!(said.contains("but not durable"), "{said}");
    assert!(pair.b.degraded("revocations_not_durable").is_some());
    echo(&mut far, "A has not heard of it")?;
    pair.b.part_from_store(false)?;
    assert_eq!(drain(&mut far)?, (0, Ending::Reset));
    eventually("it is durable", || pair.b.degraded("revocations_not_durable").is_none().then_some(()))?;
    let bob = pair.a.admin("user show corp/bob --json")?;
    assert!(!bob.contains("\"disabled\": null"), "{bob}");
    Ok(())
}

fn gateways_that_differ_say_so() -> Result<()> {
    let mut pair = Pair::start("60s")?;
    assert_eq!(pair.b.degraded("drift"), None);
    let own = pair.b.company.policies.insert("staff", "".to_owned()).context("a policy")?;
    pair.b.gateway.kill()?;
    pair.b.start()?;
    let told = eventually("B tells", || pair.b.degraded("drift"))?;
    assert!(told.contains("a has another set of policies"), "{told}");
    pair.a.gateway.kill()?;
    pair.a.start()?;
    let told = eventually("A tells", || pair.a.degraded("drift"))?;
    assert!(told.contains("b has another set of policies"), "{told}");
    pair.b.company.policies.insert("staff", own);
    pair.b.gateway.kill()?;
    pair.b.start()?;
    // Each looks when it begins, and the other's word is B's own again.
    assert_eq!(pair.b.degraded("drift"), None);
    Ok(())
}
