//! Sessions begin, end and are renewed, and what is open follows.
//! Clocks are moved, never waited for; the provider is real.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    company::GATEWAY,
    office::{DOOR, Office, Opening, VAULT_PAGE, WIKI_PAGE, dial, expires, moment, session, standing},
    person::{Answer, Person},
    probe::{Ending, drain, echo},
    provider::ISSUER,
    streams::Stream,
    wait::eventually,
};

tests::tests![
    signing_out_cuts_and_the_next_page_leads_to_sign_in,
    signing_out_signs_out_at_the_provider_as_well,
    signing_out_everywhere_ends_it_on_every_device,
    nobody_signs_out_another_person,
    the_end_of_a_session_cuts_and_asks_again,
    a_session_that_nobody_uses_ends_and_one_in_use_does_not,
    a_page_that_asks_for_more_leads_to_a_stronger_sign_in,
    a_provider_that_delivers_less_is_asked_once,
    a_page_that_asks_for_a_fresh_sign_in_gets_one,
    a_session_is_renewed_in_passing_before_it_ends,
    who_cannot_be_renewed_in_passing_is_left_alone,
    whoever_else_the_provider_remembers_renews_nothing_and_disturbs_nobody,
    a_provider_that_is_down_disturbs_nobody_on_the_way_to_a_page,
    out_and_in_within_a_second_leaves_nobody_behind,
];

/// Opens the vault to staff, under a condition that a fresh sign-in can meet.
fn vault(asked: &str, when: &str) -> String {
    format!(
        "@id(\"vault\")\n@title(\"The vault opens to a stronger sign-in\")\n@step_up(\"{asked}\")\n\
         permit (principal in Doorward::Group::\"corp/staff\", action in Doorward::Action::\"access\",\n\
         resource == Doorward::App::\"vault\")\nwhen {{ context has session && {when} }};\n"
    )
}

const STRONG: &str = "context.session has acr && context.session.acr == \"mfa\"";
const FRESH: &str = "context.session has auth_time && \
                     context.now.durationSince(context.session.auth_time) < duration(\"15m\")";

fn signs_out(person: &Person<'_>, fields: &[(&str, &str)]) -> Result<Answer> {
    person.send(&format!("{DOOR}/sign-out"), fields)
}

/// A page does not open by itself: it leads to sign in.
fn leads_to_sign_in(person: &Person<'_>, url: &str) -> Result<()> {
    let page = person.look(url)?;
    ensure!(page.status == 302 && page.location.starts_with(&format!("{DOOR}/sign-in?")), "{page:?}");
    Ok(())
}

fn is_reset(flow: &mut TcpStream, at: &Stream) -> Result<()> {
    assert_eq!(drain(flow)?, (0, Ending::Reset), "on the device");
    assert_eq!(at.ending()?, Ending::Reset, "at the service");
    Ok(())
}

fn signing_out_cuts_and_the_next_page_leads_to_sign_in() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let mut flow = dial(&laptop)?;
    // Another site's page cannot do it.
    let foreign = ["--header", "Origin: https://evil.example", "--data", "", &format!("{DOOR}/sign-out")];
    assert_eq!(alice.asks(&foreign)?.status, 403);
    echo(&mut flow, "still open")?;
    let out = signs_out(&alice, &[])?;
    assert_eq!(out.status, 200, "{out:?}");
    is_reset(&mut flow, &office.scene.echo)?;
    assert_eq!(session(&laptop)?, Value::Null);
    leads_to_sign_in(&alice, WIKI_PAGE)?;
    assert!(dial(&laptop).is_err(), "nobody is signed in");
    // The provider was not told, so it remembers who that was.
    let page = alice.open(WIKI_PAGE)?;
    assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE), "{page:?}");
    dial(&laptop).map(drop)
}

/// RP-initiated logout: the page that says that it is done goes on to the provider, which comes back.
fn signing_out_signs_out_at_the_provider_as_well() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let out = alice.asks(&["--include", "--data", "", &format!("{DOOR}/sign-out")])?;
    let (_, rest) = out.body.split_once("refresh: 0;url=").with_context(|| format!("{out:?}"))?;
    let there = rest.lines().next().context("an address")?;
    ensure!(there.starts_with(ISSUER), "{there}");
    let form = alice.open(there)?;
    let hidden = |name: &str| {
        let (_, rest) = form.body.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split('"').next()
    };
    let xsrf = hidden("xsrf").with_context(|| format!("{form:?}"))?;
    let (_, rest) = form.body.split_once("action=\"").with_context(|| format!("{form:?}"))?;
    let action = rest.split('"').next().context("an address")?;
    let end = alice.send(action, &[("xsrf", xsrf), ("logout", "yes")])?;
    ensure!(end.url.starts_with(&format!("{DOOR}/signed-out")), "{end:?}");
    ensure!(end.body.contains("You are signed out"), "{end:?}");
    // It asks again: signs_in insists on a form.
    assert_eq!(alice.signs_in(WIKI_PAGE, "alice")?.status, 200);
    Ok(())
}

fn signing_out_everywhere_ends_it_on_every_device() -> Result<()> {
    let mut opening = Opening::new()?.with_tablet()?;
    opening.plan.company.person_mut("corp/bob")?.groups.push("corp/staff");
    let office = Office::with(opening)?;
    let (laptop, tablet) = (office.scene.device("laptop")?, office.scene.device("tablet")?);
    let phone = office.scene.device("phone")?;
    let here = Person::at(&office, &laptop, "alice")?;
    let there = Person::at(&office, &tablet, "alice")?;
    let bob = Person::at(&office, &phone, "bob")?;
    for (person, login) in [(&here, "alice"), (&there, "alice"), (&bob, "bob")] {
        assert_eq!(person.signs_in(WIKI_PAGE, login)?.status, 200);
    }
    let portal = here.open(DOOR)?;
    ensure!(portal.body.contains("name=\"device\" value=\"tablet\""), "{portal:?}");
    let (mut one, mut two, mut kept) = (dial(&laptop)?, dial(&tablet)?, dial(&phone)?);
    // The other device first, from here.
    assert_eq!(signs_out(&here, &[("device", "tablet")])?.status, 200);
    is_reset(&mut two, &office.scene.echo)?;
    echo(&mut one, "goes on here")?;
    assert_eq!(there.open(WIKI_PAGE)?.status, 200, "the provider remembers");
    let mut two = dial(&tablet)?;
    assert_eq!(signs_out(&here, &[("everywhere", "1")])?.status, 200);
    for flow in [&mut one, &mut two] {
        is_reset(flow, &office.scene.echo)?;
    }
    leads_to_sign_in(&here, WIKI_PAGE)?;
    leads_to_sign_in(&there, WIKI_PAGE)?;
    echo(&mut kept, "another person's goes on")?;
    assert_eq!(session(&phone)?["state"], "active");
    Ok(())
}

fn nobody_signs_out_another_person() -> Result<()> {
    let office = Office::open()?;
    let (laptop, phone) = (office.scene.device("laptop")?, office.scene.device("phone")?);
    let alice = Person::at(&office, &laptop, "alice")?;
    let bob = Person::at(&office, &phone, "bob")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    bob.signs_in(&format!("{DOOR}/sign-in"), "bob")?;
    let mut flow = dial(&laptop)?;
    let before = session(&laptop)?;
    let (own, none) = (signs_out(&bob, &[("device", "laptop")])?, signs_out(&bob, &[("device", "nothing")])?);
    assert_eq!((own.status, none.status), (404, 404));
    assert_eq!(own.body, none.body, "it tells whether there is such a device");
    signs_out(&bob, &[("everywhere", "1"), ("device", "laptop")])?;
    assert_eq!(session(&phone)?, Value::Null);
    echo(&mut flow, "goes on")?;
    assert_eq!(session(&laptop)?, before);
    // Nor without a session.
    assert_eq!(signs_out(&bob, &[("device", "laptop")])?.status, 404);
    assert_eq!(session(&laptop)?, before);
    Ok(())
}

fn the_end_of_a_session_cuts_and_asks_again() -> Result<()> {
    let mut office = Office::with(Opening::timed("lifetime = \"5m\"\nrefresh = \"5m\"")?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let mut flow = dial(&laptop)?;
    let told = standing(&laptop)?;
    assert_eq!(told["open"][0]["until"], told["session"]["expires"], "{told}");
    assert_eq!(told["open"][0]["why_until"], "your session ends", "{told}");
    let (since, end) = (moment(&laptop, &told["session"]["since"])?, expires(&laptop)?);
    assert!((299..=301).contains(&(end - since)), "{told}");
    office.pass_until(end - 30)?;
    echo(&mut flow, "to the very end")?;
    office.pass_until(end)?;
    is_reset(&mut flow, &office.scene.echo)?;
    leads_to_sign_in(&alice, WIKI_PAGE)?;
    assert!(dial(&laptop).is_err(), "it is over");
    let told = standing(&laptop)?;
    assert_eq!(told["last_refusal"]["reasons"][0]["text"], "Your session on this device is over.", "{told}");
    assert_eq!(alice.open(WIKI_PAGE)?.status, 200);
    dial(&laptop).map(drop)
}

fn a_session_that_nobody_uses_ends_and_one_in_use_does_not() -> Result<()> {
    let mut office = Office::with(Opening::timed("idle = \"5m\"")?.with_tablet()?)?;
    let (laptop, tablet) = (office.scene.device("laptop")?, office.scene.device("tablet")?);
    for device in [&laptop, &tablet] {
        Person::at(&office, device, "alice")?.signs_in(WIKI_PAGE, "alice")?;
    }
    let mut flow = dial(&laptop)?;
    office.pass(310)?;
    eventually("what nobody uses ends", || (session(&tablet).ok()? == Value::Null).then_some(()))?;
    echo(&mut flow, "in use")?;
    assert_eq!(session(&laptop)?["state"], "active");
    let log = office.scene.admin("audit tail -n 100")?;
    ensure!(log.contains("nothing was open for too long"), "{log}");
    Ok(())
}

fn vault_office(asked: &str, when: &str, opening: Opening) -> Result<Office> {
    let mut office = Office::with(opening)?;
    office.scene.change(|company| {
        company.policies.insert("vault", vault(asked, when));
        Ok(())
    })?;
    Ok(office)
}

fn a_page_that_asks_for_more_leads_to_a_stronger_sign_in() -> Result<()> {
    let office = vault_office("acr=mfa", STRONG, Opening::new()?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let mut flow = dial(&laptop)?;
    // Who has just signed in, too.
    let led = alice.look(VAULT_PAGE)?;
    ensure!(led.status == 302 && led.location.contains("&acr=mfa"), "{led:?}");
    let portal = alice.open(DOOR)?;
    ensure!(portal.body.contains("sign in once more"), "{portal:?}");
    let form = alice.open(VAULT_PAGE)?;
    ensure!(form.body.contains("name=\"mfa\" type=\"checkbox\" checked"), "{form:?}");
    let page = alice.fills_in(&form, "alice", &[("mfa", "1")])?;
    assert_eq!((page.status, page.url.as_str()), (200, VAULT_PAGE), "{page:?}");
    echo(&mut flow, "what was open goes on")?;
    // A program is told, and not led.
    signs_out(&alice, &[])?;
    let told = alice.asks(&["--header", "Sec-Fetch-Mode: cors", VAULT_PAGE])?;
    assert_eq!(told.status, 401, "{told:?}");
    Ok(())
}

fn a_provider_that_delivers_less_is_asked_once() -> Result<()> {
    let mut office = vault_office("acr=mfa", STRONG, Opening::new()?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let before = session(&laptop)?;
    let form = alice.open(VAULT_PAGE)?;
    let page = alice.fills_in(&form, "alice", &[])?;
    ensure!(page.status >= 400 && page.url.starts_with(&format!("{DOOR}/callback/")), "{page:?}");
    ensure!(page.body.contains("not as strongly as needed"), "{page:?}");
    assert_eq!(session(&laptop)?, before, "who was signed in still is");
    assert_eq!(alice.open(WIKI_PAGE)?.status, 200);
    // What the gateway cannot know beforehand is told afterwards: nobody goes in circles.
    let never = format!("{STRONG} && context.session.amr.contains(\"never\")");
    office.scene.change(|company| {
        company.policies.insert("vault", vault("acr=mfa", &never));
        Ok(())
    })?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let form = alice.open(VAULT_PAGE)?;
    let page = alice.fills_in(&form, "alice", &[("mfa", "1")])?;
    assert_eq!((page.status, page.url.as_str()), (403, VAULT_PAGE), "{page:?}");
    assert_eq!(alice.look(VAULT_PAGE)?.status, 403);
    Ok(())
}

fn a_page_that_asks_for_a_fresh_sign_in_gets_one() -> Result<()> {
    let mut office = vault_office("max_age=15m", FRESH, Opening::timed("")?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    assert_eq!(alice.signs_in(VAULT_PAGE, "alice")?.status, 200, "it is fresh");
    office.pass(16 * 60)?;
    let led = alice.look(VAULT_PAGE)?;
    ensure!(led.status == 302 && led.location.contains("&max_age=900"), "{led:?}");
    assert_eq!(alice.open(WIKI_PAGE)?.status, 200, "others do not ask for it");
    let page = alice.signs_in(VAULT_PAGE, "alice")?;
    assert_eq!((page.status, page.url.as_str()), (200, VAULT_PAGE), "{page:?}");
    Ok(())
}

/// A session of 40 minutes is renewed in its last five.
const SHORT: &str = "lifetime = \"40m\"\nrefresh = \"40m\"";
const LATE: u64 = 36 * 60;

fn a_session_is_renewed_in_passing_before_it_ends() -> Result<()> {
    let mut office = Office::with(Opening::timed(SHORT)?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let (mut flow, end) = (dial(&laptop)?, expires(&laptop)?);
    office.pass(LATE)?;
    let fetched = alice.asks(&["--header", "Sec-Fetch-Mode: cors", WIKI_PAGE])?;
    assert_eq!(fetched.status, 200, "what is no navigation passes: {fetched:?}");
    let steps = alice.walks(&format!("{WIKI_PAGE}a?b=c"), "nowhere")?;
    let silent =
        steps.iter().any(|step| step.location.starts_with(ISSUER) && step.location.contains("prompt=none"));
    assert!(silent, "{steps:?}");
    let last = steps.last().context("no step")?;
    assert_eq!((last.status, last.url.as_str()), (200, "https://wiki.corp.example/a?b=c"), "{last:?}");
    assert!(expires(&laptop)? >= end + LATE, "it is not longer");
    office.pass(6 * 60)?;
    echo(&mut flow, "beyond the first end")?;
    assert_eq!(alice.look(WIKI_PAGE)?.status, 200, "once is enough");
    Ok(())
}

fn who_cannot_be_renewed_in_passing_is_left_alone() -> Result<()> {
    let mut office = Office::with(Opening::timed(SHORT)?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let (mut flow, end) = (dial(&laptop)?, expires(&laptop)?);
    office.pass(LATE)?;
    // The provider knows nothing of this browser.
    let other = Person::at(&office, &laptop, "another-browser")?;
    let steps = other.walks(WIKI_PAGE, "nowhere")?;
    let last = steps.last().context("no step")?;
    assert_eq!((last.status, last.url.as_str()), (200, WIKI_PAGE), "{last:?}");
    assert!(steps.iter().any(|step| step.location.starts_with(ISSUER)), "it was not tried: {steps:?}");
    for person in [&other, &alice] {
        assert_eq!(person.look(WIKI_PAGE)?.status, 200, "once in a quarter of an hour is enough");
    }
    assert_eq!(expires(&laptop)?, end);
    echo(&mut flow, "goes on")?;
    // Who signs in is.
    assert_eq!(alice.open(&format!("{DOOR}/sign-in"))?.status, 200);
    assert!(expires(&laptop)? > end);
    Ok(())
}

fn whoever_else_the_provider_remembers_renews_nothing_and_disturbs_nobody() -> Result<()> {
    let mut office = Office::with(Opening::timed(SHORT)?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let bob = Person::at(&office, &laptop, "bob")?;
    assert_eq!(bob.signs_in(&format!("{DOOR}/sign-in"), "bob")?.status, 403);
    let end = expires(&laptop)?;
    office.pass(LATE)?;
    let page = bob.open(WIKI_PAGE)?;
    assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE), "{page:?}");
    assert_eq!(expires(&laptop)?, end);
    assert_eq!(session(&laptop)?["user"], "corp/alice");
    Ok(())
}

fn a_provider_that_is_down_disturbs_nobody_on_the_way_to_a_page() -> Result<()> {
    let mut office = Office::with(Opening::timed(SHORT)?)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    office.pass(LATE)?;
    office.provider.kill()?;
    let page = alice.open(WIKI_PAGE)?;
    assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE), "{page:?}");
    assert_eq!(alice.look(WIKI_PAGE)?.status, 200);
    // And it signs nobody out before the session's own end.
    let end = expires(&laptop)?;
    let mut flow = dial(&laptop)?;
    office.pass_until(end - 20)?;
    echo(&mut flow, "to the end")?;
    office.pass_until(end)?;
    is_reset(&mut flow, &office.scene.echo)
}

/// D9 (firezone#10068) for sessions: what ends and begins again while a client is away leaves it untouched.
fn out_and_in_within_a_second_leaves_nobody_behind() -> Result<()> {
    let office = Office::with(Opening::new()?.with_tablet()?)?;
    let (laptop, tablet) = (office.scene.device("laptop")?, office.scene.device("tablet")?);
    let here = Person::at(&office, &laptop, "alice")?;
    let there = Person::at(&office, &tablet, "alice")?;
    here.signs_in(WIKI_PAGE, "alice")?;
    there.signs_in(WIKI_PAGE, "alice")?;
    let mut flow = dial(&laptop)?;
    for _ in 0..3 {
        here.asks(&["--data", "", &format!("{DOOR}/sign-out")])?;
        let page = here.open(WIKI_PAGE)?;
        assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE), "{page:?}");
    }
    assert_eq!(drain(&mut flow)?, (0, Ending::Reset));
    dial(&laptop)?;
    // The laptop is off the net, and everything ends and begins.
    let mut flow = dial(&laptop)?;
    laptop.ip("link set eth0 down")?;
    there.asks(&["--data", "everywhere=1", &format!("{DOOR}/sign-out")])?;
    assert_eq!(there.open(WIKI_PAGE)?.status, 200);
    laptop.ip("link set eth0 up")?;
    laptop.wait_until_connected(GATEWAY)?;
    // The reset may have been lost with the net: whoever speaks hears it.
    match flow.write_all(b"x") {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        Ok(()) => assert_eq!(drain(&mut flow)?, (0, Ending::Reset)),
    }
    assert_eq!(here.open(WIKI_PAGE)?.status, 200);
    dial(&laptop)?;
    dial(&tablet).map(drop)
}
