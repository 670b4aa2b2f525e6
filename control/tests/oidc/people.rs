//! What a provider says of people, and how far it is believed (C12).

use control::oidc::{Begin, Incomplete, Prompt, ProviderError, SignInError};
use protocol::time::Timestamp;
use serde_json::{Value, json};

use crate::{
    provider::{Answer, DISCOVERY},
    sign::Key,
    world::{ACCESS, CLIENT, NOW, REDIRECT, World, at, discovery, with},
};

#[tokio::test]
async fn the_browser_is_sent_with_all_that_protects_a_sign_in() {
    let world = World::new().await;
    let begin = Begin {
        redirect_uri: REDIRECT.to_owned(),
        prompt: Some(Prompt::None),
        max_age: Some(std::time::Duration::from_secs(300)),
        acr: Some("mfa".to_owned()),
        login_hint: Some("alice@corp.example".to_owned()),
    };
    let one = world.provider.begin(begin.clone(), at(NOW)).await.unwrap();
    let two = world.provider.begin(begin, at(NOW)).await.unwrap();
    assert!(one.url.starts_with(&format!("{}/authorize?", world.fake.issuer)));
    for part in [
        "response_type=code",
        "code_challenge_method=S256",
        "code_challenge=",
        "prompt=none",
        "max_age=300",
        "acr_values=mfa",
        "login_hint=alice%40corp.example",
        "scope=openid+offline_access&",
        &format!("state={}", one.state),
        &format!("nonce={}", one.pending.nonce),
        "redirect_uri=https%3A%2F%2Fdoor.corp.example%2Fsign-in%2Fcorp",
    ] {
        assert!(format!("{}&", one.url).contains(part), "{part} in {}", one.url);
    }
    assert!(!one.url.contains(one.pending.verifier.expose().as_str()));
    assert!(
        one.state.len() >= 22 && one.pending.nonce.len() >= 22 && one.pending.verifier.expose().len() >= 43
    );
    assert!(one.state != two.state && one.pending.nonce != two.pending.nonce);
    assert!(one.pending.verifier != two.pending.verifier);
}

#[tokio::test]
async fn a_foreign_or_unverified_address_is_never_taken() {
    let world = World::new().await;
    for changes in [
        json!({ "email": "ceo@other.example" }),
        json!({ "email_verified": false }),
        json!({ "email_verified": null }),
        json!({ "email": "ceo@corp.example.evil.example" }),
    ] {
        let signed_in = world.sign_in(|world, good| world.signed(&with(good, &changes))).await.unwrap();
        assert_eq!(signed_in.standing.email, None, "{changes}");
        assert_eq!(signed_in.standing.notes.len(), 1, "{changes}");
    }
}

#[tokio::test]
async fn a_list_that_is_not_whole_refuses_the_sign_in() {
    let world = World::new().await;
    let many: Vec<_> = (0..2001).map(|n| n.to_string()).collect();
    for (changes, why) in [
        (json!({ "groups": null, "_claim_names": { "groups": "src1" } }), Incomplete::Elsewhere),
        (json!({ "groups": null, "hasgroups": true }), Incomplete::Elsewhere),
        (json!({ "groups": many }), Incomplete::TooMany),
        (json!({ "groups": "https://graph.example/groups" }), Incomplete::NoList),
    ] {
        // Not even where userinfo would say otherwise.
        world.fake.answer("/userinfo", Answer::json(&json!({ "sub": "alice", "groups": ["dev"] })));
        let outcome = world.sign_in(|world, good| world.signed(&with(good, &changes))).await;
        assert_eq!(outcome, Err(SignInError::Groups { claim: "groups".to_owned(), why }), "{changes}");
    }
}

/// Signs in with a token that lacks groups, and what userinfo answers.
async fn by_userinfo(world: &World, answer: Answer) -> Result<Vec<String>, SignInError> {
    world.fake.answer("/userinfo", answer);
    let lacking = json!({ "groups": null });
    let signed_in = world.sign_in(|world, good| world.signed(&with(good, &lacking))).await?;
    Ok(signed_in.standing.groups.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn userinfo_is_asked_for_what_is_missing() {
    let world = World::new().await;
    let groups = by_userinfo(&world, Answer::json(&json!({ "sub": "alice", "groups": ["ops"] }))).await;
    assert_eq!(groups.unwrap(), ["corp/ops"]);
    let seen = world.fake.seen("/userinfo");
    assert_eq!(seen[0].authorization.as_deref(), Some(&*format!("Bearer {ACCESS}")));
    let none = by_userinfo(&world, Answer::json(&json!({ "sub": "alice" }))).await;
    assert_eq!(none.unwrap(), [""; 0], "absent is empty");
    for other in [json!({ "sub": "mallory", "groups": ["ops"] }), json!({ "groups": ["ops"] }), json!([])] {
        let refused = by_userinfo(&world, Answer::json(&other)).await;
        assert!(matches!(refused, Err(SignInError::Provider(ProviderError::Malformed { .. }))), "{other}");
    }
    let status = by_userinfo(&world, Answer::status(503, &json!({}))).await;
    assert!(matches!(status, Err(SignInError::Provider(ProviderError::Status { status: 503, .. }))));
}

#[tokio::test]
async fn signed_userinfo_is_verified() {
    let world = World::new().await;
    let good = json!({ "iss": world.fake.issuer, "aud": CLIENT, "sub": "alice", "groups": ["ops"] });
    let jwt = |token: String| Answer::raw(200, "application/jwt; charset=utf-8", token);
    let groups = by_userinfo(&world, jwt(world.signed(&good))).await;
    assert_eq!(groups.unwrap(), ["corp/ops"]);
    let changed = |changes: &Value| world.signed(&with(good.clone(), changes));
    let forged = [
        Key::es256().sign(&world.header(), &good),
        Key::None.sign(&json!({ "alg": "none" }), &good),
        changed(&json!({ "aud": "other" })),
        changed(&json!({ "iss": "https://evil.example" })),
        "garbage".to_owned(),
    ];
    for token in forged {
        let refused = by_userinfo(&world, jwt(token.clone())).await;
        assert!(matches!(refused, Err(SignInError::Token(_))), "{token}: {refused:?}");
    }
}

#[tokio::test]
async fn without_userinfo_the_token_is_all() {
    let world = World::new().await;
    let lacks = with(discovery(&world.fake.issuer), &json!({ "userinfo_endpoint": null }));
    world.fake.answer(DISCOVERY, Answer::json(&lacks));
    let lacking = json!({ "groups": null });
    let signed_in = world.sign_in(|world, good| world.signed(&with(good, &lacking))).await.unwrap();
    assert!(signed_in.standing.groups.is_empty() && signed_in.standing.notes.len() == 1);
}

#[tokio::test]
async fn how_and_when_someone_signed_in_is_as_the_token_says() {
    let world = World::new().await;
    let says = json!({ "amr": ["pwd", "hwk"], "acr": "mfa", "auth_time": NOW - 7, "sid": "s1" });
    let signed_in = world.sign_in(|world, good| world.signed(&with(good, &says))).await.unwrap();
    assert_eq!(signed_in.amr.iter().map(String::as_str).collect::<Vec<_>>(), ["hwk", "pwd"]);
    assert_eq!((signed_in.acr.as_deref(), signed_in.sid.as_deref()), (Some("mfa"), Some("s1")));
    assert_eq!(signed_in.auth_time, Some(at(NOW - 7)));
    let silent = world.sign_in(|world, good| world.signed(&good)).await.unwrap();
    assert_eq!(silent.auth_time, None::<Timestamp>);
    assert!(silent.amr.is_empty() && silent.acr.is_none() && silent.sid.is_none());
}
