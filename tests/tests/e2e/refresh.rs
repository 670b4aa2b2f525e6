//! The provider is asked again and again whether sessions still hold. What it says counts within one
//! interval; that it says nothing, or nonsense, ends no session before its time.

use std::{fs, net::TcpStream};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{
    company::STAFF,
    device::Device,
    office::{DOOR, Office, Opening, WIKI_PAGE, dial, expires, moment, session},
    person::Person,
    probe::{Ending, drain, echo},
    wait::eventually,
};

tests::tests![
    a_group_that_goes_at_the_provider_is_gone_within_one_interval,
    a_group_that_comes_at_the_provider_counts_within_one_interval,
    who_is_shut_out_at_the_provider_is_out_within_one_interval,
    who_is_removed_at_the_provider_is_out_within_one_interval,
    a_provider_in_trouble_signs_nobody_out,
    a_provider_that_cannot_be_reached_signs_nobody_out,
    a_secret_that_has_expired_alarms_the_operator_and_signs_nobody_out,
    new_keys_at_the_provider_go_unnoticed,
    an_answer_that_was_lost_signs_nobody_out_at_once,
    a_gateway_killed_while_it_asks_signs_nobody_out_at_once,
    without_refresh_tokens_a_session_lasts_an_hour,
];

/// Asked each minute.
const OFTEN: &str = "refresh = \"1m\"";
/// Longer than that, and than the tenth by which it is spread.
const INTERVAL: u64 = 70;

/// Alice at work on her laptop.
struct Desk {
    office: Office,
    laptop: Device,
    flow: TcpStream,
}

impl Desk {
    fn open(opening: Opening) -> Result<Self> {
        let office = Office::with(opening)?;
        let laptop = office.scene.device("laptop")?;
        let page = Person::at(&office, &laptop, "alice")?.signs_in(WIKI_PAGE, "alice")?;
        ensure!(page.status == 200, "{page:?}");
        let flow = dial(&laptop)?;
        Ok(Self { office, laptop, flow })
    }

    fn alice(&self) -> Result<Person<'_>> {
        Person::at(&self.office, &self.laptop, "alice")
    }

    /// One interval passes.
    fn passes(&mut self) -> Result<()> {
        self.office.pass(INTERVAL)
    }

    /// Waits until the provider was asked for tokens more than `before` times, and has answered.
    fn is_asked_again(&self, before: usize) -> Result<()> {
        eventually("the provider is asked", || {
            let requests = self.office.provider.requests().ok()?;
            let mut answers = requests.iter().filter(|request| request.path == "/token");
            let answered =
                answers.clone().count() > before && answers.all(|request| request.status.is_some());
            answered.then_some(())
        })
    }

    /// Nothing has changed for Alice.
    fn goes_on(&mut self) -> Result<()> {
        echo(&mut self.flow, "goes on")?;
        // Not as a navigation, which would be a chance to renew the session.
        let page = self.alice()?.asks(&["--header", "Sec-Fetch-Mode: cors", WIKI_PAGE])?;
        ensure!(page.status == 200, "{page:?}");
        ensure!(session(&self.laptop)?["state"] == "active");
        Ok(())
    }

    /// What Alice had open is cut.
    fn is_cut(&mut self) -> Result<()> {
        assert_eq!(drain(&mut self.flow)?, (0, Ending::Reset), "on the device");
        assert_eq!(self.office.scene.echo.ending()?, Ending::Reset, "at the service");
        Ok(())
    }

    /// Alice's session has ended, and all she had open.
    fn is_out(&mut self) -> Result<()> {
        self.is_cut()?;
        assert_eq!(session(&self.laptop)?, Value::Null);
        let page = self.alice()?.look(WIKI_PAGE)?;
        ensure!(page.status == 302 && page.location.starts_with(&format!("{DOOR}/sign-in?")), "{page:?}");
        Ok(())
    }

    /// The decisions in the audit log so far, in order, as they are written down.
    fn decisions(&self) -> Result<Vec<Value>> {
        let mut files: Vec<_> = fs::read_dir(self.office.scene.gateway.folder().join("state/audit"))?
            .filter_map(|file| Some(file.ok()?.path()))
            .collect();
        files.sort();
        let text: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let entries = lines.map(|line| if line["entry"].is_object() { line["entry"].clone() } else { line });
        Ok(entries.filter(|entry| entry["kind"] == "decision").collect())
    }
}

/// H10 (Pomerium CVE-2021-41230).
fn a_group_that_goes_at_the_provider_is_gone_within_one_interval() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    desk.office.provider.set_groups("alice", &["admins"])?;
    echo(&mut desk.flow, "nobody was asked yet")?;
    desk.passes()?;
    desk.is_cut()?;
    let page = desk.alice()?.look(WIKI_PAGE)?;
    assert_eq!(page.status, 403, "{page:?}");
    assert_eq!(session(&desk.laptop)?["state"], "active", "who is in no group is still somebody");
    // Each decision names the facts it was made from.
    eventually("an answer by older facts, and another by newer ones", || {
        let decisions = desk.decisions().ok()?;
        let of = |verdict: &str| {
            let last = decisions.iter().rfind(|decision| decision["verdict"] == verdict)?;
            last["store_revision"].as_u64()
        };
        (of("deny")? > of("allow")?).then_some(())
    })?;
    let user = desk.office.scene.admin("user show corp/alice")?;
    ensure!(user.contains("corp/admins") && !user.contains("corp/staff"), "{user}");
    Ok(())
}

fn a_group_that_comes_at_the_provider_counts_within_one_interval() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    let ops = STAFF.replace("\"staff\"", "\"ops\"").replace("corp/staff", "corp/ops");
    let ops = ops.replace("resource in Doorward::AppGroup::\"ops\"", "resource == Doorward::App::\"vault\"");
    desk.office.scene.change(|company| {
        company.policies.insert("ops", ops);
        Ok(())
    })?;
    let vault = "https://vault.corp.example/";
    assert_eq!(desk.alice()?.look(vault)?.status, 403);
    desk.office.provider.set_groups("alice", &["staff", "ops"])?;
    desk.passes()?;
    let alice = desk.alice()?;
    eventually("the vault opens", || (alice.look(vault).ok()?.status == 200).then_some(()))?;
    desk.goes_on()
}

fn who_is_shut_out_at_the_provider_is_out_within_one_interval() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    desk.office.provider.disable("alice")?;
    desk.passes()?;
    desk.is_out()?;
    let log = desk.office.scene.admin("audit tail -n 100")?;
    ensure!(log.contains("the provider does not let the person in any more"), "{log}");
    Ok(())
}

fn who_is_removed_at_the_provider_is_out_within_one_interval() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    desk.office.provider.remove("alice")?;
    desk.passes()?;
    desk.is_out()?;
    assert!(desk.alice()?.signs_in(WIKI_PAGE, "alice").map(|page| page.status != 200).unwrap_or(true));
    Ok(())
}

/// Many more than are asked for.
const ALWAYS: u32 = 1000;

fn a_provider_in_trouble_signs_nobody_out() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    for status in [500, 503, 429] {
        desk.office.provider.fault("/token", status, ALWAYS)?;
        let before = desk.office.provider.asked_for_tokens()?;
        desk.passes()?;
        desk.is_asked_again(before)?;
        let told = desk.office.degraded("provider", true)?;
        ensure!(told.contains("corp") && told.contains("provider check"), "{told}");
        desk.goes_on()?;
        desk.office.provider.clear_faults()?;
        desk.office.pass(2 * INTERVAL)?;
        desk.office.degraded("provider", false)?;
        desk.goes_on()?;
    }
    // It still counts what it says.
    desk.office.provider.disable("alice")?;
    desk.passes()?;
    desk.is_out()
}

fn a_provider_that_cannot_be_reached_signs_nobody_out() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    let gateway =
        |desk: &Desk, what: &str| desk.office.scene.world.gw.ip(&format!("route {what} 10.77.0.5/32"));
    gateway(&desk, "add unreachable")?;
    desk.passes()?;
    desk.office.degraded("provider", true)?;
    desk.goes_on()?;
    gateway(&desk, "delete unreachable")?;
    desk.office.pass(2 * INTERVAL)?;
    desk.office.degraded("provider", false)?;
    desk.goes_on()?;
    desk.office.provider.kill()?;
    desk.passes()?;
    desk.office.degraded("provider", true)?;
    desk.goes_on()
}

fn a_secret_that_has_expired_alarms_the_operator_and_signs_nobody_out() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    desk.office.provider.fault_with("/token", 401, ALWAYS, "invalid_client")?;
    desk.passes()?;
    let told = desk.office.degraded("provider", true)?;
    ensure!(told.contains("secret"), "{told}");
    desk.goes_on()?;
    // Nor does it sign in anybody, who is told that it is nobody's fault of theirs.
    let other = Person::at(&desk.office, &desk.laptop, "another-browser")?;
    let page = other.signs_in(&format!("{DOOR}/sign-in"), "alice")?;
    ensure!(page.status >= 400 && page.body.contains("tell those who run the gateway"), "{page:?}");
    desk.goes_on()?;
    desk.office.provider.clear_faults()?;
    desk.office.pass(2 * INTERVAL)?;
    desk.office.degraded("provider", false)?;
    desk.goes_on()
}

fn new_keys_at_the_provider_go_unnoticed() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    for (group, replace) in [("first", false), ("second", true)] {
        if replace {
            desk.office.provider.replace_keys()?
        } else {
            desk.office.provider.rotate_keys()?
        }
        // What it says by its new keys is believed.
        desk.office.provider.set_groups("alice", &["staff", group])?;
        desk.passes()?;
        eventually("it was asked, and believed", || {
            let alice = desk.office.scene.admin("user show corp/alice").ok()?;
            alice.contains(&format!("corp/{group}")).then_some(())
        })?;
        desk.office.degraded("provider", false)?;
        desk.goes_on()?;
    }
    Ok(())
}

/// It ends an hour after the provider confirmed it last, as one that can never be asked about.
fn ends_within_the_hour(desk: &Desk, confirmed: u64) -> Result<u64> {
    eventually("it ends sooner", || {
        let end = expires(&desk.laptop).ok()?;
        (end <= confirmed + 3601).then_some(end)
    })
}

fn an_answer_that_was_lost_signs_nobody_out_at_once() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    let confirmed = moment(&desk.laptop, &session(&desk.laptop)?["since"])?;
    // The gateway waits for ten seconds. By then the provider has used the token up.
    let before = desk.office.provider.asked_for_tokens()?;
    desk.office.provider.answer_late("/token", 11_000, 1)?;
    desk.passes()?;
    desk.is_asked_again(before)?;
    desk.office.degraded("provider", true)?;
    desk.goes_on()?;
    // Asked with what is used up, the provider says no; that does not tell whether Alice may.
    desk.passes()?;
    let end = ends_within_the_hour(&desk, confirmed)?;
    desk.goes_on()?;
    desk.office.pass_until(end)?;
    desk.is_out()?;
    let page = desk.alice()?.open(WIKI_PAGE)?;
    assert_eq!(page.status, 200, "{page:?}");
    Ok(())
}

fn a_gateway_killed_while_it_asks_signs_nobody_out_at_once() -> Result<()> {
    let mut desk = Desk::open(Opening::timed(OFTEN)?)?;
    let confirmed = moment(&desk.laptop, &session(&desk.laptop)?["since"])?;
    let before = desk.office.provider.secrets()?.len();
    desk.office.provider.answer_late("/token", 9_000, 1)?;
    desk.passes()?;
    eventually("the provider has used the token up", || {
        (desk.office.provider.secrets().ok()?.len() > before).then_some(())
    })?;
    desk.office.scene.restart_gateway()?;
    eventually("the gateway is back for the laptop", || {
        desk.flow = dial(&desk.laptop).ok()?;
        Some(())
    })?;
    desk.goes_on()?;
    desk.passes()?;
    ends_within_the_hour(&desk, confirmed)?;
    desk.goes_on()
}

fn without_refresh_tokens_a_session_lasts_an_hour() -> Result<()> {
    let mut opening = Opening::timed(OFTEN)?;
    opening.setup.no_refresh = true;
    let mut desk = Desk::open(opening)?;
    let told = session(&desk.laptop)?;
    let (since, end) = (moment(&desk.laptop, &told["since"])?, moment(&desk.laptop, &told["expires"])?);
    assert!((3599..=3601).contains(&(end - since)), "{told}");
    let before = desk.office.provider.asked_for_tokens()?;
    desk.office.pass_until(end - 20)?;
    desk.goes_on()?;
    desk.office.pass_until(end)?;
    desk.is_out()?;
    assert_eq!(desk.office.provider.asked_for_tokens()?, before, "it was asked all the same");
    Ok(())
}
