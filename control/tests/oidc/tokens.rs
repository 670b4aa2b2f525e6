//! ID tokens that are not the provider's word about this sign-in, each refused with a reason of its own (H15).

use std::time::Duration;

use control::oidc::{Begin, SignInError, TokenError};
use serde_json::{Value, json};

use crate::{
    provider::Answer,
    sign::{Key, access_hash, base64},
    world::{ACCESS, CLIENT, NOW, SECRET, SKEW, World, tokens, with},
};

/// What became of a sign-in whose token has other claims.
async fn changed(world: &World, changes: Value) -> Result<(), SignInError> {
    world.sign_in(|world, good| world.signed(&with(good, &changes))).await.map(drop)
}

fn refused(error: TokenError) -> Result<(), SignInError> {
    Err(SignInError::Token(error))
}

fn unread() -> Result<(), SignInError> {
    refused(TokenError::Malformed("its three parts, or a claim of the wrong type"))
}

#[tokio::test]
async fn a_good_token_signs_in() {
    let world = World::new().await;
    let signed_in = world.sign_in(|world, good| world.signed(&good)).await.unwrap();
    assert_eq!(signed_in.user.as_str(), "corp/alice");
    assert_eq!(signed_in.standing.email.as_deref(), Some("alice@corp.example"));
    assert_eq!(signed_in.standing.notes, [""; 0]);
    let sent = world.fake.seen("/token");
    assert_eq!(sent.len(), 1);
    assert!(sent[0].authorization.as_deref().unwrap().starts_with("Basic "), "the standard's default");
    assert!(
        sent[0].body.contains("code_verifier=") && sent[0].body.contains("grant_type=authorization_code")
    );
    assert!(world.fake.seen("/userinfo").is_empty(), "nothing was missing");
}

#[tokio::test]
async fn tokens_are_taken_from_all_good_algorithms() {
    for key in [Key::es256(), Key::es384(), Key::ed(), Key::rs256(), Key::ps256()] {
        let mut world = World::new().await;
        world.fake.answer("/keys", Answer::json(&json!({ "keys": [key.jwk("k1")] })));
        world.key = key;
        let signed_in = world.sign_in(|world, good| world.signed(&good)).await;
        assert!(signed_in.is_ok(), "{}: {signed_in:?}", world.key.alg());
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_listed_is_refused_whatever_key_it_is_by() {
    let mut world = World::new().await;
    world.key = Key::ps384();
    world.fake.answer("/keys", Answer::json(&json!({ "keys": [world.key.jwk("k1")] })));
    let outcome = world.sign_in(|world, good| world.signed(&good)).await;
    assert!(matches!(&outcome, Err(SignInError::Token(TokenError::Algorithm(_)))), "{outcome:?}");
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let world = World::new().await;
    let early = |name| refused(TokenError::Early(name));
    for (changes, outcome) in [
        (json!({ "iss": "https://evil.example" }), refused(TokenError::Issuer)),
        (json!({ "iss": format!("{}/", world.fake.issuer) }), refused(TokenError::Issuer)),
        (json!({ "aud": "other" }), refused(TokenError::Audience)),
        (json!({ "aud": [] }), refused(TokenError::Audience)),
        (json!({ "aud": null }), refused(TokenError::Audience)),
        (json!({ "aud": ["other", "another"] }), refused(TokenError::Audience)),
        (json!({ "aud": [CLIENT, "other"] }), refused(TokenError::AuthorizedParty)),
        (json!({ "aud": [CLIENT, "other"], "azp": "other" }), refused(TokenError::AuthorizedParty)),
        (json!({ "azp": "other" }), refused(TokenError::AuthorizedParty)),
        (json!({ "azp": [CLIENT] }), unread()),
        (json!({ "aud": [CLIENT, "other"], "azp": CLIENT }), Ok(())),
        (json!({ "aud": [CLIENT] }), Ok(())),
        (json!({ "nonce": null }), refused(TokenError::Nonce)),
        (json!({ "nonce": "" }), refused(TokenError::Nonce)),
        (json!({ "at_hash": access_hash("another") }), refused(TokenError::AccessHash)),
        (json!({ "at_hash": 7 }), unread()),
        (json!({ "at_hash": access_hash(ACCESS) }), Ok(())),
        (json!({ "exp": NOW - SKEW }), refused(TokenError::Expired)),
        (json!({ "exp": NOW - SKEW + 1 }), Ok(())),
        (json!({ "iat": NOW + SKEW }), Ok(())),
        (json!({ "iat": NOW + SKEW + 1 }), early("iat")),
        (json!({ "nbf": NOW + SKEW }), Ok(())),
        (json!({ "nbf": NOW + SKEW + 1 }), early("nbf")),
        (json!({ "auth_time": NOW + SKEW + 1 }), early("auth_time")),
        (json!({ "nbf": "soon" }), refused(TokenError::Malformed("nbf"))),
        (json!({ "exp": null }), unread()),
        (json!({ "sub": null }), unread()),
    ] {
        assert_eq!(changed(&world, changes.clone()).await, outcome, "{changes}");
    }
}

#[tokio::test]
async fn what_providers_write_differently_is_read() {
    let world = World::new().await;
    for changes in [
        json!({ "email_verified": "true" }),
        json!({ "updated_at": "2026-11-22T10:00:00Z" }),
        json!({ "auth_time": NOW as f64 - 0.5 }),
        json!({ "name": null, "picture": null, "unknown": { "of": ["any", "kind"] } }),
    ] {
        assert_eq!(changed(&world, changes.clone()).await, Ok(()), "{changes}");
    }
}

#[tokio::test]
async fn what_is_signed_by_others_is_refused() {
    let world = World::new().await;
    let (forger, rsa) = (Key::es256(), Key::rs256());
    let public = world.key.jwk("k1").to_string().into_bytes();
    let cases: [(&str, Key, TokenError); 4] = [
        ("k1", forger, TokenError::Signature),
        ("k2", Key::es256(), TokenError::UnknownKey),
        ("k1", rsa, TokenError::UnknownKey),
        ("k1", Key::None, TokenError::Algorithm("none".to_owned())),
    ];
    for (kid, key, error) in cases {
        let header = json!({ "alg": key.alg(), "kid": kid });
        let outcome = world.sign_in(|_, good| key.sign(&header, &good)).await.map(drop);
        assert_eq!(outcome, refused(error), "{header}");
    }
    for secret in [SECRET.as_bytes().to_vec(), public, Vec::new()] {
        let key = Key::Hmac(secret);
        let outcome = world.sign_in(|_, good| key.sign(&json!({ "alg": "HS256", "kid": "k1" }), &good)).await;
        assert!(matches!(&outcome, Err(SignInError::Token(TokenError::Algorithm(_)))), "{outcome:?}");
    }
    // A key that the provider itself lists as a shared one is none either.
    let shared = json!({ "kty": "oct", "kid": "k1", "k": base64(SECRET) });
    world.fake.answer("/keys", Answer::json(&json!({ "keys": [shared] })));
    let key = Key::Hmac(SECRET.as_bytes().to_vec());
    let outcome = world.sign_in(|_, good| key.sign(&json!({ "alg": "HS256", "kid": "k1" }), &good)).await;
    assert!(matches!(&outcome, Err(SignInError::Token(TokenError::Algorithm(_)))), "{outcome:?}");
}

#[tokio::test]
async fn a_signature_covers_every_part() {
    let world = World::new().await;
    let other = |claims: &Value| base64(with(claims.clone(), &json!({ "sub": "mallory" })).to_string());
    let outcome = world
        .sign_in(|world, good| {
            let token = world.signed(&good);
            let parts: Vec<_> = token.split('.').collect();
            format!("{}.{}.{}", parts[0], other(&good), parts[2])
        })
        .await;
    assert_eq!(outcome.map(drop), refused(TokenError::Signature));
    for mangle in
        [|t: &str| format!("{t}."), |t: &str| t.replace('.', ""), |t: &str| t[..t.len() - 4].to_owned()]
    {
        let outcome = world.sign_in(|world, good| mangle(&world.signed(&good))).await;
        assert!(matches!(outcome, Err(SignInError::Token(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_token_of_another_kind_is_refused() {
    let world = World::new().await;
    for changes in [
        json!({ "typ": "logout+jwt" }),
        json!({ "typ": "at+jwt" }),
        json!({ "crit": ["exp"] }),
        json!({ "cty": "JWT" }),
    ] {
        let outcome =
            world.sign_in(|world, good| world.key.sign(&with(world.header(), &changes), &good)).await;
        assert!(matches!(&outcome, Err(SignInError::Token(TokenError::Kind(_)))), "{changes}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_token_of_another_sign_in_is_refused() {
    let world = World::new().await;
    let first = world.begin(Begin::default()).await;
    world.gives(&world.signed(&world.claims(&first.nonce)));
    let second = world.begin(Begin::default()).await;
    assert_eq!(world.complete(&second, NOW).await.map(drop), refused(TokenError::Nonce));
    assert!(world.complete(&first, NOW).await.is_ok());
}

#[tokio::test]
async fn without_an_id_token_nobody_signs_in() {
    let world = World::new().await;
    let pending = world.begin(Begin::default()).await;
    world.fake.answer("/token", Answer::json(&with(tokens(""), &json!({ "id_token": null }))));
    assert_eq!(world.complete(&pending, NOW).await.map(drop), refused(TokenError::Absent));
}

#[tokio::test]
async fn a_fresh_sign_in_is_fresh_and_as_strong_as_asked() {
    let world = World::new().await;
    let ask =
        Begin { max_age: Some(Duration::from_secs(300)), acr: Some("mfa".to_owned()), ..Begin::default() };
    let class = |found: &str| TokenError::Class { asked: "mfa".to_owned(), found: found.to_owned() };
    for (changes, outcome) in [
        (json!({ "auth_time": NOW, "acr": "mfa" }), Ok(())),
        (json!({ "auth_time": NOW - 300 - SKEW, "acr": "mfa" }), Ok(())),
        (json!({ "auth_time": NOW - 301 - SKEW, "acr": "mfa" }), refused(TokenError::Stale)),
        (json!({ "acr": "mfa" }), refused(TokenError::NoAuthTime)),
        (json!({ "auth_time": NOW }), refused(class(""))),
        (json!({ "auth_time": NOW, "acr": "pwd" }), refused(class("pwd"))),
        (json!({ "auth_time": NOW, "acr": "mfa pwd" }), refused(class("mfa pwd"))),
    ] {
        let pending = world.begin(ask.clone()).await;
        world.gives(&world.signed(&with(world.claims(&pending.nonce), &changes)));
        assert_eq!(world.complete(&pending, NOW).await.map(drop), outcome, "{changes}");
    }
}
