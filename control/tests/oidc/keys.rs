//! Keys that change, keys that are forged, and a provider that fails: how often it is asked.

use control::oidc::{Addresses, Begin, Refreshed, Returned, SignInError, TokenError};
use protocol::{config::Secret, time::Timestamp};
use serde_json::json;

use crate::{
    provider::{Answer, DISCOVERY},
    sign::Key,
    world::{NOW, REDIRECT, World, at, discovery, with},
};

fn begin() -> Begin {
    Begin { redirect_uri: REDIRECT.to_owned(), ..Begin::default() }
}

async fn begins(world: &World, now: Timestamp) -> Result<(), SignInError> {
    world.provider.begin(begin(), now).await.map(drop)
}

#[tokio::test]
async fn new_keys_are_taken_without_a_restart() {
    let mut world = World::new().await;
    assert!(world.sign_in(|world, good| world.signed(&good)).await.is_ok());
    let new = Key::es256();
    world.fake.answer("/keys", Answer::json(&json!({ "keys": [new.jwk("k2")] })));
    world.key = new;
    let pending = world.begin(Begin::default()).await;
    let header = with(world.header(), &json!({ "kid": "k2" }));
    world.gives(&world.key.sign(&header, &world.claims(&pending.nonce)));
    assert!(world.complete(&pending, NOW + 10).await.is_ok());
    assert_eq!(world.fake.seen("/keys").len(), 2);
    assert_eq!(world.fake.seen(DISCOVERY).len(), 1);
}

#[tokio::test]
async fn forged_keys_are_looked_for_once_in_ten_seconds() {
    let world = World::new().await;
    let forger = Key::es256();
    begins(&world, at(NOW)).await.unwrap();
    let mut asked = Vec::new();
    for second in 0..25 {
        for n in 0..4 {
            let header = json!({ "alg": "ES256", "typ": "logout+jwt", "kid": format!("{second}-{n}") });
            let token = forger.sign(&header, &json!({}));
            let refused = world.provider.verify_logout_token(&token, at(NOW + second)).await;
            assert_eq!(refused, Err(TokenError::UnknownKey.into()));
        }
        asked.push(world.fake.seen("/keys").len());
    }
    assert_eq!((asked[9], asked[10], asked[19], asked[20], asked[24]), (1, 2, 2, 3, 3));
}

#[tokio::test]
async fn who_needs_the_same_waits_for_one_look() {
    let world = World::new().await;
    let (a, b, c) = tokio::join!(begins(&world, at(NOW)), begins(&world, at(NOW)), begins(&world, at(NOW)));
    assert_eq!((a, b, c), (Ok(()), Ok(()), Ok(())));
    assert_eq!((world.fake.seen(DISCOVERY).len(), world.fake.seen("/keys").len()), (1, 1));
}

#[tokio::test]
async fn what_is_known_is_fresh_for_an_hour() {
    let world = World::new().await;
    for (second, looks) in [(0, 1), (3599, 1), (3600, 2), (3601, 2), (-1, 3)] {
        begins(&world, at(NOW + second)).await.unwrap();
        assert_eq!(world.fake.seen(DISCOVERY).len(), looks, "after {second} s");
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_ever_less_and_what_is_known_serves_on() {
    let world = World::new().await;
    world.fake.answer(DISCOVERY, Answer::status(503, &json!({})));
    let mut looks = Vec::new();
    for second in 0..200 {
        assert!(matches!(begins(&world, at(NOW + second)).await, Err(SignInError::Provider(_))));
        looks.push(world.fake.seen(DISCOVERY).len());
    }
    // After 0, 1, 3, 7, 15, 31, 63 s, and each minute from then on.
    assert_eq!((looks[0], looks[1], looks[2], looks[3], looks[62], looks[63]), (1, 2, 2, 3, 6, 7));
    assert_eq!((looks[122], looks[123], looks[199]), (7, 8, 9));
    let (since, alarm) = world.provider.health().unwrap();
    assert_eq!(since, at(NOW + 183));
    assert!(alarm.text.contains("503"), "{alarm}");
    world.fake.answer(DISCOVERY, Answer::json(&discovery(&world.fake.issuer)));
    begins(&world, at(NOW + 300)).await.unwrap();
    assert_eq!(world.provider.health(), None);
    world.fake.answer(DISCOVERY, Answer::status(503, &json!({})));
    begins(&world, at(NOW + 300 + 3600)).await.unwrap();
    assert!(world.provider.health().is_some());
    assert!(begins(&world, at(NOW + 300 + 6 * 3600)).await.is_err(), "not for ever");
}

#[tokio::test]
async fn all_of_it_runs_in_tasks() {
    let world = World::new().await;
    let provider = std::sync::Arc::new(world.provider);
    let (one, two) = (provider.clone(), provider.clone());
    let returned = Returned { code: Secret::new("code".to_owned()), iss: None };
    let pending = provider.begin(begin(), at(NOW)).await.unwrap().pending;
    let signing_in = tokio::spawn(async move { one.complete(&returned, &pending, at(NOW)).await });
    let refreshing = tokio::spawn(async move {
        let (token, alice) = (Secret::new("token".to_owned()), "corp/alice".parse().unwrap());
        two.refresh(&token, &alice, at(NOW)).await
    });
    let checking = tokio::spawn(async move {
        let url = provider.end_session_url(REDIRECT, "state", at(NOW)).await;
        (
            url,
            provider.verify_logout_token("", at(NOW)).await,
            provider.check(Addresses::default(), at(NOW)).await,
        )
    });
    assert!(signing_in.await.unwrap().is_err());
    assert!(matches!(refreshing.await.unwrap(), Refreshed::Later { .. }));
    assert!(checking.await.unwrap().0.is_some());
}
