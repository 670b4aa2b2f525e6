//! Two gateways over one store sign people in as one: who is in at one is in at the other, who is out is out
//! at both, and however they ask the provider, nobody is signed out by it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    company::GATEWAY,
    device::Device,
    office::{self, DOOR, WIKI_PAGE, dial, expires, session},
    person::Person,
    probe::{Ending, drain, echo},
    provider::{Provider, Setup},
    services,
    wait::eventually,
};

use crate::shared::{DATABASE, Pair, Side};

tests::tests![
    who_signed_in_at_one_gateway_is_known_at_the_other,
    who_signs_out_at_one_gateway_is_out_at_the_other,
    of_two_gateways_one_asks_the_provider,
    a_gateway_that_is_killed_while_it_asks_signs_nobody_out,
    a_gateway_that_wakes_up_late_signs_nobody_out,
];

/// Asked each minute.
const SESSION: &str = "[session]\nrefresh = \"1m\"\n";
const INTERVAL: u64 = 70;

/// No two clocks show the same: that of B is so many seconds ahead.
const APART: u64 = 2;

/// Two gateways and a provider, which live by clocks of their own.
struct Siblings {
    pair: Pair,
    provider: Provider,
    ahead: u64,
}

fn unix() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("before 1970")?.as_secs())
}

impl Siblings {
    fn start() -> Result<Self> {
        let mut pair = Pair::with("60s", |side| {
            side.company.sign_in = true;
            let now = unix()? + if side.company.name == Some("b") { APART } else { 0 };
            side.gateway.set_clock(&side.host, now)
        })?;
        let setup = Setup { clients: vec![office::client()], clock: Some(unix()?), ..Setup::default() };
        let provider = Provider::start(pair.world.login()?, &setup)?;
        for side in [&mut pair.a, &mut pair.b] {
            office::write_credentials(side.gateway.folder(), &provider)?;
            side.company.more += &format!("{SESSION}{}", office::section(""));
            side.gateway.write(&side.company)?;
            side.gateway.ask(&side.host, &["reload"])?;
        }
        Ok(Self { pair, provider, ahead: 0 })
    }

    fn passes(&mut self, seconds: u64) -> Result<()> {
        self.ahead += seconds;
        let now = unix()? + self.ahead;
        self.provider.set_clock(now)?;
        self.pair.a.gateway.set_clock(&self.pair.a.host, now)?;
        self.pair.b.gateway.set_clock(&self.pair.b.host, now + APART)
    }

    fn side(&self, a: bool) -> &Side {
        if a { &self.pair.a } else { &self.pair.b }
    }

    fn person<'a>(&self, device: &'a Device, name: &str) -> Result<Person<'a>> {
        Person::trusting(office::trusted(&self.provider, device)?, device, name)
    }
}

/// Takes a device to another gateway, as who fails over does: by its address. What it had with the first is
/// forgotten, so that it knocks at once.
fn take(device: &Device, side: &Side) -> Result<()> {
    let wg = |words: &str| device.host().sh("wg", &words.split_whitespace().collect::<Vec<_>>());
    let shown = wg("show wg0 allowed-ips")?;
    let (peer, addresses) = shown.trim().split_once('\t').context("no peer")?;
    let addresses = addresses.replace(' ', ",");
    wg(&format!("set wg0 peer {peer} remove"))?;
    let there = format!("{}:51820", side.company.outside);
    wg(&format!("set wg0 peer {peer} endpoint {there} allowed-ips {addresses}"))?;
    device.wait_until_connected(GATEWAY)
}

/// The lease to ask the providers runs out, as it does in half a minute by the database's clock.
fn lease_runs_out(side: &Side) -> Result<()> {
    let end = "update leases set until = now() where name = 'sessions' returning 1";
    let ended = services::query(&side.host, DATABASE, 5432, end)?;
    ensure!(ended.starts_with('1'), "nobody holds the lease: {ended}");
    Ok(())
}

fn who_signed_in_at_one_gateway_is_known_at_the_other() -> Result<()> {
    let siblings = Siblings::start()?;
    let (a, b) = (&siblings.pair.a, &siblings.pair.b);
    let laptop = siblings.pair.device(a, "laptop")?;
    let alice = siblings.person(&laptop, "alice")?;
    assert_eq!(alice.signs_in(WIKI_PAGE, "alice")?.status, 200);
    let here = session(&laptop)?;
    take(&laptop, b)?;
    eventually("B knows", || (alice.look(WIKI_PAGE).ok()?.status == 200).then_some(()))?;
    assert_eq!(session(&laptop)?, here);
    dial(&laptop)?;
    // A sign-in that was begun at one is finished at the other: it is the device that counts.
    alice.asks(&["--data", "", &format!("{DOOR}/sign-out")])?;
    let other = siblings.person(&laptop, "another-browser")?;
    let form = other.open(WIKI_PAGE)?;
    take(&laptop, a)?;
    let page = other.fills_in(&form, "alice", &[])?;
    assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE), "{page:?}");
    Ok(())
}

fn who_signs_out_at_one_gateway_is_out_at_the_other() -> Result<()> {
    let siblings = Siblings::start()?;
    let (a, b) = (&siblings.pair.a, &siblings.pair.b);
    // Bob's two devices: one at each.
    let (phone, tablet) = (siblings.pair.device(a, "phone")?, siblings.pair.device(b, "tablet")?);
    let (here, there) = (siblings.person(&phone, "bob")?, siblings.person(&tablet, "bob")?);
    for person in [&here, &there] {
        assert_eq!(person.signs_in(WIKI_PAGE, "bob")?.status, 200);
    }
    let mut flow = dial(&tablet)?;
    eventually("A knows of both", || {
        here.look(DOOR).ok()?.body.contains("name=\"device\" value=\"tablet\"").then_some(())
    })?;
    here.asks(&["--data", "everywhere=1", &format!("{DOOR}/sign-out")])?;
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    let page = there.look(WIKI_PAGE)?;
    ensure!(page.status == 302 && page.location.starts_with(&format!("{DOOR}/sign-in?")), "{page:?}");
    Ok(())
}

fn of_two_gateways_one_asks_the_provider() -> Result<()> {
    let mut siblings = Siblings::start()?;
    let (phone, laptop) =
        (siblings.pair.device(&siblings.pair.a, "phone")?, siblings.pair.device(&siblings.pair.b, "laptop")?);
    for (device, login) in [(&phone, "bob"), (&laptop, "alice")] {
        assert_eq!(siblings.person(device, login)?.signs_in(WIKI_PAGE, login)?.status, 200);
    }
    let mut flows = [dial(&phone)?, dial(&laptop)?];
    for round in ["first", "second", "third"] {
        let before = siblings.provider.asked_for_tokens()?;
        // What it says shows when it was asked.
        for login in ["alice", "bob"] {
            siblings.provider.set_groups(login, &["staff", round])?;
        }
        siblings.passes(INTERVAL)?;
        for side in [&siblings.pair.a, &siblings.pair.b] {
            for login in ["alice", "bob"] {
                eventually("both know", || {
                    let shown = side.admin(&format!("user show corp/{login}")).ok()?;
                    shown.contains(&format!("corp/{round}")).then_some(())
                })?;
            }
        }
        assert_eq!(siblings.provider.asked_for_tokens()? - before, 2, "once for each session");
        for flow in &mut flows {
            echo(flow, round)?;
        }
    }
    assert_eq!(
        (&session(&phone)?["state"], &session(&laptop)?["state"]),
        (&"active".into(), &"active".into())
    );
    Ok(())
}

/// Which gateway holds the lease to ask: the one that says that it is degraded when the provider is in trouble.
fn asking(siblings: &mut Siblings) -> Result<bool> {
    siblings.provider.fault_with("/token", 401, 1, "invalid_client")?;
    siblings.passes(INTERVAL)?;
    let degraded = |side: &Side| {
        let status = side.gateway.status(&side.host).ok()?;
        let states = status["degraded"].as_array()?.clone();
        Some(states.iter().any(|state| state["name"] == "provider"))
    };
    let (a, b) = (&siblings.pair.a, &siblings.pair.b);
    eventually("one says that the provider is in trouble", || match (degraded(a)?, degraded(b)?) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (true, true) | (false, false) => None,
    })
}

fn a_gateway_that_is_killed_while_it_asks_signs_nobody_out() -> Result<()> {
    let mut siblings = Siblings::start()?;
    // Alice is at A, wherever the provider is asked from.
    let laptop = siblings.pair.device(&siblings.pair.a, "laptop")?;
    let alice = siblings.person(&laptop, "alice")?;
    assert_eq!(alice.signs_in(WIKI_PAGE, "alice")?.status, 200);
    let end = expires(&laptop)?;
    let a_asks = asking(&mut siblings)?;
    let tokens = siblings.provider.secrets()?.len();
    let before = siblings.provider.asked_for_tokens()?;
    siblings.provider.answer_late("/token", 9_000, 1)?;
    siblings.passes(INTERVAL)?;
    eventually("the provider has used the token up", || {
        (siblings.provider.secrets().ok()?.len() > tokens).then_some(())
    })?;
    let leader = if a_asks { &mut siblings.pair.a } else { &mut siblings.pair.b };
    leader.gateway.kill()?;
    let left = siblings.side(!a_asks);
    take(&laptop, left)?;
    let mut flow = dial(&laptop)?;
    lease_runs_out(left)?;
    // The other takes over. It cannot know what the provider said, and asks once more.
    siblings.passes(INTERVAL)?;
    eventually("the other asks", || (siblings.provider.asked_for_tokens().ok()? > before + 1).then_some(()))?;
    eventually("it ends sooner", || (expires(&laptop).ok()? < end).then_some(()))?;
    echo(&mut flow, "and goes on until then")?;
    assert_eq!(alice.look(WIKI_PAGE)?.status, 200);
    Ok(())
}

/// It fell asleep over a question; the other asked meanwhile.
fn a_gateway_that_wakes_up_late_signs_nobody_out() -> Result<()> {
    let mut siblings = Siblings::start()?;
    let laptop = siblings.pair.device(&siblings.pair.a, "laptop")?;
    let alice = siblings.person(&laptop, "alice")?;
    assert_eq!(alice.signs_in(WIKI_PAGE, "alice")?.status, 200);
    let end = expires(&laptop)?;
    let a_asks = asking(&mut siblings)?;
    let tokens = siblings.provider.secrets()?.len();
    let before = siblings.provider.asked_for_tokens()?;
    siblings.provider.answer_late("/token", 6_000, 1)?;
    siblings.passes(INTERVAL)?;
    eventually("the provider has used the token up", || {
        (siblings.provider.secrets().ok()?.len() > tokens).then_some(())
    })?;
    siblings.side(a_asks).gateway.process()?.signal(Signal::SIGSTOP)?;
    take(&laptop, siblings.side(!a_asks))?;
    let mut flow = dial(&laptop)?;
    lease_runs_out(siblings.side(!a_asks))?;
    siblings.passes(INTERVAL)?;
    eventually("the other asks", || (siblings.provider.asked_for_tokens().ok()? > before + 1).then_some(()))?;
    eventually("it ends sooner", || (expires(&laptop).ok()? < end).then_some(()))?;
    let end = expires(&laptop)?;
    siblings.side(a_asks).gateway.process()?.signal(Signal::SIGCONT)?;
    eventually("the sleeper has its answer", || {
        let requests = siblings.provider.requests().ok()?;
        requests.iter().all(|request| request.path != "/token" || request.status.is_some()).then_some(())
    })?;
    // Whoever asks asks about all: what becomes of Bob's session tells that Alice's had its turn.
    let phone = siblings.pair.device(siblings.side(!a_asks), "phone")?;
    assert_eq!(siblings.person(&phone, "bob")?.signs_in(WIKI_PAGE, "bob")?.status, 200);
    for round in ["first", "second"] {
        siblings.provider.set_groups("bob", &["staff", round])?;
        siblings.passes(INTERVAL)?;
        eventually("what the provider says counts", || {
            let bob = siblings.side(!a_asks).admin("user show corp/bob").ok()?;
            bob.contains(&format!("corp/{round}")).then_some(())
        })?;
    }
    echo(&mut flow, "goes on")?;
    assert_eq!(expires(&laptop)?, end, "what the sleeper heard counts for nothing");
    assert_eq!(alice.look(WIKI_PAGE)?.status, 200);
    Ok(())
}
