//! Packets out, and time: encrypt towards the stored endpoint, tick who is awake, let who is idle
//! sleep.

use std::time::Instant;

use super::{ASLEEP_AFTER, Endpoint, Io, Peer, PeerSlot, Peers};
use crate::{
    counters::Count,
    event::FlowId,
    noise::{DATA_OVERHEAD, HANDSHAKE_BYTES, Kind, Ticked},
};

/// Which peer to encrypt for, and where to send it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) peer: PeerSlot,
    to: Endpoint,
}

impl Peers {
    /// The way to a device: of its peers with an endpoint, the one heard last; if none was, the one added
    /// last.
    pub(crate) fn way(&self, peers: &[PeerSlot]) -> Option<Way> {
        let with_endpoint = peers.iter().filter_map(|&peer| {
            let Peer { usage, endpoint, .. } = self.slots.get(peer)?;
            Some((usage.last_heard, Way { peer, to: (*endpoint)? }))
        });
        with_endpoint.max_by_key(|&(heard, _)| heard).map(|(_, way)| way)
    }

    /// Encrypts a packet, or lets it wait for a session, from which its flow's cut takes it back; whether
    /// it is on its way.
    pub(crate) fn send(
        &mut self,
        way: Way,
        (of, packet): (Option<FlowId>, &[u8]),
        io: &mut Io<'_>,
        now: Instant,
    ) -> bool {
        let Some(awake) = self.wake(way.peer, now) else { return false };
        let Some(room) = io.transmits.room((packet.len() + DATA_OVERHEAD).max(HANDSHAKE_BYTES)) else {
            io.counters.add(Count::QueueFull);
            return false;
        };
        let mut len = awake.noise.send(packet, room, now);
        if len == 0 {
            if !awake.waiting.push(of, packet) {
                io.counters.add(Count::WaitingFull);
                return false;
            }
            len = awake.noise.begin(room, now);
            if len > 0 {
                awake.shaken = now;
            }
        }
        if len > 0 {
            io.transmits.commit(way.to, len);
        }
        if let Some(peer) = self.slots.get_mut(way.peer) {
            peer.usage.sent += packet.len() as u64;
        }
        true
    }

    /// Takes back what of a flow waits for a session with any of these.
    pub(crate) fn withdraw(&mut self, peers: &[PeerSlot], flow: FlowId) {
        for &peer in peers {
            if let Some(awake) = self.slots.get_mut(peer).and_then(|peer| peer.awake.as_mut()) {
                awake.waiting.withdraw(flow);
            }
        }
    }

    /// Begins a handshake with the peer at `to`.
    pub(super) fn initiate(&mut self, slot: PeerSlot, to: Endpoint, io: &mut Io<'_>, now: Instant) -> bool {
        let Some(awake) = self.wake(slot, now) else { return false };
        let Some(room) = io.transmits.room(HANDSHAKE_BYTES) else {
            io.counters.add(Count::QueueFull);
            return false;
        };
        let len = awake.noise.initiate(room, now);
        awake.shaken = now;
        if len > 0 {
            io.transmits.commit(to, len);
        }
        len > 0
    }

    pub(crate) fn handle_timeout(&mut self, io: &mut Io<'_>, now: Instant) {
        while let Some(mut group) = self.ticks.take(now) {
            group.retain(|&slot| self.tick(slot, io, now));
            self.ticks.put_back(group);
        }
    }

    /// Whether the peer is to be ticked again.
    fn tick(&mut self, slot: PeerSlot, io: &mut Io<'_>, now: Instant) -> bool {
        let Some(peer) = self.slots.get_mut(slot) else { return false };
        let (Some(awake), endpoint) = (peer.awake.as_mut(), peer.endpoint) else {
            peer.ticked = false;
            return false;
        };
        let Some(room) = io.transmits.room(HANDSHAKE_BYTES) else {
            io.counters.add(Count::QueueFull);
            return true;
        };
        let asleep = match awake.noise.tick(room, now) {
            Ticked::Expired => true,
            Ticked::Send(len) => {
                if begins(room, len) {
                    awake.shaken = now;
                }
                match endpoint {
                    Some(to) => io.transmits.commit(to, len),
                    None => io.counters.add(Count::NoEndpoint),
                }
                false
            }
            Ticked::Nothing => now > awake.shaken + ASLEEP_AFTER,
        };
        if asleep {
            peer.ticked = false;
            self.sleep(slot);
        }
        !asleep
    }
}

/// Whether a handshake begins with what was written.
fn begins(room: &[u8], len: usize) -> bool {
    room.get(..len).and_then(Kind::of) == Some(Kind::Initiation)
}
