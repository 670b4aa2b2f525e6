//! Logout tokens that are none: each refused (H11, and OpenID Connect Back-Channel Logout 1.0, 2.6).

use control::oidc::{Begin, LogoutError, LogoutToken, SignInError, TokenError};
use serde_json::{Value, json};

use crate::{
    provider::{Answer, DISCOVERY},
    sign::Key,
    world::{CLIENT, NOW, SKEW, World, at, discovery, with},
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "k1", "typ": "logout+jwt" })
}

fn claims(world: &World) -> Value {
    json!({
        "iss": world.fake.issuer, "aud": CLIENT, "iat": NOW, "exp": NOW + 120, "jti": "j1", "sub": "alice",
        "sid": "s1", "events": { EVENT: {} },
    })
}

async fn heard(world: &World, header: &Value, changes: &Value) -> Result<LogoutToken, LogoutError> {
    let token = world.key.sign(header, &with(claims(world), changes));
    world.provider.verify_logout_token(&token, at(NOW)).await
}

#[tokio::test]
async fn a_logout_token_says_whose_sessions_end() {
    let world = World::new().await;
    let both = heard(&world, &header(), &json!({})).await.unwrap();
    let expected = LogoutToken {
        sub: Some("alice".to_owned()),
        sid: Some("s1".to_owned()),
        jti: "j1".to_owned(),
        iat: at(NOW),
    };
    assert_eq!(both, expected);
    for good in [
        json!({ "sid": null }),
        json!({ "sub": null }),
        json!({ "exp": null }),
        json!({ "aud": [CLIENT, "other"] }),
        json!({ "iat": NOW - 120 - SKEW }),
        json!({ "iat": NOW + 120 + SKEW }),
        json!({ "exp": NOW - SKEW + 1 }),
        json!({ "events": { EVENT: { "more": 1 }, "other": {} } }),
    ] {
        assert!(heard(&world, &header(), &good).await.is_ok(), "{good}");
    }
    for typ in ["logout+JWT", "application/logout+jwt"] {
        assert!(heard(&world, &with(header(), &json!({ "typ": typ })), &json!({})).await.is_ok(), "{typ}");
    }
}

#[tokio::test]
async fn what_is_no_logout_token_is_refused() {
    let world = World::new().await;
    let token = |error: TokenError| LogoutError::Token(error);
    for (changes, error) in [
        (json!({ "iss": "https://evil.example" }), token(TokenError::Issuer)),
        (json!({ "iss": null }), token(TokenError::Issuer)),
        (json!({ "aud": "other" }), token(TokenError::Audience)),
        (json!({ "aud": null }), token(TokenError::Audience)),
        (json!({ "aud": { CLIENT: 1 } }), token(TokenError::Audience)),
        (json!({ "iat": null }), token(TokenError::Malformed("iat"))),
        (json!({ "iat": "now" }), token(TokenError::Malformed("iat"))),
        (json!({ "iat": NOW - 121 - SKEW }), token(TokenError::Expired)),
        (json!({ "iat": NOW + 121 + SKEW }), token(TokenError::Early("iat"))),
        (json!({ "exp": NOW - SKEW }), token(TokenError::Expired)),
    ] {
        assert_eq!(heard(&world, &header(), &changes).await, Err(error), "{changes}");
    }
    let long = "x".repeat(256);
    for changes in [
        json!({ "events": null }),
        json!({ "events": EVENT }),
        json!({ "events": [EVENT] }),
        json!({ "events": {} }),
        json!({ "events": { "other": {} } }),
        json!({ "events": { EVENT: true } }),
        json!({ "nonce": "n" }),
        json!({ "nonce": "" }),
        json!({ "sub": null, "sid": null }),
        json!({ "sub": "" }),
        json!({ "sid": 7 }),
        json!({ "sid": long }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": 7 }),
    ] {
        let outcome = heard(&world, &header(), &changes).await;
        assert!(matches!(outcome, Err(LogoutError::Other(_))), "{changes}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_is_signed_otherwise_is_refused() {
    let world = World::new().await;
    let claims = claims(&world);
    let public = Key::Hmac(world.key.jwk("k1").to_string().into_bytes());
    let secret = Key::Hmac(crate::world::SECRET.as_bytes().to_vec());
    for (key, error) in [
        (Key::es256(), TokenError::Signature),
        (Key::None, TokenError::Algorithm("none".to_owned())),
        (public, TokenError::Algorithm("HS256".to_owned())),
        (secret, TokenError::Algorithm("HS256".to_owned())),
        (Key::rs256(), TokenError::Signature),
    ] {
        let token = key.sign(&with(header(), &json!({ "alg": key.alg() })), &claims);
        let outcome = world.provider.verify_logout_token(&token, at(NOW)).await;
        assert_eq!(outcome, Err(error.into()), "{}", key.alg());
    }
    for changes in [json!({ "crit": ["b64"], "b64": false }), json!({ "cty": "JWT" })] {
        let token = world.key.sign(&with(header(), &changes), &claims);
        let outcome = world.provider.verify_logout_token(&token, at(NOW)).await;
        assert!(matches!(outcome, Err(LogoutError::Token(TokenError::Kind(_)))), "{outcome:?}");
    }
    for garbage in ["", ".", "..", "...", "a.b.c", &"x".repeat(70_000), "é.é.é"] {
        let outcome = world.provider.verify_logout_token(garbage, at(NOW)).await;
        assert!(matches!(outcome, Err(LogoutError::Token(TokenError::Malformed(_)))), "{outcome:?}");
    }
}

#[tokio::test]
async fn neither_token_passes_for_the_other() {
    let world = World::new().await;
    let pending = world.begin(Begin::default()).await;
    for typ in [json!("JWT"), json!("at+jwt"), json!(null)] {
        let id = world.key.sign(&with(header(), &json!({ "typ": typ })), &world.claims(&pending.nonce));
        let outcome = world.provider.verify_logout_token(&id, at(NOW)).await;
        assert!(matches!(outcome, Err(LogoutError::Kind(_))), "{outcome:?}");
    }
    // Even if the provider gave it the type, even without a nonce.
    for claims in [world.claims("n"), with(world.claims(""), &json!({ "nonce": null }))] {
        let id = world.key.sign(&header(), &claims);
        let outcome = world.provider.verify_logout_token(&id, at(NOW)).await;
        assert!(matches!(outcome, Err(LogoutError::Other(_))), "{outcome:?}");
    }
    let all = with(claims(&world), &json!({ "nonce": pending.nonce }));
    world.gives(&world.key.sign(&header(), &all));
    let outcome = world.complete(&pending, NOW).await;
    assert!(matches!(outcome, Err(SignInError::Token(TokenError::Kind(_)))), "{outcome:?}");
    world.gives(&world.signed(&claims(&world)));
    assert_eq!(world.complete(&pending, NOW).await, Err(SignInError::Token(TokenError::Nonce)));
}

#[tokio::test]
async fn a_provider_that_is_away_is_no_reason_to_refuse_for_good() {
    let world = World::new().await;
    world.fake.answer(DISCOVERY, Answer::status(503, &json!({})));
    let outcome = heard(&world, &header(), &json!({})).await;
    assert!(matches!(outcome, Err(LogoutError::Provider(_))), "{outcome:?}");
}

#[tokio::test]
async fn signing_out_at_the_provider_needs_no_token() {
    let world = World::new().await;
    let back = "https://door.corp.example/signed-out";
    let url = world.provider.end_session_url(back, "st&ate", at(NOW)).await.unwrap();
    let expected = format!(
        "{}/logout?client_id=doorward&post_logout_redirect_uri=https%3A%2F%2Fdoor.corp.example%2Fsigned-out&state=st%26ate",
        world.fake.issuer
    );
    assert_eq!(url, expected);
    let lacks = World::new().await;
    let none = with(discovery(&lacks.fake.issuer), &json!({ "end_session_endpoint": null }));
    lacks.fake.answer(DISCOVERY, Answer::json(&none));
    assert_eq!(lacks.provider.end_session_url(back, "s", at(NOW)).await, None);
}
