//! What a provider, or who stands in for it, may answer: nothing of it is followed or taken in without a bound.

use std::{collections::BTreeMap, net::SocketAddr};

use control::oidc::{
    Begin, Fault, HttpError, Provider, ProviderError, ProviderSpec, Returned, SignInError, SpecError,
};
use protocol::config::Secret;
use serde_json::json;

use crate::{
    provider::{Answer, DISCOVERY, ELSEWHERE},
    world::{NOW, REDIRECT, World, at, discovery, with},
};

async fn begins(world: &World) -> ProviderError {
    let begin = Begin { redirect_uri: REDIRECT.to_owned(), ..Begin::default() };
    match world.provider.begin(begin, at(NOW)).await {
        Err(SignInError::Provider(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_https_issuer_is_no_provider() {
    for issuer in [
        "http://idp.example",
        "idp.example",
        "",
        "https://idp.example/?a",
        "https://idp.example/#a",
        "file:///etc",
    ] {
        let spec = ProviderSpec::new("corp".parse().unwrap(), issuer, "doorward");
        assert!(matches!(Provider::new(spec), Err(SpecError::Issuer { .. })), "{issuer}");
    }
    let spec = ProviderSpec::new("corp".parse().unwrap(), "https://idp.example", "doorward");
    let skewed = ProviderSpec { skew: std::time::Duration::from_secs(301), ..spec.clone() };
    assert!(matches!(Provider::new(skewed), Err(SpecError::Skew(_))));
    let nobody = ProviderSpec { ca: Some(vec![]), ..spec };
    assert!(matches!(Provider::new(nobody), Err(SpecError::Roots { .. })));
}

/// Split DNS: the certificate is still that of the name.
#[tokio::test]
async fn a_name_is_dialled_where_the_operator_says() {
    let issuer = format!("https://{ELSEWHERE}");
    let world = World::new().await;
    let port: u16 = world.fake.issuer.rsplit(':').next().unwrap().parse().unwrap();
    world.fake.answer(DISCOVERY, Answer::json(&discovery(&issuer)));
    let mut spec = ProviderSpec { issuer: issuer.clone(), ..world.provider.spec().clone() };
    spec.dial = BTreeMap::from([(ELSEWHERE.to_owned(), SocketAddr::from(([127, 0, 0, 1], port)))]);
    let begin = Begin { redirect_uri: REDIRECT.to_owned(), ..Begin::default() };
    let begun = Provider::new(spec.clone()).unwrap().begin(begin.clone(), at(NOW)).await.unwrap();
    assert!(begun.url.starts_with(&format!("{issuer}/authorize?")), "{}", begun.url);
    spec.issuer = "https://other.corp.example".to_owned();
    spec.dial = BTreeMap::from([("other.corp.example".to_owned(), SocketAddr::from(([127, 0, 0, 1], port)))]);
    let untrusted = Provider::new(spec).unwrap().begin(begin, at(NOW)).await;
    assert!(
        matches!(untrusted, Err(SignInError::Provider(ProviderError::Http(HttpError::Untrusted { .. })))),
        "{untrusted:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::new().await;
    let elsewhere = format!("{}/elsewhere", world.fake.issuer);
    world.fake.answer("/elsewhere", Answer::json(&discovery(&world.fake.issuer)));
    world.fake.answer(DISCOVERY, Answer::status(302, &json!({})).with("location", &elsewhere));
    assert_eq!(begins(&world).await, ProviderError::Status { what: "discovery document", status: 302 });
    assert!(world.fake.seen("/elsewhere").is_empty());
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    for (path, name) in [(DISCOVERY, DISCOVERY), ("/keys", "/keys")] {
        let world = World::new().await;
        world.fake.answer(path, Answer::raw(200, "application/json", vec![b' '; (1 << 20) + 1]));
        let place = format!("https://localhost{name}");
        assert_eq!(begins(&world).await, ProviderError::Http(HttpError::TooLarge(place)));
    }
}

#[tokio::test]
async fn another_issuer_or_an_address_in_the_clear_is_refused() {
    let world = World::new().await;
    let good = discovery(&world.fake.issuer);
    let slash = format!("{}/", world.fake.issuer);
    world.fake.answer(DISCOVERY, Answer::json(&with(good.clone(), &json!({ "issuer": slash }))));
    let (expected, found) = (world.fake.issuer.clone(), slash);
    assert_eq!(begins(&world).await, ProviderError::Issuer { expected, found });
    for name in
        ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"]
    {
        let world = World::new().await;
        let clear = with(discovery(&world.fake.issuer), &json!({ name: "http://localhost/x" }));
        world.fake.answer(DISCOVERY, Answer::json(&clear));
        assert_eq!(begins(&world).await, ProviderError::Insecure(name));
    }
}

#[tokio::test]
async fn who_shows_another_certificate_is_not_believed() {
    let other = World::new().await;
    let world = World::with(|spec| spec.ca = Some(vec![other.fake.certificate.clone()])).await;
    let error = begins(&world).await;
    assert!(matches!(&error, ProviderError::Http(HttpError::Untrusted { .. })), "{error}");
    assert_eq!(error.fault(), Fault::Operator);
    assert!(world.fake.seen(DISCOVERY).is_empty());
}

#[tokio::test]
async fn what_is_no_document_is_said_to_be_none() {
    for body in ["", "<html>", "[]", "{}", "{\"issuer\":7}"] {
        let world = World::new().await;
        world.fake.answer(DISCOVERY, Answer::raw(200, "text/html", body));
        let error = begins(&world).await;
        assert!(
            matches!(error, ProviderError::Malformed { .. } | ProviderError::Issuer { .. }),
            "{body}: {error}"
        );
    }
}

#[tokio::test]
async fn the_browser_comes_back_from_where_it_was_sent() {
    let world = World::new().await;
    let says = with(
        discovery(&world.fake.issuer),
        &json!({ "authorization_response_iss_parameter_supported": true }),
    );
    world.fake.answer(DISCOVERY, Answer::json(&says));
    let pending = world.begin(Begin::default()).await;
    world.gives(&world.signed(&world.claims(&pending.nonce)));
    for (iss, fits) in
        [(None, false), (Some("https://evil.example"), false), (Some(&*world.fake.issuer), true)]
    {
        let returned = Returned { code: Secret::new("code".to_owned()), iss: iss.map(str::to_owned) };
        let outcome = world.provider.complete(&returned, &pending, at(NOW)).await;
        assert_eq!(outcome.is_ok(), fits, "{iss:?}");
        assert!(fits || matches!(outcome, Err(SignInError::Mixed { .. })));
    }
    assert_eq!(world.fake.seen("/token").len(), 1, "no code goes anywhere before");
}

#[tokio::test]
async fn a_secret_is_sent_as_the_provider_takes_it() {
    for (methods, outcome) in [
        (json!(["client_secret_post"]), Some(false)),
        (json!(["client_secret_post", "client_secret_basic"]), Some(true)),
        (json!(["private_key_jwt"]), None),
    ] {
        let world = World::new().await;
        let says =
            with(discovery(&world.fake.issuer), &json!({ "token_endpoint_auth_methods_supported": methods }));
        world.fake.answer(DISCOVERY, Answer::json(&says));
        let Some(basic) = outcome else {
            assert_eq!(begins(&world).await, ProviderError::NoMethod);
            continue;
        };
        world.sign_in(|world, good| world.signed(&good)).await.unwrap();
        let sent = world.fake.seen("/token");
        assert_eq!(
            (sent[0].authorization.is_some(), sent[0].body.contains("client_secret=")),
            (basic, !basic)
        );
    }
}
