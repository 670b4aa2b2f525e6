//! What a provider says is obeyed once; what is not its word changes nothing.

use serde_json::{Value, json};

use super::*;
use crate::testing::{
    faulty::{Faulty, When},
    provider::{Fake, LOGOUT, base64, forged, seconds, with},
};

impl Outdoors {
    /// A good token with some claims changed.
    fn token(&self, jti: &str, changes: &Value) -> String {
        let fake = &self.world.fake;
        fake.sign(&Fake::header(), &with(fake.logout(jti), changes))
    }

    /// The latest commit.
    async fn revision(&self) -> control::store::Revision {
        self.world.kept().await.meta.revision
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("no hang");
}

#[tokio::test]
async fn a_session_of_the_providers_ends_with_all_it_has_open_before_the_answer() {
    let outdoors = Outdoors::new().await;
    let world = &outdoors.world;
    world.sign_in("laptop", "alice", "s1").await;
    world.sign_in("tablet", "alice", "s2").await;
    world.sign_in("phone", "bob", "s3").await;
    let [laptop, tablet, phone] = ["laptop", "tablet", "phone"].map(|device| world.open(device));
    let answer = outdoors.show(&outdoors.token("j1", &json!({ "sid": "s1", "sub": "alice" }))).await;
    assert_eq!((answer.status, &*answer.body), (200, ""), "{answer:?}");
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert!(laptop.0.token().is_cancelled(), "what it had open is cut");
    assert!(!tablet.0.token().is_cancelled() && !phone.0.token().is_cancelled(), "a sid names one session");
    assert_eq!(["laptop", "tablet", "phone"].map(|device| world.is_in(device)), [false, true, true]);
    assert_eq!(world.kept_sessions().await, 2, "it is durable");
}

#[tokio::test]
async fn without_a_session_all_of_the_person_end() {
    let outdoors = Outdoors::new().await;
    let world = &outdoors.world;
    world.sign_in("laptop", "alice", "s1").await;
    world.sign_in("tablet", "alice", "s2").await;
    world.sign_in("phone", "bob", "s3").await;
    let (cut, _guard) = world.open("tablet");
    assert_eq!(outdoors.show(&outdoors.token("j1", &json!({ "sub": "alice" }))).await.status, 200);
    assert!(cut.token().is_cancelled());
    assert_eq!(["laptop", "tablet", "phone"].map(|device| world.is_in(device)), [false, false, true]);
    // Who is signed in nowhere is signed out all the same (2.8 asks for success).
    assert_eq!(outdoors.show(&outdoors.token("j2", &json!({ "sub": "nobody" }))).await.status, 200);
    let unknown = json!({ "sid": "s9", "sub": "bob" });
    assert_eq!(outdoors.show(&outdoors.token("j3", &unknown)).await.status, 200);
    assert!(world.is_in("phone"), "another session of theirs is not meant");
}

#[tokio::test]
async fn a_token_counts_once() {
    let outdoors = Outdoors::new().await;
    let world = &outdoors.world;
    world.sign_in("laptop", "alice", "s1").await;
    let token = outdoors.token("j1", &json!({ "sub": "alice" }));
    assert_eq!(outdoors.show(&token).await.status, 200);
    world.sign_in("laptop", "alice", "s1").await;
    let before = outdoors.revision().await;
    let again = outdoors.show(&token).await;
    assert_eq!((again.status, &*error(&again)), (400, "invalid_request"));
    // By another signature it is the same token: its own name counts.
    let again = outdoors.show(&outdoors.token("j1", &json!({ "sub": "alice", "sid": "s1" }))).await;
    assert_eq!(again.status, 400);
    assert!(world.is_in("laptop"), "a replay changes nothing");
    assert_eq!((outdoors.revision().await, outdoors.refused("outside_replayed")), (before, 2));
    assert_eq!(outdoors.show(&outdoors.token("j2", &json!({ "sub": "alice" }))).await.status, 200);
    assert!(!world.is_in("laptop"));
}

/// Cases H11 and H15 at this door, and that nothing of it is written.
#[tokio::test]
async fn what_is_not_the_providers_word_changes_nothing() {
    let outdoors = Outdoors::new().await;
    let (world, fake) = (&outdoors.world, &outdoors.world.fake);
    world.sign_in("laptop", "alice", "s1").await;
    let good = with(fake.logout("j1"), &json!({ "sub": "alice" }));
    let (now, header) = (seconds(), Fake::header());
    let none = format!("{}.{}.", base64(r#"{"alg":"none","typ":"logout+jwt"}"#), base64(good.to_string()));
    let id = json!({
        "iss": fake.issuer, "aud": "doorward", "sub": "alice", "sid": "s1", "iat": now, "exp": now + 300,
        "nonce": "n", "jti": "j1",
    });
    let changed = |changes: Value| fake.sign(&header, &with(good.clone(), &changes));
    let tokens = [
        ("forged", forged(&header, &good)),
        ("unsigned", none),
        ("another issuer's", changed(json!({ "iss": "https://evil.example" }))),
        ("for another client", changed(json!({ "aud": "other" }))),
        ("expired", changed(json!({ "exp": now - 400, "iat": now - 600 }))),
        ("from the future", changed(json!({ "iat": now + 600 }))),
        ("with a nonce", changed(json!({ "nonce": "n" }))),
        ("without an event", changed(json!({ "events": {} }))),
        ("of another event", changed(json!({ "events": { "http://schemas.openid.net/event/x": {} } }))),
        ("without a name", changed(json!({ "jti": null }))),
        ("about nobody", changed(json!({ "sub": null }))),
        ("an ID token", fake.sign(&json!({ "alg": "ES256", "kid": "k1", "typ": "JWT" }), &id)),
        ("an ID token in disguise", fake.sign(&header, &id)),
        ("an ID token with an event", fake.sign(&header, &with(id, &json!({ "events": { LOGOUT: {} } })))),
        ("no token", "garbage".to_owned()),
        ("empty", String::new()),
    ];
    let before = outdoors.revision().await;
    for (what, token) in &tokens {
        let answer = outdoors.show(token).await;
        assert_eq!((answer.status, &*error(&answer)), (400, "invalid_request"), "{what}: {answer:?}");
        assert!(!answer.body.to_lowercase().contains("doorward"), "{what}: {answer:?}");
    }
    assert_eq!(outdoors.refused("outside_bad_token"), tokens.len() as u64);
    assert!(world.is_in("laptop"));
    assert_eq!(outdoors.revision().await, before, "nothing was written");
    assert_eq!(outdoors.show(&changed(json!({}))).await.status, 200, "and the good one is still good");
}

#[tokio::test]
async fn a_form_with_one_token_is_taken_and_nothing_else() {
    let outdoors = Outdoors::new().await;
    let token = outdoors.token("j1", &json!({ "sub": "alice" }));
    let form = "Content-Type: application/x-www-form-urlencoded";
    let large = "x".repeat(LARGEST_BODY);
    for (headers, body, status) in [
        (vec![form], String::new(), 400),
        (vec![form], "token=x".to_owned(), 400),
        (vec![form], format!("logout_token={token}&logout_token={token}"), 400),
        (vec!["Content-Type: application/json"], format!("{{\"logout_token\":\"{token}\"}}"), 400),
        (vec![], format!("logout_token={token}"), 400),
        (vec![form], format!("logout_token={large}"), 413),
    ] {
        let answer = outdoors.post_to("corp", &headers, &body).await;
        assert_eq!((answer.status, &*error(&answer)), (status, "invalid_request"), "{headers:?}");
    }
    assert_eq!(outdoors.refused("outside_no_form"), 6);
    for provider in ["other", "corp/", "", "%ff", "corp%2f"] {
        let answer = outdoors.post_to(provider, &[form], &format!("logout_token={token}")).await;
        assert_eq!((answer.status, &*answer.body), (404, ""), "{provider}");
    }
    // What it does not know it passes over (2.5).
    assert_eq!(outdoors.post(&format!("new=1&logout_token={token}&state=s")).await.status, 200);
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_to_say_it_again() {
    let outdoors = Outdoors::new().await;
    let token = outdoors.token("j1", &json!({ "sub": "alice" }));
    outdoors.world.fake.away(true);
    let answer = outdoors.show(&token).await;
    assert_eq!((answer.status, &*error(&answer)), (503, "temporarily_unavailable"));
    assert_eq!(answer.values("retry-after").len(), 1);
    assert_eq!(outdoors.refused("outside_unavailable"), 1);
}

/// A revocation never waits for a disk; who said it may say it again.
#[tokio::test]
async fn without_a_store_sessions_are_cut_all_the_same_and_a_second_try_makes_it_durable() {
    let mut faulty = None;
    let outdoors = Outdoors::over(|engine| {
        let wrapped = Faulty::over(engine, When::Before);
        faulty = Some(wrapped.clone());
        wrapped
    })
    .await;
    let (world, faulty) = (&outdoors.world, faulty.expect("wrapped"));
    world.sign_in("laptop", "alice", "s1").await;
    let (cut, _guard) = world.open("laptop");
    let token = outdoors.token("j1", &json!({ "sub": "alice" }));
    faulty.fail(0..usize::MAX);
    for _ in 0..2 {
        let answer = outdoors.show(&token).await;
        assert_eq!((answer.status, &*error(&answer)), (503, "temporarily_unavailable"));
        assert!(cut.token().is_cancelled() && !world.is_in("laptop"), "it holds here");
    }
    faulty.fail(0..0);
    assert_eq!(world.kept_sessions().await, 1, "the store knows nothing of it");
    assert_eq!(outdoors.show(&token).await.status, 200, "the same token again is no replay");
    assert_eq!((world.kept_sessions().await, world.is_in("laptop")), (0, false));
    assert_eq!(outdoors.show(&token).await.status, 400, "now it is one");
}

#[tokio::test]
async fn what_was_kept_without_its_sender_hearing_of_it_is_no_replay() {
    let mut faulty = None;
    let outdoors = Outdoors::over(|engine| {
        let wrapped = Faulty::over(engine, When::Before);
        faulty = Some(wrapped.clone());
        wrapped
    })
    .await;
    let (world, faulty) = (&outdoors.world, faulty.expect("wrapped"));
    world.sign_in("laptop", "alice", "s1").await;
    let token = outdoors.token("j1", &json!({ "sub": "alice" }));
    // The commit is the first call; what reads it back is the second.
    faulty.fail(1..2);
    assert_eq!(outdoors.show(&token).await.status, 503);
    assert_eq!((world.kept_sessions().await, world.is_in("laptop")), (0, false));
    assert_eq!(outdoors.show(&token).await.status, 200);
    assert_eq!(outdoors.show(&token).await.status, 400);
}

/// It is cut before the disk is asked, and whoever hangs up meanwhile leaves nothing half done.
#[tokio::test]
async fn a_sender_who_hangs_up_stops_nothing() {
    let mut faulty = None;
    let outdoors = Outdoors::over(|engine| {
        let wrapped = Faulty::over(engine, When::Before);
        faulty = Some(wrapped.clone());
        wrapped
    })
    .await;
    let (world, faulty) = (&outdoors.world, faulty.expect("wrapped"));
    world.sign_in("laptop", "alice", "s1").await;
    let (cut, _guard) = world.open("laptop");
    let token = outdoors.token("j1", &json!({ "sub": "alice" }));
    let held = faulty.held.write().await;
    let mut asked = Box::pin(outdoors.show(&token));
    tokio::select! {
        answer = &mut asked => panic!("answered before it is durable: {answer:?}"),
        () = cut.token().cancelled() => {}
    }
    drop(asked);
    until(|| outdoors.outside.0.sources.count() == 0).await;
    drop(held);
    until(|| world.reloader.view().revoked().next().is_none()).await;
    assert_eq!((world.kept_sessions().await, world.is_in("laptop")), (0, false));
    assert_eq!(outdoors.show(&token).await.status, 200, "its sender never heard of it");
}

/// Each look goes by the configuration in force.
#[tokio::test]
async fn a_provider_that_a_reload_takes_away_says_nothing_any_more() {
    let outdoors = Outdoors::new().await;
    let world = &outdoors.world;
    let token = outdoors.token("j1", &json!({ "sub": "alice" }));
    let file = world.company.folder().join("doorward.toml");
    let with_it = std::fs::read_to_string(&file).expect("read");
    let without = with_it.replace(&world.fake.section(), "");
    assert_ne!(with_it, without);
    world.company.write("doorward.toml", &without);
    world.reloader.load(crate::truth::Scope::All).await.expect("loaded");
    assert_eq!(outdoors.show(&token).await.status, 404);
    world.company.write("doorward.toml", &with_it);
    world.reloader.load(crate::truth::Scope::All).await.expect("loaded");
    assert_eq!(outdoors.show(&token).await.status, 200);
}
