//! What each answer to a refresh means for a session.

use control::oidc::{Fault, Gone, IdClaim, Refreshed, Renewed, Standing};
use protocol::{config::Secret, id::UserId};
use serde_json::{Value, json};

use crate::{
    provider::{Answer, DISCOVERY},
    sign::Key,
    world::{NOW, REFRESH, SECRET, World, at, discovery, tokens, with},
};

async fn refreshed(world: &World) -> Refreshed {
    let (token, alice): (_, UserId) =
        (Secret::new("canary-old-token".to_owned()), "corp/alice".parse().unwrap());
    world.provider.refresh(&token, &alice, at(NOW)).await
}

fn standing(of: Refreshed) -> (Option<Secret<String>>, Option<Standing>) {
    match of {
        Refreshed::Still(Renewed { refresh, standing }) => (refresh, standing),
        other => panic!("{other:?}"),
    }
}

fn error(code: &str) -> Value {
    json!({ "error": code, "error_description": "because" })
}

#[tokio::test]
async fn only_invalid_grant_ends_a_session() {
    let world = World::new().await;
    let html = Answer::raw(200, "text/html", "<html>Sign in</html>");
    for (answer, fault) in [
        (Answer::status(401, &error("invalid_client")), Fault::Operator),
        (Answer::status(400, &error("invalid_client")), Fault::Operator),
        (Answer::status(400, &error("unauthorized_client")), Fault::Operator),
        (Answer::status(400, &error("invalid_request")), Fault::Operator),
        (Answer::status(400, &error("invalid_scope")), Fault::Operator),
        (Answer::status(400, &error("something_new")), Fault::Operator),
        (Answer::status(400, &json!({})), Fault::Operator),
        (Answer::raw(400, "text/plain", ""), Fault::Provider),
        (Answer::status(403, &json!("no")), Fault::Operator),
        (Answer::status(302, &json!({})).with("location", "/elsewhere"), Fault::Operator),
        (Answer::status(429, &error("slow_down")), Fault::Provider),
        (Answer::status(429, &error("invalid_grant")), Fault::Provider),
        (Answer::status(500, &error("server_error")), Fault::Provider),
        (Answer::status(500, &error("invalid_grant")), Fault::Provider),
        (Answer::raw(502, "text/html", "<html>"), Fault::Provider),
        (Answer::raw(503, "text/plain", ""), Fault::Provider),
        (html, Fault::Provider),
        (Answer::json(&json!({})), Fault::Provider),
        (Answer::json(&json!({ "error": "invalid_grant" })), Fault::Provider),
        (Answer::json(&tokens("garbage")), Fault::Provider),
    ] {
        let shown = format!("{} {:?}", answer.status, answer.body);
        world.fake.answer("/token", answer);
        match refreshed(&world).await {
            Refreshed::Later { alarm, .. } => assert_eq!(alarm.fault, fault, "{shown}: {alarm}"),
            other => panic!("{shown}: {other:?}"),
        }
    }
    for status in [400, 401, 403] {
        world.fake.answer("/token", Answer::status(status, &error("invalid_grant")));
        let ended = Refreshed::Gone(Gone::Ended { said: "because".to_owned() });
        assert_eq!(refreshed(&world).await, ended, "{status}");
    }
}

#[tokio::test]
async fn an_alarm_says_what_to_do() {
    let world = World::new().await;
    world.fake.answer("/token", Answer::status(401, &error("invalid_client")));
    let Refreshed::Later { alarm, .. } = refreshed(&world).await else { panic!("it stays") };
    assert!(alarm.text.contains("client secret has expired or is wrong: make a new one"), "{alarm}");
}

#[tokio::test]
async fn a_provider_that_is_gone_ends_nothing() {
    let world = World::with(|spec| spec.issuer = "https://localhost:1".to_owned()).await;
    let Refreshed::Later { alarm, .. } = refreshed(&world).await else { panic!("it stays") };
    assert_eq!(alarm.fault, Fault::Provider);
    assert!(alarm.text.contains("cannot be reached"), "{alarm}");
}

#[tokio::test]
async fn groups_are_looked_at_again() {
    let world = World::new().await;
    let without = with(world.claims(""), &json!({ "nonce": null, "groups": null }));
    world.gives(&world.signed(&without));
    world.fake.answer("/userinfo", Answer::json(&json!({ "sub": "alice", "groups": ["new"] })));
    let (refresh, seen) = standing(refreshed(&world).await);
    assert_eq!(refresh, Some(Secret::new(REFRESH.to_owned())));
    let groups = |standing: Option<Standing>| {
        standing.unwrap().groups.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(groups(seen), ["corp/new"]);
    // A token that lists them is enough.
    world.gives(&world.signed(&with(world.claims(""), &json!({ "nonce": null }))));
    assert_eq!(groups(standing(refreshed(&world).await).1), ["corp/dev"]);
    assert_eq!(world.fake.seen("/userinfo").len(), 1);
    assert!(world.fake.seen("/token")[0].body.contains("refresh_token=canary-old-token"));
}

#[tokio::test]
async fn without_an_id_token_userinfo_is_asked() {
    let world = World::new().await;
    let bare = with(tokens(""), &json!({ "id_token": null, "refresh_token": null }));
    world.fake.answer("/token", Answer::json(&bare));
    world.fake.answer("/userinfo", Answer::json(&json!({ "sub": "alice", "groups": ["new"] })));
    let (refresh, seen) = standing(refreshed(&world).await);
    assert_eq!((refresh, seen.unwrap().groups.len()), (None, 1));
    world.fake.answer("/userinfo", Answer::json(&json!({ "sub": "mallory", "groups": ["new"] })));
    assert!(matches!(refreshed(&world).await, Refreshed::Gone(Gone::Other { .. })));
    world.fake.answer("/userinfo", Answer::status(503, &json!({})));
    assert!(matches!(refreshed(&world).await, Refreshed::Later { .. }));
    let lacks = World::new().await;
    let none = with(discovery(&lacks.fake.issuer), &json!({ "userinfo_endpoint": null }));
    lacks.fake.answer(DISCOVERY, Answer::json(&none));
    lacks.fake.answer("/token", Answer::json(&bare));
    assert_eq!(standing(refreshed(&lacks).await), (None, None));
}

#[tokio::test]
async fn an_answer_about_someone_else_ends_it_and_a_forged_one_does_not() {
    let world = World::new().await;
    let of = |changes: &Value| with(with(world.claims(""), &json!({ "nonce": null })), changes);
    world.gives(&world.signed(&of(&json!({ "sub": "mallory" }))));
    assert!(matches!(refreshed(&world).await, Refreshed::Gone(Gone::Other { .. })));
    let incomplete = json!({ "groups": null, "_claim_names": { "groups": "src1" } });
    for token in [
        Key::es256().sign(&world.header(), &of(&json!({ "sub": "mallory" }))),
        world.signed(&of(&json!({ "aud": "other" }))),
        world.signed(&of(&json!({ "exp": NOW - 3600 }))),
        world.signed(&of(&incomplete)),
    ] {
        world.gives(&token);
        let outcome = refreshed(&world).await;
        assert!(matches!(outcome, Refreshed::Later { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn userinfo_that_does_not_say_the_id_says_nothing() {
    let world = World::with(|spec| spec.id_claim = IdClaim::Oid).await;
    world.fake.answer("/token", Answer::json(&with(tokens(""), &json!({ "id_token": null }))));
    world.fake.answer("/userinfo", Answer::json(&json!({ "sub": "pairwise", "groups": ["new"] })));
    assert_eq!(standing(refreshed(&world).await).1, None);
    world
        .fake
        .answer("/userinfo", Answer::json(&json!({ "sub": "pairwise", "oid": "alice", "groups": ["new"] })));
    assert!(standing(refreshed(&world).await).1.is_some());
}

#[tokio::test]
async fn an_explanation_that_repeats_a_secret_is_not_repeated() {
    let world = World::new().await;
    for secret in [SECRET, "canary-old-token"] {
        for code in ["invalid_grant", "invalid_client"] {
            let said = json!({ "error": code, "error_description": format!("no: {secret}") });
            world.fake.answer("/token", Answer::status(400, &said));
            let outcome = format!("{:?}", refreshed(&world).await);
            assert!(!outcome.contains(secret) && outcome.contains("repeats a secret"), "{outcome}");
        }
    }
}
