//! Flows of datagrams as the shell and the devices see them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use protocol::target::Proto;

use crate::{
    Count, Event, FlowId, FlowKey, FlowPhase, Gone, Limits, Refusal, Verdict,
    packet::{
        Ends, ICMP, ICMPV6, Ip, UDP,
        fragment::{self, tests::reassemble},
        icmp::{self, tests::message},
        udp::{self, Udp, datagram},
    },
    testing::{TARGET, World},
};

const V6_TARGET: &str = "fd50::9";
const PORT: u16 = 4000;
const LIFETIME: Duration = Duration::from_secs(30);

fn ends(world: &World, device: usize, v6: bool) -> Ends {
    let spec = &world.devices[device].spec;
    let (own, target): (IpAddr, _) = if v6 { (spec.v6.into(), V6_TARGET) } else { (spec.v4.into(), TARGET) };
    Ends::new(own, target.parse().unwrap()).unwrap()
}

fn key(world: &World, device: usize, v6: bool) -> FlowKey {
    let ends = ends(world, device, v6);
    FlowKey { device: (ends.src(), PORT).into(), target: (ends.dst(), 53).into() }
}

fn send(world: &mut World, device: usize, v6: bool, payload: &[u8]) {
    let FlowKey { device: from, target } = key(world, device, v6);
    world.send(device, &datagram(from, target, payload).unwrap());
}

fn opened(world: &mut World) -> FlowId {
    match world.events.pop_back() {
        Some(Event::DatagramFlowOpened { flow, .. }) => flow,
        other => panic!("no flow opened but {other:?}"),
    }
}

/// An admitted flow whose first payload the shell has.
fn live(world: &mut World, device: usize) -> FlowId {
    send(world, device, false, b"first");
    let flow = opened(world);
    world.gateway.decide(flow, Verdict::Admit, world.now);
    world.settle();
    assert_eq!(payloads(world), [(flow, b"first".to_vec())]);
    flow
}

fn payloads(world: &mut World) -> Vec<(FlowId, Vec<u8>)> {
    let events = std::mem::take(&mut world.events);
    let payload = |event| match event {
        Event::Datagram { flow, payload } => (flow, payload),
        other => panic!("{other:?}"),
    };
    events.into_iter().map(payload).collect()
}

/// The ICMP errors a device got: their types and codes.
fn errors(world: &mut World, device: usize) -> Vec<(u8, u8)> {
    let packets = std::mem::take(&mut world.devices[device].inbox);
    let error = |packet: &Vec<u8>| {
        let ip = Ip::parse(packet).unwrap();
        assert!(matches!(ip.protocol, ICMP | ICMPV6), "an error");
        (ip.payload[0], ip.payload[1])
    };
    packets.iter().map(error).collect()
}

fn a_whole_life(mut world: World, v6: bool) {
    let key = key(&world, 0, v6);
    for payload in [&b"one"[..], b"", b"three", b"four", b"five"] {
        send(&mut world, 0, v6, payload);
    }
    let Some(Event::DatagramFlowOpened { flow, device, proto, key: told }) = world.events.pop_front() else {
        panic!("held")
    };
    assert_eq!((device.as_str(), proto, told), ("d1", Proto::Udp, key));
    assert!(world.events.is_empty(), "nothing passes before the verdict");
    assert_eq!(world.count(Count::DatagramHoldFull), 1);
    world.gateway.send_datagram(flow, b"too early", world.now);
    world.settle();
    assert!(world.devices[0].inbox.is_empty(), "in either direction");

    world.gateway.decide(flow, Verdict::Admit, world.now);
    world.settle();
    let held: Vec<_> = [&b"one"[..], b"", b"three", b"four"].map(|p| (flow, p.to_vec())).into();
    assert_eq!(payloads(&mut world), held);
    send(&mut world, 0, v6, b"six");
    assert_eq!(payloads(&mut world), [(flow, b"six".to_vec())]);
    world.gateway.send_datagram(flow, b"answer", world.now);
    world.settle();
    let packet = world.devices[0].inbox.pop().unwrap();
    let ip = Ip::parse(&packet).unwrap();
    let udp = Udp::parse(&ip).unwrap();
    assert_eq!((ip.ends.src(), udp.src), (key.target.ip(), key.target.port()));
    assert_eq!((ip.ends.dst(), udp.dst, udp.payload), (key.device.ip(), PORT, &b"answer"[..]));

    world.gateway.cut(flow, world.now);
    world.gateway.send_datagram(flow, b"queued", world.now);
    world.settle();
    let prohibited = if v6 { (1, 1) } else { (3, 13) };
    assert_eq!(errors(&mut world, 0), [prohibited], "told at once, and nothing queued arrives");
    send(&mut world, 0, v6, b"more");
    assert_eq!(errors(&mut world, 0), [prohibited]);
    assert!(world.events.is_empty(), "nothing passes after a cut");
    assert_eq!(world.gateway.flows()[0].phase, FlowPhase::Closing);
    world.pass(Duration::from_secs(1));
    assert!(world.gateway.flows().is_empty());
    send(&mut world, 0, v6, b"again");
    assert_ne!(opened(&mut world), flow, "then it is asked anew");
}

#[test]
fn a_flow_of_datagrams_from_the_first_to_the_cut() {
    a_whole_life(World::boring(1), false);
    a_whole_life(World::model(1), true);
}

#[test]
fn refusals_of_datagrams_say_what_they_mean() {
    for (refusal, v4, v6) in [
        (Refusal::PortUnreachable, (3, 3), (1, 4)),
        (Refusal::Prohibited, (3, 13), (1, 1)),
        (Refusal::HostUnreachable, (3, 1), (1, 3)),
    ] {
        for (is_v6, want) in [(false, v4), (true, v6)] {
            let mut world = World::model(1);
            send(&mut world, 0, is_v6, b"?");
            let flow = opened(&mut world);
            world.gateway.decide(flow, Verdict::Refuse(refusal), world.now);
            world.settle();
            assert_eq!(errors(&mut world, 0), [want], "{refusal:?}");
            world.gateway.decide(flow, Verdict::Admit, world.now);
            assert_eq!(world.count(Count::LateVerdict), 1);
        }
    }
}

#[test]
fn a_refusal_quotes_the_datagram_it_is_about() {
    let mut world = World::model(1);
    send(&mut world, 0, false, b"?");
    let flow = opened(&mut world);
    world.gateway.decide(flow, Verdict::Refuse(Refusal::Prohibited), world.now);
    world.settle();
    let packet = world.devices[0].inbox.pop().unwrap();
    let FlowKey { device, target } = key(&world, 0, false);
    assert!(datagram(device, target, b"?").unwrap().starts_with(&packet[28..]));
    assert_eq!(packet[28..].len(), 28);
}

#[test]
fn what_the_network_says_of_a_live_flow_reaches_its_device() {
    let mut world = World::model(1);
    let flow = live(&mut world, 0);
    for _ in 0..30 {
        world.gateway.send_unreachable(flow, Refusal::PortUnreachable, world.now);
    }
    world.settle();
    let icmp = Limits::default().icmp_per_second as usize;
    assert_eq!(errors(&mut world, 0), vec![(3, 3); icmp], "within the device's rate");
    send(&mut world, 0, false, b"goes on");
    assert_eq!(payloads(&mut world).len(), 1);
}

#[test]
fn echo_keeps_its_identifier_sequence_and_data() {
    for v6 in [false, true] {
        let mut world = World::model(1);
        let ends = ends(&world, 0, v6);
        world.send(0, &message(ends, 8, 128, &[0x12, 0x34, 0, 7, b'h', b'i']));
        let Some(Event::DatagramFlowOpened { flow, proto, key, .. }) = world.events.pop_front() else {
            panic!("held")
        };
        assert_eq!((proto, key.device.port(), key.target), (Proto::Icmp, 0x1234, (ends.dst(), 0).into()));
        world.gateway.decide(flow, Verdict::Admit, world.now);
        world.settle();
        assert_eq!(payloads(&mut world), [(flow, b"\0\x07hi".to_vec())]);
        world.gateway.send_datagram(flow, b"\0\x07hi", world.now);
        world.settle();
        let packet = world.devices[0].inbox.pop().unwrap();
        let want = message(ends.reversed(), 0, 129, &[0x12, 0x34, 0, 7, b'h', b'i']);
        assert_eq!(packet, want);
    }
}

#[test]
fn an_answer_larger_than_a_packet_arrives_in_fragments() {
    for (v6, largest) in [(false, 65_507), (true, 65_527)] {
        let mut world = World::model(1);
        send(&mut world, 0, v6, b"?");
        let flow = opened(&mut world);
        world.gateway.decide(flow, Verdict::Admit, world.now);
        world.settle();
        let FlowKey { device, target } = key(&world, 0, v6);
        for size in [1372, 1392, 1393, 4000, largest] {
            let payload = vec![9; size];
            world.gateway.send_datagram(flow, &payload, world.now);
            world.settle();
            let packets = std::mem::take(&mut world.devices[0].inbox);
            assert!(packets.iter().all(|packet| packet.len() <= 1420));
            let whole = udp::message(target, device, &payload).unwrap().1;
            match &packets[..] {
                [packet] => assert_eq!(Ip::parse(packet).unwrap().payload, whole, "{size}"),
                _ => assert_eq!(reassemble(packets), whole, "{size}"),
            }
        }
        world.gateway.send_datagram(flow, &vec![9; largest + 1], world.now);
        world.settle();
        assert!(world.devices[0].inbox.is_empty());
        assert_eq!(world.count(Count::AnswerUnsendable), 1);
    }
}

#[test]
fn a_flow_lives_while_it_is_used() {
    let mut world = World::model(1);
    let flow = live(&mut world, 0);
    world.pass(LIFETIME - Duration::from_secs(1));
    send(&mut world, 0, false, b"still here");
    world.pass(LIFETIME - Duration::from_secs(1));
    assert_eq!(payloads(&mut world).len(), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow, why: Gone::Idle }));
    assert_eq!(world.count(Count::DatagramFlowIdle), 1);

    let flow = live(&mut world, 0);
    world.pass(Duration::from_secs(2));
    world.gateway.send_datagram(flow, b"answer", world.now);
    world.pass(Duration::from_secs(119));
    assert!(world.events.is_empty(), "answered and used for a while, it is a stream");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow, why: Gone::Idle }));
}

#[test]
fn a_hold_without_a_verdict_ends() {
    let mut world = World::model(1);
    send(&mut world, 0, false, b"?");
    let flow = opened(&mut world);
    world.pass(Duration::from_secs(11));
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow, why: Gone::HoldExpired }));
    world.gateway.decide(flow, Verdict::Admit, world.now);
    assert_eq!(world.count(Count::LateVerdict), 1);
}

#[test]
fn finished_flows_open_anew() {
    let mut world = World::model(1);
    let flow = live(&mut world, 0);
    world.gateway.finished(flow, world.now);
    assert!(world.gateway.flows().is_empty());
    assert_ne!(live(&mut world, 0), flow);
}

/// Case D4: the core's part. A removed device hears of its end, and nothing passes.
#[test]
fn removing_a_device_cuts_its_datagrams() {
    let mut world = World::model(2);
    let flow = live(&mut world, 0);
    let other = live(&mut world, 1);
    let removed = world.devices[0].spec.clone();
    let kept = [world.devices[1].spec.clone()];
    world.gateway.set_peers(&kept, world.now);
    world.settle();
    assert_eq!(world.events.pop_front(), Some(Event::FlowGone { flow, why: Gone::DeviceRemoved }));
    assert_eq!(errors(&mut world, 0), [(3, 13)]);
    send(&mut world, 0, false, b"more");
    assert_eq!(errors(&mut world, 0), [(3, 13)]);
    world.gateway.send_datagram(flow, b"late", world.now);
    world.settle();
    assert!(world.events.is_empty() && world.devices[0].inbox.is_empty());
    world.gateway.set_peers(&[removed, kept[0].clone()], world.now);
    world.settle();
    send(&mut world, 1, false, b"undisturbed");
    assert_eq!(payloads(&mut world), [(other, b"undisturbed".to_vec())]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.gateway.flows().len(), 1);
}

#[test]
fn what_waits_for_the_shell_is_taken_back_at_the_end() {
    let ends: [fn(&mut World, FlowId); 3] = [
        |world, flow| world.gateway.cut(flow, world.now),
        |world, flow| world.gateway.finished(flow, world.now),
        |world, _| world.gateway.set_peers(&[], world.now),
    ];
    for end in ends {
        let mut world = World::model(1);
        let flow = live(&mut world, 0);
        let FlowKey { device, target } = key(&world, 0, false);
        arrive(&mut world, &datagram(device, target, b"waits").unwrap());
        assert_eq!(world.count(Count::DatagramIn), 2);
        end(&mut world, flow);
        world.settle();
        assert!(!world.events.iter().any(|event| matches!(event, Event::Datagram { .. })));
    }
}

#[test]
fn cut_where_finds_datagrams() {
    let mut world = World::model(2);
    let (flow, _) = (live(&mut world, 0), live(&mut world, 1));
    let cut = world.gateway.cut_where(|info| info.device.as_str() == "d1", world.now);
    assert_eq!(cut, [flow]);
    world.settle();
    assert_eq!(errors(&mut world, 0), [(3, 13)]);
    assert!(world.devices[1].inbox.is_empty());
}

/// The first device's packet reaches the core, and nothing is polled.
fn arrive(world: &mut World, packet: &[u8]) {
    let device = &mut world.devices[0];
    device.give(packet, world.now);
    for transmit in device.client.transmits() {
        world.gateway.handle_datagrams(0, device.addr, transmit.segment, transmit.bytes, world.now);
    }
    device.client.clear_transmits();
}

/// Case D10: what one device sends waits behind itself only.
#[test]
fn a_flood_of_datagrams_takes_nothing_from_another_device() {
    let limits = Limits { datagrams_per_device: 8, datagram_flows_per_device: 4, ..Limits::default() };
    let mut world = World::new(2, false, limits);
    let (noisy, quiet) = (live(&mut world, 0), live(&mut world, 1));
    let flood = |world: &mut World, from: u16| {
        let FlowKey { device, target } = key(world, 0, false);
        arrive(world, &datagram(SocketAddr::new(device.ip(), from), target, b"noise").unwrap());
    };
    for _ in 0..100 {
        flood(&mut world, PORT);
    }
    for port in 5000..5100 {
        flood(&mut world, port);
    }
    assert_eq!(world.count(Count::DatagramQueueFull), 100 - 8);
    assert_eq!(world.count(Count::DatagramDeviceLimit), 100 - 3);
    let FlowKey { device, target } = key(&world, 1, false);
    world.devices[1].give(&datagram(device, target, b"quiet").unwrap(), world.now);
    world.settle();
    let events = std::mem::take(&mut world.events);
    let place =
        events.iter().position(|event| matches!(event, Event::Datagram { flow, .. } if *flow == quiet));
    let noise = |event: &&Event| matches!(event, Event::Datagram { flow, .. } if *flow == noisy);
    let before = events.iter().take(place.expect("it passes")).filter(noise).count();
    assert!(before <= 1, "it waits for one of the other's, not for {before}");
    assert_eq!(events.iter().filter(|event| matches!(event, Event::DatagramFlowOpened { .. })).count(), 3);
}

#[test]
fn the_first_fragment_of_a_datagram_is_refused_aloud() {
    for (v6, prohibited) in [(false, (3, 13)), (true, (1, 1))] {
        let mut world = World::model(2);
        let FlowKey { device, target } = key(&world, 0, v6);
        let whole = udp::message(device, target, &[7; 4000]).unwrap();
        for packet in fragment::packets(whole.0, UDP, &whole.1, 1420, 1).unwrap() {
            world.send(0, &packet);
        }
        assert_eq!(errors(&mut world, 0), [prohibited], "once for three fragments");
        assert_eq!(world.count(Count::Fragment), 3);
        let other = ends(&world, 1, v6).src();
        for (from, to) in [(other, target.ip()), (device.ip(), other)] {
            let (ends, message) = udp::message((from, 1).into(), (to, 1).into(), &[7; 4000]).unwrap();
            world.send(0, &fragment::packets(ends, UDP, &message, 1420, 1).unwrap()[0]);
        }
        let echo = icmp::echo_answer(whole.0, 1, &[7; 4000]);
        let protocol = icmp::protocol(whole.0);
        world.send(0, &fragment::packets(whole.0, protocol, &echo, 1420, 1).unwrap()[0]);
        assert_eq!(errors(&mut world, 0), [], "nobody else's, to nobody else, no reply");
        assert!(world.events.is_empty());
    }
}

fn cut_while_an_answer_waits(mut world: World) {
    let flow = live(&mut world, 0);
    world.lose_session(0);
    world.gateway.send_datagram(flow, b"late", world.now);
    world.gateway.cut(flow, world.now);
    world.settle();
    assert_eq!(world.count(Count::Handshake), 2);
    assert_eq!(errors(&mut world, 0), [(3, 13)], "only that it is prohibited");
}

#[test]
fn an_answer_that_waits_for_a_session_is_not_sent_after_the_cut() {
    cut_while_an_answer_waits(World::model(1));
}

#[test]
fn an_answer_that_waits_for_a_session_is_not_sent_after_the_cut_over_boringtun() {
    cut_while_an_answer_waits(World::boring(1));
}
