//! Providers that cannot be reached, listed and looked over. What a good one says is the e2e tests' to prove.
//! Always true: nobody leaves this machine.

use super::*;
use crate::{admin::request::ProviderRequest, registration, tls::Authority};

const PROVIDERS: &str = r#"
[[provider]]
name = "corp"
label = "Corp SSO"
issuer = "https://127.0.0.1:1"
client_id = "doorward"
ca = "ca.pem"
domains = ["corp.example"]
groups = ["staff"]
[provider.group_names]
0b2f = "corp/finance"
[[provider]]
name = "desk"
issuer = "https://127.0.0.1:1/desk"
client_id = "doorward"
ca = "ca.pem"
groups = ["*"]
"#;
const JOIN: &str = "[join]\nname = \"join.example\"\nlisten = [\"127.0.0.1:8443\"]\n";

async fn world(more: &str) -> World {
    let company = Company::new(&format!("{PROVIDERS}{more}"), "");
    let (ca, _) = Authority::create(&["corp.example".to_owned()], now()).expect("a CA");
    company.write("ca.pem", &ca);
    World::of(company).await
}

fn check(provider: &str, name: Option<&str>) -> AdminRequest {
    let name = name.map(|name| name.parse().expect("a name"));
    AdminRequest::Provider(ProviderRequest::Check { provider: provider.to_owned(), name })
}

#[tokio::test]
async fn providers_are_listed_with_their_last_trouble() {
    let world = world("").await;
    let list = || world.ask(AdminRequest::Provider(ProviderRequest::List));
    let listed = list().await;
    assert_eq!(listed.columns, ["name", "issuer", "label", "domains", "groups", "trouble"]);
    let corp = &listed.data[0];
    assert_eq!((&corp["name"], &corp["label"]), (&"corp".into(), &"Corp SSO".into()));
    assert_eq!(corp["groups"], serde_json::json!(["staff", "corp/finance"]));
    assert_eq!(listed.data[1]["groups"], serde_json::json!(["*"]));
    assert_eq!(corp["trouble"], Value::Null, "nobody has asked it");
    let snapshot = world.admin.0.live.snapshot();
    let client = world.admin.0.providers.of(&snapshot.config().providers[0]).expect("a client");
    assert!(client.end_session_url("https://door.corp.example/signed-out", "s", now()).await.is_none());
    let listed = list().await.data;
    assert!(listed[0]["trouble"].as_str().expect("a text").contains("cannot be reached"), "{listed}");
    assert_eq!(listed[1]["trouble"], Value::Null);
}

#[tokio::test]
async fn what_to_enter_at_a_provider_is_told_even_if_it_is_away() {
    let world = world(JOIN).await;
    for asked in ["corp", "https://127.0.0.1:1"] {
        let answer = world.ask(check(asked, None)).await;
        let text = answer.text.expect("a text");
        for part in [
            "FAULT",
            "cannot be reached",
            "https://door.corp.example/callback/corp\n",
            "https://door.corp.example/signed-out\n",
            "https://join.example/backchannel-logout/corp\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(answer.data["verdict"], "fault");
        assert!(answer.failed.is_some_and(|why| why.contains("provider corp")), "the command fails");
    }
}

#[tokio::test]
async fn without_join_no_address_is_told_for_sign_outs() {
    let world = world("").await;
    let text = world.ask(check("desk", None)).await.text.expect("a text");
    assert!(text.contains("back-channel logout URI   none: there is no [join] section"), "{text}");
    let snapshot = world.admin.0.live.snapshot();
    let addresses = registration::addresses(snapshot.config(), &"desk".parse().unwrap());
    assert_eq!(addresses.backchannel_logout_uri, None);
}

#[tokio::test]
async fn of_one_that_is_none_yet_its_section_is_told() {
    let world = world("").await;
    for (name, called) in [(None, "new"), (Some("acme"), "acme")] {
        let answer = world.ask(check("https://127.0.0.1:1/acme", name)).await;
        let text = answer.text.expect("a text");
        assert!(text.contains(&format!("/callback/{called}\n")), "{text}");
        assert!(
            text.contains(&format!(
                "[[provider]]\n# People and groups of this provider are called {called}/"
            ))
        );
        assert!(answer.data["section"].is_string() && answer.failed.is_some());
    }
    for (provider, name, why) in [
        ("acme", None, "there is no [[provider]] acme; there is: corp, desk."),
        ("http://127.0.0.1:1/acme", None, "is no issuer: write the https address"),
        ("https://127.0.0.1:1/acme", Some("corp"), "provider corp is configured, as https://127.0.0.1:1"),
        ("corp", Some("acme"), "--name is for one that is not"),
    ] {
        let said = world.try_ask(check(provider, name)).await.expect_err(provider);
        assert!(said.contains(why), "{said}");
    }
}
