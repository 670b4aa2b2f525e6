//! The front over TLS with HTTP/1, the redirect beside it, and what it may hold open.

use super::{
    app::End,
    client::request,
    cuts::WEBSOCKET,
    world::{World, soon},
};
use crate::{limits::Descriptors, reach::Speaks};

#[tokio::test]
async fn the_app_is_told_that_it_is_https() {
    let world = World::https().await;
    for host in ["wiki.corp.example", "wiki.corp.example:443"] {
        let answer = world.raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, 200, "{host}");
        let seen = world.app.last();
        assert_eq!(seen.values("x-forwarded-proto"), ["https"]);
        assert_eq!(seen.values("x-forwarded-host"), ["wiki.corp.example"]);
        assert_eq!(seen.values("x-forwarded-user"), ["corp/alice"]);
    }
    assert_eq!(world.raw("GET / HTTP/1.1\r\nHost: vault.corp.example\r\n\r\n").await.status, 421);
    assert_eq!(world.raw("GET / HTTP/1.1\r\nHost: wiki.corp.example:80\r\n\r\n").await.status, 421);
}

#[tokio::test]
async fn its_own_origin_is_https() {
    let world = World::https().await;
    for (origin, status) in [("https://wiki.corp.example", 200), ("http://wiki.corp.example", 403)] {
        let answer = world.ask("POST", "/", &[&format!("Origin: {origin}"), "Content-Length: 0"]).await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[tokio::test]
async fn another_apps_name_gets_no_certificate_here() {
    let mut world = World::https().await;
    let tls = world.tls.as_mut().expect("TLS");
    for name in ["vault.corp.example", "unknown.corp.example"] {
        tls.name = name;
        let refused = soon(tls.connect(world.address, "h2")).await.expect_err("refused").to_string();
        assert!(refused.contains("UnrecognisedName"), "{refused}");
    }
    assert!(world.questions().is_empty());
}

#[tokio::test]
async fn a_cut_resets_a_websocket_over_tls_on_both_sides() {
    let mut world = World::https().await;
    soon(async {
        let mut client = world.client().await;
        assert_eq!(client.ask("GET", "/ws", &WEBSOCKET).await.status, 101);
        client.send(b"hello").await;
        client.until(b"hello").await;
        world.revoke();
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
    assert_eq!(world.app_end().await, End::Reset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_websockets_over_tls_open_and_echo() {
    let world = World::https().await;
    for round in 0..100 {
        soon(async {
            let mut client = world.client().await;
            assert_eq!(client.ask("GET", "/ws", &WEBSOCKET).await.status, 101, "round {round}");
            client.send(b"ping").await;
            client.until(b"ping").await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_cut_resets_an_answer_over_tls_on_both_sides() {
    let mut world = World::https().await;
    soon(async {
        let mut client = world.client().await;
        client.send(request("GET", "/endless", &[]).as_bytes()).await;
        client.until(b"xxxx").await;
        world.alice_leaves();
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
    assert_eq!(world.app_end().await, End::Reset);
}

#[tokio::test]
async fn an_answer_that_breaks_off_over_tls_does_not_look_complete() {
    let world = World::https().await;
    soon(async {
        let mut client = world.client().await;
        client.send(request("GET", "/half", &[]).as_bytes()).await;
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
}

#[tokio::test]
async fn a_connection_over_tls_ends_with_a_goodbye() {
    let world = World::https().await;
    soon(async {
        let mut client = world.client().await;
        assert_eq!(client.ask("GET", "/", &["Connection: close"]).await.status, 200);
        assert_eq!(client.end().await, End::Closed);
    })
    .await;
}

async fn redirecting() -> World {
    World::make("ports = [443]", Speaks::ToHttps, Descriptors::new(10_000, 0)).await
}

#[tokio::test]
async fn plain_http_is_sent_to_https_and_nowhere_else() {
    let world = redirecting().await;
    for (target, there) in [
        ("/", "https://wiki.corp.example/"),
        ("/a//b%2fc?d=/../e", "https://wiki.corp.example/a//b%2Fc?d=/../e"),
        ("http://wiki.corp.example/a", "https://wiki.corp.example/a"),
        ("//evil.example/", "https://wiki.corp.example//evil.example/"),
    ] {
        let answer = world.ask("GET", target, &["Accept: text/html"]).await;
        assert_eq!((answer.status, answer.values("location")), (301, vec![there]), "{target}");
    }
    for method in ["HEAD", "POST", "DELETE"] {
        assert_eq!(world.ask(method, "/", &["Content-Length: 0"]).await.status, 301, "{method}");
    }
    for host in ["evil.example", "vault.corp.example", "wiki.corp.example:8443", "100.64.128.7"] {
        let answer = world.raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.values("location").len()), (421, 0), "{host}");
    }
    assert_eq!(world.ask("GET", "/../x", &[]).await.status, 400);
    assert_eq!(world.ask("GET", "/ws", &WEBSOCKET).await.status, 301);
    assert!(world.questions().is_empty() && world.app.seen().is_empty(), "nothing gets further");
}

#[tokio::test]
async fn a_request_that_needs_more_than_may_be_open_is_told_so() {
    let world = World::make("", Speaks::Http, Descriptors::new(0, 0)).await;
    let answer = world.ask("GET", "/", &[]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("takes no more requests now"), "{}", answer.body);
    assert_eq!(world.app.connections(), 0);
}
