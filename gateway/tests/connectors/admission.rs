//! Who is admitted to the link, and what it costs to misbehave there: security case C3.

use connector::wire;
use gateway::connectors::LinkKey;
use protocol::link::{Frame, Hello, LinkEnd, VERSION};

use super::rig::{Agent, Fake, Habit, Rig, key, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_is_refused_and_named() {
    let mut rig = Rig::start().await;
    rig.add("fra-1");
    let pem = LinkKey::generate();
    let pin = LinkKey::from_pem(&pem).unwrap().pin().to_string();
    for _ in 0..2 {
        let fake = Fake::greet(&rig, &pem, Hello::new("fake", [1; 16])).await;
        assert_eq!(fake.closed().await, u64::from(LinkEnd::UnknownKey.code()));
    }
    until("both attempts", || rig.registry.strangers().first().is_some_and(|s| s.attempts == 2)).await;
    let stranger = &rig.registry.strangers()[0];
    assert_eq!(stranger.key.as_deref(), Some(pin.as_str()));
    assert_eq!(stranger.remote.ip(), rig.address.ip());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_gateway_key_is_refused_by_the_connector() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let error = Fake::connect(&rig, &pem, key().pin()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("the gateway has the key {}", rig.pin)), "{error}");
    until("the gateway's word of it", || !rig.registry.strangers().is_empty()).await;
    let stranger = &rig.registry.strangers()[0];
    assert!(stranger.reason.starts_with("handshake"), "{stranger:?}");
    assert_eq!(rig.status("fra-1").connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_with_a_key_is_refused_while_the_first_lives() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let first = Agent::start(rig.config(&pem, &["127.0.0.1"]));
    rig.linked("fra-1").await;
    let fake = Fake::greet(&rig, &pem, Hello::new("second", [1; 16])).await;
    assert_eq!(fake.closed().await, u64::from(LinkEnd::SecondInstance.code()));
    let status = rig.status("fra-1");
    assert!(status.last_error.unwrap().contains("second connector"));
    assert_eq!(status.connections, 2);
    assert_ne!(status.version.as_deref(), Some("second"));

    // When the first is dead, though its links still stand, the second is let in.
    first.kill();
    let _fake = Fake::greet(&rig, &pem, Hello::new("second", [1; 16])).await;
    until("the second", || rig.status("fra-1").version.as_deref() == Some("second")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_has_at_most_four_links() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let mut fakes = Vec::new();
    for links in 1..=4 {
        fakes.push(Fake::greet(&rig, &pem, Hello::new("fake", [1; 16])).await);
        until("another link", || rig.status("fra-1").connections == links).await;
    }
    let fifth = Fake::greet(&rig, &pem, Hello::new("fake", [1; 16])).await;
    assert_eq!(fifth.closed().await, u64::from(LinkEnd::Enough.code()));
    assert_eq!(rig.status("fra-1").connections, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_is_told() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let hello = Hello { versions: vec![VERSION + 1], ..Hello::new("future", [1; 16]) };
    let fake = Fake::greet(&rig, &pem, hello).await;
    assert_eq!(fake.closed().await, u64::from(LinkEnd::Version.code()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_frames_are_skipped_or_end_the_link() {
    let mut rig = Rig::start().await;
    let mut fake = Fake::link(&mut rig, "fra-1", Habit::Silent).await;
    assert!(matches!(fake.frames.next(&mut fake.recv).await, Ok(Frame::Hello(_))));
    wire::write(&mut fake.send, &Frame::Skipped(0xf0)).await.unwrap();
    wire::write(&mut fake.send, &Frame::Ping(7)).await.unwrap();
    assert_eq!(fake.frames.next(&mut fake.recv).await.unwrap(), Frame::Pong(7));
    fake.send.write_all(&[0x7f, 0, 0]).await.unwrap();
    assert_eq!(fake.closed().await, u64::from(LinkEnd::Protocol.code()));
    until("the end", || rig.status("fra-1").connections == 0).await;
    assert!(rig.status("fra-1").last_error.unwrap().contains("0x7f"));
}
