//! The only place of the simulation that hands packets to the core and its clients and takes packets from
//! them: when those calls change their shape, this file changes and nothing else does.

use std::{
    net::SocketAddr,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use protocol::key::WgKey;

use super::wire::Inner;
use crate::{
    Config, CookieSecret, Limits, Offload, PrivateKey, Shard, Transmit, Tunnel,
    noise::model::Model,
    packet::{
        Ends,
        tcp::{FIN, tests::segment},
    },
    peer::Client,
    testing::whole,
};

const PSH: u8 = 8;

/// The gateway's addresses inside the tunnel.
pub(super) const INSIDE: [&str; 2] = ["100.64.0.1", "fd00::1"];
/// An address that answers echo requests and nothing else by itself.
pub(super) const VIP: &str = "100.64.128.7";
/// The largest inner packet.
pub(super) const MTU: usize = 1420;

/// What the core wants sent to the network.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) socket: usize,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// The core, and where its time begins.
pub(super) struct Gate {
    pub(super) tunnel: Tunnel,
    epoch: Instant,
}

impl Gate {
    pub(super) fn new(key: WgKey, limits: Limits, seed: u64, epoch: Instant) -> Self {
        let (cookies, handshakes) = (CookieSecret::new([9; 32], epoch), limits.handshakes);
        let noise = Model::new(key, epoch, &cookies, handshakes);
        let config = Config {
            private_key: PrivateKey::new([200; 32]),
            gateway_addrs: INSIDE.map(|addr| addr.parse().unwrap()).into(),
            limits,
            seed,
            cookies,
            mtu: MTU,
            shard: Shard::default(),
        };
        let mut tunnel = Tunnel::with_noise(config, Box::new(noise));
        tunnel.set_offload(seed.is_multiple_of(2));
        tunnel.set_echo([INSIDE[0], INSIDE[1], VIP].map(|addr| addr.parse().unwrap()).into());
        Self { tunnel, epoch }
    }

    pub(super) fn at(&self, now: Duration) -> Instant {
        self.epoch + now
    }

    pub(super) fn datagram(&mut self, socket: usize, from: SocketAddr, bytes: &[u8], now: Duration) {
        self.tunnel.handle_datagrams(socket, from, bytes.len(), bytes, self.at(now));
    }

    pub(super) fn kernel(&mut self, packet: &[u8], now: Duration) {
        self.tunnel.handle_tun(Offload::NOTHING, &mut packet.to_vec(), self.at(now));
    }

    /// When time must be told.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.tunnel.poll_timeout().map(|at| at.saturating_duration_since(self.epoch))
    }

    /// Ordinary packets for the kernel, in order; super-segments are cut as a kernel reads them.
    pub(super) fn take_kernel(&mut self) -> Vec<Vec<u8>> {
        let all = self.tunnel.packets().flat_map(|packet| cut(&whole(packet), packet.segment)).collect();
        self.tunnel.clear_packets();
        all
    }

    /// Single datagrams for the network, in order.
    pub(super) fn take_sent(&mut self) -> Vec<Sent> {
        let all = self.tunnel.transmits().flat_map(singles).collect();
        self.tunnel.clear_transmits();
        all
    }
}

/// A train's datagrams.
fn singles(train: Transmit<'_>) -> impl Iterator<Item = Sent> {
    let Transmit { socket, to, bytes, segment } = train;
    bytes.chunks(segment).map(move |bytes| Sent { socket, to, bytes: bytes.to_vec() })
}

/// The segments of a super-segment, written anew from what it says.
fn cut(packet: &[u8], size: Option<NonZeroU16>) -> Vec<Vec<u8>> {
    let Some(size) = size else { return vec![packet.to_vec()] };
    let inner = Inner::read(packet).expect("a super-segment is plain");
    let ends = Ends::new(inner.src.ip(), inner.dst.ip()).unwrap();
    let (ports, size) = ((inner.src.port(), inner.dst.port()), usize::from(size.get()));
    let last = inner.data.len().div_ceil(size) - 1;
    let piece = |(at, data): (usize, &[u8])| {
        let flags = if at == last { inner.flags } else { inner.flags & !(FIN | PSH) };
        segment(
            ends,
            ports,
            inner.seq.wrapping_add(u32::try_from(at * size).unwrap()),
            inner.ack,
            flags,
            data,
        )
    };
    inner.data.chunks(size).enumerate().map(piece).collect()
}

/// A device's client gets a datagram.
pub(super) fn client_hears(client: &mut Client, from: SocketAddr, bytes: &[u8], now: Instant) {
    client.handle_datagrams(from, bytes.len(), bytes, now);
}

/// A device's kernel sends a packet.
pub(super) fn client_sends(client: &mut Client, packet: &[u8], now: Instant) {
    client.handle_tun(Offload::NOTHING, &mut packet.to_vec(), now);
}

/// What a device's kernel gets.
pub(super) fn client_packets(client: &mut Client) -> Vec<Vec<u8>> {
    let all = client.packets().map(whole).collect();
    client.clear_packets();
    all
}

/// What a device's client has for the network.
pub(super) fn client_datagrams(client: &mut Client) -> Vec<Sent> {
    let all = client.transmits().flat_map(singles).collect();
    client.clear_transmits();
    all
}
