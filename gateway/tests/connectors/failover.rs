//! Health by forwarding: the next connector takes over when one does not answer, dies, or cannot reach
//! what another can.

use std::time::Duration;

use gateway::connectors::OpenError;
use protocol::link::Outcome;
use tokio::time::timeout;

use super::rig::{Fake, Habit, Rig, echo, listener};

/// A flow that begins after a connector has failed works within this.
const PROMISE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_does_not_answer_is_passed_over() {
    let mut rig = Rig::start().await;
    let _silent = Fake::link(&mut rig, "fra-1", Habit::Silent).await;
    let _agent = rig.connector("fra-2").await;
    assert!(rig.status("fra-1").chosen, "it is first, and nothing is known against it");
    let target = echo().await;
    let flow = timeout(PROMISE, rig.open(&target)).await.unwrap().unwrap();
    assert_eq!(flow.connector().as_str(), "fra-2");
    let (first, second) = (rig.status("fra-1"), rig.status("fra-2"));
    assert!(!first.chosen && first.why.contains("did not take a flow"), "{first:?}");
    assert!(second.chosen, "{second:?}");
    // The next flow does not wait for it again, and sick beats none.
    assert_eq!(rig.open(&target).await.unwrap().connector().as_str(), "fra-2");
    rig.remove("fra-2");
    assert_eq!(rig.open(&target).await.unwrap_err(), OpenError::NoConnector);
    assert!(rig.status("fra-1").chosen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connector_is_passed_over() {
    let mut rig = Rig::start().await;
    let first = rig.connector("fra-1").await;
    let _second = rig.connector("fra-2").await;
    let target = echo().await;
    assert_eq!(rig.open(&target).await.unwrap().connector().as_str(), "fra-1");
    first.kill();
    let flow = timeout(PROMISE, rig.open(&target)).await.unwrap().unwrap();
    assert_eq!(flow.connector().as_str(), "fra-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_cannot_reach_its_network_is_passed_over() {
    let mut rig = Rig::start().await;
    let _cut_off = Fake::link(&mut rig, "fra-1", Habit::Answers(Outcome::Unreachable)).await;
    let target = echo().await;
    assert_eq!(rig.open(&target).await.unwrap_err(), OpenError::Unreachable);
    assert_eq!(rig.status("fra-1").last_error, None, "nobody reaches it: perhaps it is the target");
    let _agent = rig.connector("fra-2").await;
    assert_eq!(rig.open(&target).await.unwrap().connector().as_str(), "fra-2");
    let first = rig.status("fra-1");
    assert!(first.why.contains("fra-2 reached"), "{first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_targets_own_refusal_counts() {
    let mut rig = Rig::start().await;
    let _first = Fake::link(&mut rig, "fra-1", Habit::Answers(Outcome::Refused)).await;
    let _agent = rig.connector("fra-2").await;
    assert_eq!(rig.open(&echo().await).await.unwrap_err(), OpenError::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_without_connectors_says_so() {
    let mut rig = Rig::start().await;
    rig.add("fra-1");
    let (_listener, target) = listener().await;
    assert_eq!(rig.open(&target).await.unwrap_err(), OpenError::NoConnector);
    assert_eq!(rig.status("fra-1").why, "not connected");
}
