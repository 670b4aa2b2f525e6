//! Flows of datagrams: payloads of every size both ways, ends, drops, and connectors that cannot.

use std::net::SocketAddr;

use connector::datagrams::LARGEST;
use gateway::connectors::{LinkDatagrams, OpenError, Told};
use protocol::{
    link::{Hello, Outcome},
    target::{Host, Proto, Target},
};
use tokio::{net::UdpSocket, time::timeout};

use super::rig::{Agent, Fake, HANG, Habit, Rig, site, until};

/// A target that is asked by hand.
async fn target() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

async fn open(rig: &Rig, target: &str) -> Result<LinkDatagrams, OpenError> {
    let target: Target = target.parse().unwrap();
    timeout(HANG, rig.registry.open_datagrams(&site(), Proto::Udp, &target, 1)).await.unwrap()
}

async fn next(flow: &mut LinkDatagrams) -> Told {
    timeout(HANG, flow.recv()).await.unwrap()
}

async fn answer(flow: &mut LinkDatagrams) -> Vec<u8> {
    match next(flow).await {
        Told::Payload(payload) => payload.to_vec(),
        other => panic!("no payload but {other:?}"),
    }
}

/// The target's side of an open flow: its socket, and where the connector's is.
async fn connected(rig: &Rig) -> (LinkDatagrams, UdpSocket, SocketAddr) {
    let (socket, target) = target().await;
    let flow = open(rig, &target).await.unwrap();
    flow.send(b"hello");
    let mut buffer = [0; 9];
    let (length, from) = timeout(HANG, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..length], b"hello");
    (flow, socket, from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_every_size_go_both_ways() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (mut flow, socket, from) = connected(&rig).await;
    assert_eq!((flow.connector().as_str(), rig.status("fra-1").flows), ("fra-1", 1));
    let mut buffer = vec![0; LARGEST];
    for size in [0, 1, 1100, 1392, 4000, 65_507] {
        let payload = vec![7; size];
        flow.send(&payload);
        let length = timeout(HANG, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(buffer[..length], payload);
        socket.send_to(&payload, from).await.unwrap();
        assert_eq!(answer(&mut flow).await, payload, "{size}");
    }
    assert_eq!(rig.status("fra-1").datagrams_dropped, 0);
    flow.conclude();
    until("the flow's end", || rig.status("fra-1").flows == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sites_network_says_comes_back() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (mut flow, socket, _) = connected(&rig).await;
    drop(socket);
    flow.send(b"nobody hears");
    assert!(matches!(next(&mut flow).await, Told::Undelivered(Outcome::Refused)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_ends_on_both_sides_with_its_stream() {
    let mut rig = Rig::start().await;
    let mut agent = rig.connector("fra-1").await;
    let ends: [fn(LinkDatagrams); 2] = [LinkDatagrams::conclude, drop];
    for end in ends {
        let (flow, socket, from) = connected(&rig).await;
        end(flow);
        // The connector's socket is closed when its port is refused.
        socket.connect(from).await.unwrap();
        let refused = async { while socket.send(b"?").await.is_ok() {} };
        timeout(HANG, refused).await.unwrap();
    }
    let (mut flow, _socket, _) = connected(&rig).await;
    let drained = agent.drain(std::time::Duration::ZERO);
    assert!(matches!(next(&mut flow).await, Told::Ended));
    drained.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_change_cut_datagrams() {
    let mut rig = Rig::start().await;
    let pem = rig.add("fra-1");
    let agent = Agent::start(rig.config(&pem, &["127.0.0.1"]));
    rig.linked("fra-1").await;
    let (mut flow, ..) = connected(&rig).await;
    agent.reload(rig.config(&pem, &["10.0.0.0/8"])).unwrap();
    assert!(matches!(next(&mut flow).await, Told::Ended));
    let refused = open(&rig, "127.0.0.1:53").await.unwrap_err();
    assert!(matches!(refused, OpenError::NotAllowed(why) if why.contains("loopback")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn echo_goes_through_where_the_kernel_lets_it() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let target = Target { host: Host::Ip([127, 0, 0, 1].into()), port: 0 };
    let site = site();
    let open = rig.registry.open_datagrams(&site, Proto::Icmp, &target, 1);
    match timeout(HANG, open).await.unwrap() {
        Ok(mut flow) => {
            flow.send(b"\0\x01ping");
            assert_eq!(answer(&mut flow).await, b"\0\x01ping");
        }
        Err(OpenError::NotAllowed(why)) => assert!(why.contains("ping_group_range")),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_flow_does_not_read_is_dropped_and_counted() {
    let mut rig = Rig::start().await;
    let _agent = rig.connector("fra-1").await;
    let (mut flow, socket, from) = connected(&rig).await;
    let (mut other, beside, back) = connected(&rig).await;
    // More than waits for one flow; one at a time, for the kernel's buffers are not what is tested.
    for _ in 0..300 {
        socket.send_to(b"unread", from).await.unwrap();
        beside.send_to(b"read", back).await.unwrap();
        assert_eq!(answer(&mut other).await, b"read", "one that does not read does not hold up another");
    }
    let waiting = async {
        let mut waiting = 0;
        while waiting < 128 && answer(&mut flow).await == b"unread" {
            waiting += 1;
        }
    };
    timeout(HANG, waiting).await.unwrap();
    until("the drops to show", || rig.status("fra-1").datagrams_dropped >= 300 - 128 - 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connector_is_passed_over_and_named() {
    let mut rig = Rig::start().await;
    let pem = rig.add("old");
    let mut hello = Hello::new("old", [9; 16]);
    hello.capabilities.clear();
    let _old = Fake::greet(&rig, &pem, hello).await;
    until("the old one's link", || rig.status("old").connections == 1).await;
    let (socket, address) = target().await;
    let refused = open(&rig, &address).await.unwrap_err();
    assert_eq!(refused.to_string(), "connector old is too old for UDP and ICMP: upgrade it");
    let _agent = rig.connector("new").await;
    let flow = open(&rig, &address).await.unwrap();
    assert_eq!(flow.connector().as_str(), "new");
    flow.send(b"hello");
    timeout(HANG, socket.recv(&mut [0; 9])).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connector_is_passed_over() {
    let mut rig = Rig::start().await;
    let _silent = Fake::link(&mut rig, "silent", Habit::Silent).await;
    let _agent = rig.connector("fra-2").await;
    let (flow, ..) = connected(&rig).await;
    assert_eq!(flow.connector().as_str(), "fra-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connector_ends_its_flows() {
    let mut rig = Rig::start().await;
    let agent = rig.connector("fra-1").await;
    let (mut flow, ..) = connected(&rig).await;
    rig.remove("fra-1");
    assert!(matches!(next(&mut flow).await, Told::Ended));
    drop(agent);
}
