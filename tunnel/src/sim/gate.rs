//! The only place of the simulation that hands packets to the core and takes packets from it: when the
//! core's calls change their shape, this file changes and nothing else does.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use protocol::key::WgKey;

use crate::{Config, Limits, PrivateKey, Shard, Tunnel, noise::model::Model};

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
        let config = Config {
            private_key: PrivateKey::new([200; 32]),
            gateway_addrs: INSIDE.map(|addr| addr.parse().unwrap()).into(),
            limits,
            seed,
            mtu: MTU,
            shard: Shard::default(),
        };
        let mut tunnel = Tunnel::with_noise(config, Box::new(Model { key, epoch }));
        tunnel.set_echo([INSIDE[0], INSIDE[1], VIP].map(|addr| addr.parse().unwrap()).into());
        Self { tunnel, epoch }
    }

    pub(super) fn at(&self, now: Duration) -> Instant {
        self.epoch + now
    }

    pub(super) fn datagram(&mut self, socket: usize, from: SocketAddr, bytes: &[u8], now: Duration) {
        self.tunnel.handle_datagram(socket, from, bytes, self.at(now));
    }

    pub(super) fn kernel(&mut self, packet: &[u8], now: Duration) {
        self.tunnel.handle_tun(packet, self.at(now));
    }

    /// When time must be told.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.tunnel.poll_timeout().map(|at| at.saturating_duration_since(self.epoch))
    }

    /// Ordinary packets for the kernel, in order.
    pub(super) fn take_kernel(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.tunnel.poll_tun().map(<[u8]>::to_vec)).collect()
    }

    /// Single datagrams for the network, in order.
    pub(super) fn take_sent(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(transmit) = self.tunnel.poll_transmit() {
            all.push(Sent { socket: transmit.socket, to: transmit.to, bytes: transmit.bytes.to_vec() });
        }
        all
    }
}
