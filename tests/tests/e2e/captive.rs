//! What a device gets on which nobody has signed in: names, the portal, the provider, and nothing else.
//! Nothing is answered in anybody else's name, so systems that look for captive portals find none.

use std::{fs, io::ErrorKind, net::Ipv4Addr};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    authority::Authority,
    company::{DESK, ECHO, GATEWAY, SERVER},
    gateway::product,
    host::Host,
    mirror::Mirror,
    office::{DOOR, Office, Opening, WIKI_PAGE, dial, standing},
    person::Person,
    process::Process,
    resolver,
};

tests::tests![
    without_a_session_tcp_is_reset_and_the_reason_is_told,
    who_watches_sees_the_sign_in,
    plain_http_towards_a_network_leads_to_the_portal_and_nothing_else_is_answered,
    captive_detectors_are_left_alone,
    a_provider_behind_the_site_is_reached_by_its_own_name_alone,
];

/// How systems look for captive portals (Apple, Android and Chrome, Windows, Firefox).
const DETECTORS: [&str; 4] = [
    "captive.apple.com",
    "connectivitycheck.gstatic.com",
    "www.msftconnecttest.com",
    "detectportal.firefox.com",
];
/// Where they are: on the internet, outside the tunnel.
const DETECTING: &str = "10.77.0.9";

fn without_a_session_tcp_is_reset_and_the_reason_is_told() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    for target in [format!("{DESK}:{ECHO}"), format!("{DESK}:2222"), format!("{SERVER}:{ECHO}")] {
        assert_eq!(laptop.refusal(&target)?, ErrorKind::ConnectionRefused, "{target}");
        let told = standing(&laptop)?;
        assert_eq!(told["sign_in_needed"], true, "{told}");
        assert_eq!(told["session"], Value::Null, "{told}");
        let refusal = &told["last_refusal"];
        assert_eq!(refusal["reasons"][0]["text"], "You are not signed in on this device.", "{told}");
        ensure!(
            refusal["reasons"][0]["remedy"].as_str().is_some_and(|text| text.contains("portal")),
            "{told}"
        );
    }
    assert_eq!(office.scene.echo.accepted(), 0);
    let portal = alice.look(DOOR)?;
    for part in ["You are not signed in on this device", "What was refused last", "Sign in with corp"] {
        assert!(portal.body.contains(part), "{part} is missing in {}", portal.body);
    }
    assert!(!portal.body.contains("desk.corp.example"), "an app is named: {}", portal.body);
    // And for a person at a terminal.
    let mut command = product(laptop.host(), "doorward-device")?;
    command.args(["status", "--gateway", GATEWAY]);
    let output = laptop.host().run(&command)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    ensure!(said.contains("https://door.corp.example/"), "{said}");
    alice.signs_in(WIKI_PAGE, "alice")?;
    dial(&laptop).map(drop)
}

fn who_watches_sees_the_sign_in() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let watching = watch(laptop.host())?;
    watching.wait_for("door.corp.example")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    watching.wait_for("corp/alice")?;
    let _flow = dial(&laptop)?;
    watching.wait_for("desk.corp.example")?;
    alice.asks(&["--data", "", &format!("{DOOR}/sign-out")])?;
    watching.wait_for("closed: app/desk")?;
    let text = watching.text();
    let (_, after) = text.split_once("open: app/desk").context("what was open")?;
    ensure!(after.contains("not signed in"), "{text}");
    Ok(())
}

fn watch(host: &Host) -> Result<Process> {
    let mut command = product(host, "doorward-device")?;
    command.args(["status", "--watch", "--gateway", GATEWAY]);
    host.start("watch", command)
}

fn plain_http_towards_a_network_leads_to_the_portal_and_nothing_else_is_answered() -> Result<()> {
    let office = Office::open()?;
    let laptop = office.scene.device("laptop")?;
    let server = Mirror::listen(&office.scene.world.servers, 80)?;
    for url in ["http://10.50.0.9/", "http://10.50.0.9/generate_204", "http://10.50.0.77/secret?x=y"] {
        for method in ["GET", "POST"] {
            let output = laptop.curl(&["--include", "--request", method, "--data", "x", url])?;
            let said = String::from_utf8(output.stdout)?;
            let (head, body) = said.split_once("\r\n\r\n").with_context(|| said.clone())?;
            ensure!(head.starts_with("HTTP/1.1 302 "), "{url}: {said}");
            ensure!(head.contains("\r\nLocation: https://door.corp.example/\r\n"), "{url}: {said}");
            assert_eq!(body, "", "{url}");
        }
    }
    // TLS is never answered for a name that is not ours: not even a handshake begins.
    for target in ["10.50.0.9:443", "10.50.0.9:22", "10.50.0.9:8080"] {
        assert_eq!(laptop.refusal(target)?, ErrorKind::ConnectionRefused, "{target}");
    }
    let output = laptop.curl(&["--insecure", "https://10.50.0.9/"])?;
    assert_eq!(output.status.code(), Some(7), "no connection");
    // An address that is no network's.
    assert_eq!(laptop.refusal("100.64.130.1:80")?, ErrorKind::ConnectionRefused);
    assert!(server.heads().is_empty(), "somebody got through: {:?}", server.heads());
    let alice = Person::at(&office, &laptop, "alice")?;
    alice.signs_in(WIKI_PAGE, "alice")?;
    ensure!(
        laptop.page(&["http://10.50.0.9/secret"])?.starts_with("GET /secret "),
        "the server itself answers"
    );
    Ok(())
}

fn captive_detectors_are_left_alone() -> Result<()> {
    let mut opening = Opening::new()?;
    opening.plan.company.resolvers = vec!["10.77.0.9:53"];
    let office = Office::with(opening)?;
    let internet = office.scene.world.device("internet", 9)?;
    let address: Ipv4Addr = DETECTING.parse()?;
    resolver::listen(&internet, &DETECTORS, address)?;
    let there = Mirror::listen(&internet, 80)?;
    let laptop = office.scene.device("laptop")?;
    for name in DETECTORS {
        let found = laptop.host().sh("getent", &["ahostsv4", name])?;
        ensure!(found.starts_with(DETECTING), "{name}: {found}");
        let page = laptop.page(&[&format!("http://{name}/generate_204")])?;
        ensure!(page.starts_with("GET /generate_204 "), "{name} is answered by somebody else: {page}");
    }
    assert_eq!(there.heads().len(), DETECTORS.len());
    assert!(laptop.host().sh("getent", &["ahostsv4", "nowhere.example"]).is_err(), "a forged answer");
    assert!(standing(&laptop)?["last_refusal"].is_null(), "nothing of it was refused");
    Ok(())
}

const LOGIN: &str = "login.corp.example";

fn a_provider_behind_the_site_is_reached_by_its_own_name_alone() -> Result<()> {
    let mut opening = Opening::new()?;
    opening.more = format!("through_tunnel = [{LOGIN:?}]\nsite = \"fra\"\n");
    let office = Office::with(opening)?;
    let world = &office.scene.world;
    let address: Ipv4Addr = SERVER.parse()?;
    resolver::listen(&world.servers, &[LOGIN], address)?;
    fs::write(world.site.folder().join("resolv.conf"), "nameserver 10.50.0.7\n")?;
    let authority = Authority::new(&world.servers.folder().join("login"), "login-ca")?;
    let server = authority.issue(&[LOGIN, "other.example"])?;
    let mut command = world.servers.command("openssl")?;
    command.args(["s_server", "-accept", "443", "-WWW", "-cert"]).arg(&server.certificate);
    command.arg("-key").arg(&server.key);
    fs::write(world.servers.folder().join("login").join("hello"), "hello from the provider")?;
    command.current_dir(world.servers.folder().join("login"));
    let served = world.servers.start("login", command)?;
    served.wait_for("ACCEPT")?;

    let laptop = office.scene.device("laptop")?;
    let ca = authority.pem().to_str().context("a name")?;
    let page = laptop.page(&["--cacert", ca, &format!("https://{LOGIN}/hello")])?;
    ensure!(page.contains("hello from the provider"), "{page}");
    let found = laptop.host().sh("getent", &["ahostsv4", LOGIN])?;
    let vip = found.split_whitespace().next().context("no address")?.to_owned();
    ensure!(vip.starts_with("100.64."), "{found}");
    for (name, sni) in [("other.example", true), ("wiki.corp.example", true), (vip.as_str(), false)] {
        let there = format!("{name}:443:{vip}");
        let resolved = if sni { vec!["--resolve", &there] } else { vec![] };
        let url = format!("https://{name}/hello");
        let output = laptop.curl(&[&resolved[..], &["--insecure", &url]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(35),
            "{name}: {said} {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    // It is no way to anything else: neither another port, nor without TLS, nor the server by its address.
    assert_eq!(laptop.refusal(&format!("{vip}:80"))?, ErrorKind::ConnectionRefused);
    assert_eq!(laptop.refusal(&format!("{SERVER}:443"))?, ErrorKind::ConnectionRefused);
    let output = laptop.curl(&[&format!("http://{vip}:443/hello")])?;
    ensure!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    Ok(())
}
