//! Reload, drain and removal, with a flow open.

use std::{io, time::Duration};

use connector::StartError;
use gateway::connectors::{LinkKey, LinkStream, OpenError};
use protocol::link::LinkEnd;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    time::timeout,
};

use super::rig::{Agent, Fake, HANG, Habit, Rig, echo, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_flows_unless_their_target_is_forbidden_now() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let agent = Agent::start(rig.config(&pem, &["127.0.0.1"]));
    rig.linked("fra-1").await;
    let target = echo().await;
    let mut flow = rig.open(&target).await.unwrap();
    agent.reload(rig.config(&pem, &["127.0.0.1", "10.0.0.0/8"])).unwrap();
    assert!(echoes(&mut flow).await);
    agent.reload(rig.config(&pem, &["10.0.0.0/8"])).unwrap();
    assert_eq!(end_of(&mut flow).await, Some(io::ErrorKind::ConnectionReset));
    assert!(matches!(rig.open(&target).await, Err(OpenError::NotAllowed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_cannot_be_leaves_everything_as_it_was() {
    let mut rig = Rig::start().await;
    let agent = rig.connector("fra-1").await;
    let mut flow = rig.open(&echo().await).await.unwrap();
    let other_key = rig.config(&LinkKey::generate(), &[]);
    assert!(matches!(agent.reload(other_key), Err(StartError::KeysChanged)));
    assert!(echoes(&mut flow).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_leaves_a_gateway_after_its_flows() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let agent = Agent::start(rig.config(&pem, &["127.0.0.1"]));
    rig.linked("fra-1").await;
    let mut flow = rig.open(&echo().await).await.unwrap();
    let mut elsewhere = rig.config(&pem, &["127.0.0.1"]);
    elsewhere.gateways = vec!["127.0.0.1:9".parse().unwrap()];
    agent.reload(elsewhere).unwrap();
    until("its leave", || !rig.status("fra-1").chosen).await;
    assert!(echoes(&mut flow).await);
    drop(flow);
    until("its links' end", || rig.status("fra-1").connections == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_flows_end_and_takes_no_more() {
    let mut rig = Rig::start().await;
    let mut agent = rig.connector("fra-1").await;
    let target = echo().await;
    let mut flow = rig.open(&target).await.unwrap();
    let drained = agent.drain(HANG);
    until("its leave", || !rig.status("fra-1").chosen).await;
    assert_eq!(rig.open(&target).await.unwrap_err(), OpenError::NoConnector);
    assert!(echoes(&mut flow).await);
    flow.shutdown().await.unwrap();
    assert_eq!(end_of(&mut flow).await, None);
    timeout(HANG, drained).await.unwrap().unwrap();
    until("its links' end", || rig.status("fra-1").connections == 0).await;
    assert_eq!(rig.status("fra-1").last_error, None, "leaving is no fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_in_time() {
    let mut rig = Rig::start().await;
    let mut agent = rig.connector("fra-1").await;
    let mut flow = rig.open(&echo().await).await.unwrap();
    let drained = agent.drain(Duration::from_millis(100));
    assert_eq!(end_of(&mut flow).await, Some(io::ErrorKind::ConnectionReset));
    timeout(HANG, drained).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_process_makes_room_for_the_next() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let mut old = Agent::start(rig.config(&pem, &["127.0.0.1"]));
    rig.linked("fra-1").await;
    let target = echo().await;
    let mut flow = rig.open(&target).await.unwrap();
    let drained = old.drain(HANG);
    until("its leave", || !rig.status("fra-1").chosen).await;
    let _new = Agent::start(rig.config(&pem, &["127.0.0.1"]));
    until("the next", || rig.status("fra-1").chosen).await;
    assert!(rig.open(&target).await.is_ok());
    assert!(echoes(&mut flow).await, "the old process still carries its flow");
    drop(flow);
    timeout(HANG, drained).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_connector_is_cut_at_once() {
    let mut rig = Rig::start().await;
    let fake = Fake::link(&mut rig, "fra-0", Habit::Silent).await;
    rig.remove("fra-0");
    assert_eq!(fake.closed().await, u64::from(LinkEnd::Removed.code()));
    let _agent = rig.connector("fra-1").await;
    let target = echo().await;
    let mut flow = rig.open(&target).await.unwrap();
    rig.remove("fra-1");
    assert_eq!(end_of(&mut flow).await, Some(io::ErrorKind::ConnectionReset));
    assert_eq!(rig.open(&target).await.unwrap_err(), OpenError::NoConnector);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_drains() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let target = echo().await;
    let mut flow = rig.open(&target).await.unwrap();
    let registry = rig.registry.clone();
    let drained = tokio::spawn(async move { registry.drain().await });
    until("its leave", || !rig.status("fra-1").chosen).await;
    assert_eq!(rig.open(&target).await.unwrap_err(), OpenError::NoConnector);
    assert!(echoes(&mut flow).await);
    flow.shutdown().await.unwrap();
    assert_eq!(end_of(&mut flow).await, None);
    drop(flow);
    timeout(HANG, drained).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_gateway_is_noticed_before_the_link_is_given_up() {
    let home = Runtime::new().unwrap();
    let mut rig = home.spawn(Rig::start()).await.unwrap();
    let _agent = rig.connector("fra-1").await;
    home.shutdown_background();
    let rig = rig.restart().await;
    // A silent gateway would be given up after ten seconds; one that resets old links, much sooner.
    timeout(Duration::from_secs(8), rig.linked("fra-1")).await.unwrap();
    assert!(rig.open(&echo().await).await.is_ok());
}

async fn echoes(flow: &mut LinkStream) -> bool {
    flow.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    timeout(HANG, flow.read_exact(&mut answer)).await.unwrap().unwrap();
    answer == *b"hello"
}

/// Reads to the end; `None` is a clean one.
async fn end_of(flow: &mut LinkStream) -> Option<io::ErrorKind> {
    let mut all = Vec::new();
    timeout(HANG, flow.read_to_end(&mut all)).await.unwrap().err().map(|error| error.kind())
}
