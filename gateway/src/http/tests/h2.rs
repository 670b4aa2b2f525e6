//! HTTP/2: many requests on one connection, each decided by itself and each with an end of its own.

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::{
    app::End,
    client::{H2Answer, answered},
    world::{World, soon},
};

async fn first(answer: &mut H2Answer) -> Bytes {
    answer.piece().await.expect("a stream").expect("a piece")
}

#[tokio::test]
async fn the_app_sees_an_ordinary_request_with_our_identity() {
    let world = World::https().await;
    soon(async {
        let mut client = world.h2().await;
        let sent = [
            ("cookie", "a=1"),
            ("x-forwarded-user", "corp/root"),
            ("x_forwarded_user", "corp/root"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
            ("te", "trailers"),
        ];
        let answer = client.ask("GET", "/a%2Fb?c=d", &sent).await;
        assert_eq!((answer.status, answer.text().await.expect("whole").as_str()), (200, "ok"));
    })
    .await;
    let seen = world.app.last();
    assert!(seen.head.starts_with("GET /a%2Fb?c=d HTTP/1.1\r\n"), "{}", seen.head);
    for (name, value) in [
        ("host", "wiki.corp.example"),
        ("cookie", "a=1; b=2; c=3"),
        ("x-forwarded-user", "corp/alice"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "wiki.corp.example"),
        ("x-forwarded-for", "100.64.0.9"),
    ] {
        assert_eq!(seen.values(name), [value], "{name} in {}", seen.head);
    }
    assert!(!seen.head.contains("root"), "{}", seen.head);
    let question = world.last_question();
    assert_eq!((question.host.as_str(), question.write), ("wiki.corp.example", false));
}

#[tokio::test]
async fn only_the_apps_names_are_served_on_its_connection() {
    let world = World::https().await;
    soon(async {
        let mut client = world.h2().await;
        for (host, status) in [
            ("wiki.corp.example", 200),
            ("WIKI.corp.example:443", 200),
            ("docs.corp.example", 200),
            ("vault.corp.example", 421),
            ("wiki.corp.example:80", 421),
            ("100.64.128.7", 421),
        ] {
            assert_eq!(client.ask_at(host, "GET", "/", &[]).await.status, status, "{host}");
        }
        let clash = client.ask("GET", "/", &[("host", "vault.corp.example")]).await;
        assert_eq!(clash.status, 400, "two hosts in one request");
        assert_eq!(client.ask("GET", "/", &[("host", "wiki.corp.example")]).await.status, 200);
    })
    .await;
    assert_eq!(world.app.seen().len(), 4);
}

#[tokio::test]
async fn a_refusal_is_one_streams_matter() {
    let world = World::https().await;
    soon(async {
        let mut client = world.h2().await;
        let denied = client.ask("GET", "/denied", &[("accept", "text/html")]).await;
        assert_eq!(denied.status, 403);
        assert!(denied.text().await.expect("whole").contains("You cannot open this now"));
        for (method, target, status) in [
            ("GET", "/../x", 400),
            ("TRACE", "/", 405),
            ("HEAD", "/denied", 403),
            ("GET", "/gone", 502),
            ("GET", "/", 200),
        ] {
            assert_eq!(client.ask(method, target, &[]).await.status, status, "{method} {target}");
        }
        let hostile = client.ask("POST", "/", &[("origin", "http://wiki.corp.example")]).await;
        assert_eq!(hostile.status, 403);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_only() {
    let world = World::https().await;
    soon(async {
        let mut client = world.h2().await;
        let mut events = client.ask("GET", "/events", &[]).await;
        assert_eq!(&first(&mut events).await[..], b"data: 1\n\n");
        let half = client.ask("GET", "/half", &[]).await;
        let broken = half.text().await.expect_err("no complete answer");
        assert!(broken.is_reset(), "{broken}");
        assert_eq!(client.ask("GET", "/", &[]).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn every_stream_keeps_its_decision_until_it_is_over() {
    let world = World::https().await;
    soon(async {
        let mut client = world.h2().await;
        let mut streams = Vec::new();
        for open in 1..=5 {
            let mut events = client.ask("GET", "/events", &[]).await;
            first(&mut events).await;
            streams.push(events);
            assert_eq!(world.open(), open);
        }
        // One that is over stays registered as the last, until the next one is.
        for _ in 0..3 {
            let answer = client.ask("GET", "/", &[]).await;
            assert_eq!(answer.text().await.expect("whole"), "ok");
            assert_eq!(world.open(), 6);
        }
        streams.clear();
        while world.open() > 1 {
            tokio::task::yield_now().await;
        }
        drop(client);
        while world.open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_fact_resets_a_connection_with_all_its_streams() {
    let mut world = World::https().await;
    soon(async {
        let (mut idle, mut busy) = (world.h2().await, world.h2().await);
        assert_eq!(idle.ask("GET", "/", &[]).await.text().await.expect("whole"), "ok");
        let mut events = busy.ask("GET", "/events", &[]).await;
        first(&mut events).await;
        let mut endless = busy.ask("GET", "/endless", &[]).await;
        first(&mut endless).await;
        world.alice_leaves();
        assert!(events.piece().await.is_err(), "no clean end");
        while endless.piece().await.is_ok_and(|piece| piece.is_some()) {}
        assert_eq!((idle.end().await, busy.end().await), (End::Reset, End::Reset));
    })
    .await;
    let ends = [world.app_end().await, world.app_end().await];
    assert_eq!(ends, [End::Reset, End::Reset]);
    soon(async {
        while world.open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_arrives_whole_and_framed_once() {
    let world = World::https().await;
    soon(async {
        let mut client = world.h2().await;
        let (response, mut body) = client.begin("wiki.corp.example", "POST", "/up", &[], false).await;
        body.send_data(Bytes::from_static(b"abc"), true).expect("sent");
        assert_eq!(answered(response).await.status, 200);
        let seen = world.app.last();
        assert_eq!(
            (seen.values("transfer-encoding"), seen.body.as_slice()),
            (vec!["chunked"], &b"3\r\nabc\r\n0\r\n\r\n"[..])
        );
        let sized = [("content-length", "3")];
        let (response, mut body) = client.begin("wiki.corp.example", "POST", "/up", &sized, false).await;
        body.send_data(Bytes::from_static(b"abc"), true).expect("sent");
        assert_eq!(answered(response).await.status, 200);
        assert_eq!(world.app.last().body, b"abc");
    })
    .await;
}

#[tokio::test]
async fn h14_nothing_is_smuggled_past_a_length() {
    let world = World::https().await;
    for lengths in [vec!["3", "3"], vec!["3, 3"], vec!["+3"], vec!["2"], vec!["3", "4"], vec!["x"]] {
        soon(async {
            let mut client = world.h2().await;
            let headers: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
            let (response, mut body) =
                client.begin("wiki.corp.example", "POST", "/up", &headers, false).await;
            // The stream may be reset by then.
            let _ = body.send_data(Bytes::from_static(b"abc"), true);
            let refused = match response.await {
                Ok(answer) => answer.status() == 400,
                Err(error) => error.is_reset() || error.is_go_away(),
            };
            assert!(refused, "{lengths:?}");
        })
        .await;
    }
    assert!(world.app.seen().iter().all(|seen| seen.target() == "/up"));
    assert!(world.app.seen().iter().all(|seen| seen.values("content-length") != ["3, 3"]));
}

#[tokio::test]
async fn draining_says_goodbye_and_lets_streams_finish() {
    let world = World::https().await;
    soon(async {
        let (mut idle, mut busy) = (world.h2().await, world.h2().await);
        assert_eq!(idle.ask("GET", "/", &[]).await.status, 200);
        let (response, mut body) = busy.begin("wiki.corp.example", "POST", "/slow", &[], false).await;
        while world.questions().len() < 2 {
            tokio::task::yield_now().await;
        }
        world.shutdown.send_replace(true);
        let front = world.front.clone();
        let drained = tokio::spawn(async move { front.drain().await });
        assert_eq!(idle.end().await, End::Closed);
        body.send_data(Bytes::from_static(b"ab"), true).expect("sent");
        let answer = answered(response).await;
        assert_eq!((answer.status, answer.text().await.expect("whole").as_str()), (200, "ok"));
        assert_eq!(busy.end().await, End::Closed);
        drained.await.expect("drained");
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_never_begins_is_given_up() {
    let world = World::https().await;
    soon(async {
        let tls = world.tls.as_ref().expect("TLS");
        let mut silent = tls.connect(world.address, "h2").await.expect("secured");
        let mut settings = [0; 9];
        silent.read_exact(&mut settings).await.expect("the server's half of the beginning");
        // The clock jumps to the next timer whenever nothing else is to do.
        tokio::time::pause();
        let mut rest = Vec::new();
        // It may be told why; then it ends.
        let _ = silent.read_to_end(&mut rest).await;
    })
    .await;
}
