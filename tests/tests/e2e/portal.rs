//! The portal and every page of ours, as people meet them in a real browser.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    album::Album,
    browser::Browser,
    company::{DESK, ECHO, Machine, Person as Employee},
    device::Device,
    mirror::{field, fields},
    office::{DOOR, Office, Opening, WIKI_PAGE, texts},
    person::Person,
    probe::{Ending, drain, echo},
    provider::{ISSUER, PASSWORD},
};

tests::tests![
    a_person_lands_on_the_very_page_they_wanted,
    signing_out_ends_what_is_open_and_the_session_at_the_provider,
    the_portal_looks_right_however_somebody_stands,
    the_other_pages_look_right,
];

/// Where people come from in the morning.
const PAGE: &str = "https://wiki.corp.example/some/page?x=1";

/// A browser on a device that trusts what the company's devices trust.
pub fn browser(office: &Office, device: &Device) -> Result<Browser> {
    Browser::open(device.host(), &texts(&office.roots(device)?))
}

/// Fills in the provider's form, which the browser must be at.
pub fn enter(browser: &Browser, login: &str) -> Result<()> {
    browser.wait_for_url(ISSUER)?;
    browser.fill("[name=login]", login)?;
    browser.fill("[name=password]", PASSWORD)?;
    browser.click("[name=enter]")
}

/// Nothing the person should be worried by stands on the console.
fn is_calm(browser: &Browser) -> Result<()> {
    let said = browser.console()?;
    let loud: Vec<_> = said
        .iter()
        .filter(|line| ["error", "warning", "uncaught"].iter().any(|kind| line.starts_with(kind)))
        .collect();
    ensure!(loud.is_empty(), "the console has {loud:?}");
    Ok(())
}

fn a_person_lands_on_the_very_page_they_wanted() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let browser = browser(&office, &laptop)?;
    browser.goto(PAGE)?;
    browser.wait_for("[name=password]")?;
    let kept = browser.cookies()?.into_iter().find(|cookie| cookie.name == "__Host-doorward-sign-in");
    let kept = kept.context("the door left no cookie")?;
    ensure!(kept.http_only && kept.secure && kept.same_site == "Lax", "{kept:?}");
    assert_eq!((kept.domain.as_str(), kept.path.as_str()), ("door.corp.example", "/"));
    enter(&browser, "alice")?;
    browser.wait_for_url(WIKI_PAGE)?;
    assert_eq!(browser.url()?, PAGE);
    let head = browser.text("body")?;
    ensure!(head.starts_with("GET /some/page?x=1 HTTP/1.1"), "{head}");
    assert_eq!(fields(&head, "X-Forwarded-User").collect::<Vec<_>>(), ["corp/alice"], "{head}");
    assert_eq!(field(&head, "Cookie"), None, "an app gets no cookie of ours: {head}");
    let left = browser.cookies()?;
    ensure!(left.iter().all(|cookie| !cookie.domain.ends_with("corp.example")), "{left:?}");

    browser.goto(DOOR)?;
    assert_eq!(browser.title()?, "Your apps");
    let text = browser.text("body")?;
    for part in ["Alice Archer", "alice@corp.example", "wiki.corp.example", "Sign out"] {
        ensure!(text.contains(part), "no {part} in {text}");
    }
    ensure!(!text.contains("vault"), "an app nobody lets her into is named: {text}");
    browser.click("a:text('wiki.corp.example')")?;
    browser.wait_for_url(WIKI_PAGE)?;
    is_calm(&browser)
}

fn signing_out_ends_what_is_open_and_the_session_at_the_provider() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let browser = browser(&office, &laptop)?;
    browser.goto(PAGE)?;
    enter(&browser, "alice")?;
    browser.wait_for_url(WIKI_PAGE)?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "open")?;
    browser.goto(DOOR)?;
    ensure!(browser.text("main")?.contains("desk.corp.example:7000"), "{}", browser.text("main")?);
    browser.click("button:text-is('Sign out')")?;
    browser.wait_for_url(&format!("{DOOR}/signed-out"))?;
    assert_eq!(drain(&mut flow)?.1, Ending::Reset);
    ensure!(office.provider.requests()?.iter().any(|asked| asked.path == "/session/end"));
    assert!(laptop.refusal(&format!("{DESK}:{ECHO}")).is_ok());
    is_calm(&browser)?;
    // The provider asks for the password again: it has forgotten her too.
    browser.goto(PAGE)?;
    browser.wait_for("[name=password]")?;
    enter(&browser, "alice")?;
    browser.wait_for_url(PAGE)
}

/// Apps of every kind, and rules that let in now, later, and with a second factor.
const APPS: &str = r#"
[[app]]
name = "metrics"
site = "fra"
kind = "http"
hosts = ["metrics.corp.example"]
upstream = "http://10.50.0.7:8080"
address = "100.64.128.20"
[[app]]
name = "payroll"
site = "fra"
kind = "http"
hosts = ["payroll.corp.example"]
upstream = "http://10.50.0.7:8080"
address = "100.64.128.21"
[[app]]
name = "handbook"
site = "fra"
kind = "http"
hosts = ["handbook.corp.example"]
upstream = "http://10.50.0.7:8080"
address = "100.64.128.22"
"#;

const RULES: &str = r#"
@id("metrics-an-hour")
@title("Metrics are open for an hour after a sign-in")
permit (principal in Doorward::Group::"corp/staff", action in Doorward::Action::"access",
        resource == Doorward::App::"metrics")
when { context has session && context.session has auth_time &&
       context.now.durationSince(context.session.auth_time) < duration("1h") };

@id("handbook-reading")
permit (principal in Doorward::Group::"corp/staff", action == Doorward::Action::"http_read",
        resource == Doorward::App::"handbook");

@id("handbook-writing")
@title("Staff edit the handbook after signing in with a second factor")
@advice("Sign in with your second factor")
@step_up("acr=mfa")
permit (principal in Doorward::Group::"corp/staff", action == Doorward::Action::"http_write",
        resource == Doorward::App::"handbook")
when { context has session && context.session has acr && context.session.acr == "mfa" };

@id("payroll-second-factor")
@title("Payroll opens to staff who signed in with a second factor")
@step_up("acr=mfa")
permit (principal in Doorward::Group::"corp/staff", action in Doorward::Action::"access",
        resource == Doorward::App::"payroll")
when { context has session && context.session has acr && context.session.acr == "mfa" };

@id("vault-managed")
@title("The vault opens to staff on managed devices")
@advice("Enrol this laptop in device management, at https://it.corp.example/enrol")
permit (principal in Doorward::Group::"corp/staff", action in Doorward::Action::"access",
        resource == Doorward::App::"vault")
when { context has device && context.device has managed && context.device.managed.value };
"#;

fn furnished() -> Result<Office> {
    let mut opening = Opening::new()?;
    let company = &mut opening.plan.company;
    company.more += APPS;
    company.policies.insert("more", RULES.to_owned());
    company.people.push(Employee { id: "corp/mallory", groups: vec![], disabled: false });
    company.machines.push(Machine::new("tablet", "corp/alice", 12)?);
    company.machines.push(Machine::new("loaner", "corp/mallory", 13)?);
    opening.more = "label = \"Corp\"\n".to_owned();
    Office::with(opening)
}

fn the_portal_looks_right_however_somebody_stands() -> Result<()> {
    let office = furnished()?;
    let laptop = office.scene.device("laptop")?;
    let browser = browser(&office, &laptop)?;
    let album = Album::new(laptop.host().folder());
    browser.goto(DOOR)?;
    assert_eq!(browser.title()?, "Sign in");
    album.look(&browser, "signed-out")?;
    browser.click("a:text('Sign in with Corp')")?;
    enter(&browser, "alice")?;
    browser.wait_for_url(&format!("{DOOR}/"))?;
    album.look(&browser, "signed-in-plain")?;

    let tablet = office.scene.device("tablet")?;
    Person::at(&office, &tablet, "alice-too")?.signs_in(&format!("{DOOR}/sign-in"), "alice")?;
    let mut flow = laptop.dial(&format!("{DESK}:{ECHO}"))?;
    echo(&mut flow, "open")?;
    browser.goto("https://vault.corp.example/secrets/list")?;
    assert_eq!(browser.status()?, 403);
    album.look(&browser, "refused")?;
    browser.goto(DOOR)?;
    let text = browser.text("main")?;
    for part in ["payroll.corp.example", "desk.corp.example:7000", "vault.corp.example", "tablet", "metrics"]
    {
        ensure!(text.contains(part), "no {part} in {text}");
    }
    album.look(&browser, "signed-in")?;
    browser.click("button[aria-label=\"Sign out on tablet\"]")?;
    browser.wait_for_url(&format!("{DOOR}/"))?;
    assert!(!browser.text("main")?.contains("tablet"));
    echo(&mut flow, "still mine")?;
    Ok(())
}

fn the_other_pages_look_right() -> Result<()> {
    let mut office = furnished()?;
    let laptop = office.scene.device("laptop")?;
    let browser = browser(&office, &laptop)?;
    let album = Album::new(laptop.host().folder());
    browser.goto(&format!("{DOOR}/certificate"))?;
    album.look(&browser, "certificate")?;
    browser.goto(&format!("{DOOR}/callback/corp?state=s&code=c"))?;
    assert_eq!(browser.status()?, 400);
    album.look(&browser, "not-begun-here")?;
    browser.goto(&format!("{DOOR}/nowhere"))?;
    assert_eq!(browser.status()?, 404);
    album.look(&browser, "nothing-here")?;
    browser.goto(DOOR)?;
    browser.click("a:text('Sign in with Corp')")?;
    enter(&browser, "bob")?;
    browser.wait_for("h1:text('not signed in')")?;
    assert_eq!(browser.status()?, 403);
    album.look(&browser, "another-person")?;
    browser.click("a:text('another account')")?;
    enter(&browser, "alice")?;
    browser.wait_for_url(&format!("{DOOR}/"))?;
    browser.goto("https://handbook.corp.example/")?;
    post_a_form(&browser)?;
    browser.wait_for("h1:text('Sign in')")?;
    assert_eq!(browser.status()?, 401);
    album.look(&browser, "step-up")?;
    browser.click("a:text('Sign in')")?;
    enter(&browser, "alice")?;
    browser.wait_for_url(DOOR)?;
    browser.goto(DOOR)?;
    browser.click("button:text-is('Sign out')")?;
    browser.wait_for_url(&format!("{DOOR}/signed-out"))?;
    album.look(&browser, "signed-out-now")?;
    let loaner = office.scene.device("loaner")?;
    let hers = self::browser(&office, &loaner)?;
    hers.goto(DOOR)?;
    hers.click("a:text('Sign in with Corp')")?;
    enter(&hers, "mallory")?;
    hers.wait_for_url(&format!("{DOOR}/"))?;
    album.look(&hers, "no-apps")?;
    office.scene.change(|company| {
        company.more += "[[provider]]\nname = \"partner\"\nlabel = \"Partner Inc.\"\nissuer = \"https://10.77.0.6:9444\"\nclient_id = \"doorward\"\n";
        Ok(())
    })?;
    browser.goto(&format!("{DOOR}/sign-in"))?;
    album.look(&browser, "chooser")
}

fn post_a_form(browser: &Browser) -> Result<Value> {
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('form'), \
         {method: 'post', action: '/edit'})), document.forms[0].submit()",
    )
}
