//! Flows: bytes both ways, half-close, resets, many at once.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::rig::{Agent, HANG, Rig, echo, listener, until};
use connector::relay::{Side, Stalls, Traffic};
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
async fn flows_that_nobody_reads_hold_up_no_other() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let mut frozen = Vec::new();
    // Of one number, they are all on one link; of the eight below, some are on the same.
    for _ in 0..4 {
        let (mut flow, socket) = connected(&rig).await;
        let stuffed =
            timeout(std::time::Duration::from_millis(500), flow.write_all(&vec![7; 64 << 20])).await;
        assert!(stuffed.is_err(), "the target reads nothing, so this cannot end");
        frozen.push((flow, socket));
    }
    let target = echo().await;
    for number in 0..8 {
        let mut flow = rig.open_flow(&target, number).await.unwrap();
        flow.write_all(b"passes").await.unwrap();
        timeout(HANG, flow.read_exact(&mut [0; 6])).await.unwrap().unwrap();
    }
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
async fn a_device_is_relayed_until_both_sides_have_ended() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let Relayed { mut device, mut target, relay } = relayed(&rig).await;
    let big = vec![7; 9 << 20];
    let at_device = async {
        device.write_all(&big).await.unwrap();
        device.shutdown().await.unwrap();
        let mut answer = Vec::new();
        device.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let at_target = async {
        let mut got = Vec::new();
        target.read_to_end(&mut got).await.unwrap();
        target.write_all(&got).await.unwrap();
        drop(target);
    };
    let (answer, ()) = timeout(HANG, async { tokio::join!(at_device, at_target) }).await.unwrap();
    assert!(answer == big, "{} bytes came back", answer.len());
    let size = big.len() as u64;
    assert_eq!(timeout(HANG, relay).await.unwrap().unwrap(), (Ok(()), size, size));
    until("the flow's end", || rig.status("fra-1").flows == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_ends_a_relay_that_is_held_up_by_the_other_side() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    for (device_fails, side) in [(true, Side::Near), (false, Side::Far)] {
        let Relayed { device, target, relay } = relayed(&rig).await;
        let (failing, other) = if device_fails { (device, target) } else { (target, device) };
        // One side has more to say than all buffers hold, the other one reads nothing and is reset.
        let pouring = tokio::spawn(pour(other));
        failing.readable().await.unwrap();
        failing.set_zero_linger().unwrap();
        drop(failing);
        assert_eq!(timeout(HANG, relay).await.unwrap().unwrap().0, Err(side));
        timeout(HANG, pouring).await.unwrap().unwrap();

        // And the one that is not read.
        let Relayed { device, target, relay } = relayed(&rig).await;
        let (failing, other) = if device_fails { (device, target) } else { (target, device) };
        failing.set_zero_linger().unwrap();
        let stuffed = timeout(std::time::Duration::from_millis(500), pour(failing)).await;
        assert!(stuffed.is_err(), "nobody reads, so this cannot end");
        assert_eq!(timeout(HANG, relay).await.unwrap().unwrap().0, Err(side));
        drop(other);
    }
}

/// A device and a target with a relay and the link between them.
struct Relayed {
    device: TcpStream,
    target: TcpStream,
    relay: tokio::task::JoinHandle<(Result<(), Side>, u64, u64)>,
}

async fn relayed(rig: &Rig) -> Relayed {
    let (mut flow, target) = connected(rig).await;
    let (listener, address) = listener().await;
    let (device, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let mut near = accepted.unwrap().0;
    let relay = tokio::spawn(async move {
        let traffic = Traffic::default();
        let ended = flow.relay(&mut near, &traffic, &Stalls::new(1).of(&())).await;
        (ended, traffic.forth(), traffic.back())
    });
    Relayed { device: device.unwrap(), target, relay }
}

/// Writes until it fails.
async fn pour(mut socket: TcpStream) {
    while socket.write_all(&[7; 64 * 1024]).await.is_ok() {}
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
