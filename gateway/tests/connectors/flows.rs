//! Flows: bytes both ways, half-close, resets, many at once.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::rig::{Agent, HANG, Rig, echo, listener};
use gateway::connectors::{LinkStream, OpenError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_and_an_end_is_an_end() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (listener, target) = listener().await;
    let (flow, accepted) = tokio::join!(rig.open(&target), listener.accept());
    let (mut flow, mut socket) = (flow.unwrap(), accepted.unwrap().0);
    assert_eq!(flow.connector().as_str(), "fra-1");
    assert_eq!(rig.status("fra-1").flows, 1);

    let big = vec![7; 3 << 20];
    let to_target = async {
        flow.write_all(&big).await.unwrap();
        flow.shutdown().await.unwrap();
        let mut answer = Vec::new();
        flow.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let at_target = async {
        let mut got = Vec::new();
        socket.read_to_end(&mut got).await.unwrap();
        socket.write_all(b"after your end").await.unwrap();
        drop(socket);
        got
    };
    let (answer, got) = timeout(HANG, async { tokio::join!(to_target, at_target) }).await.unwrap();
    assert!(got == big, "{} bytes arrived", got.len());
    assert_eq!(answer, b"after your end");
    drop(flow);
    assert_eq!(rig.status("fra-1").flows, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_targets_end_leaves_the_other_direction_open() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (mut flow, mut socket) = connected(&rig).await;
    socket.shutdown().await.unwrap();
    assert_eq!(flow.read(&mut [0; 9]).await.unwrap(), 0);
    flow.write_all(b"still here").await.unwrap();
    flow.shutdown().await.unwrap();
    let mut got = Vec::new();
    timeout(HANG, socket.read_to_end(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, b"still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_flow_is_a_reset_at_the_target() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let cuts: [fn(LinkStream); 2] = [LinkStream::abort, drop];
    for cut in cuts {
        // Idle, and with the target's side ended before.
        let (flow, socket) = connected(&rig).await;
        cut(flow);
        assert_eq!(end_of(socket).await, Some(io::ErrorKind::ConnectionReset));
        let (mut flow, mut socket) = connected(&rig).await;
        socket.shutdown().await.unwrap();
        assert_eq!(flow.read(&mut [0; 9]).await.unwrap(), 0);
        cut(flow);
        assert_eq!(end_of(socket).await, Some(io::ErrorKind::ConnectionReset));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_flow_never_looks_complete() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (mut flow, socket) = connected(&rig).await;
    // More than all buffers on the way hold: the connector is held up writing to the target.
    let stuffed = timeout(std::time::Duration::from_millis(500), flow.write_all(&vec![7; 64 << 20])).await;
    assert!(stuffed.is_err(), "the target reads nothing, so this cannot end");
    flow.abort();
    assert_eq!(end_of(socket).await, Some(io::ErrorKind::ConnectionReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_of_the_target_is_a_reset_of_the_flow() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (mut flow, socket) = connected(&rig).await;
    socket.set_zero_linger().unwrap();
    drop(socket);
    let error = timeout(HANG, flow.read(&mut [0; 9])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let error = timeout(HANG, flow.write_all(&[0; 9])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    // The same after the target has ended its own direction.
    let (mut flow, mut socket) = connected(&rig).await;
    socket.shutdown().await.unwrap();
    assert_eq!(flow.read(&mut [0; 9]).await.unwrap(), 0);
    socket.set_zero_linger().unwrap();
    drop(socket);
    let until_error = async {
        while flow.write_all(&[0; 9]).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    timeout(HANG, until_error).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_flows_at_once() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let target = echo().await;
    let mut flows = Vec::new();
    for number in 0..200 {
        flows.push((number, rig.open_flow(&target, number).await.unwrap()));
    }
    assert_eq!(rig.status("fra-1").flows, 200);
    for (number, flow) in &mut flows {
        flow.write_all(&number.to_be_bytes()).await.unwrap();
        flow.shutdown().await.unwrap();
    }
    for (number, flow) in &mut flows {
        let mut answer = Vec::new();
        timeout(HANG, flow.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, number.to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_connector_says_so() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let _agent = Agent::with_flows(rig.config(&pem, &["127.0.0.1"]), 1);
    rig.linked("fra-1").await;
    let target = echo().await;
    let first = rig.open(&target).await.unwrap();
    assert_eq!(rig.open(&target).await.unwrap_err(), OpenError::Overloaded);
    drop(first);
    let again = async { while rig.open(&target).await.is_err() {} };
    timeout(HANG, again).await.unwrap();
}

async fn connected(rig: &Rig) -> (LinkStream, TcpStream) {
    let (listener, target) = listener().await;
    let (flow, accepted) = tokio::join!(rig.open(&target), listener.accept());
    (flow.unwrap(), accepted.unwrap().0)
}

/// Reads to the end; `None` is a clean one.
async fn end_of(mut socket: TcpStream) -> Option<io::ErrorKind> {
    let mut all = Vec::new();
    timeout(HANG, socket.read_to_end(&mut all)).await.unwrap().err().map(|error| error.kind())
}
