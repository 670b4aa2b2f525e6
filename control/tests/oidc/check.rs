//! What `check` finds at good and bad providers.

use control::oidc::{Addresses, Report, Verdict};
use serde_json::{Value, json};

use crate::{
    provider::{Answer, DISCOVERY},
    world::{NOW, REDIRECT, World, at, discovery, with},
};

/// NOW, as HTTP writes it.
const DATE: &str = "Fri, 15 Jan 2027 08:00:00 GMT";

async fn checked(world: &World, changes: &Value, date: &str) -> Report {
    let document = with(discovery(&world.fake.issuer), changes);
    world.fake.answer(DISCOVERY, Answer::json(&document).with("date", date));
    let register = Addresses {
        redirect_uris: vec![REDIRECT.to_owned()],
        post_logout_redirect_uris: vec!["https://door.corp.example/signed-out".to_owned()],
        backchannel_logout_uri: Some("https://join.corp.example/logout/corp".to_owned()),
    };
    world.provider.check(register, at(NOW)).await
}

fn found<'a>(report: &'a Report, of: &'a str) -> impl Iterator<Item = Verdict> + 'a {
    report.findings.iter().filter(move |finding| finding.what.starts_with(of)).map(|finding| finding.verdict)
}

#[tokio::test]
async fn a_good_provider_is_good_but_for_what_only_a_sign_in_shows() {
    let world = World::new().await;
    let report = checked(&world, &json!({}), DATE).await;
    let text = report.to_string();
    assert_eq!(report.verdict(), Verdict::Warning, "{text}");
    let warned: Vec<_> = report.findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    assert!(warned.len() == 1 && warned[0].what.contains("only when they sign in"), "{text}");
    for part in [REDIRECT, "https://door.corp.example/signed-out", "https://join.corp.example/logout/corp"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let written = serde_json::to_value(&report).unwrap();
    assert_eq!(written["findings"][0]["verdict"], "ok");
    assert_eq!(written["register"]["redirect_uris"][0], REDIRECT);
}

#[tokio::test]
async fn what_is_missing_is_found_and_each_has_a_remedy() {
    let world = World::new().await;
    for (changes, of, verdict) in [
        (json!({ "issuer": "https://other.example" }), "discovery", Verdict::Fault),
        (json!({ "token_endpoint": "http://localhost/token" }), "discovery", Verdict::Fault),
        (json!({ "jwks_uri": format!("{}/none", world.fake.issuer) }), "keys", Verdict::Fault),
        (json!({ "id_token_signing_alg_values_supported": ["HS256", "none"] }), "signatures", Verdict::Fault),
        (
            json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt"] }),
            "client secret",
            Verdict::Fault,
        ),
        (json!({ "response_types_supported": ["id_token"] }), "flow", Verdict::Warning),
        (json!({ "code_challenge_methods_supported": ["plain"] }), "PKCE", Verdict::Warning),
        (json!({ "code_challenge_methods_supported": null }), "PKCE", Verdict::Warning),
        (json!({ "scopes_supported": ["openid"] }), "refresh", Verdict::Warning),
        (json!({ "userinfo_endpoint": null }), "userinfo", Verdict::Warning),
        (json!({ "claims_supported": ["sub"] }), "claims: auth_time", Verdict::Warning),
        (json!({ "claims_supported": ["sub"] }), "claims: groups", Verdict::Warning),
        (json!({ "end_session_endpoint": null }), "signing out here", Verdict::Warning),
        (json!({ "backchannel_logout_supported": null }), "signing out at the provider", Verdict::Warning),
        (
            json!({ "backchannel_logout_session_supported": false }),
            "it does not say which session",
            Verdict::Warning,
        ),
    ] {
        let report = checked(&world, &changes, DATE).await;
        assert_eq!(found(&report, of).next(), Some(verdict), "{changes}:\n{report}");
        let bare = |verdict, remedy: &Option<String>| verdict != Verdict::Ok && remedy.is_none();
        assert!(!report.findings.iter().any(|f| bare(f.verdict, &f.remedy)), "{report}");
    }
}

#[tokio::test]
async fn who_cannot_be_told_of_a_sign_out_is_told_so() {
    let world = World::new().await;
    world.fake.answer(DISCOVERY, Answer::json(&discovery(&world.fake.issuer)).with("date", DATE));
    let report = world.provider.check(Addresses::default(), at(NOW)).await;
    assert_eq!(found(&report, "signing out at the provider").next(), Some(Verdict::Warning), "{report}");
    assert!(report.to_string().contains("back-channel logout URI   none"), "{report}");
}

#[tokio::test]
async fn clocks_are_compared() {
    let world = World::new().await;
    for (date, verdict) in [
        (DATE, Verdict::Ok),
        ("Fri, 15 Jan 2027 08:00:30 GMT", Verdict::Ok),
        ("Fri, 15 Jan 2027 07:59:20 GMT", Verdict::Warning),
        ("Fri, 15 Jan 2027 08:01:01 GMT", Verdict::Fault),
        ("Fri, 15 Jan 2027 07:00:00 GMT", Verdict::Fault),
        ("yesterday", Verdict::Warning),
    ] {
        let report = checked(&world, &json!({}), date).await;
        assert_eq!(found(&report, "clock").next(), Some(verdict), "{date}:\n{report}");
    }
}
