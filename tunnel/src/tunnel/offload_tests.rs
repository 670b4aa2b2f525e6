//! Trains and super-segments through the whole core, and shapes no honest network or kernel makes.

use std::num::NonZeroU16;

use crate::{
    Checksum, Count, Event, Limits, Offload, Verdict,
    packet::{
        Ends, Ip,
        split_tests::Parts,
        tcp::{ACK, FIN, PSH, SYN, Tcp},
    },
    testing::{World, whole},
};

/// A device's data on the flow of `port`, 100 bytes at a time.
fn data(world: &World, device: usize, port: u16, n: u32) -> Parts {
    let (ends, ports) = (world.ends(device), (port, 22));
    let (options, payload) = (vec![1; 12], vec![n as u8; 100]);
    Parts { ends, ports, id: 0, seq: 101 + n * 100, ack: 5001, flags: ACK, window: 9, options, payload }
}

/// The kernel's data on the same flow, as it leaves it to its TUN.
fn burst(world: &World, device: usize, port: u16, bytes: usize) -> Vec<u8> {
    let (ends, ports): (Ends, _) = (world.ends(device).reversed(), (22, port));
    let (options, payload) = (vec![1; 12], (0..bytes).map(|n| n as u8).collect());
    let parts =
        Parts { ends, ports, id: 7, seq: 5001, ack: 101, flags: ACK | PSH, window: 9, options, payload };
    parts.build()
}

fn cut_into(segment: u16) -> Offload {
    Offload { checksum: Checksum::Partial, segment: NonZeroU16::new(segment) }
}

/// One train of what a device's kernel sends at once, as it reaches the gateway.
fn train(world: &mut World, device: usize, packets: &[Vec<u8>]) -> (usize, Vec<u8>) {
    for packet in packets {
        world.devices[device].give(packet, world.now);
    }
    let client = &mut world.devices[device].client;
    let train = client.transmits().next().map(|train| (train.segment, train.bytes.to_vec())).unwrap();
    client.clear_transmits();
    train
}

/// How many segments each packet for the kernel is of, and from whom.
fn given(world: &mut World) -> Vec<(usize, String)> {
    let of = |packet: crate::ToKernel<'_>| {
        let bytes = whole(packet);
        let source = Ip::parse(&bytes).unwrap().ends.src();
        (packet.parts().count(), source.to_string())
    };
    let given = world.gateway.packets().map(of).collect();
    world.gateway.clear_packets();
    given
}

fn connected(devices: u8) -> World {
    let mut world = World::model(devices);
    for device in 0..usize::from(devices) {
        world.connect(device, 4000, 100);
    }
    world.gateway.set_offload(true);
    world
}

#[test]
fn a_train_becomes_a_super_segment_whatever_its_tail() {
    let mut world = connected(1);
    let packets: Vec<_> = (0..3).map(|n| data(&world, 0, 4000, n).build()).collect();
    let (segment, mut bytes) = train(&mut world, 0, &packets);
    assert_eq!(bytes.len(), 3 * segment);
    bytes.extend(&[4; 20]);
    world.gateway.handle_datagrams(0, world.devices[0].addr, segment, &bytes, world.now);
    assert_eq!(given(&mut world), [(3, "100.64.0.2".to_owned())]);
    assert_eq!((world.count(Count::NotWireguard), world.count(Count::DataReplayed)), (1, 0));
    world.gateway.handle_datagrams(0, world.devices[0].addr, segment, &bytes, world.now);
    assert_eq!((given(&mut world), world.count(Count::DataReplayed)), (vec![], 3));
    world.gateway.handle_datagrams(0, world.devices[0].addr, 0, &bytes, world.now);
    assert!(given(&mut world).is_empty());
}

#[test]
fn without_the_kernels_word_nothing_is_joined() {
    let mut world = connected(1);
    world.gateway.set_offload(false);
    let packets: Vec<_> = (0..3).map(|n| data(&world, 0, 4000, n).build()).collect();
    let (segment, bytes) = train(&mut world, 0, &packets);
    world.gateway.handle_datagrams(0, world.devices[0].addr, segment, &bytes, world.now);
    let all: Vec<_> = world.gateway.packets().map(whole).collect();
    assert_eq!(all, packets);
}

#[test]
fn devices_and_flows_never_share_a_super_segment() {
    let mut world = connected(2);
    world.connect(0, 4001, 100);
    for n in 0..3 {
        for (device, port) in [(0, 4000), (1, 4000), (0, 4001)] {
            let packet = data(&world, device, port, n).build();
            let (segment, bytes) = train(&mut world, device, &[packet]);
            let from = world.devices[device].addr;
            world.gateway.handle_datagrams(0, from, segment, &bytes, world.now);
        }
    }
    let (a, b) = ("100.64.0.2".to_owned(), "100.64.0.3".to_owned());
    assert_eq!(given(&mut world), [(3, a.clone()), (3, b), (3, a)]);
}

#[test]
fn a_wrong_checksum_goes_nowhere() {
    let mut world = connected(1);
    let mut packets: Vec<_> = (0..3).map(|n| data(&world, 0, 4000, n).build()).collect();
    packets[1][60] ^= 1;
    let (segment, bytes) = train(&mut world, 0, &packets);
    world.gateway.handle_datagrams(0, world.devices[0].addr, segment, &bytes, world.now);
    let a = "100.64.0.2".to_owned();
    assert_eq!(given(&mut world), [(1, a.clone()), (1, a)]);
    assert_eq!(world.count(Count::TcpChecksum), 1);
}

#[test]
fn what_is_not_data_keeps_its_place_among_it() {
    let mut world = connected(1);
    // The third repeats the second, so that the fourth would go on where the second ended.
    let mut packets: Vec<_> = [0, 1, 1, 2].map(|n| data(&world, 0, 4000, n)).into();
    for (flags, sizes) in [(SYN, vec![2, 1, 1]), (FIN | ACK, vec![2, 1, 1]), (ACK, vec![2, 2])] {
        packets[2].flags = flags;
        let packets: Vec<_> = packets.iter().map(Parts::build).collect();
        let (segment, bytes) = train(&mut world, 0, &packets);
        world.gateway.handle_datagrams(0, world.devices[0].addr, segment, &bytes, world.now);
        let got: Vec<_> = given(&mut world).into_iter().map(|(parts, _)| parts).collect();
        assert_eq!(got, sizes, "{flags:#x}");
    }
}

#[test]
fn a_burst_of_the_kernel_leaves_as_one_train() {
    let mut world = connected(1);
    let mut packet = burst(&world, 0, 4000, 65_000);
    world.gateway.handle_tun(cut_into(1300), &mut packet, world.now);
    let trains: Vec<_> = world.gateway.transmits().map(|train| (train.segment, train.bytes.len())).collect();
    assert_eq!(trains, [(1300 + 52 + 32, 50 * (1300 + 52 + 32))]);
    assert_eq!(world.count(Count::PassedOut), 51, "the SYN-ACK before");
    world.settle();
    let received: Vec<_> = std::mem::take(&mut world.devices[0].inbox);
    let tcp = |packet: &Vec<u8>| Tcp::verified(&Ip::parse(packet).unwrap()).unwrap();
    assert_eq!(received.len(), 50);
    assert!(received.iter().zip(0..).all(|(packet, n)| tcp(packet).seq == 5001 + n * 1300));
    assert!(received.iter().enumerate().all(|(at, packet)| tcp(packet).has(PSH) == (at == 49)));
    // A reset of ours stands where the burst ended.
    let flow = world.gateway.flows()[0].flow;
    world.gateway.cut(flow, world.now);
    world.settle();
    assert_eq!(world.received(0).map(|tcp| tcp.seq), Some(5001 + 65_000));
}

#[test]
fn a_burst_on_a_flow_being_cut_is_dropped_whole() {
    let mut world = connected(1);
    let flow = world.gateway.flows()[0].flow;
    world.gateway.cut(flow, world.now);
    world.settle();
    world.devices[0].inbox.clear();
    let mut packet = burst(&world, 0, 4000, 65_000);
    world.gateway.handle_tun(cut_into(1300), &mut packet, world.now);
    world.settle();
    assert_eq!((world.received(0), world.count(Count::TunClosing)), (None, 1));
}

#[test]
fn bursts_that_make_no_sense_are_dropped() {
    let mut world = connected(1);
    let whole = burst(&world, 0, 4000, 3000);
    let cases: [(Offload, usize, Count); 5] = [
        (Offload::NOTHING, whole.len(), Count::TooBig),
        (cut_into(1400), whole.len(), Count::TooBig),
        (cut_into(u16::MAX), whole.len(), Count::TooBig),
        (cut_into(1300), whole.len() - 1, Count::TunNotTcp),
        (cut_into(1300), 39, Count::TunNotTcp),
    ];
    for (offload, len, reason) in cases {
        let before = world.count(reason);
        world.gateway.handle_tun(offload, &mut whole[..len].to_vec(), world.now);
        assert_eq!(world.count(reason), before + 1, "{offload:?} {len}");
    }
    assert_eq!(world.gateway.transmits().count(), 0);
}

#[test]
fn full_queues_refuse_and_recover() {
    let mut world = World::new(1, false, Limits { queue_bytes: 20_000, ..Limits::default() });
    world.connect(0, 4000, 100);
    let mut packet = burst(&world, 0, 4000, 65_000);
    world.gateway.handle_tun(cut_into(1300), &mut packet, world.now);
    assert_eq!(world.count(Count::PassedOut) - 1 + world.count(Count::QueueFull), 50);
    assert!(world.count(Count::QueueFull) > 0);
    world.settle();
    let full = world.count(Count::QueueFull);
    let packets: Vec<_> = (0..150).map(|n| data(&world, 0, 4000, n).build()).collect();
    let (segment, bytes) = train(&mut world, 0, &packets);
    world.gateway.handle_datagrams(0, world.devices[0].addr, segment, &bytes, world.now);
    assert!(world.count(Count::QueueFull) > full);
    assert!(given(&mut world).len() > 100);
    world.segment(0, 4000, 101 + 150 * 100, 5001, ACK, b"and on");
    assert_eq!(world.kernel.len(), 1);
}

#[test]
fn the_longest_datagrams_change_nothing() {
    let mut world = connected(1);
    let packet = data(&world, 0, 4000, 0).build();
    let (_, good) = train(&mut world, 0, &[packet]);
    let mut long = vec![9; 65_507];
    long[..16].copy_from_slice(&good[..16]);
    world.arrives(world.devices[0].addr, &long);
    assert_eq!(world.count(Count::DataInvalid), 1);
    world.arrives(world.devices[0].addr, &good);
    assert_eq!(given(&mut world).len(), 1, "its counter was not spent");
}

/// An admitted SYN and what the device sent before it is accepted keep their order.
#[test]
fn data_follows_its_syn() {
    let mut world = World::model(1);
    world.gateway.set_offload(true);
    world.segment(0, 4000, 100, 0, SYN, &[]);
    let Some(Event::FlowOpened { flow, .. }) = world.events.pop_front() else { panic!("held") };
    world.gateway.decide(flow, Verdict::Admit, world.now);
    let packets: Vec<_> = (0..2).map(|n| data(&world, 0, 4000, n).build()).collect();
    let (segment, bytes) = train(&mut world, 0, &packets);
    world.gateway.handle_datagrams(0, world.devices[0].addr, segment, &bytes, world.now);
    let sizes: Vec<_> = given(&mut world).into_iter().map(|(parts, _)| parts).collect();
    assert_eq!(sizes, [1, 2]);
}
