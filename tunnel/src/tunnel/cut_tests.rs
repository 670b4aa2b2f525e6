//! A cut as its device sees it: what still arrives, how often, and how fast.

use std::time::Duration;

use crate::{
    Count, Offload,
    packet::{
        Ip,
        tcp::{ACK, RST, Tcp, tests::segment},
    },
    testing::World,
};

/// A client that only waits sends nothing that could be answered by another.
#[test]
fn a_lost_reset_is_repeated() {
    let mut world = World::model(1);
    let flow = world.connect(0, 4000, 100);
    world.gateway.cut(flow, world.now);
    world.settle();
    assert!(world.received(0).unwrap().has(RST), "taken for the one that is lost");
    world.gateway.cut(flow, world.now);
    world.settle();
    for wait in [150, 350] {
        assert_eq!(world.received(0), None);
        world.pass(Duration::from_millis(wait));
        let again = world.received(0).unwrap();
        assert!(again.has(RST) && again.seq == 5001);
    }
    world.pass(Duration::from_millis(1500));
    assert_eq!((world.received(0), world.gateway.flows().len()), (None, 0));
    assert_eq!(world.count(Count::FlowCut), 1);
}

/// A client's socket holds only so many datagrams.
#[test]
fn resets_of_many_flows_are_spread() {
    let mut world = World::model(2);
    let flows: Vec<_> = (0..100).map(|n| world.connect(0, 4000 + n, 100)).collect();
    let other = world.connect(1, 4000, 100);
    for flow in flows.into_iter().chain([other]) {
        world.gateway.cut(flow, world.now);
    }
    world.settle();
    assert_eq!(world.devices[0].inbox.drain(..).len(), 65, "a burst and one");
    assert!(world.received(1).unwrap().has(RST), "each device has its own");
    world.segment(0, 4099, 101, 5001, ACK, b"late");
    assert!(world.received(0).unwrap().has(RST) && world.kernel.is_empty(), "cut nevertheless");
    world.pass(Duration::from_millis(2));
    assert_eq!(world.devices[0].inbox.len(), 35);
}

/// Two flows have data for a device whose session is lost; one of them is cut before there is another.
fn cut_while_data_waits(mut world: World) {
    let flow = world.connect(0, 4000, 100);
    world.connect(0, 4001, 100);
    world.lose_session(0);
    for port in [4000, 4001, 4000] {
        let mut data = segment(world.ends(0).reversed(), (22, port), 5001, 101, ACK, b"late");
        world.gateway.handle_tun(Offload::NOTHING, &mut data, world.now);
    }
    world.gateway.cut(flow, world.now);
    world.reply(0, 4000, 5005, 101, RST | ACK, &[]);
    assert_eq!(world.count(Count::Handshake), 2);
    let port_and_reset = |packet: &Vec<u8>| {
        let tcp = Tcp::parse(Ip::parse(packet).unwrap().payload).unwrap();
        (tcp.dst, tcp.has(RST))
    };
    let inbox: Vec<_> = world.devices[0].inbox.iter().map(port_and_reset).collect();
    assert_eq!(inbox, [(4001, false), (4000, true)], "nothing of the flow but its reset");
}

#[test]
fn what_waits_for_a_session_is_not_sent_after_the_cut() {
    cut_while_data_waits(World::model(1));
}

#[test]
fn what_waits_for_a_session_is_not_sent_after_the_cut_over_boringtun() {
    cut_while_data_waits(World::boring(1));
}
