//! Two shards of one gateway, with a network that brings datagrams to the wrong one.

use std::{
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Count, Enrolled, Event, Handover, HandshakeLimits, Limits, Offload, PeerSpec, Shard, Transmit, Tunnel,
    Verdict,
    packet::{
        Ends,
        tcp::{ACK, SYN, tests::segment},
        udp::datagram,
    },
    testing::{Device, TARGET, device, gateway, gateway_addr, start, whole},
};

const SHARDS: NonZeroU16 = NonZeroU16::new(2).unwrap();

/// Device `n` belongs to shard `n`.
struct Pair {
    now: Instant,
    shards: [Tunnel; 2],
    devices: [Device; 2],
}

impl Pair {
    fn new(limits: &Limits) -> Self {
        let now = start();
        let shard = |number| gateway(false, now, limits, Shard::new(number, SHARDS.get()).unwrap());
        let mut pair = Self {
            now,
            shards: [shard(0), shard(1)],
            devices: [device(1, false, now), device(2, false, now)],
        };
        pair.enrol(|pair| pair.devices.each_ref().map(|device| vec![device.spec.clone()]));
        pair
    }

    fn enrol(&mut self, specs: impl Fn(&Self) -> [Vec<PeerSpec>; 2]) {
        let specs = specs(self);
        let all = (0..).zip(&specs).flat_map(|(shard, specs)| specs.iter().map(move |spec| (spec, shard)));
        let enrolled = Arc::new(Enrolled::new(all));
        for (shard, specs) in self.shards.iter_mut().zip(&specs) {
            shard.set_peers(specs, self.now);
            shard.set_enrolled(enrolled.clone());
        }
    }

    /// What the shards leave to each other.
    fn exchange(&mut self) -> usize {
        let mut all = Vec::new();
        for shard in &mut self.shards {
            let owned = |Handover { shard, socket, from, bytes, segment }: Handover<'_>| {
                (usize::from(shard), socket, from, bytes.to_vec(), segment)
            };
            all.extend(shard.handovers().map(owned));
            shard.clear_handovers();
        }
        for (shard, socket, from, bytes, segment) in &all {
            self.shards[*shard].take_over(*socket, *from, *segment, bytes, self.now);
        }
        all.len()
    }

    /// Carries everything, each datagram of the device to shard `at`, until there is nothing.
    fn settle(&mut self, device: usize, at: usize) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            let device = &mut self.devices[device];
            for Transmit { bytes, segment, .. } in device.client.transmits() {
                quiet = false;
                self.shards[at].handle_datagrams(0, device.addr, segment, bytes, self.now);
            }
            device.client.clear_transmits();
            quiet &= self.exchange() == 0;
            for shard in &mut self.shards {
                for Transmit { to, bytes, segment, .. } in shard.transmits() {
                    quiet = false;
                    let device = self.devices.iter_mut().find(|device| device.addr == to).unwrap();
                    device.client.handle_datagrams(gateway_addr(), segment, bytes, self.now);
                }
                shard.clear_transmits();
            }
        }
    }

    /// A packet of a device, by way of shard `at`.
    fn send(&mut self, device: usize, packet: &[u8], at: usize) {
        self.devices[device].give(packet, self.now);
        self.settle(device, at);
    }

    fn ends(&self, device: usize) -> Ends {
        Ends::new(self.devices[device].spec.v4.into(), TARGET.parse().unwrap()).unwrap()
    }

    fn dial(&mut self, device: usize, at: usize) {
        self.send(device, &segment(self.ends(device), (4000, 22), 100, 0, SYN, &[]), at);
    }

    fn count(&self, shard: usize, what: Count) -> u64 {
        self.shards[shard].counters().get(what)
    }

    fn events(&mut self, shard: usize) -> Vec<Event> {
        std::iter::from_fn(|| self.shards[shard].poll_event()).collect()
    }

    /// An initiation of a device, not yet delivered.
    fn initiation(&mut self, device: usize) -> Vec<u8> {
        let packet = segment(self.ends(device), (4000, 22), 100, 0, SYN, &[]);
        self.devices[device].give(&packet, self.now);
        let first = self.devices[device].first_transmit();
        self.devices[device].client.clear_transmits();
        first
    }

    fn arrives(&mut self, shard: usize, message: &[u8]) {
        let from = self.devices[1].addr;
        self.shards[shard].handle_datagrams(0, from, message.len(), message, self.now);
    }
}

#[test]
fn whatever_arrives_elsewhere_reaches_the_shard_it_belongs_to() {
    let mut pair = Pair::new(&Limits::default());
    pair.dial(1, 0);
    let told = pair.events(1);
    let [Event::Handshake { device, .. }, Event::FlowOpened { flow, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((device.as_str(), flow.shard(SHARDS)), ("d2", 1));
    assert!(pair.events(0).is_empty(), "the other shard has nothing of it");
    assert_eq!(pair.count(0, Count::HandedOver), 3, "the initiation, then a keepalive and data");
    assert_eq!((pair.count(0, Count::UnknownSession), pair.count(0, Count::UnknownKey)), (0, 0));

    pair.shards[1].decide(*flow, Verdict::Admit, pair.now);
    assert_eq!(pair.shards[1].packets().map(whole).count(), 1);
    pair.shards[1].clear_packets();
    let mut answer = segment(pair.ends(1).reversed(), (22, 4000), 5000, 101, SYN | ACK, &[]);
    pair.shards[1].handle_tun(Offload::NOTHING, &mut answer, pair.now);
    pair.settle(1, 0);
    assert_eq!(pair.devices[1].client.packets().count(), 1);
}

#[test]
fn what_arrives_where_it_belongs_is_handed_to_nobody() {
    let mut pair = Pair::new(&Limits::default());
    pair.dial(0, 0);
    pair.dial(1, 1);
    for shard in [0, 1] {
        assert_eq!(pair.count(shard, Count::HandedOver), 0);
        let told = pair.events(shard);
        let Some(Event::FlowOpened { flow, .. }) = told.last() else { panic!("{told:?}") };
        assert_eq!(usize::from(flow.shard(SHARDS)), shard);
    }
}

#[test]
fn every_message_with_an_index_belongs_to_who_drew_it() {
    let mut pair = Pair::new(&Limits::default());
    let index = [0, 1, 0, 0];
    let response = [&[2, 0, 0, 0][..], &[9; 4], &index, &[0; 80]].concat();
    let cookie = [&[3, 0, 0, 0][..], &index, &[0; 56]].concat();
    let data = [&[4, 0, 0, 0][..], &index, &[0; 24]].concat();
    for message in [response, cookie, data] {
        pair.arrives(0, &message);
        assert_eq!(pair.exchange(), 1);
        pair.arrives(1, &message);
        assert_eq!(pair.exchange(), 0);
    }
    assert_eq!((pair.count(1, Count::HandshakeInvalid), pair.count(1, Count::UnknownSession)), (4, 2));
    assert_eq!((pair.count(0, Count::HandshakeInvalid), pair.count(0, Count::UnknownSession)), (0, 0));
}

/// The budget of the shard where it arrived pays, and no other; the stamp is still looked at.
#[test]
fn an_initiation_is_admitted_once_and_answered_once() {
    let none = HandshakeLimits {
        unverified_per_second: 0,
        verified_per_second: 0,
        source_per_second: 0,
        cookies_per_second: 0,
    };
    let mut pair = Pair::new(&Limits::default());
    let closed = Limits { handshakes: none, ..Limits::default() };
    pair.shards[1] = gateway(false, pair.now, &closed, Shard::new(1, SHARDS.get()).unwrap());
    pair.enrol(|pair| pair.devices.each_ref().map(|device| vec![device.spec.clone()]));
    let message = pair.initiation(1);
    pair.arrives(1, &message);
    assert_eq!(pair.count(1, Count::Handshake), 0, "its own budget is spent");
    pair.arrives(0, &message);
    pair.exchange();
    assert_eq!(pair.count(1, Count::Handshake), 1);
    pair.now += Duration::from_secs(1);
    pair.arrives(0, &message);
    pair.exchange();
    assert_eq!((pair.count(1, Count::Handshake), pair.count(1, Count::HandshakeReplayed)), (1, 1));

    let mut forged = message;
    forged[120] ^= 1;
    pair.arrives(0, &forged);
    assert_eq!(pair.exchange(), 0, "what is not admitted is not handed over");
}

/// While the shards are told of a change one after the other.
#[test]
fn shards_that_disagree_do_not_play_ball() {
    let mut pair = Pair::new(&Limits::default());
    let message = pair.initiation(1);
    let spec = pair.devices[1].spec.clone();
    pair.shards[1].set_peers(&[], pair.now);
    pair.shards[1].set_enrolled(Arc::new(Enrolled::new([(&spec, 0)])));
    pair.arrives(0, &message);
    assert_eq!((pair.exchange(), pair.exchange()), (1, 0));
    assert_eq!((pair.count(0, Count::UnknownKey), pair.count(1, Count::UnknownKey)), (0, 1));
    // Nor does a shard hand to itself what it has no peer for.
    pair.shards[1].set_enrolled(Arc::new(Enrolled::new([(&spec, 1)])));
    pair.arrives(1, &message);
    assert_eq!((pair.exchange(), pair.count(1, Count::UnknownKey)), (0, 2));
}

#[test]
fn strangers_stay_where_they_knock() {
    let mut pair = Pair::new(&Limits::default());
    pair.devices[1] = device(7, false, pair.now);
    let message = pair.initiation(1);
    pair.arrives(0, &message);
    assert_eq!((pair.exchange(), pair.count(0, Count::UnknownKey)), (0, 1));
    assert!(matches!(pair.events(0)[..], [Event::UnknownKey { .. }]));
}

#[test]
fn what_waits_for_a_shard_is_bounded() {
    let mut pair = Pair::new(&Limits { queue_bytes: 100, ..Limits::default() });
    let data = [&[4, 0, 0, 0, 0, 1, 0, 0][..], &[0; 24]].concat();
    for _ in 0..5 {
        pair.arrives(0, &data);
    }
    assert_eq!((pair.count(0, Count::HandedOver), pair.count(0, Count::HandoverFull)), (3, 2));
    assert_eq!((pair.exchange(), pair.count(1, Count::UnknownSession)), (1, 3), "as one train");
}

#[test]
fn a_device_of_another_shard_is_a_device() {
    let mut pair = Pair::new(&Limits::default());
    let (from, to) = (pair.devices[0].spec.v4, pair.devices[1].spec.v4);
    pair.send(0, &datagram((from, 4000).into(), (to, 53).into(), b"x").unwrap(), 0);
    assert_eq!(pair.count(0, Count::ToDevice), 1);
}
