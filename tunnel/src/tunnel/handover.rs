//! What one shard leaves to another: whatever names its sessions or its peers' keys.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use super::Tunnel;
use crate::{
    peers::Endpoint,
    shard::{Enrolled, Handover},
};

impl Tunnel {
    /// The devices of all shards, this one's included. Who is not among them is a stranger; who is, but is
    /// no peer of ours, is left to its own shard.
    pub fn set_enrolled(&mut self, enrolled: Arc<Enrolled>) {
        self.peers.set_enrolled(enrolled);
    }

    /// Datagrams another shard handed over. An initiation's cost was allowed where it arrived.
    pub fn take_over(&mut self, socket: usize, from: SocketAddr, segment: usize, bytes: &[u8], now: Instant) {
        let endpoint = Endpoint { socket, addr: from };
        for datagram in bytes.chunks(segment.max(1)) {
            let arrived = self.peers.take_over(endpoint, datagram, &mut self.out.io(), now);
            self.follow(endpoint, arrived, now);
        }
        self.check();
    }

    /// Everything other shards must take over, until [`clear_handovers`](Self::clear_handovers).
    pub fn handovers(&self) -> impl Iterator<Item = Handover<'_>> {
        self.out.handovers.iter()
    }

    /// The other shards have it all.
    pub fn clear_handovers(&mut self) {
        self.out.handovers.clear();
    }
}
