//! People sign in through the tunnel: a real provider, stock clients.
//! A person here is `curl` with a cookie jar; what a real browser does with the pages is for `browser`.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    mirror::fields,
    office::{DOOR, Office, Opening, SECRET, VAULT_PAGE, WIKI_PAGE, dial, session},
    person::{Answer, Person},
    provider::{Client, ISSUER},
};

tests::tests![
    a_person_signs_in_on_the_way_to_a_page,
    a_sign_in_is_finished_where_it_was_begun,
    a_planted_sign_in_is_dropped,
    a_sign_in_is_finished_once,
    somebody_else_than_the_owner_is_refused_and_nobody_is_signed_in,
    a_sign_in_leads_back_to_our_own_pages_only,
    programs_are_told_where_to_sign_in_and_not_led_there,
    who_cancels_at_the_provider_is_told_so,
    several_providers_are_a_choice,
    no_token_of_the_provider_is_ever_served,
    a_provider_that_is_down_signs_nobody_in,
];

/// Where people come back to.
const CALLBACK: &str = "https://door.corp.example/callback/corp?";
const NOT_HERE: &str = "This sign-in was not begun here";

/// Signs in as `login` at the provider, and does not go back; where that would be.
fn leaves(person: &Person<'_>, url: &str, login: &str) -> Result<String> {
    let steps = person.walks(url, &format!("{ISSUER}/interaction"))?;
    let form = person.look(&steps.last().context("no step")?.location)?;
    let steps = person.fills_in_and_walks(&form, login, CALLBACK)?;
    Ok(steps.last().context("no step")?.location.clone())
}

fn a_person_signs_in_on_the_way_to_a_page() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let before = alice.look(&format!("{WIKI_PAGE}a%2Fb?c=d"))?;
    assert_eq!(before.status, 302, "{before:?}");
    ensure!(before.location.starts_with(&format!("{DOOR}/sign-in?to=")), "{before:?}");
    assert!(laptop.refusal("100.64.128.9:7000").is_ok(), "a reset");
    let page = alice.signs_in(&format!("{WIKI_PAGE}a%2Fb?c=d"), "alice")?;
    assert_eq!((page.status, page.url.as_str()), (200, "https://wiki.corp.example/a%2Fb?c=d"), "{page:?}");
    assert_eq!(fields(&page.body, "X-Forwarded-User").collect::<Vec<_>>(), ["corp/alice"], "{page:?}");
    laptop.dial("100.64.128.9:7000")?;
    let portal = alice.open(DOOR)?;
    ensure!(portal.body.contains("wiki.corp.example") && portal.body.contains("Sign out"), "{portal:?}");
    Ok(())
}

/// H7 (oauth2-proxy GHSA-f24x-5g9q-753f): the same person, another device; the same device, another browser.
fn a_sign_in_is_finished_where_it_was_begun() -> Result<()> {
    let office = Office::with(Opening::new()?.with_tablet()?)?;
    let (laptop, tablet) = (office.scene.device("laptop")?, office.scene.device("tablet")?);
    let alice = Person::at(&office, &laptop, "alice")?;
    let back = leaves(&alice, WIKI_PAGE, "alice")?;
    let elsewhere = alice.moved(&tablet)?.look(&back)?;
    assert_eq!(elsewhere.status, 400, "{elsewhere:?}");
    ensure!(elsewhere.body.contains(NOT_HERE), "{elsewhere:?}");
    let other = Person::at(&office, &laptop, "another-browser")?.look(&back)?;
    assert_eq!(other.status, 400, "{other:?}");
    assert_eq!((session(&laptop)?, session(&tablet)?), (Value::Null, Value::Null));
    let page = alice.open(&back)?;
    assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE), "where it was begun it is finished");
    assert_eq!(session(&tablet)?, Value::Null);
    Ok(())
}

/// H7: an attacker's own sign-in, with the attacker's own cookie, in the victim's browser; and a cookie beside
/// the victim's own.
fn a_planted_sign_in_is_dropped() -> Result<()> {
    let office = Office::open()?;
    let (laptop, phone) = (office.scene.device("laptop")?, office.scene.device("phone")?);
    let bob = Person::at(&office, &phone, "bob")?;
    let planted = leaves(&bob, WIKI_PAGE, "bob")?;
    let lured = bob.moved(&laptop)?.look(&planted)?;
    assert_eq!(lured.status, 400, "{lured:?}");
    let alice = Person::at(&office, &laptop, "alice")?;
    let back = leaves(&alice, WIKI_PAGE, "alice")?;
    let jar = fs::read_to_string(alice.jar())?;
    let own = jar.lines().find(|line| line.contains("__Host-doorward-sign-in")).context("no cookie")?;
    let value = own.split('\t').next_back().context("no value")?;
    let two = format!("Cookie: __Host-doorward-sign-in={value}; __Host-doorward-sign-in=planted");
    let other = Person::at(&office, &laptop, "empty")?;
    let lured = other.asks(&["--header", &two, &back])?;
    assert_eq!(lured.status, 400, "{lured:?}");
    assert_eq!((session(&laptop)?, session(&phone)?), (Value::Null, Value::Null));
    Ok(())
}

/// H7: state and nonce are good once, also for who kept the cookie.
fn a_sign_in_is_finished_once() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let back = leaves(&alice, WIKI_PAGE, "alice")?;
    let kept = laptop.host().folder().join("kept.jar");
    fs::copy(alice.jar(), &kept)?;
    let steps = alice.walks(&back, "nowhere")?;
    assert_eq!(steps.last().map(|step| step.status), Some(200), "{steps:?}");
    let jar = fs::read_to_string(alice.jar())?;
    ensure!(!jar.contains("doorward-sign-in"), "{jar} {steps:?}");
    let since = session(&laptop)?;
    let again = alice.look(&back)?;
    assert_eq!(again.status, 400, "{again:?}");
    let replayed = Person::trusting(office.trusted(&laptop)?, &laptop, "kept")?.look(&back)?;
    assert_eq!(replayed.status, 502, "{replayed:?}");
    ensure!(replayed.body.contains("was used already"), "{replayed:?}");
    assert_eq!(session(&laptop)?, since, "it changed nothing");
    Ok(())
}

fn somebody_else_than_the_owner_is_refused_and_nobody_is_signed_in() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let bob = Person::at(&office, &laptop, "bob")?;
    let page = bob.signs_in(WIKI_PAGE, "bob")?;
    assert_eq!(page.status, 403, "{page:?}");
    ensure!(page.body.contains("this device belongs to somebody else"), "{page:?}");
    ensure!(page.body.contains("Sign in with another account"), "{page:?}");
    assert_eq!(session(&laptop)?, Value::Null);
    assert!(dial(&laptop).is_err(), "nobody is signed in");
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    let since = session(&laptop)?;
    assert_eq!(bob.open(&format!("{DOOR}/sign-in"))?.status, 403);
    assert_eq!(session(&laptop)?, since, "nor is anybody signed out");
    // Whom the provider remembers can be somebody else.
    let form = bob.open(&format!("{DOOR}/sign-in?other=1"))?;
    ensure!(form.body.contains("name=\"password\""), "{form:?}");
    Ok(())
}

/// H6 (oauth2-proxy, four times): the corpus is beside the code; here, what the whole way does with it.
fn a_sign_in_leads_back_to_our_own_pages_only() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let way = |to: &str| format!("{DOOR}/sign-in?to={to}");
    alice.signs_in(&way("https%3A%2F%2Fwiki.corp.example%2Fa"), "alice")?;
    for (to, end) in [
        ("https%3A%2F%2Fwiki.corp.example%2Fa%3Fb%3Dc", "https://wiki.corp.example/a?b=c"),
        ("%2F%2Fevil.example%2F", "https://door.corp.example/"),
        ("%2F%5Cevil.example%2F", "https://door.corp.example/"),
        ("https%3A%2F%2Fevil.example%2F", "https://door.corp.example/"),
        ("https%3A%2F%2Fwiki.corp.example.evil.example%2F", "https://door.corp.example/"),
        ("https%3A%2F%2Fwiki.corp.example%40evil.example%2F", "https://door.corp.example/"),
        ("https%3A%2F%2Fwiki.corp.example%2F%2Fevil.example", "https://door.corp.example/"),
        ("https%3A%2F%2Fwiki.corp.example%2F%0d%0aX%3A%20y", "https://door.corp.example/"),
        ("javascript%3A%2F%2Fwiki.corp.example%2Falert(1)", "https://door.corp.example/"),
        ("http%3A%2F%2Fwiki.corp.example%2F", "https://door.corp.example/"),
    ] {
        let steps = alice.walks(&way(to), "nowhere")?;
        let places: Vec<_> = steps.iter().map(|step| step.location.as_str()).collect();
        let ours = [ISSUER, "https://door.corp.example/", "https://wiki.corp.example/"];
        let known = |place: &&str| place.is_empty() || ours.iter().any(|ours| place.starts_with(ours));
        assert!(places.iter().all(known), "{to}: {places:?}");
        let last = steps.last().context("no step")?;
        assert_eq!((last.status, last.url.as_str()), (200, end), "{to}: {places:?}");
    }
    Ok(())
}

fn programs_are_told_where_to_sign_in_and_not_led_there() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let trusted = office.trusted(&laptop)?;
    let trusted = trusted.to_str().context("a name")?;
    let asks = |arguments: &[&str]| -> Result<(String, String)> {
        let common = ["--cacert", trusted, "--write-out", "\n%{http_code} %{redirect_url}", WIKI_PAGE];
        let output = laptop.curl(&[arguments, &common].concat())?;
        let said = String::from_utf8(output.stdout)?;
        let (body, last) = said.rsplit_once('\n').context("what curl wrote")?;
        Ok((body.to_owned(), last.to_owned()))
    };
    let fetch = ["--header", "Sec-Fetch-Mode: cors", "--header", "Sec-Fetch-Site: same-origin"];
    let page = ["--header", "Accept: text/html"];
    for arguments in [
        &fetch[..],
        &[&fetch[..], &page[..]].concat(),
        &["--header", "Accept: application/json"],
        &[&page[..], &["--header", "X-Requested-With: XMLHttpRequest"]].concat(),
        &[&page[..], &["--request", "POST", "--data", "a=b"]].concat(),
        &[&page[..], &["--request", "PUT", "--data", "a=b"]].concat(),
    ] {
        let (body, last) = asks(arguments)?;
        assert_eq!(last, "401 ", "{arguments:?}: {body}");
        ensure!(body.contains("sign-in"), "{arguments:?}: {body}");
    }
    let (body, _) = asks(&fetch)?;
    let json: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
    assert_eq!(json["error"], "not_signed_in", "{json}");
    let sign_in = json["sign_in"].as_str().context("where to sign in")?;
    ensure!(sign_in.starts_with(&format!("{DOOR}/sign-in?to=")), "{json}");
    assert_eq!(asks(&page)?.1.split(' ').next(), Some("302"), "who wants a page is led");
    assert!(office.scene.mirror.heads().is_empty(), "the app saw a request");
    Ok(())
}

fn who_cancels_at_the_provider_is_told_so() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let form = alice.open(WIKI_PAGE)?;
    let page = alice.send(&form.url, &[("cancel", "")])?;
    assert!(page.url.starts_with(CALLBACK) && page.status >= 400, "{page:?}");
    ensure!(page.body.contains("You did not sign in") && page.body.contains("Try again"), "{page:?}");
    ensure!(!page.body.contains("the person went away"), "the provider's own words: {page:?}");
    assert_eq!(session(&laptop)?, Value::Null);
    let page = alice.signs_in(WIKI_PAGE, "alice")?;
    assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE));
    Ok(())
}

fn several_providers_are_a_choice() -> Result<()> {
    let mut opening = Opening::new()?;
    opening.setup.clients.push(Client::new("partner", SECRET, &format!("{DOOR}/callback/partner")));
    opening.more = format!(
        "label = \"Corp\"\n[[provider]]\nname = \"partner\"\nlabel = \"Our <partner>\"\nissuer = \"{ISSUER}\"\n\
         client_id = \"partner\"\nclient_secret = \"corp.secret\"\nca = \"corp-ca.pem\"\n\
         groups = [\"*\"]\nscopes = [\"email\", \"profile\", \"groups\"]\n"
    );
    let office = Office::with(opening)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let choice = alice.open(WIKI_PAGE)?;
    ensure!(choice.url.starts_with(&format!("{DOOR}/sign-in?")), "{choice:?}");
    let links: Vec<_> = links(&choice).collect();
    assert_eq!(links.len(), 2, "{choice:?}");
    ensure!(choice.body.contains("Corp") && choice.body.contains("Our &lt;partner&gt;"), "{choice:?}");
    let (corp, partner) = (format!("{DOOR}{}", links[0]), format!("{DOOR}{}", links[1]));
    // At the other provider alice is somebody else, who has no device here.
    let refused = alice.signs_in(&partner, "alice")?;
    assert_eq!(refused.status, 403, "{refused:?}");
    ensure!(refused.body.contains("partner/alice"), "{refused:?}");
    assert_eq!(session(&laptop)?, Value::Null);
    let page = alice.open(&corp)?;
    assert_eq!((page.status, page.url.as_str()), (200, WIKI_PAGE), "{page:?}");
    assert_eq!(session(&laptop)?["user"], "corp/alice");
    Ok(())
}

/// Where a page's links lead.
fn links(page: &Answer) -> impl Iterator<Item = String> {
    let targets = page.body.split("href=\"").skip(1);
    targets.filter_map(|rest| rest.split('"').next()).map(|target| target.replace("&amp;", "&"))
}

/// H12 (Pomerium CVE-2024-39315).
fn no_token_of_the_provider_is_ever_served() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let mut steps = alice.walks(WIKI_PAGE, &format!("{ISSUER}/interaction"))?;
    let form = alice.look(&steps.last().context("no step")?.location)?;
    steps.extend(alice.fills_in_and_walks(&form, "alice", "nowhere")?);
    for page in [DOOR, WIKI_PAGE, VAULT_PAGE, &format!("{DOOR}/device"), &format!("{DOOR}/sign-in")] {
        steps.extend(alice.walks(page, "nowhere")?);
    }
    let mut all: Vec<(String, String)> =
        steps.iter().map(|step| (step.url.clone(), format!("{} {}", step.location, step.body))).collect();
    all.push(("the jar".to_owned(), fs::read_to_string(alice.jar())?));
    all.push(("what the app saw".to_owned(), office.scene.mirror.heads().concat()));
    let out = alice.asks(&["--include", "--data", "", &format!("{DOOR}/sign-out")])?;
    all.push(("signing out".to_owned(), out.body));
    all.push(("status".to_owned(), office.scene.status()?.to_string()));
    all.push(("the audit log".to_owned(), office.scene.admin("audit tail -n 1000")?));
    all.push(("the log".to_owned(), office.scene.gateway.process()?.text()));
    for file in fs::read_dir(office.scene.gateway.folder().join("state"))? {
        let file = file?.path();
        if file.is_file() {
            all.push((file.display().to_string(), String::from_utf8_lossy(&fs::read(&file)?).into_owned()));
        }
    }
    let mut tokens = office.provider.secrets()?;
    // A code goes by way of the browser, and is good once.
    tokens.retain(|secret| !steps.iter().any(|step| step.location.contains(&format!("code={secret}"))));
    ensure!(tokens.len() >= 6, "two sign-ins give six tokens: {}", tokens.len());
    for (place, text) in &all {
        let served = tokens.iter().find(|token| text.contains(token.as_str()));
        ensure!(served.is_none(), "{place} holds a token");
        let own = place.starts_with(ISSUER);
        ensure!(own || !text.contains("eyJ"), "{place} holds what looks like a JWT: {text}");
    }
    Ok(())
}

fn a_provider_that_is_down_signs_nobody_in() -> Result<()> {
    let mut office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let back = leaves(&alice, WIKI_PAGE, "alice")?;
    office.provider.kill()?;
    let page = alice.open(&back)?;
    assert_eq!(page.status, 502, "{page:?}");
    ensure!(
        page.body.contains("cannot be used at the moment") && page.body.contains("Try again"),
        "{page:?}"
    );
    assert_eq!(session(&laptop)?, Value::Null);
    assert!(dial(&laptop).is_err(), "nobody is signed in");
    Ok(())
}
