//! Signing in: what is given, what is refused, and who is never sent anywhere.

use http::StatusCode;
use serde_json::json;

use crate::{
    browser::{Browser, parameter},
    client::{VERIFIER, basic, code, redemption, refusal, text},
    world::World,
};

#[tokio::test]
async fn a_whole_sign_in() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let found = browser.get("/.well-known/openid-configuration").await.json();
    assert_eq!(found["issuer"], world.issuer);
    assert_eq!(found["token_endpoint"], format!("{}/token", world.issuer));

    let page = browser.login_page(&[("login_hint", "ada@corp.example")]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Development sign-in") && page.body.contains("value=\"ada@corp.example\""));
    assert!(!page.body.contains("One-time code") && !page.body.contains("<script"), "{}", page.body);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'self'"));
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(browser.get("/style.css").await.header("content-type"), "text/css");

    let back = browser.fill(&page, "ada@corp.example", "countess", "").await.location();
    assert!(back.as_str().starts_with("https://app.example/cb?code="), "{back}");
    assert_eq!(parameter(&back, "iss"), Some(world.issuer.clone()));

    let tokens = browser.redeem(&code(&back)).await;
    assert_eq!((tokens.status, tokens.header("cache-control")), (StatusCode::OK, "no-store"));
    let claims = browser.claims(&text(&tokens, "id_token"), "JWT").await;
    for (name, value) in [
        ("iss", json!(world.issuer)),
        ("aud", json!("app")),
        ("sub", json!("u-1")),
        ("nonce", json!("n-1")),
        ("acr", json!("pwd")),
        ("amr", json!(["pwd"])),
        ("name", json!("Ada <Lovelace>")),
        ("email", json!("ada@corp.example")),
        ("email_verified", json!(true)),
        ("groups", json!(["engineers", "mathematicians"])),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    assert!(claims["auth_time"].as_u64().unwrap() <= claims["iat"].as_u64().unwrap());
    let secrets: Vec<_> = browser.cookies.values().collect();
    assert!(secrets.iter().all(|secret| claims["sid"] != **secret), "the sid is no cookie");

    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    let known = browser.send("GET", "/userinfo", &[], &[("authorization", &bearer)]).await;
    assert_eq!(known.json()["sub"], "u-1");
    let id_token = format!("Bearer {}", text(&tokens, "id_token"));
    for wrong in [&*id_token, "Bearer x", "Basic x", ""] {
        let refused = browser.send("GET", "/userinfo", &[], &[("authorization", wrong)]).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
}

#[tokio::test]
async fn an_unknown_client_or_address_is_sent_nowhere() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    for changes in [
        [("client_id", "nobody")],
        [("client_id", "")],
        [("client_id", "wiki")],
        [("redirect_uri", "")],
        [("redirect_uri", "https://evil.example/")],
        [("redirect_uri", "https://app.example/cb/")],
        [("redirect_uri", "https://app.example/cb?x=1")],
        [("redirect_uri", "https://app.example/other")],
    ] {
        let refused = browser.authorize(&changes).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{changes:?}");
        assert!(!refused.headers.contains_key("location"), "{changes:?}");
    }
    let twice = browser.get("/authorize?client_id=app&client_id=app").await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
    let elsewhere = browser.send("GET", "/jwks", &[], &[("host", "evil.example")]).await;
    assert_eq!(elsewhere.status, StatusCode::MISDIRECTED_REQUEST);
    for (method, path) in
        [("GET", "/"), ("GET", "/token"), ("POST", "/authorize"), ("GET", "/operator/sign-out")]
    {
        assert_eq!(browser.send(method, path, &[], &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn what_a_client_gets_wrong_it_is_told_at_its_address() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("response_mode", "fragment", "invalid_request"),
        ("scope", "profile", "invalid_scope"),
        ("scope", "openid everything", "invalid_scope"),
        ("nonce", "", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("prompt", "consent", "invalid_request"),
        ("prompt", "none login", "invalid_request"),
        ("max_age", "-1", "invalid_request"),
        ("request", "x", "request_not_supported"),
        ("request_uri", "https://x.example/", "request_uri_not_supported"),
    ] {
        let back = browser.authorize(&[(name, value)]).await.location();
        assert!(back.as_str().starts_with("https://app.example/cb?"), "{back}");
        assert_eq!(parameter(&back, "error").as_deref(), Some(error), "{name}={value}");
        assert_eq!(parameter(&back, "state").as_deref(), Some("st&te"));
    }
    let back = browser.authorize(&[("state", "")]).await.location();
    assert_eq!(parameter(&back, "error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn a_code_needs_its_verifier_its_client_and_its_first_time() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let first = browser.ada(&[]).await;
    assert_eq!(refusal(&browser.token(&redemption(&first, "wrong")).await), "invalid_grant");
    assert_eq!(refusal(&browser.redeem(&first).await), "invalid_grant", "a wrong try uses it up");

    let second = code(&browser.authorize(&[]).await.location());
    let tokens = browser.redeem(&second).await;
    assert_eq!(refusal(&browser.redeem(&second).await), "invalid_grant");
    let refresh = text(&tokens, "refresh_token");
    assert_eq!(refusal(&browser.refresh(&refresh).await), "invalid_grant", "what came of it has ended");
    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    let ended = browser.send("GET", "/userinfo", &[], &[("authorization", &bearer)]).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);

    let third = code(&browser.authorize(&[]).await.location());
    let stolen = browser
        .post("/token", &redemption(&third, VERIFIER), &[("authorization", &basic("wiki:wiki+secret"))])
        .await;
    assert_eq!(refusal(&stolen), "invalid_grant");
}

#[tokio::test]
async fn a_client_proves_itself_in_one_way() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let own = browser.ada(&[]).await;
    let mut form = redemption(&own, VERIFIER).to_vec();
    for wrong in ["app:wrong", "app:", "nobody:app", "app", "app:app: secret%25&"] {
        let refused = browser.post("/token", &form, &[("authorization", &basic(wrong))]).await;
        assert_eq!(
            (refused.status, &*refusal(&refused)),
            (StatusCode::UNAUTHORIZED, "invalid_client"),
            "{wrong}"
        );
        assert!(refused.header("www-authenticate").starts_with("Basic"));
    }
    assert_eq!(refusal(&browser.post("/token", &form, &[]).await), "invalid_client");
    form.extend([("client_id", "app"), ("client_secret", "app: secret%")]);
    let both = browser.post("/token", &form, &[("authorization", &basic("app:app%3A+secret%25"))]).await;
    assert_eq!(refusal(&both), "invalid_request");
    assert_eq!(browser.post("/token", &form, &[]).await.status, StatusCode::OK, "nothing was used up");
}

#[tokio::test]
async fn a_form_counts_only_from_our_page_in_its_browser() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let page = browser.login_page(&[]).await;
    let (request, csrf) = (page.hidden("request"), page.hidden("csrf"));
    let form = |csrf| [("request", &*request), ("csrf", csrf), ("user", "u-1"), ("password", "countess")];
    let (good, bad) = (form(&*csrf), form("x"));
    let mut stranger = Browser::new(&world);
    for (own, form, header) in [
        (false, &good, ("x-none", "1")),
        (true, &bad, ("x-none", "1")),
        (true, &good, ("origin", "https://evil.example")),
        (true, &good, ("sec-fetch-site", "cross-site")),
    ] {
        let who = if own { &mut browser } else { &mut stranger };
        let refused = who.post("/login", form, &[header]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{header:?}");
        assert!(!refused.headers.contains_key("location") && !who.cookies.contains_key("__Host-dev-session"));
    }
    code(&browser.fill(&page, "ada@corp.example", "countess", "").await.location());
    let again = browser.fill(&page, "ada@corp.example", "countess", "").await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "it was completed");
}

#[tokio::test]
async fn who_mistypes_gets_a_few_tries() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let page = browser.login_page(&[]).await;
    for (user, password) in
        [("ada@corp.example", "x"), ("nobody", "countess"), ("eve@corp.example", "gone"), ("", "")]
    {
        let again = browser.fill(&page, user, password, "").await;
        assert!(again.status == StatusCode::FORBIDDEN && again.body.contains("role=\"alert\""), "{user}");
    }
    assert!(!browser.fill(&page, "u-1", "x", "").await.body.contains("role=\"alert\""));
    let over = browser.fill(&page, "u-1", "countess", "").await;
    assert_eq!(over.status, StatusCode::FORBIDDEN, "too late");
}

#[tokio::test]
async fn a_session_serves_the_next_client_unless_more_is_asked_for() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let back = browser.authorize(&[("prompt", "none")]).await.location();
    assert_eq!(parameter(&back, "error").as_deref(), Some("login_required"));

    let first = browser.ada(&[]).await;
    let first = browser.redeem(&first).await;
    let first = browser.claims(&text(&first, "id_token"), "JWT").await;
    for changes in [&[("prompt", "none")][..], &[("max_age", "3600")], &[]] {
        let next = code(&browser.authorize(changes).await.location());
        let next = browser.redeem(&next).await;
        let next = browser.claims(&text(&next, "id_token"), "JWT").await;
        assert_eq!((&next["sid"], &next["auth_time"]), (&first["sid"], &first["auth_time"]));
    }
    for changes in [("prompt", "login"), ("max_age", "0"), ("acr_values", "x mfa")] {
        let page = browser.login_page(&[changes]).await;
        assert!(page.body.contains("password"), "{changes:?}");
    }
    for more in [("acr_values", "mfa"), ("max_age", "0")] {
        let back = browser.authorize(&[("prompt", "none"), more]).await.location();
        assert_eq!(parameter(&back, "error").as_deref(), Some("login_required"), "{more:?}");
    }
    world.disable_ada();
    let back = browser.authorize(&[("prompt", "none")]).await.location();
    assert_eq!(parameter(&back, "error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn mfa_asks_for_the_one_time_code_and_says_so() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let page = browser.login_page(&[("acr_values", "mfa")]).await;
    assert!(page.body.contains("One-time code"));
    for (user, password, otp) in
        [("u-1", "countess", "000000"), ("u-1", "countess", ""), ("bob@corp.example", "builder", "")]
    {
        assert_eq!(browser.fill(&page, user, password, otp).await.status, StatusCode::FORBIDDEN, "{user}");
    }
    let with_code = code(&browser.fill(&page, "u-1", "countess", "123456").await.location());
    let tokens = browser.redeem(&with_code).await;
    let claims = browser.claims(&text(&tokens, "id_token"), "JWT").await;
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("mfa"), &json!(["pwd", "otp"])));
    code(&browser.authorize(&[("prompt", "none"), ("acr_values", "mfa")]).await.location());
}
