//! Handshake-level attacks on the whole core, with stock clients (boringtun) for victims.
//! The clients begin handshakes when told to, because boringtun's timers follow a clock of its own.

use std::{net::SocketAddr, time::Duration};

use super::tests::attacker;
use crate::{
    Count, HandshakeLimits, Limits, PrivateKey,
    noise::{BoringPeer, Kind, NoisePeer, Received, cookie::client::prove},
    packet::tcp::{ACK, SYN, tests::segment},
    testing::{World, device, gateway_addr},
};

/// After how long a client tries again (REKEY_TIMEOUT, WireGuard paper §6.1).
const RETRY: Duration = Duration::from_secs(5);
const UNVERIFIED: u32 = 20;

fn world(devices: u8) -> World {
    let handshakes = HandshakeLimits {
        unverified_per_second: UNVERIFIED,
        verified_per_second: 10,
        source_per_second: 2,
        cookies_per_second: 5000,
    };
    World::new(devices, true, Limits { handshakes, ..Limits::default() })
}

fn forged(message: &mut [u8]) {
    prove(message, &PrivateKey::new([200; 32]).public(), None);
}

/// An initiation by nobody, with a right mac1.
fn initiation(n: u32) -> Vec<u8> {
    let mut message = [&1u32.to_le_bytes()[..], &n.to_le_bytes(), &[7; 140]].concat();
    forged(&mut message);
    message
}

fn response(index: u32) -> Vec<u8> {
    let mut message = [&2u32.to_le_bytes()[..], &[7; 4], &index.to_le_bytes(), &[7; 80]].concat();
    forged(&mut message);
    message
}

fn cookie(index: u32) -> Vec<u8> {
    [&3u32.to_le_bytes()[..], &index.to_le_bytes(), &[7; 56]].concat()
}

fn data(index: u32) -> Vec<u8> {
    [&4u32.to_le_bytes()[..], &index.to_le_bytes(), &[7; 56]].concat()
}

/// More forged initiations within a moment than there are budgets for.
fn flood(world: &mut World, from: impl Fn(u32) -> SocketAddr) {
    for n in 0..3000 {
        world.arrives(from(n), &initiation(n));
    }
    world.transmitted();
}

fn many_sources(n: u32) -> SocketAddr {
    ((0x0a00_0000 + n).to_be_bytes(), 1000).into()
}

fn one_source(_: u32) -> SocketAddr {
    attacker()
}

/// The key of device `n`, somewhere.
struct Caller {
    noise: BoringPeer,
    addr: SocketAddr,
}

impl Caller {
    fn new(n: u8) -> Self {
        let gateway = PrivateKey::new([200; 32]).public();
        let noise = BoringPeer::client(&PrivateKey::new([n; 32]), &gateway, None, None, 77);
        Self { noise, addr: ([192, 0, 2, n], 500).into() }
    }

    /// Begins a handshake; whether it was completed.
    fn knock(&mut self, world: &mut World) -> bool {
        let handshakes = world.count(Count::Handshake);
        let mut out = [0; 256];
        let len = self.noise.initiate(&mut out, world.now);
        world.arrives(self.addr, &out[..len]);
        for (to, bytes) in world.transmitted() {
            let taken = self.noise.receive(gateway_addr().ip(), &bytes, &mut out, world.now);
            assert_eq!(to, self.addr);
            if let Received::Reply(len) = taken {
                world.arrives(self.addr, &out[..len]);
            }
        }
        world.count(Count::Handshake) > handshakes
    }
}

/// The receiver index of the session device `n` uses.
fn index(world: &World, n: usize) -> u32 {
    let of = |(from, bytes): &(SocketAddr, Vec<u8>)| match Kind::of(bytes) {
        Some(Kind::Data(index)) if *from == world.devices[n].addr => Some(index),
        _ => None,
    };
    world.sent.iter().rev().find_map(of).unwrap()
}

/// Case D8: who can answer a cookie gets in at its second try, old acquaintance or new.
#[test]
fn a_flood_of_forged_handshakes_keeps_nobody_out() {
    for source in [many_sources, one_source] {
        let mut world = world(1);
        let specs = [world.devices[0].spec.clone(), device(2, true, world.now).spec];
        world.gateway.set_peers(&specs, world.now);
        world.now += RETRY;
        for mut caller in [Caller::new(1), Caller::new(2)] {
            flood(&mut world, source);
            assert!(!caller.knock(&mut world), "the unverified budget is spent");
            world.now += RETRY;
            flood(&mut world, source);
            assert!(caller.knock(&mut world));
            world.now += RETRY;
        }
        assert_eq!(world.gateway.peers().iter().filter(|peer| peer.endpoint.is_some()).count(), 2);
        world.dial(0, 4000, 1);
    }
}

#[test]
fn a_cookie_is_of_no_use_at_another_port() {
    let mut world = world(1);
    let mut caller = Caller::new(1);
    world.now += RETRY;
    flood(&mut world, many_sources);
    assert!(!caller.knock(&mut world));
    caller.addr.set_port(501);
    for shaken in [false, true] {
        assert_eq!(caller.knock(&mut world), shaken, "a cookie for the old port, then one for the new");
    }
}

#[test]
fn a_cookie_is_forgotten() {
    let mut world = world(1);
    let mut caller = Caller::new(1);
    flood(&mut world, many_sources);
    assert!(!caller.knock(&mut world));
    world.now += Duration::from_secs(240);
    flood(&mut world, many_sources);
    for shaken in [false, true] {
        assert_eq!(caller.knock(&mut world), shaken);
    }
}

/// Case D8: below the budget nobody is asked, and what is sent is less than what came.
#[test]
fn cookies_are_asked_for_under_load_and_within_their_budget() {
    let mut world = world(1);
    world.now += RETRY;
    let before = world.count(Count::HandshakeInvalid);
    for n in 0..UNVERIFIED {
        world.arrives(many_sources(n), &initiation(n));
    }
    assert_eq!(world.count(Count::HandshakeInvalid), before + u64::from(UNVERIFIED), "opened, and not good");
    assert_eq!(world.transmitted().len(), 0);
    for n in 0..6000 {
        world.arrives(many_sources(n), &initiation(n));
    }
    let replies = world.transmitted();
    assert!(replies.iter().all(|(_, bytes)| bytes.len() == 64));
    assert_eq!((replies.len(), world.count(Count::CookieSent)), (5000, 5000));
    assert_eq!(world.count(Count::CookieLimited), 1000);
}

/// Case D8: a proven source cannot spend more than its rate, recorded messages or not.
#[test]
fn replays_of_a_message_with_a_cookie_are_limited_by_source() {
    let mut world = world(1);
    let mut caller = Caller::new(1);
    world.now += RETRY;
    flood(&mut world, many_sources);
    assert!(!caller.knock(&mut world));
    let mut out = [0; 148];
    caller.noise.initiate(&mut out, world.now);
    for _ in 0..100 {
        world.arrives(caller.addr, &out);
    }
    let counted = [Count::HandshakeReplayed, Count::SourceLimited, Count::HandshakeLimited];
    assert_eq!(counted.map(|what| world.count(what)), [1, 98, 0]);
}

/// Guessed and evicted indices change nothing, and spend nothing.
#[test]
fn answers_to_what_we_did_not_ask_change_nothing() {
    let mut world = world(1);
    let live = index(&world, 0);
    let strangers = [live ^ 0x0100_0000, live ^ 0x8000_0000, 0, u32::MAX];
    world.pass(Duration::from_secs(195));
    let (peers, before) = (world.gateway.peers(), world.count(Count::HandshakeInvalid));
    assert!(!peers[0].awake, "its index is evicted");
    for index in strangers.into_iter().chain([live]) {
        for _ in 0..UNVERIFIED {
            world.arrives(attacker(), &response(index));
            world.arrives(attacker(), &cookie(index));
        }
    }
    assert_eq!(world.count(Count::HandshakeInvalid) - before, 5 * 2 * u64::from(UNVERIFIED));
    assert_eq!((world.transmitted(), world.gateway.peers()), (Vec::new(), peers));
    assert!(Caller::new(1).knock(&mut world), "no budget was spent");
}

#[test]
fn a_forged_answer_leaves_a_handshake_under_way_alone() {
    let mut world = world(1);
    let known = world.gateway.endpoints();
    world.restart();
    world.gateway.restore_endpoints(&known);
    world.arrives(known[0].addr, &data(1));
    let initiations = world.transmitted();
    let index = u32::from_le_bytes(initiations[0].1[4..8].try_into().unwrap());
    for message in [response(index), cookie(index), response(index ^ 1), cookie(index ^ 1)] {
        world.arrives(attacker(), &message);
    }
    assert_eq!((world.transmitted(), world.count(Count::HandshakeInvalid)), (Vec::new(), 4));
    let now = world.now;
    let initiation = &initiations[0].1;
    world.devices[0].client.handle_datagrams(gateway_addr(), initiation.len(), initiation, now);
    world.settle();
    assert_eq!(world.count(Count::Handshake), 1);
}

/// Case D14: of all that can be sent in a peer's name, only new data of its session tells where it is.
#[test]
fn only_data_moves_the_endpoint() {
    let mut world = world(1);
    let home = world.devices[0].addr;
    world.segment(0, 4000, 1, 0, SYN, &[]);
    let mut messages: Vec<_> = world.sent.iter().map(|(_, bytes)| bytes.clone()).collect();
    let live = index(&world, 0);
    messages.extend([response(live), cookie(live), data(live), vec![7; 60]]);
    let mut fresh = [0; 148];
    Caller::new(1).noise.initiate(&mut fresh, world.now);
    messages.push(fresh.to_vec());
    world.now += RETRY;
    let shaken = world.count(Count::Handshake);
    for message in messages {
        world.arrives(attacker(), &message);
        assert_eq!(world.gateway.peers()[0].endpoint, Some(home));
    }
    assert_eq!(world.count(Count::Handshake), shaken + 1, "the last is good, yet proves no address");
    assert_eq!((world.count(Count::HandshakeReplayed), world.count(Count::DataReplayed)), (1, 2));
    world.devices[0].addr = attacker();
    world.segment(0, 4000, 1, 0, SYN, &[]);
    assert_eq!(world.gateway.peers()[0].endpoint, Some(attacker()));
}

/// The replay window takes each of the last 1,024 messages (boringtun's N_BITS) once, in any order.
#[test]
fn data_arrives_once_in_any_order_within_the_window() {
    let mut world = world(1);
    let (home, packet) = (world.devices[0].addr, segment(world.ends(0), (4000, 22), 1, 1, ACK, &[]));
    let mut datagrams = Vec::new();
    for _ in 0..1100 {
        world.devices[0].give(&packet, world.now);
        datagrams.push(world.devices[0].first_transmit());
        world.devices[0].client.clear_transmits();
    }
    let taken = |world: &World| world.count(Count::NoFlow);
    for datagram in datagrams.iter().rev() {
        world.arrives(home, datagram);
        world.arrives(attacker(), datagram);
    }
    assert_eq!((taken(&world), world.count(Count::DataReplayed)), (1024, 1100 + 76));
    assert_eq!(world.gateway.peers()[0].endpoint, Some(home));
}
