//! Refreshing: every token once, and only for people who are still there.

use crate::{
    browser::Browser,
    client::{VERIFIER, basic, code, refusal, text},
    world::World,
};

#[tokio::test]
async fn refreshing_rotates_and_a_copy_ends_everything() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let grant = browser.ada(&[]).await;
    let first = browser.redeem(&grant).await;
    let second = browser.refresh(&text(&first, "refresh_token")).await;
    let was = browser.claims(&text(&first, "id_token"), "JWT").await;
    let is = browser.claims(&text(&second, "id_token"), "JWT").await;
    assert!(is["nonce"].is_null(), "OpenID Connect Core, 12.2");
    for name in ["iss", "sub", "aud", "auth_time", "acr", "sid", "groups"] {
        assert_eq!(was[name], is[name], "{name}");
    }
    assert_ne!(text(&first, "refresh_token"), text(&second, "refresh_token"));
    let more = [("grant_type", "refresh_token"), ("refresh_token", "x.y"), ("scope", "openid")];
    assert_eq!(refusal(&browser.token(&more).await), "invalid_grant");

    assert_eq!(refusal(&browser.refresh(&text(&first, "refresh_token")).await), "invalid_grant");
    assert_eq!(refusal(&browser.refresh(&text(&second, "refresh_token")).await), "invalid_grant");
}

#[tokio::test]
async fn who_was_disabled_is_refreshed_no_more() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let grant = browser.ada(&[]).await;
    let tokens = browser.redeem(&grant).await;
    let tokens = browser.refresh(&text(&tokens, "refresh_token")).await;
    let late = code(&browser.authorize(&[]).await.location());
    world.disable_ada();
    assert_eq!(refusal(&browser.refresh(&text(&tokens, "refresh_token")).await), "invalid_grant");
    assert_eq!(refusal(&browser.redeem(&late).await), "invalid_grant", "nor does a code help");
}

#[tokio::test]
async fn a_client_without_refresh_tokens_gets_none() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let (client, address) = (("client_id", "wiki"), ("redirect_uri", "https://wiki.example/cb"));
    let grant = browser.ada(&[client, address]).await;
    let form =
        [("grant_type", "authorization_code"), ("code", &*grant), address, ("code_verifier", VERIFIER)];
    let tokens = browser.post("/token", &form, &[("authorization", &basic("wiki:wiki+secret"))]).await;
    assert!(tokens.json()["refresh_token"].is_null() && tokens.json()["id_token"].is_string());
    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    let known = browser.send("GET", "/userinfo", &[], &[("authorization", &bearer)]).await;
    assert_eq!(known.json()["email"], "ada@corp.example");
}
