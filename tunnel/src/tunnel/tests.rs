//! The core as its shell and its devices see it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use proptest::prelude::*;
use protocol::{id::DeviceId, key::WgKey};

use crate::{
    Count, Event, FlowPhase, Gone, Limits, Refusal, Verdict,
    devices::{Device, DeviceSlot},
    packet::{
        Ends, Ip,
        icmp::{Icmp, tests::message},
        tcp::{
            ACK, FIN, RST, SYN,
            tests::{segment, syn},
        },
        udp::{Udp, datagram},
    },
    peers::{Peer, PeerSlot},
    testing::{TARGET, World, device},
};

fn a_whole_life(mut world: World) {
    world.segment(0, 4000, 100, 0, SYN, &[]);
    let Some(Event::FlowOpened { flow, device, key, isn }) = world.events.pop_front() else { panic!("held") };
    assert_eq!((device.as_str(), key, isn), ("d1", world.key(0, 4000), 100));
    assert!(world.kernel.is_empty(), "a held SYN reaches nobody");
    world.segment(0, 4000, 100, 0, SYN, &[]);
    assert!(world.events.is_empty(), "a repetition opens nothing");

    world.gateway.decide(flow, Verdict::Admit, world.now);
    world.settle();
    let given = world.kernel.pop_front().unwrap();
    assert_eq!(given, syn(world.ends(0), (4000, 22), 100));
    world.reply(0, 4000, 5000, 101, SYN | ACK, &[]);
    let answer = world.received(0).unwrap();
    assert_eq!((answer.seq, answer.ack), (5000, 101));
    assert_eq!(world.gateway.accepted(key, 100), Some(flow));
    assert_eq!(world.gateway.accepted(key, 100), None, "a permit pairs once");
    world.segment(0, 4000, 101, 5001, ACK, b"hello");
    assert_eq!(world.kernel.len(), 1);
    world.kernel.clear();

    world.gateway.cut(flow, world.now);
    world.settle();
    let farewell = world.received(0).unwrap();
    assert!(farewell.has(RST) && farewell.seq == 5001, "a reset where the kernel's next byte would be");
    world.reply(0, 4000, 5001, 106, ACK, b"queued");
    assert_eq!(world.received(0), None, "nothing queued arrives after a cut");
    world.reply(0, 4000, 5001, 106, RST, &[]);
    assert_eq!(world.received(0), None, "nor the kernel's reset, if it says the same");
    world.reply(0, 4000, 5007, 106, RST, &[]);
    assert!(world.received(0).unwrap().has(RST), "but if it says more");
    world.segment(0, 4000, 106, 5042, ACK, b"more");
    assert!(world.kernel.is_empty());
    let reset = world.received(0).unwrap();
    assert!(reset.has(RST) && reset.seq == 5042, "a challenge ACK is answered where it points");
    assert_eq!(world.gateway.flows()[0].phase, FlowPhase::Closing);
    world.pass(Duration::from_secs(2));
    assert!(world.gateway.flows().is_empty());
}

#[test]
fn a_flow_from_syn_to_cut_over_boringtun() {
    a_whole_life(World::boring(1));
}

#[test]
fn a_flow_from_syn_to_cut_over_the_model_cipher() {
    a_whole_life(World::model(1));
}

/// A flood of SYNs is a flood of decisions, dials and log lines.
#[test]
fn who_opens_too_many_flows_a_second_is_left_to_ask_again() {
    let mut world = World::new(1, false, Limits { opens_per_second: 3, ..Limits::default() });
    for port in 4000..4005 {
        world.segment(0, port, 100, 0, SYN, &[]);
        world.segment(0, port, 100, 0, SYN, &[]);
    }
    assert_eq!(world.events.drain(..).len(), 3);
    assert_eq!(
        (world.received(0), world.count(Count::OpensLimited)),
        (None, 4),
        "no refusal: it will ask again"
    );
    world.pass(Duration::from_secs(1));
    world.segment(0, 4003, 100, 0, SYN, &[]);
    assert!(matches!(world.events.pop_front(), Some(Event::FlowOpened { .. })));
}

/// Case D1: a device that sends with another's address.
#[test]
fn another_devices_source_is_dropped_and_counted() {
    let mut world = World::boring(2);
    let stolen = syn(world.ends(1), (4000, 22), 1);
    world.send(0, &stolen);
    let b = world.devices[1].spec.v6.into();
    let stolen = syn(Ends::new(b, "fd50::1".parse().unwrap()).unwrap(), (4000, 22), 1);
    world.send(0, &stolen);
    assert_eq!(world.count(Count::WrongSource), 2);
    assert!(world.events.is_empty() && world.kernel.is_empty());
}

/// Case D13: connect, reset, reconnect from one port; each socket gets its own permit.
#[test]
fn reconnecting_from_one_port_pairs_by_sequence_number() {
    let mut world = World::model(1);
    let first = world.dial(0, 4000, 100);
    world.gateway.decide(first, Verdict::Admit, world.now);
    world.segment(0, 4000, 101, 0, RST, &[]);
    let second = world.dial(0, 4000, 900);
    assert_ne!(first, second);
    let key = world.key(0, 4000);
    assert_eq!(world.gateway.accepted(key, 900), None, "not admitted yet");
    assert_eq!(world.gateway.accepted(key, 100), Some(first));
    world.gateway.decide(second, Verdict::Refuse(Refusal::Rst), world.now);
    assert_eq!(world.gateway.accepted(key, 900), None, "refused");
    assert_eq!(world.gateway.accepted(key, 100), None, "paired before");
    let third = world.dial(0, 4000, 7000);
    world.gateway.decide(third, Verdict::Admit, world.now);
    assert_eq!(world.gateway.accepted(key, 7000), Some(third));
    assert_eq!(world.count(Count::PairingUnknown), 3);
    world.gateway.cut(first, world.now);
    assert_eq!(world.gateway.flows().len(), 1, "what was reset and replaced ends at once");
}

#[test]
fn a_syn_on_a_live_flow_is_the_kernels() {
    let mut world = World::model(1);
    world.connect(0, 4000, 100);
    world.segment(0, 4000, 777, 0, SYN, &[]);
    assert_eq!(world.kernel.len(), 1);
    assert!(world.events.is_empty());
    assert_eq!(world.gateway.accepted(world.key(0, 4000), 777), None);
}

#[test]
fn refusals_say_what_they_mean() {
    let mut world = World::model(1);
    let flow = world.dial(0, 4000, 100);
    world.gateway.decide(flow, Verdict::Refuse(Refusal::Rst), world.now);
    world.settle();
    let rst = world.received(0).unwrap();
    assert!(rst.has(RST) && rst.has(ACK) && (rst.seq, rst.ack) == (0, 101));
    for (port, refusal, code) in
        [(1, Refusal::Prohibited, 13), (2, Refusal::HostUnreachable, 1), (3, Refusal::NetUnreachable, 0)]
    {
        let flow = world.dial(0, port, 100);
        world.gateway.decide(flow, Verdict::Refuse(refusal), world.now);
        world.settle();
        let packet = world.devices[0].inbox.pop().unwrap();
        let ip = Ip::parse(&packet).unwrap();
        assert_eq!(Icmp::parse(&ip), Ok(Icmp::Error));
        assert_eq!(ip.payload[..2], [3, code]);
        assert_eq!(ip.ends.src().to_string(), "100.64.0.1");
    }
    world.gateway.decide(flow, Verdict::Admit, world.now);
    assert_eq!(world.count(Count::LateVerdict), 1);
    assert!(world.gateway.flows().is_empty() && world.kernel.is_empty());
}

#[test]
fn holds_and_permits_expire() {
    let mut world = World::model(1);
    let held = world.dial(0, 1, 100);
    let admitted = world.dial(0, 2, 100);
    world.gateway.decide(admitted, Verdict::Admit, world.now);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow: held, why: Gone::HoldExpired }));
    world.pass(Duration::from_secs(20));
    assert_eq!(world.events.pop_front(), Some(Event::PermitExpired { flow: admitted }));
    assert_eq!(world.gateway.accepted(world.key(0, 2), 100), None);
    assert!(world.gateway.flows().is_empty());
}

#[test]
fn a_changed_sequence_number_gives_the_hold_up() {
    let mut world = World::model(1);
    let first = world.dial(0, 4000, 100);
    let second = world.dial(0, 4000, 200);
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow: first, why: Gone::Superseded }));
    world.segment(0, 4000, 201, 0, RST, &[]);
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow: second, why: Gone::DeviceReset }));
    // What was never told is never ended either.
    let (one, two) = (syn(world.ends(0), (5, 22), 1), syn(world.ends(0), (5, 22), 2));
    world.devices[0].give(&one, world.now);
    world.send(0, &two);
    assert!(matches!(world.events.pop_front(), Some(Event::FlowOpened { isn: 2, .. })));
    assert_eq!(world.events.pop_front(), None);
}

#[test]
fn a_peaceful_end_drains() {
    let mut world = World::model(1);
    let flow = world.connect(0, 4000, 100);
    world.reply(0, 4000, 5001, 101, FIN | ACK, b"bye");
    world.gateway.finished(flow, world.now);
    world.segment(0, 4000, 101, 5005, FIN | ACK, &[]);
    world.reply(0, 4000, 5005, 102, ACK, &[]);
    assert_eq!(world.gateway.flows()[0].phase, FlowPhase::Draining);
    let again = world.dial(0, 4000, 900);
    assert_ne!(again, flow);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.gateway.flows().len(), 1, "the old one is forgotten after its goodbye");

    let flow = world.connect(0, 4001, 100);
    world.gateway.finished(flow, world.now);
    for _ in 0..3 {
        world.pass(Duration::from_secs(50));
        world.reply(0, 4001, 5001, 101, ACK, b"slow");
    }
    assert_eq!(world.gateway.flows().len(), 1, "while the kernel sends, it drains");
    world.pass(Duration::from_secs(60));
    assert!(world.gateway.flows().is_empty());
}

#[test]
fn a_reset_the_kernel_did_not_believe_ends_nothing() {
    let mut world = World::model(1);
    let flow = world.connect(0, 4000, 100);
    world.segment(0, 4000, 7, 0, RST, &[]);
    world.reply(0, 4000, 5001, 101, ACK, &[]);
    assert!(world.received(0).is_some(), "a challenge ACK");
    world.gateway.finished(flow, world.now);
    world.reply(0, 4000, 5001, 101, FIN | ACK, b"the rest");
    assert!(world.received(0).is_some_and(|tcp| tcp.has(FIN)), "what was written before the close arrives");
    world.segment(0, 4000, 101, 0, RST, &[]);
    assert!(world.gateway.flows().is_empty());
}

#[test]
fn a_segment_without_flow_is_reset() {
    let mut world = World::model(1);
    world.segment(0, 4000, 5, 88, ACK, b"x");
    let rst = world.received(0).unwrap();
    assert!(rst.has(RST) && rst.seq == 88);
    world.segment(0, 4000, 5, 88, RST, &[]);
    assert_eq!(world.received(0), None, "a RST is never answered");
    assert_eq!(world.count(Count::NoFlow), 2);
    world.reply(0, 4000, 1, 2, ACK, b"stray");
    assert_eq!((world.received(0), world.count(Count::TunNoFlow)), (None, 1));
    world.segment(0, 4000, 5, 0, SYN | FIN, &[]);
    assert_eq!(world.count(Count::TcpFlags), 1);
}

#[test]
fn limits_refuse_at_once() {
    let limits = Limits {
        held_per_device: 2,
        admitted_per_device: 1,
        flows_per_device: 3,
        resets_per_second: 1,
        ..Limits::default()
    };
    let mut world = World::new(1, false, limits);
    let (a, b) = (world.dial(0, 1, 100), world.dial(0, 2, 100));
    world.segment(0, 3, 100, 0, SYN, &[]);
    assert!(world.received(0).unwrap().has(RST));
    assert_eq!(world.count(Count::HeldLimit), 1);
    world.gateway.decide(a, Verdict::Admit, world.now);
    world.gateway.decide(b, Verdict::Admit, world.now);
    world.settle();
    assert_eq!(world.count(Count::AdmittedLimit), 1);
    assert!(world.received(0).unwrap().has(RST));
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow: b, why: Gone::OverLimit }));
    world.gateway.accepted(world.key(0, 1), 100);
    let _ = (world.dial(0, 3, 1), world.dial(0, 4, 1));
    world.segment(0, 5, 100, 0, SYN, &[]);
    assert_eq!(world.count(Count::DeviceFlowLimit), 1);
    world.devices[0].inbox.clear();
    for _ in 0..5 {
        world.segment(0, 9, 5, 88, ACK, &[]);
    }
    assert_eq!((world.devices[0].inbox.len(), world.count(Count::ResetLimited)), (1, 4));
}

#[test]
fn devices_are_served_in_turn() {
    let mut world = World::model(2);
    for port in 1..=20 {
        let packet = syn(world.ends(0), (port, 22), 1);
        world.devices[0].give(&packet, world.now);
    }
    let packet = syn(world.ends(1), (1, 22), 1);
    world.devices[1].give(&packet, world.now);
    world.settle();
    let whose = |event: &Event| match event {
        Event::FlowOpened { device, .. } => device.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(world.events.iter().take(3).map(whose).collect::<Vec<_>>(), ["d1", "d2", "d1"]);
}

#[test]
fn dns_echo_and_what_no_flow_carries() {
    let mut world = World::model(1);
    world.gateway.set_echo([TARGET.parse().unwrap()].into());
    let (from, dns): (SocketAddr, SocketAddr) = ((world.v4(0), 5353).into(), ([100, 64, 0, 1], 53).into());
    world.send(0, &datagram(from, dns, b"query").unwrap());
    let Some(Event::Dns { device, from: asked, to, payload }) = world.events.pop_front() else {
        panic!("asked")
    };
    assert_eq!((device.as_str(), asked, to, &payload[..]), ("d1", from, dns, &b"query"[..]));
    world.gateway.send_udp(to, asked, b"answer", world.now);
    world.settle();
    let answer = world.devices[0].inbox.pop().unwrap();
    let udp = Udp::parse(&Ip::parse(&answer).unwrap()).unwrap();
    assert_eq!((udp.src, udp.dst, udp.payload), (53, 5353, &b"answer"[..]));
    world.gateway.send_udp(to, "100.64.9.9:1".parse().unwrap(), b"x", world.now);
    world.gateway.send_udp(to, asked, &[0; 1400], world.now);
    assert_eq!((world.count(Count::NoSuchDevice), world.count(Count::AnswerUnsendable)), (1, 1));

    let ping = message(world.ends(0), 8, 128, &[1, 2, 3, 4, 5]);
    world.send(0, &ping);
    assert_eq!(world.devices[0].inbox.pop().unwrap()[20], 0, "an echo reply");
    for _ in 0..30 {
        world.send(0, &message(world.ends(0), 13, 13, &[0; 16]));
    }
    assert_eq!(world.count(Count::IcmpUnsupported), 30);
    assert_eq!(world.devices[0].inbox.len(), 19, "20 ICMP messages a second, the echo among them");
    let error = message(world.ends(0), 3, 1, &[0; 4]);
    world.send(0, &error);
    assert_eq!((world.devices[0].inbox.len(), world.count(Count::IcmpError)), (19, 1));
}

#[test]
fn a_removed_device_is_reset_and_then_forgotten() {
    let mut world = World::model(2);
    let flow = world.connect(0, 4000, 100);
    let held = world.dial(0, 4001, 100);
    let other = world.connect(1, 4000, 100);
    let gone = world.devices[0].spec.clone();
    let stays = world.devices[1].spec.clone();
    world.gateway.set_peers(&[stays], world.now);
    world.settle();
    let told: Vec<_> = world.events.drain(..).collect();
    let why = Gone::DeviceRemoved;
    assert_eq!(told, [Event::FlowGone { flow, why }, Event::FlowGone { flow: held, why }]);
    assert_eq!(world.devices[0].inbox.len(), 2, "both ends of the wire know");
    world.devices[0].inbox.clear();
    world.segment(0, 4000, 101, 5001, ACK, b"still here");
    assert!(world.received(0).unwrap().has(RST) && world.kernel.is_empty());
    world.segment(0, 4002, 101, 0, SYN, &[]);
    assert_eq!(world.received(0), None);
    assert!(world.events.is_empty());
    world.pass(Duration::from_secs(2));
    assert_eq!(world.devices[0].inbox.drain(..).len(), 2, "the reset was repeated, the refusal was not");
    assert_eq!(world.gateway.flows().iter().map(|info| info.flow).collect::<Vec<_>>(), [other]);
    let before = world.count(Count::UnknownSession);
    world.segment(0, 4000, 101, 5001, ACK, b"still here");
    assert_eq!((world.received(0), world.count(Count::UnknownSession)), (None, before + 1));
    // Back at once: it shakes hands anew, for its keys are gone.
    world.gateway.set_peers(&[gone, world.devices[1].spec.clone()], world.now);
    assert_eq!(world.gateway.peers().iter().filter(|peer| peer.awake).count(), 1);
}

#[test]
fn a_device_rotates_its_key_without_losing_flows() {
    let mut world = World::model(1);
    let flow = world.connect(0, 4000, 100);
    let new = device(9, false, world.now);
    world.devices[0].spec.keys.push(new.spec.keys[0]);
    world.set_peers();
    world.devices[0].client = new.client;
    world.settle();
    world.devices[0].spec.keys.remove(0);
    world.set_peers();
    world.segment(0, 4000, 101, 5001, ACK, b"same flow");
    world.reply(0, 4000, 5001, 110, ACK, b"new key");
    assert_eq!(world.kernel.len(), 1);
    assert!(world.received(0).is_some());
    assert_eq!(world.gateway.flows()[0].flow, flow);
    world.devices[0].spec.keys.extend([WgKey([77; 32]), WgKey([78; 32])]);
    world.set_peers();
    assert_eq!(world.count(Count::SpecConflict), 1, "a third key is one too many");
}

#[test]
fn a_device_that_loses_the_key_it_speaks_by_loses_its_flows() {
    let mut world = World::model(1);
    let flow = world.connect(0, 4000, 100);
    let new = device(9, false, world.now);
    world.devices[0].spec.keys.push(new.spec.keys[0]);
    world.set_peers();
    world.devices[0].spec.keys.remove(0);
    world.set_peers();
    world.settle();
    assert!(world.received(0).unwrap().has(RST), "whoever has the old key learns that it is over");
    let gone = Event::FlowGone { flow, why: Gone::DeviceRemoved };
    assert!(world.events.contains(&gone));
    world.segment(0, 4000, 101, 5001, ACK, b"still here");
    assert!(world.kernel.is_empty());
}

#[test]
fn cut_where_says_what_it_cut() {
    let mut world = World::model(2);
    let (a, _b) = (world.connect(0, 1, 100), world.connect(1, 1, 100));
    let held = world.dial(0, 2, 100);
    let cut = world.gateway.cut_where(|info| info.device.as_str() == "d1", world.now);
    assert_eq!(cut, [a, held]);
    assert_eq!(world.count(Count::FlowCut), 2);
    world.settle();
    assert_eq!(world.devices[0].inbox.len(), 2);
}

/// What 100,000 enrolled devices cost: their tables have 131,072 places then, hash tables with a control
/// byte each.
#[test]
fn a_device_at_rest_is_small() {
    fn entry<K, V>() -> usize {
        size_of::<(K, V)>() + 1
    }
    let peer =
        size_of::<(u32, Option<Peer>)>() + entry::<WgKey, PeerSlot>() + entry::<SocketAddr, PeerSlot>();
    let device = size_of::<(u32, Option<Device>)>()
        + entry::<DeviceId, DeviceSlot>()
        + 2 * entry::<IpAddr, DeviceSlot>();
    // Its id and its list of peers, each an allocation of its own.
    let beside = 2 * size_of::<usize>() + 63 + 4 * size_of::<PeerSlot>() + 2 * 16;
    let each = (peer + device) * 131_072 / 100_000 + beside;
    assert!(each < 1000, "{each} bytes");
}

#[test]
fn the_core_can_be_given_to_a_thread() {
    fn sendable<T: Send>() {}
    sendable::<crate::Tunnel>();
    sendable::<crate::peer::Client>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn nothing_a_device_or_a_stranger_sends_panics(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 1..20),
        kinds in prop::collection::vec(0u8..6, 20), ports in prop::collection::vec(1u16..4, 20),
    ) {
        let mut world = World::model(1);
        for ((bytes, kind), port) in packets.iter().zip(kinds).zip(ports) {
            let ends = world.ends(0);
            let packet = match kind {
                0 => bytes.clone(),
                1 => syn(ends, (port, 22), u32::from(bytes.len() as u8)),
                2 => segment(ends, (port, 22), 1, 1, [ACK, RST, FIN | ACK][usize::from(port) % 3], bytes),
                3 => message(ends, 8, 128, bytes),
                4 => datagram((world.v4(0), port).into(), "100.64.0.1:53".parse().unwrap(), bytes).unwrap(),
                _ => [&syn(ends, (port, 22), 1)[..30], bytes].concat(),
            };
            world.send(0, &packet);
            world.kernel_sends(&packet);
            world.arrives(world.devices[0].addr, bytes);
            let mut forged = world.sent.last().unwrap().1.clone();
            forged.iter_mut().zip(bytes).for_each(|(to, from)| *to ^= from & 0x11);
            world.arrives(([203, 0, 113, 9], 9).into(), &forged);
            while let Some(Event::FlowOpened { flow, .. }) = world.events.pop_front() {
                world.gateway.decide(flow, Verdict::Admit, world.now);
            }
            world.pass(Duration::from_secs(u64::from(port)));
        }
    }
}
