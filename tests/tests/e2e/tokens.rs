//! H11: every token that exists, ours and the provider's, shown at every door but its own.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::{
    company::OUTSIDE,
    device::Device,
    gateway::product,
    host::Host,
    office::{DOOR, Office, Opening, WIKI_PAGE},
    person::Person,
    provider::ISSUER,
    wait::HANG,
};

use crate::claims::session;

tests::tests![a_token_is_good_for_nothing_but_what_it_is];

const COOKIE: &str = "__Host-doorward-sign-in";
/// The client that the office has at its provider.
const CLIENT: &str = "doorward:gateway-secret-of-the-tests";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Where the provider tells of sessions that ended: nothing of ours, so that what it says can be kept.
fn eavesdropper(host: &Host) -> Result<Receiver<String>> {
    let listener = host.within(|| TcpListener::bind("10.77.0.1:8081"))?;
    let (told, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who hangs up has said nothing.
            let _ = body(stream).map(|body| told.send(body));
        }
    });
    Ok(heard)
}

fn body(mut stream: TcpStream) -> Result<String> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(body)
}

/// Genuine ones of Alice's, issued to the gateway's own client for another sign-in than the one under way.
fn tokens_of_the_provider(
    office: &Office,
    alice: &Person<'_>,
    heard: &Receiver<String>,
) -> Result<Vec<Token>> {
    let first = code(alice, "")?;
    let redeemed = [
        "--user",
        CLIENT,
        "--data",
        &format!(
            "grant_type=authorization_code&code={first}&code_verifier={VERIFIER}&redirect_uri={DOOR}/callback/corp"
        ),
        &format!("{ISSUER}/token"),
    ];
    let tokens: Value = serde_json::from_str(&office.provider.curl(&redeemed)?)?;
    let mut all = vec![("an authorization code", code(alice, "&prompt=none")?)];
    for (name, field) in [
        ("an ID token", "id_token"),
        ("an access token", "access_token"),
        ("a refresh token", "refresh_token"),
    ] {
        let token = tokens[field].as_str().with_context(|| format!("no {field} in {tokens}"))?;
        all.push((name, token.to_owned()));
    }
    office.provider.backchannel_logout("alice")?;
    let told = heard.recv_timeout(HANG).context("no logout token came")?;
    let token = told.strip_prefix("logout_token=").with_context(|| format!("it said {told}"))?;
    all.push(("a logout token", token.to_owned()));
    Ok(all)
}

type Token = (&'static str, String);

/// Goes through the provider with a request that the door did not make; the door refuses, and the code is left.
fn code(alice: &Person<'_>, more: &str) -> Result<String> {
    let asked = format!(
        "{ISSUER}/auth?client_id=doorward&redirect_uri={DOOR}/callback/corp&response_type=code&state=s1&nonce=n1\
         &scope=openid+email+profile+groups+offline_access&code_challenge={CHALLENGE}&code_challenge_method=S256{more}"
    );
    let came = if more.is_empty() { alice.signs_in(&asked, "alice")? } else { alice.open(&asked)? };
    assert_eq!(came.status, 400, "{came:?}");
    parameter(&came.url, "code")
}

fn parameter(url: &str, name: &str) -> Result<String> {
    let found = url.split(['?', '&']).find_map(|part| part.strip_prefix(&format!("{name}=")));
    Ok(found.with_context(|| format!("no {name} in {url}"))?.to_owned())
}

/// The sealed cookie in a browser's jar.
fn cookie(device: &Device, browser: &str) -> Result<String> {
    let jar = fs::read_to_string(device.host().folder().join(format!("{browser}.jar")))?;
    let line = jar.lines().find(|line| line.contains(COOKIE)).context("no cookie in the jar")?;
    Ok(line.split('\t').next_back().context("a value")?.to_owned())
}

fn a_token_is_good_for_nothing_but_what_it_is() -> Result<()> {
    let mut opening = Opening::new()?;
    opening.backchannel = Some("http://10.77.0.1:8081/ended".to_owned());
    let office = Office::with(opening)?;
    let heard = eavesdropper(&office.scene.world.gw)?;
    let laptop = office.scene.device("laptop")?;
    let alice = Person::at(&office, &laptop, "alice")?;
    let mut tokens = tokens_of_the_provider(&office, &alice, &heard)?;
    let joins = office.scene.admin("connector token fra --name fra-9")?;
    let joins = joins.split_whitespace().find(|word| word.starts_with("dwt_")).context("a token")?.to_owned();
    tokens.push(("a join token", joins.clone()));
    Person::at(&office, &laptop, "begun")?.look(&format!("{DOOR}/sign-in"))?;
    let sealed = cookie(&laptop, "begun")?;
    tokens.push(("a sealed cookie", sealed));

    for (name, token) in &tokens {
        at_the_callback(&office, &laptop, name, token).with_context(|| (*name).to_owned())?;
        as_a_bearer(&office, &laptop, name, token)?;
        if *token != joins {
            ensure!(!join(&office, token)?, "{name} joined a connector");
            ensure!(!join(&office, &format!("dwt_{token}"))?, "{name} joined a connector");
        }
        assert_eq!(session(&laptop)?, Value::Null, "{name} signed somebody in");
    }
    assert!(office.scene.mirror.heads().is_empty());
    // Each door opens to its own.
    ensure!(join(&office, &joins)?, "the join token was used up by something else");
    assert_eq!(Person::at(&office, &laptop, "last")?.signs_in(WIKI_PAGE, "alice")?.status, 200);
    Ok(())
}

/// As the code of a sign-in that is really under way, as its state, and as its cookie.
fn at_the_callback(office: &Office, laptop: &Device, name: &str, token: &str) -> Result<()> {
    let browser = format!("victim-{}", name.len());
    let victim = Person::at(office, laptop, &browser)?;
    let leaves = victim.look(&format!("{DOOR}/sign-in"))?;
    let state = parameter(&leaves.location, "state")?;
    let callback = format!("{DOOR}/callback/corp");
    let as_state = victim.look(&format!("{callback}?state={token}&code=x"))?;
    assert_eq!(as_state.status, 400, "as a state: {as_state:?}");
    let trusted = office.trusted(laptop)?;
    let trusted = trusted.to_str().context("a plain path")?;
    let own = cookie(laptop, &browser)?;
    // A sealed cookie of this device is no other; that of another browser holds another state.
    ensure!(own != token);
    let cookie = format!("{COOKIE}={token}");
    let came = format!("{callback}?state={state}&code=x&iss={ISSUER}");
    let as_cookie = laptop.code(&["--cacert", trusted, "--cookie", &cookie, &came])?;
    assert_eq!(as_cookie, 400, "as a cookie");
    let as_code = victim.look(&format!("{callback}?state={state}&code={token}&iss={ISSUER}"))?;
    assert_eq!(as_code.status, 502, "as a code: {as_code:?}");
    ensure!(as_code.body.contains("You are not signed in"), "{as_code:?}");
    Ok(())
}

/// Nobody here takes a bearer's word.
fn as_a_bearer(office: &Office, laptop: &Device, name: &str, token: &str) -> Result<()> {
    let trusted = office.trusted(laptop)?;
    let trusted = trusted.to_str().context("a plain path")?;
    for header in [
        format!("Authorization: Bearer {token}"),
        format!("X-Doorward-Assertion: {token}"),
        format!("Cookie: session={token}; doorward={token}"),
    ] {
        let code = laptop.code(&["--cacert", trusted, "--header", &header, WIKI_PAGE])?;
        assert_eq!(code, 401, "{name} as {header}");
        let portal = laptop.page(&["--cacert", trusted, "--header", &header, DOOR])?;
        ensure!(portal.contains("You are not signed in"), "{name} as {header}: {portal}");
    }
    Ok(())
}

/// Whether a connector joins with it.
fn join(office: &Office, token: &str) -> Result<bool> {
    let host = &office.scene.world.site;
    let folder = host.folder().join("joins");
    fs::create_dir_all(&folder)?;
    let file = folder.join("token");
    tests::company::write_secret(&file, token)?;
    let mut command = product(host, "doorward-connector")?;
    command.args([
        "join",
        "--gateway",
        &format!("{OUTSIDE}:51821"),
        "--gateway-key",
        &office.scene.gateway.pin,
    ]);
    command.args(["--allow", "10.50.0.0/24", "--dir"]).arg(&folder).arg("--token-file").arg(&file);
    let output = host.run(&command)?;
    if output.status.success() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains(token) && token.len() > 8 {
        bail!("a refusal repeats what it was shown: {said}");
    }
    Ok(false)
}
