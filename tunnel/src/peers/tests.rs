//! Peers over time: sessions, restarts, endpoints, strangers.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Count, Event, Limits,
    packet::tcp::{ACK, SYN},
    testing::{World, device, gateway_addr},
};

fn attacker() -> SocketAddr {
    ([203, 0, 113, 66], 6666).into()
}

#[test]
fn a_peer_at_rest_costs_no_state_and_no_timer() {
    let mut world = World::model(3);
    assert!(world.gateway.peers().iter().all(|peer| peer.awake && peer.last_handshake.is_some()));
    world.pass(Duration::from_secs(195));
    assert!(world.gateway.peers().iter().all(|peer| !peer.awake && peer.endpoint.is_some()));
    assert_eq!(world.gateway.poll_timeout(), None);
    world.dial(0, 4000, 1);
    assert_eq!(world.gateway.peers().iter().filter(|peer| peer.awake).count(), 1);
}

#[test]
fn the_kernel_wakes_a_sleeping_peer() {
    let mut world = World::model(1);
    world.connect(0, 4000, 100);
    world.pass(Duration::from_secs(195));
    assert!(!world.gateway.peers()[0].awake);
    world.reply(0, 4000, 5001, 101, ACK, b"news");
    assert_eq!(world.received(0).map(|tcp| tcp.seq), Some(5001), "queued, and sent after the handshake");
}

fn restarted(mut world: World) {
    let known = world.gateway.endpoints();
    assert_eq!(known.len(), 2);
    world.restart();
    world.segment(0, 4000, 5, 88, ACK, b"old session");
    assert_eq!((world.received(0), world.count(Count::Rehandshake)), (None, 0), "unknown endpoint: nothing");
    world.gateway.restore_endpoints(&known);
    world.segment(0, 4000, 5, 88, ACK, b"old session");
    assert_eq!((world.count(Count::Rehandshake), world.count(Count::Handshake)), (1, 1));
    world.segment(0, 4000, 5, 88, ACK, b"new session");
    assert_eq!(
        world.received(0).map(|tcp| tcp.seq),
        Some(88),
        "back at once, and told that its flow is gone"
    );
}

#[test]
fn after_a_restart_a_client_is_called_back() {
    restarted(World::model(2));
}

#[test]
fn after_a_restart_a_client_is_called_back_over_boringtun() {
    restarted(World::boring(2));
}

/// Case D15: unknown-session data must not make us a source of traffic.
#[test]
fn forced_handshakes_are_rare() {
    for (per_second, of_another) in [(1, 0), (10, 1)] {
        let limits = Limits { rehandshakes_per_second: per_second, ..Limits::default() };
        let mut world = World::new(2, false, limits);
        let known = world.gateway.endpoints();
        world.restart();
        world.gateway.restore_endpoints(&known);
        let data = [&4u32.to_le_bytes()[..], &[9; 60]].concat();
        let answers = |world: &mut World, from: SocketAddr| {
            world.arrives(from, &data);
            world.transmitted().len()
        };
        let (a, b) = (world.devices[0].addr, world.devices[1].addr);
        assert_eq!(answers(&mut world, attacker()), 0, "no peer was ever there");
        assert_eq!(answers(&mut world, a), 1);
        assert_eq!(answers(&mut world, a), 0, "once a second for a source");
        assert_eq!(answers(&mut world, b), of_another, "within the budget of all");
        world.now += Duration::from_secs(1);
        assert_eq!(answers(&mut world, b), 1);
        assert_eq!(world.count(Count::RehandshakeLimited), 2 - of_another as u64);
    }
}

/// Case D14: an old initiation moves nothing, after an idle drop and after a restart.
#[test]
fn an_old_initiation_is_refused_and_the_endpoint_stays() {
    for restart in [false, true] {
        let mut world = World::model(1);
        let initiation = world.sent.iter().find(|(_, bytes)| bytes.len() == 148).unwrap().1.clone();
        let (endpoints, stamps) = (world.gateway.endpoints(), world.gateway.stamps());
        world.pass(Duration::from_secs(195));
        if restart {
            world.restart();
            world.gateway.restore_endpoints(&endpoints);
            world.gateway.restore_stamps(&stamps);
        }
        world.arrives(attacker(), &initiation);
        assert_eq!(world.count(Count::HandshakeReplayed), 1);
        assert!(world.transmitted().is_empty() && !world.gateway.peers()[0].awake);
        assert_eq!(world.gateway.endpoints(), endpoints);
    }
}

#[test]
fn only_data_moves_the_endpoint() {
    let mut world = World::boring(1);
    let old = world.devices[0].addr;
    world.devices[0].addr = attacker();
    let fresh = device(1, true, world.now);
    let initiation = fresh.first_transmit();
    world.now += Duration::from_secs(1);
    world.arrives(attacker(), &initiation);
    assert_eq!(world.gateway.peers()[0].endpoint, Some(old), "a handshake proves no address");
    world.segment(0, 4000, 1, 0, SYN, &[]);
    assert_eq!(world.gateway.peers()[0].endpoint, Some(attacker()), "data does");
}

#[test]
fn strangers_are_told_of_rarely() {
    let mut world = World::model(1);
    for n in 0..50 {
        let stranger = device(100 + n, false, world.now);
        let initiation = stranger.first_transmit();
        world.arrives(stranger.addr, &initiation);
    }
    world.settle();
    assert_eq!(world.count(Count::UnknownKey), 50);
    assert_eq!(world.events.len(), 8);
    assert!(
        matches!(world.events[0], Event::UnknownKey { from, .. } if from == ([198, 51, 100, 100], 40_000).into())
    );
    assert!(world.transmitted().is_empty());
}

#[test]
fn under_load_boringtun_asks_for_cookies() {
    let limits = Limits { handshakes_per_second: 2, ..Limits::default() };
    let mut world = World::new(1, true, limits);
    for _ in 0..3 {
        let other = device(7, true, world.now);
        let initiation = other.first_transmit();
        world.arrives(other.addr, &initiation);
    }
    // One handshake was the device's own: each message counts once although it is verified twice.
    assert_eq!((world.count(Count::UnknownKey), world.count(Count::CookieSent)), (1, 2));
    assert_eq!(world.transmitted().first().map(|(_, bytes)| bytes.len()), Some(64));
}

#[test]
fn a_client_hears_only_its_gateway() {
    let mut world = World::model(1);
    let now = world.now;
    let client = &mut world.devices[0].client;
    client.handle_datagrams(attacker(), 64, &[4; 64], now);
    client.handle_datagrams(gateway_addr(), 64, &[4; 64], now);
    assert_eq!((client.status().refused, client.packets().count()), (2, 0));
}
