//! The fixture of real sign-ins holds without the product: a certified provider, another one, a real browser.
//! It says nothing about Doorward; it says whether a failure elsewhere may be the fixture's.

use std::path::Path;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tests::{
    authority::Authority,
    browser::{Browser, DESKTOP, Shot},
    host::Host,
    mirror::{Mirror, field},
    provider::{Client, ISSUER, PASSWORD, Provider, Setup},
    provider_mock::{self, ProviderMock},
    scene::Scene,
    world::World,
};

tests::tests![
    a_real_browser_signs_in_at_a_real_provider,
    a_browser_refuses_a_provider_nobody_vouches_for,
    pages_of_a_browser_share_cookies_only_if_told_to,
    a_provider_asks_again_for_a_stronger_sign_in,
    a_provider_does_to_sessions_what_a_test_wants,
    a_provider_forgets_whom_a_test_removes,
    a_provider_fails_as_a_test_wants,
    a_provider_tells_over_https_that_a_session_ended,
    a_provider_lives_by_a_clock_of_its_own,
    a_second_provider_signs_people_in,
    a_browser_on_a_device_opens_an_app_by_name,
];

/// Where people come back to: a mirror on the gateway's host.
const BACK: &str = "http://10.77.0.1:8080/callback";
const LEFT: &str = "http://10.77.0.1:8080/left";
const SECRET: &str = "portal-secret";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A provider, a relying party that shows what it gets, and a person's machine.
struct Fixture {
    provider: Provider,
    mirror: Mirror,
    laptop: Host,
    _world: World,
}

impl Fixture {
    fn start(setup: impl FnOnce(&mut Setup)) -> Result<Self> {
        let world = World::new()?;
        let mut client = Client::new("portal", SECRET, BACK);
        client.post_logout_redirect_uris = vec![LEFT.to_owned()];
        client.backchannel_logout_uri = Some("http://10.77.0.1:8080/ended".to_owned());
        let mut wishes = Setup { clients: vec![client], ..Setup::default() };
        setup(&mut wishes);
        let provider = Provider::start(world.login()?, &wishes)?;
        let mirror = Mirror::listen(&world.gw, 8080)?;
        Ok(Self { provider, mirror, laptop: world.device("laptop", 10)?, _world: world })
    }

    fn browser(&self) -> Result<Browser> {
        Browser::open(&self.laptop, &[self.provider.ca()])
    }

    /// Tokens for the code the browser came back with.
    fn redeem(&self, browser: &Browser) -> Result<Value> {
        let url = browser.url()?;
        let code = url.split(['?', '&']).find_map(|part| part.strip_prefix("code="));
        let code = code.with_context(|| format!("no code in {url}"))?;
        let words =
            format!("grant_type=authorization_code&code={code}&redirect_uri={BACK}&code_verifier={VERIFIER}");
        self.token(&words)
    }

    fn refresh(&self, tokens: &Value) -> Result<Value> {
        let token = tokens["refresh_token"].as_str().context("no refresh token")?;
        self.token(&format!("grant_type=refresh_token&refresh_token={token}"))
    }

    fn token(&self, body: &str) -> Result<Value> {
        let url = format!("{ISSUER}/token");
        let answer = self.provider.curl(&["--user", &format!("portal:{SECRET}"), "--data", body, &url])?;
        Ok(serde_json::from_str(&answer)?)
    }
}

fn authorize(more: &str) -> String {
    format!(
        "{ISSUER}/auth?client_id=portal&redirect_uri={BACK}&response_type=code&state=s1&nonce=n1\
         &scope=openid+email+profile+groups&code_challenge={CHALLENGE}&code_challenge_method=S256{more}"
    )
}

fn sign_in(browser: &Browser, login: &str, more: &str) -> Result<()> {
    browser.goto(&authorize(more))?;
    browser.fill("[name=login]", login)?;
    browser.fill("[name=password]", PASSWORD)?;
    browser.click("[name=enter]")?;
    browser.wait_for_url(BACK)
}

/// What an ID token says; its signature is the product's business.
fn claims(tokens: &Value) -> Result<Value> {
    part(tokens, 1)
}

fn part(tokens: &Value, number: usize) -> Result<Value> {
    let token = tokens["id_token"].as_str().with_context(|| format!("no ID token in {tokens}"))?;
    let part = token.split('.').nth(number).context("an ID token has three parts")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}

fn a_real_browser_signs_in_at_a_real_provider() -> Result<()> {
    let fixture = Fixture::start(|_| ())?;
    let browser = fixture.browser()?;
    browser.goto(&authorize(""))?;
    browser.reload()?;
    assert_eq!((browser.title()?.as_str(), browser.status()?), ("Sign in", 200));
    let picture = fixture.laptop.folder().join("sign-in.png");
    let narrow = Shot { width: 400, height: 700, dark: true, full: true };
    for shot in [DESKTOP, narrow] {
        assert!(browser.screenshot(&picture, shot)? > 1, "a blank page");
        assert!(picture.metadata()?.len() > 0);
    }
    browser
        .evaluate("document.head.append(Object.assign(document.createElement('script'), {src: '/x.js'}))")?;
    assert_eq!(browser.csp_violations()?.len(), 1, "{:?}", browser.console()?);

    browser.fill("[name=login]", "alice")?;
    browser.fill("[name=password]", "wrong")?;
    browser.click("[name=enter]")?;
    browser.wait_for("[role=alert]:text('Wrong')")?;
    assert_eq!(browser.status()?, 401);
    sign_in(&browser, "alice", "")?;
    assert!(browser.text("body")?.starts_with("GET /callback?code="), "{}", browser.text("body")?);
    assert!(browser.url()?.contains("state=s1"));

    let claims = claims(&fixture.redeem(&browser)?)?;
    let expected = json!({
        "iss": ISSUER, "aud": "portal", "sub": "alice", "nonce": "n1", "name": "Alice Archer",
        "email": "alice@corp.example", "email_verified": true, "groups": ["staff", "admins"], "acr": "pwd",
        "amr": ["pwd"],
    });
    for (name, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(&claims[name], value, "{name} in {claims}");
    }
    assert!(claims["auth_time"].is_u64() && claims["sid"].is_string(), "{claims}");
    Ok(())
}

fn a_browser_refuses_a_provider_nobody_vouches_for() -> Result<()> {
    let fixture = Fixture::start(|_| ())?;
    let other = Authority::new(fixture.laptop.folder(), "other-ca")?;
    let trusting: [&[&Path]; 2] = [&[], &[other.pem()]];
    for authorities in trusting {
        let browser = Browser::open(&fixture.laptop, authorities)?;
        let refused = browser.goto(&authorize("")).err().context("an unknown authority was trusted")?;
        assert!(format!("{refused:#}").contains("ERR_CERT_AUTHORITY_INVALID"), "{refused:#}");
    }
    assert_eq!(fixture.provider.requests()?, []);
    Ok(())
}

fn pages_of_a_browser_share_cookies_only_if_told_to() -> Result<()> {
    let fixture = Fixture::start(|_| ())?;
    let alice = fixture.browser()?;
    sign_in(&alice, "alice", "")?;
    let session = alice.cookies()?.into_iter().find(|cookie| cookie.name == "_session");
    let session = session.context("the provider left no cookie")?;
    assert!(session.http_only && session.secure && session.domain == "10.77.0.5", "{session:?}");
    assert_eq!(alice.evaluate("Promise.resolve({cookie: document.cookie})")?, json!({ "cookie": "" }));

    let again = alice.new_page()?;
    again.goto(&authorize("&prompt=none"))?;
    assert!(again.url()?.contains("code="), "{}", again.url()?);
    let stranger = alice.new_context()?;
    stranger.goto(&authorize("&prompt=none"))?;
    assert!(stranger.url()?.contains("error=login_required"), "{}", stranger.url()?);
    Ok(())
}

fn a_provider_asks_again_for_a_stronger_sign_in() -> Result<()> {
    let fixture = Fixture::start(|_| ())?;
    let browser = fixture.browser()?;
    sign_in(&browser, "bob", "")?;
    browser.goto(&authorize("&prompt=none&acr_values=mfa"))?;
    assert!(browser.url()?.contains("error=interaction_required"), "{}", browser.url()?);
    sign_in(&browser, "bob", "&acr_values=mfa")?;
    let strong = claims(&fixture.redeem(&browser)?)?;
    assert_eq!((&strong["acr"], &strong["amr"]), (&json!("mfa"), &json!(["pwd", "otp", "mfa"])));
    sign_in(&browser, "bob", "&max_age=0")?;
    let fresh = claims(&fixture.redeem(&browser)?)?;
    assert!(fresh["auth_time"].as_u64() >= strong["auth_time"].as_u64(), "{fresh}");
    browser.goto(&authorize("&prompt=login"))?;
    browser.click("[name=cancel]")?;
    browser.wait_for_url(BACK)?;
    assert!(browser.url()?.contains("error=access_denied"), "{}", browser.url()?);
    Ok(())
}

fn a_provider_does_to_sessions_what_a_test_wants() -> Result<()> {
    let fixture = Fixture::start(|setup| setup.lifetimes.extend([("IdToken", 7)]))?;
    let (provider, browser) = (&fixture.provider, fixture.browser()?);
    sign_in(&browser, "alice", "")?;
    let first = fixture.redeem(&browser)?;
    let short = claims(&first)?;
    assert_eq!(short["exp"].as_u64(), short["iat"].as_u64().map(|at| at + 7));

    provider.set_groups("alice", &["night"])?;
    provider.set_email("alice", "night@corp.example", false)?;
    provider.rotate_keys()?;
    let second = fixture.refresh(&first)?;
    let changed = claims(&second)?;
    assert_eq!(changed["groups"], json!(["night"]));
    assert_eq!(
        (&changed["email"], &changed["email_verified"]),
        (&json!("night@corp.example"), &json!(false))
    );
    assert_ne!(part(&first, 0)?["kid"], part(&second, 0)?["kid"]);
    provider.disable("alice")?;
    assert_eq!(fixture.refresh(&second)?["error"], "invalid_grant");
    provider.enable("alice")?;

    sign_in(&browser, "alice", "&prompt=login")?;
    let told = provider.backchannel_logout("alice")?;
    assert_eq!(told.get("portal").map(String::as_str), Some("told"));
    assert!(fixture.mirror.heads().iter().any(|head| head.starts_with("POST /ended ")));
    browser.goto(&format!("{ISSUER}/session/end?client_id=portal&post_logout_redirect_uri={LEFT}"))?;
    browser.wait_for_url(LEFT)?;
    provider.process().wait_for("logout told to portal")?;
    browser.goto(&authorize("&prompt=none"))?;
    assert!(browser.url()?.contains("error=login_required"), "{}", browser.url()?);
    Ok(())
}

fn a_provider_forgets_whom_a_test_removes() -> Result<()> {
    let fixture = Fixture::start(|setup| setup.thin = true)?;
    let browser = fixture.browser()?;
    sign_in(&browser, "mallory", "")?;
    let tokens = fixture.redeem(&browser)?;
    assert_eq!(claims(&tokens)?["groups"], Value::Null, "userinfo alone was to tell");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap_or_default());
    let told = fixture.provider.curl(&["--header", &bearer, &format!("{ISSUER}/me")])?;
    assert_eq!(serde_json::from_str::<Value>(&told)?["groups"], json!([]));
    fixture.provider.remove("mallory")?;
    assert_eq!(fixture.refresh(&tokens)?["error"], "invalid_grant");
    Ok(())
}

fn a_provider_fails_as_a_test_wants() -> Result<()> {
    let fixture = Fixture::start(|_| ())?;
    let (provider, jwks) = (&fixture.provider, format!("{ISSUER}/jwks"));
    provider.fault_with("/jwks", 503, 1, "temporarily_unavailable")?;
    assert!(provider.curl(&[&jwks])?.contains("temporarily_unavailable"));
    let keys = provider.curl(&[&jwks])?;
    provider.fault("/jwks", 500, 100)?;
    provider.clear_faults()?;
    assert_eq!(provider.curl(&[&jwks])?, keys);
    provider.delay("/jwks", 1, 1)?;
    provider.replace_keys()?;
    assert_ne!(provider.curl(&[&jwks])?, keys);
    let statuses: Vec<_> = provider.requests()?.into_iter().map(|request| request.status).collect();
    assert_eq!(statuses, [503, 200, 200, 200].map(Some));
    Ok(())
}

/// Its own server is the one at hand that speaks https: it is reached, and knows no such page.
fn a_provider_tells_over_https_that_a_session_ended() -> Result<()> {
    let ended = format!("{ISSUER}/ended");
    let fixture = Fixture::start(|setup| setup.clients[0].backchannel_logout_uri = Some(ended.clone()))?;
    sign_in(&fixture.browser()?, "carol", "")?;
    let told = fixture.provider.backchannel_logout("carol")?;
    assert!(told["portal"].contains("404"), "{told:?}");
    Ok(())
}

fn a_provider_lives_by_a_clock_of_its_own() -> Result<()> {
    const MARCH: u64 = 1_900_000_000;
    let fixture = Fixture::start(|setup| setup.clock = Some(MARCH))?;
    let browser = fixture.browser()?;
    sign_in(&browser, "alice", "")?;
    let tokens = fixture.redeem(&browser)?;
    let first = claims(&tokens)?;
    assert!(first["iat"].as_u64() >= Some(MARCH), "{first}");
    fixture.provider.set_clock(MARCH + 3600)?;
    let second = claims(&fixture.refresh(&tokens)?)?;
    assert!(second["iat"].as_u64() >= Some(MARCH + 3600), "{second}");
    assert_eq!(second["auth_time"], first["auth_time"]);
    Ok(())
}

fn a_second_provider_signs_people_in() -> Result<()> {
    let world = World::new()?;
    let mock = ProviderMock::start(world.device("login2", 6)?)?;
    mock.set("alice", &json!({ "email": "alice@corp.example", "groups": ["staff"] }))?;
    let _mirror = Mirror::listen(&world.gw, 8080)?;
    let browser = Browser::open(&world.device("laptop", 10)?, &[mock.ca()])?;
    let issuer = provider_mock::ISSUER;
    assert!(mock.curl(&[&format!("{issuer}/.well-known/openid-configuration")])?.contains(issuer));
    browser.goto(&format!(
        "{issuer}/oauth2/authorize?client_id=portal&redirect_uri={BACK}&response_type=code&state=s1&nonce=n1\
         &scope=openid+email"
    ))?;
    browser.fill("[name=sub]", "alice")?;
    browser.click("button:text('Authorize')")?;
    browser.wait_for_url(BACK)?;
    assert!(browser.url()?.contains("code="), "{}", browser.url()?);
    Ok(())
}

fn a_browser_on_a_device_opens_an_app_by_name() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let browser = Browser::open(laptop.host(), &[])?;
    browser.goto("http://wiki.corp.example/start")?;
    assert_eq!(browser.url()?, "http://wiki.corp.example/start");
    let head = browser.text("body")?;
    assert!(head.starts_with("GET /start HTTP/1.1"), "{head}");
    assert_eq!(field(&head, "X-Forwarded-User"), Some("corp/alice"));
    Ok(())
}
