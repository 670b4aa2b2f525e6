//! How connections end: cut, drained, timed out, or upgraded and living on.

use super::{
    app::End,
    client::request,
    world::{World, soon},
};

pub const WEBSOCKET: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
];

#[tokio::test]
async fn a_cut_resets_an_idle_connection() {
    let world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        assert_eq!(client.ask("GET", "/", &[]).await.status, 200);
        assert_eq!(world.open(), 1, "the latest decision stays registered");
        world.revoke();
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
}

#[tokio::test]
async fn a_changed_fact_cuts_what_is_open_and_idle() {
    let mut world = World::new().await;
    soon(async {
        let (mut idle, mut busy) = (world.client().await, world.client().await);
        assert_eq!(idle.ask("GET", "/", &[]).await.status, 200);
        assert_eq!(busy.ask("GET", "/ws", &WEBSOCKET).await.status, 101);
        assert_eq!(world.open(), 2);
        world.alice_leaves();
        assert_eq!((idle.end().await, busy.end().await), (End::Reset, End::Reset));
    })
    .await;
    assert_eq!(world.app_end().await, End::Reset);
}

#[tokio::test]
async fn a_cut_resets_an_answer_under_way_on_both_sides() {
    let mut world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        client.send(request("GET", "/endless", &[]).as_bytes()).await;
        client.until(b"xxxx").await;
        world.revoke();
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
    assert_eq!(world.app_end().await, End::Reset);
}

#[tokio::test]
async fn a_cut_resets_an_event_stream() {
    let mut world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        client.send(request("GET", "/events", &[]).as_bytes()).await;
        client.until(b"data: 1").await;
        assert_eq!(world.open(), 1);
        world.revoke();
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
    assert_eq!(world.app_end().await, End::Reset);
}

#[tokio::test]
async fn a_cut_resets_a_websocket_on_both_sides() {
    let mut world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        assert_eq!(client.ask("GET", "/ws", &WEBSOCKET).await.status, 101);
        client.send(b"hello").await;
        client.until(b"hello").await;
        assert_eq!(world.open(), 1);
        world.revoke();
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
    assert_eq!(world.app_end().await, End::Reset);
}

#[tokio::test]
async fn a_decision_is_over_when_its_connection_is() {
    let world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        for _ in 0..3 {
            assert_eq!(client.ask("GET", "/", &[]).await.status, 200);
            assert_eq!(world.open(), 1);
        }
        assert_eq!(client.ask("GET", "/", &["Connection: close"]).await.status, 200);
        assert_eq!(client.end().await, End::Closed);
        drop(client);
        while world.open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    let world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        client.send(request("GET", "/half", &[]).as_bytes()).await;
        assert_eq!(client.end().await, End::Reset);
    })
    .await;
}

#[tokio::test]
async fn a_websocket_closed_by_the_device_is_closed_at_the_app() {
    let mut world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        assert_eq!(client.ask("GET", "/ws", &WEBSOCKET).await.status, 101);
        client.send(b"bye").await;
        client.until(b"bye").await;
    })
    .await;
    assert_eq!(world.app_end().await, End::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_websockets_open_and_echo() {
    let world = World::new().await;
    for round in 0..200 {
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
async fn draining_closes_idle_connections_and_lets_requests_finish() {
    let world = World::new().await;
    soon(async {
        let (mut idle, mut busy) = (world.client().await, world.client().await);
        assert_eq!(idle.ask("GET", "/", &[]).await.status, 200);
        busy.send(request("POST", "/slow", &["Content-Length: 2"]).as_bytes()).await;
        while world.questions().len() < 2 {
            tokio::task::yield_now().await;
        }
        world.shutdown.send_replace(true);
        let front = world.front.clone();
        let drained = tokio::spawn(async move { front.drain().await });
        assert_eq!(idle.end().await, End::Closed);
        busy.send(b"ab").await;
        assert_eq!(busy.answer(false).await.status, 200);
        assert_eq!(busy.end().await, End::Closed);
        drop((idle, busy));
        drained.await.expect("drained");
    })
    .await;
}

#[tokio::test]
async fn after_the_shutdown_signal_answers_say_close() {
    let world = World::new().await;
    world.shutdown.send_replace(true);
    assert_eq!(world.ask("GET", "/", &[]).await.values("connection"), ["close"]);
}

#[tokio::test]
async fn a_trickling_head_is_given_up() {
    let world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        client.send(b"GET / HTTP/1.1\r\nHost: wiki.corp").await;
        // The clock jumps to the next timer whenever nothing else is to do.
        tokio::time::pause();
        client.end().await;
    })
    .await;
    assert!(world.questions().is_empty());
}
