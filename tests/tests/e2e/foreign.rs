//! Pages that are not the app's own, in a real browser on a device whose tunnel is open: a stranger's site on
//! the internet, and an app that means harm to its siblings.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    authority::Authority,
    browser::Browser,
    company::{DESK, ECHO, GATEWAY},
    device::Device,
    mirror::fields,
    office::{DOOR, Office, Opening, WIKI_PAGE},
    person::Person,
    probe::echo,
    site::{Page, Site},
    wait::eventually,
};

use crate::portal::{browser, enter};

tests::tests![
    a_strangers_page_changes_nothing_and_reads_nothing,
    programs_that_are_no_browsers_still_write,
    an_app_plants_no_cookie_that_the_door_or_a_sibling_reads,
    the_door_answers_to_its_own_name_only,
];

/// Everything a page can send without the person's doing, and what became of each, in the page's eyes.
const ATTACK: &str = r#"(async () => {
    const wiki = 'https://wiki.corp.example/attack/', door = 'https://door.corp.example/', found = {};
    const load = (tag, attributes) => new Promise((done) => {
        const made = Object.assign(document.createElement(tag), attributes);
        made.onload = () => done('loaded');
        made.onerror = () => done('refused');
        document.body.append(made);
    });
    const ask = (url, how) => fetch(url, { credentials: 'include', ...how })
        .then(async (answer) => answer.type === 'opaque' ? 'opaque' : 'read ' + await answer.text(), () => 'refused');
    const form = (action) => new Promise((done) => {
        const frame = document.createElement('iframe');
        frame.name = 'f' + Math.random();
        document.body.append(frame);
        const sent = Object.assign(document.createElement('form'), { method: 'post', action, target: frame.name });
        document.body.append(sent);
        frame.onload = () => done('answered');
        sent.submit();
    });
    const socket = (url) => new Promise((done) => {
        const made = new WebSocket(url);
        made.onopen = () => done('open');
        made.onerror = () => done('refused');
    });
    found.image = await load('img', { src: wiki + 'image' });
    found.style = await load('link', { rel: 'stylesheet', href: wiki + 'style' });
    found.script = await load('script', { src: wiki + 'script' });
    found.frame = await load('iframe', { src: wiki + 'frame' });
    found.read = await ask(wiki + 'read', {});
    found.blind_read = await ask(wiki + 'blind-read', { mode: 'no-cors' });
    found.blind_write = await ask(wiki + 'blind-write', { mode: 'no-cors', method: 'POST', body: 'x' });
    found.write = await ask(wiki + 'write', { method: 'POST', body: 'x' });
    found.put = await ask(wiki + 'put', { method: 'PUT', body: 'x' });
    found.json = await ask(wiki + 'json', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } });
    found.beacon = navigator.sendBeacon(wiki + 'beacon', 'x');
    found.form = await form(wiki + 'form');
    found.socket = await socket(wiki.replace('https', 'wss') + 'socket');
    found.door_device = await ask(door + 'device', {});
    found.door_plain = location.protocol === 'http:' ? await ask('http://door.corp.example/device', {}) : 'refused';
    found.door_blind = await ask(door + 'sign-out', { mode: 'no-cors', method: 'POST' });
    found.door_form = await form(door + 'sign-out');
    found.door_frame = await load('iframe', { src: door });
    return found;
})()"#;

/// A form that takes the whole page along.
const LEAVE: &str = "(to => { const form = Object.assign(document.createElement('form'), \
    { method: 'post', action: to }); document.body.append(form); form.submit(); })";

/// H16: a stranger's page, over https and without, uses the person's open tunnel for nothing.
fn a_strangers_page_changes_nothing_and_reads_nothing() -> Result<()> {
    let office = Office::open()?;
    let host = office.scene.world.device("stranger", 6)?;
    let authority = Authority::new(host.folder(), "stranger-ca")?;
    let certificate = authority.issue(&["10.77.0.6"])?;
    let page = [Page { path: "/", headers: &[], text: "<!doctype html><title>Win</title><body>Win!" }];
    let _open = [Site::open(&host, 8443, Some(&certificate), &page)?, Site::open(&host, 8080, None, &page)?];
    let laptop = office.scene.device("laptop")?;
    let [own, providers] = office.roots(&laptop)?;
    let browser = Browser::open(laptop.host(), &[&own, &providers, authority.pem()])?;
    browser.goto(WIKI_PAGE)?;
    enter(&browser, "alice")?;
    browser.wait_for_url(WIKI_PAGE)?;
    for site in ["https://10.77.0.6:8443/", "http://10.77.0.6:8080/"] {
        browser.goto(site)?;
        let found = browser.evaluate(ATTACK)?;
        for (way, result) in found.as_object().context("what became of the attacks")? {
            let result = result.to_string();
            ensure!(!result.contains("read ") && !result.contains("open"), "{site} {way}: {result}");
        }
        assert_eq!(arrived(&office, "/attack/"), Vec::<String>::new(), "{site}: {found}");
        for target in [&format!("{WIKI_PAGE}attack/form"), &format!("{DOOR}/sign-out")] {
            browser.goto(site)?;
            browser.evaluate(&format!("{LEAVE}({target:?})"))?;
            browser.wait_for_url(target)?;
            assert_eq!(browser.status()?, 403, "{target}");
        }
        still_in(&laptop)?;
        navigates(&office, &browser, site)?;
    }
    assert_eq!(arrived(&office, "/attack/"), Vec::<String>::new());
    Ok(())
}

/// A link works, in this window and in another.
fn navigates(office: &Office, browser: &Browser, site: &str) -> Result<()> {
    let place = format!("link-from-{}", site.len());
    browser.goto(site)?;
    browser.evaluate(&format!("void window.open('{WIKI_PAGE}popup-{place}')"))?;
    eventually("the other window reaches the app", || {
        (!arrived(office, &format!("/popup-{place}")).is_empty()).then_some(())
    })?;
    browser.evaluate(&format!("void (location.href = '{WIKI_PAGE}{place}')"))?;
    browser.wait_for_url(&format!("{WIKI_PAGE}{place}"))?;
    assert_eq!(browser.status()?, 200);
    Ok(())
}

/// First lines of what the app got with this in it.
fn arrived(office: &Office, path: &str) -> Vec<String> {
    let heads = office.scene.mirror.heads().into_iter();
    heads
        .filter_map(|head| head.lines().next().map(str::to_owned))
        .filter(|line| line.contains(path))
        .collect()
}

fn still_in(device: &Device) -> Result<()> {
    echo(&mut device.dial(&format!("{DESK}:{ECHO}"))?, "signed in")
}

/// H16: who says nothing of sites is no page: `git` and `curl` write.
fn programs_that_are_no_browsers_still_write() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    Person::at(&office, &laptop, "alice")?.signs_in(WIKI_PAGE, "alice")?;
    let trusted = office.trusted(&laptop)?;
    let trusted = trusted.to_str().context("a plain path")?;
    for method in ["POST", "PUT", "DELETE", "PROPFIND"] {
        let told = laptop.page(&["--cacert", trusted, "--request", method, "--data", "a=b", WIKI_PAGE])?;
        ensure!(told.starts_with(&format!("{method} / HTTP/1.1")), "{told}");
    }
    let mut git = laptop.host().command("git")?;
    git.args(["-c", &format!("http.sslCAInfo={trusted}"), "ls-remote", &format!("{WIKI_PAGE}repo.git")]);
    // The mirror is no repository; what git sent is there all the same.
    ensure!(!laptop.host().run(&git)?.status.success());
    let asked = arrived(&office, "/repo.git/info/refs?service=git-upload-pack");
    assert_eq!(asked, ["GET /repo.git/info/refs?service=git-upload-pack HTTP/1.1"]);
    Ok(())
}

const ROGUE: &str = r#"
[[app]]
name = "rogue"
site = "fra"
kind = "http"
hosts = ["rogue.corp.example"]
upstream = "http://10.50.0.7:8090"
address = "100.64.128.30"
groups = ["staff"]
"#;

const COOKIE: &str = "__Host-doorward-sign-in";

/// What a script of its page may try; what it plants for the whole company bears no name we read.
const PLANT: &str = r#"(() => {
    for (const cookie of [
        '__Host-doorward-sign-in=script; Path=/; Secure; Domain=corp.example',
        '__host-doorward-sign-in=script; Path=/; Secure; Domain=corp.example',
        '=__Host-doorward-sign-in=script; Path=/; Secure; Domain=corp.example',
        '__Host-doorward-sign-in =script; Path=/; Secure; Domain=corp.example',
        '__Host-doorward-sign-in=script; Path=/sign-in; Secure; Domain=door.corp.example',
        'script=1; Path=/; Secure; Domain=corp.example',
    ]) document.cookie = cookie;
    return document.cookie;
})()"#;

/// H17, H7: with headers an app reaches itself alone; with a script it reaches the company's names, and finds
/// nobody there who listens.
fn an_app_plants_no_cookie_that_the_door_or_a_sibling_reads() -> Result<()> {
    let mut opening = Opening::new()?;
    opening.plan.company.more += ROGUE;
    let office = Office::with(opening)?;
    let planted = format!("{COOKIE}=header; Path=/; Secure; Domain=corp.example");
    let headers = [
        ("Set-Cookie", planted.as_str()),
        ("Set-Cookie", "wide=header; Path=/; DOMAIN=.corp.example"),
        ("Set-Cookie", "doors=header; Path=/; Domain=door.corp.example"),
        ("Set-Cookie", "=__Host-doorward-sign-in=header; Path=/; Secure; Domain=corp.example"),
    ];
    let page = [Page { path: "/", headers: &headers, text: "<!doctype html><title>Rogue</title>Hello" }];
    let _rogue = Site::open(&office.scene.world.servers, 8090, None, &page)?;
    let laptop = office.scene.device("laptop")?;
    let browser = browser(&office, &laptop)?;
    browser.goto("https://rogue.corp.example/")?;
    enter(&browser, "alice")?;
    browser.wait_for_url("https://rogue.corp.example/")?;
    let seen = browser.evaluate(PLANT)?;
    ensure!(seen.as_str().is_some_and(|seen| seen.contains("script=1")), "nothing was planted: {seen}");
    let kept = browser.cookies()?;
    for cookie in
        kept.iter().filter(|cookie| cookie.value.contains("header") || cookie.name.contains("Host-"))
    {
        assert_eq!(cookie.domain, "rogue.corp.example", "{cookie:?}");
    }
    // Begun and finished while everything planted is there.
    browser.goto(DOOR)?;
    browser.click("button:text-is('Sign out')")?;
    browser.wait_for_url(&format!("{DOOR}/signed-out"))?;
    browser.goto(&format!("{WIKI_PAGE}after"))?;
    enter(&browser, "alice")?;
    browser.wait_for_url(WIKI_PAGE)?;
    assert_eq!(browser.url()?, format!("{WIKI_PAGE}after"));
    let head = browser.text("body")?;
    let cookies: Vec<_> = fields(&head, "Cookie").collect();
    ensure!(!cookies.iter().any(|sent| sent.contains("header")), "{head}");
    Ok(())
}

/// H17: another name at the door's address gets no handshake, or 421 before anybody is asked anything.
fn the_door_answers_to_its_own_name_only() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let trusted = office.trusted(&laptop)?;
    let trusted = ["--cacert", trusted.to_str().context("a plain path")?];
    for host in ["wiki.corp.example", "evil.example", "corp.example", "door.corp.example.evil.example"] {
        let there = format!("{host}:443:{GATEWAY}");
        let output = laptop.curl(&["--insecure", "--resolve", &there, &format!("https://{host}/")])?;
        assert_eq!(output.status.code(), Some(35), "{host}: a handshake");
        for url in [&format!("{DOOR}/"), &format!("{DOOR}/device"), &format!("{DOOR}/sign-in"), WIKI_PAGE] {
            if url == WIKI_PAGE && host == "wiki.corp.example" {
                continue;
            }
            let header = format!("Host: {host}");
            assert_eq!(
                laptop.code(&[&trusted[..], &["--header", &header, url]].concat())?,
                421,
                "{host} at {url}"
            );
        }
        let plain = ["--header", &format!("Host: {host}"), "http://door.corp.example/device"];
        assert_eq!(laptop.code(&plain)?, 421, "{host}");
    }
    let told: Value = serde_json::from_str(&laptop.page(&["http://door.corp.example/device"])?)?;
    assert_eq!(
        (&told["last_refusal"], &told["session"]),
        (&Value::Null, &Value::Null),
        "no policy was asked"
    );
    let status = office.scene.status()?;
    assert!(office.scene.mirror.heads().is_empty(), "{status}");
    Ok(())
}
