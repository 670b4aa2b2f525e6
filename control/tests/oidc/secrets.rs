//! No token, code, verifier or secret in anything that may reach a log, whatever the provider does.

use control::oidc::{Begin, Returned, SignInError};
use protocol::{config::Secret, id::UserId};
use serde_json::{Value, json};

use crate::{
    provider::Answer,
    sign::Key,
    world::{ACCESS, CODE, NOW, REDIRECT, REFRESH, SECRET, World, at, tokens, with},
};

fn hidden(text: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn nothing_that_is_kept_shows_a_secret() {
    let world = World::new().await;
    let begin = Begin { redirect_uri: REDIRECT.to_owned(), ..Begin::default() };
    let begun = world.provider.begin(begin, at(NOW)).await.unwrap();
    let verifier = begun.pending.verifier.expose().clone();
    let id = world.signed(&world.claims(&begun.pending.nonce));
    world.gives(&id);
    let returned = Returned { code: Secret::new(CODE.to_owned()), iss: None };
    let signed_in = world.provider.complete(&returned, &begun.pending, at(NOW)).await.unwrap();
    assert_eq!(signed_in.refresh.as_ref().map(|token| token.expose().as_str()), Some(REFRESH));
    let user: UserId = "corp/alice".parse().unwrap();
    world.gives(&world.signed(&with(world.claims(""), &json!({ "nonce": null }))));
    let refreshed = world.provider.refresh(signed_in.refresh.as_ref().unwrap(), &user, at(NOW)).await;
    let shown = [
        format!("{:?}", world.provider),
        format!("{:?}", world.provider.spec()),
        format!("{begun:?} {returned:?} {:?}", begun.pending),
        format!("{signed_in:?}"),
        format!("{refreshed:?}"),
    ];
    for text in shown {
        let signature = id.rsplit('.').next().unwrap();
        let (nonce, state) = (&begun.pending.nonce, &begun.state);
        hidden(&text, &[SECRET, CODE, ACCESS, REFRESH, &verifier, nonce, state, signature]);
    }
}

#[tokio::test]
async fn no_error_shows_a_secret_even_if_the_provider_repeats_it() {
    let world = World::new().await;
    let pending = world.begin(Begin::default()).await;
    let verifier = pending.verifier.expose().clone();
    let id = Key::es256().sign(&world.header(), &world.claims(&pending.nonce));
    let all = format!("{SECRET} {CODE} {ACCESS} {REFRESH} {verifier} {id}");
    let echo =
        |code: &str| json!({ "error": code, "error_description": all, "error_uri": "https://idp.example" });
    let answers: Vec<(u16, Value)> = vec![
        (400, echo("invalid_grant")),
        (401, echo("invalid_client")),
        (400, echo(CODE)),
        (400, json!(all)),
        (500, echo("server_error")),
        (200, json!(all)),
        (200, with(tokens(&id), &json!({ "expires_in": all }))),
        (200, with(tokens(&id), &json!({ "token_type": 7 }))),
        (200, tokens(&all)),
        (200, tokens(&id)),
        (200, tokens(&world.signed(&with(world.claims(&pending.nonce), &json!({ "groups": null }))))),
    ];
    world.fake.answer("/userinfo", Answer::raw(200, "application/json", all.clone()));
    for (status, body) in answers {
        world.fake.answer("/token", Answer::status(status, &body));
        let error: SignInError = world.complete(&pending, NOW).await.unwrap_err();
        let text = format!("{error} {error:?} {}", error.told());
        hidden(&text, &[SECRET, CODE, ACCESS, REFRESH, &verifier, id.rsplit('.').next().unwrap()]);
        assert!(!error.told().contains("provider"), "{}", error.told());
    }
}
