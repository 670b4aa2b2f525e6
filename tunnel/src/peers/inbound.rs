//! Datagrams in: find the peer, defend against floods and replays, decrypt, follow the endpoint.
//! What belongs to another shard is left to it.
//! An answer goes to the datagram's source; only data moves the stored endpoint.

use std::time::{Duration, Instant};

use protocol::key::WgKey;

use super::{Endpoint, Io, PeerSlot, Peers};
use crate::{
    counters::Count,
    devices::DeviceSlot,
    noise::{Admission, COOKIE_BYTES, DATA_OVERHEAD, Failure, HANDSHAKE_BYTES, Kind, Opened, Received},
};

/// At most 50 initiations per second and peer, as the Linux implementation has it (INITIATIONS_PER_SECOND).
const INITIATION_INTERVAL: Duration = Duration::from_millis(20);
/// How often one source makes us begin a handshake.
const REHANDSHAKE_INTERVAL: Duration = Duration::from_secs(1);

/// What a datagram came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    Nothing,
    /// This much of the room in the kernel's queue is a packet of the device.
    Packet {
        device: DeviceSlot,
        len: usize,
    },
    /// The peer proved its key.
    Handshake {
        device: DeviceSlot,
        key: WgKey,
    },
    Stranger(WgKey),
}

impl Peers {
    pub(crate) fn handle_datagram(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        io: &mut Io<'_>,
        now: Instant,
    ) -> Arrived {
        let kind = Kind::of(datagram);
        if let Some(shard) = kind.and_then(Kind::index).and_then(|index| self.shard.other(index)) {
            return hand_over(shard, from, datagram, io);
        }
        if kind == Some(Kind::Initiation) && !self.admit(from, datagram, io, now) {
            return Arrived::Nothing;
        }
        let arrived = self.receive(kind, from, datagram, io, now);
        let Arrived::Stranger(key) = &arrived else { return arrived };
        match self.enrolled.shard_of(key).filter(|&shard| shard != self.shard.number()) {
            Some(shard) => hand_over(shard, from, datagram, io),
            None => arrived,
        }
    }

    /// What another shard handed over is never handed on: while the shards are told of new peers, they may
    /// not agree. An initiation was admitted there.
    pub(crate) fn take_over(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        io: &mut Io<'_>,
        now: Instant,
    ) -> Arrived {
        self.receive(Kind::of(datagram), from, datagram, io, now)
    }

    fn receive(
        &mut self,
        kind: Option<Kind>,
        from: Endpoint,
        datagram: &[u8],
        io: &mut Io<'_>,
        now: Instant,
    ) -> Arrived {
        match kind {
            None => io.counters.add(Count::NotWireguard),
            Some(Kind::Initiation) => return self.initiation(from, datagram, io, now),
            Some(Kind::Response(index)) => return self.response(index, from, datagram, io, now),
            Some(Kind::Cookie(index)) => self.cookie(index, from, datagram, io, now),
            Some(Kind::Data(index)) => return self.data(index, from, datagram, io, now),
        }
        Arrived::Nothing
    }

    /// The limiter's word, and its cookie sent if that was the word.
    fn admit(&mut self, from: Endpoint, datagram: &[u8], io: &mut Io<'_>, now: Instant) -> bool {
        let told = match self.noise.admit(from.addr, datagram, now) {
            Admission::Pass => return true,
            Admission::Refused(reason) => reason,
            Admission::Cookie(reply) => match io.transmits.room(reply.len()) {
                Some(room) => {
                    room.copy_from_slice(&reply);
                    io.transmits.commit(from, reply.len());
                    Count::CookieSent
                }
                None => Count::QueueFull,
            },
        };
        io.counters.add(told);
        false
    }

    fn initiation(&mut self, from: Endpoint, datagram: &[u8], io: &mut Io<'_>, now: Instant) -> Arrived {
        let by_key = &self.by_key;
        let (key, stamp) = match self.noise.open(datagram, &|key| by_key.contains_key(key)) {
            Opened::Known(key, stamp) => (key, stamp),
            Opened::Stranger(key) => return Arrived::Stranger(key),
            Opened::Invalid => {
                io.counters.add(Count::HandshakeInvalid);
                return Arrived::Nothing;
            }
        };
        let Some((slot, peer)) =
            self.by_key.get(&key).and_then(|&slot| Some((slot, self.slots.get_mut(slot)?)))
        else {
            return Arrived::Nothing;
        };
        if peer.stamp.is_some_and(|greatest| stamp <= greatest) {
            io.counters.add(Count::HandshakeReplayed);
            return Arrived::Nothing;
        }
        // Newer than all before, so the peer's own: from here on no replay can spend its rate.
        if peer.initiated.is_some_and(|last| now < last + INITIATION_INTERVAL) {
            io.counters.add(Count::HandshakeTooFast);
            return Arrived::Nothing;
        }
        peer.initiated = Some(now);
        let device = peer.device;
        if !self.answer(slot, from, datagram, io, now) {
            return Arrived::Nothing;
        }
        if let Some(peer) = self.slots.get_mut(slot) {
            peer.stamp = Some(stamp);
        }
        Arrived::Handshake { device, key }
    }

    /// Lets cipher state answer an initiation; a state made for one that fails is dropped again.
    fn answer(
        &mut self,
        slot: PeerSlot,
        from: Endpoint,
        datagram: &[u8],
        io: &mut Io<'_>,
        now: Instant,
    ) -> bool {
        let slept = self.slots.get(slot).is_some_and(|peer| !peer.is_awake());
        let answered = self.shake(slot, from, datagram, io, now);
        if !answered && slept {
            self.sleep(slot);
        }
        answered
    }

    fn response(
        &mut self,
        index: u32,
        from: Endpoint,
        datagram: &[u8],
        io: &mut Io<'_>,
        now: Instant,
    ) -> Arrived {
        let Some((slot, device, key)) = self.awake_at(index) else {
            // Before it is admitted: guessed indices spend nobody's budget.
            io.counters.add(Count::HandshakeInvalid);
            return Arrived::Nothing;
        };
        if !self.admit(from, datagram, io, now) || !self.shake(slot, from, datagram, io, now) {
            return Arrived::Nothing;
        }
        self.flush(slot, from, io, now);
        Arrived::Handshake { device, key }
    }

    /// Handles a handshake message that deserves a reply, and sends the reply to its source.
    fn shake(
        &mut self,
        slot: PeerSlot,
        from: Endpoint,
        datagram: &[u8],
        io: &mut Io<'_>,
        now: Instant,
    ) -> bool {
        let Some(awake) = self.wake(slot, now) else { return false };
        let Some(room) = io.transmits.room(HANDSHAKE_BYTES) else {
            io.counters.add(Count::QueueFull);
            return false;
        };
        match awake.noise.receive(from.addr.ip(), datagram, room, now) {
            Received::Reply(len) => {
                awake.shaken = now;
                io.transmits.commit(from, len);
            }
            Received::Nothing | Received::Packet(_) | Received::Garbage | Received::Failed(_) => {
                io.counters.add(Count::HandshakeInvalid);
                return false;
            }
        }
        io.counters.add(Count::Handshake);
        if let Some(peer) = self.slots.get_mut(slot) {
            peer.usage.last_handshake = Some(now);
        }
        true
    }

    fn cookie(&mut self, index: u32, from: Endpoint, datagram: &[u8], io: &mut Io<'_>, now: Instant) {
        let found = self.awake_at(index);
        let awake = found.and_then(|(slot, ..)| self.wake(slot, now));
        let mut unused = [0; COOKIE_BYTES];
        let taken = awake.map(|awake| awake.noise.receive(from.addr.ip(), datagram, &mut unused, now));
        if taken != Some(Received::Nothing) {
            io.counters.add(Count::HandshakeInvalid);
        }
    }

    fn data(
        &mut self,
        index: u32,
        from: Endpoint,
        datagram: &[u8],
        io: &mut Io<'_>,
        now: Instant,
    ) -> Arrived {
        let found = self.awake_at(index);
        let awake = found.and_then(|(slot, ..)| self.wake(slot, now));
        let (Some((slot, device, _)), Some(awake)) = (found, awake) else {
            self.unknown_session(from, io, now);
            return Arrived::Nothing;
        };
        let Some(room) = io.kernel.room(datagram.len()) else {
            io.counters.add(Count::QueueFull);
            return Arrived::Nothing;
        };
        let received = awake.noise.receive(from.addr.ip(), datagram, room, now);
        match received {
            Received::Nothing | Received::Packet(_) | Received::Garbage => {}
            Received::Failed(Failure::NoSession) => self.unknown_session(from, io, now),
            Received::Failed(Failure::Replayed) => io.counters.add(Count::DataReplayed),
            Received::Failed(Failure::Invalid) | Received::Reply(_) => io.counters.add(Count::DataInvalid),
        }
        if matches!(received, Received::Failed(_) | Received::Reply(_)) {
            return Arrived::Nothing;
        }
        self.heard(slot, from, datagram.len() - DATA_OVERHEAD, now);
        self.flush(slot, from, io, now);
        match received {
            Received::Packet(len) => Arrived::Packet { device, len },
            Received::Garbage => {
                io.counters.add(Count::NotIp);
                Arrived::Nothing
            }
            Received::Nothing | Received::Reply(_) | Received::Failed(_) => Arrived::Nothing,
        }
    }

    /// Data of a session decrypted: only this proves where the peer is.
    fn heard(&mut self, slot: PeerSlot, from: Endpoint, bytes: usize, now: Instant) {
        self.move_to(slot, from);
        if let Some(peer) = self.slots.get_mut(slot) {
            peer.usage.last_heard = Some(now);
            peer.usage.received += bytes as u64;
        }
    }

    /// Sends what waited for a session.
    fn flush(&mut self, slot: PeerSlot, to: Endpoint, io: &mut Io<'_>, now: Instant) {
        let Some(awake) = self.slots.get_mut(slot).and_then(|peer| peer.awake.as_mut()) else { return };
        while let Some(packet) = awake.waiting.first() {
            let Some(room) = io.transmits.room((packet.len() + DATA_OVERHEAD).max(HANDSHAKE_BYTES)) else {
                io.counters.add(Count::QueueFull);
                return;
            };
            let len = awake.noise.send(packet, room, now);
            if len == 0 {
                return;
            }
            io.transmits.commit(to, len);
            awake.waiting.sent();
        }
    }

    /// Whoever sends data for a session we lost keeps doing so for up to 15 s (WireGuard paper §6.5),
    /// unless we begin a handshake. We do so only towards where a peer was proven to be, and rarely:
    /// a forged source must not make us a source of traffic.
    fn unknown_session(&mut self, from: Endpoint, io: &mut Io<'_>, now: Instant) {
        io.counters.add(Count::UnknownSession);
        let found = self.by_endpoint.get(&from.addr);
        let Some((slot, peer)) = found.and_then(|&slot| Some((slot, self.slots.get_mut(slot)?))) else {
            return;
        };
        if peer.awake.as_ref().is_some_and(|awake| awake.noise.has_session(now)) {
            return;
        }
        let recent = peer.forced.is_some_and(|last| now < last + REHANDSHAKE_INTERVAL);
        if recent || !self.rehandshakes.budget.take(self.rehandshakes.per_second, now) {
            io.counters.add(Count::RehandshakeLimited);
            return;
        }
        peer.forced = Some(now);
        if self.initiate(slot, from, io, now) {
            io.counters.add(Count::Rehandshake);
        }
    }

    /// The peer awake under a receiver index, whose low byte is the cipher's own.
    fn awake_at(&self, index: u32) -> Option<(PeerSlot, DeviceSlot, WgKey)> {
        let slot = self.by_index.get(index >> 8)?;
        self.slots.get(slot).map(|peer| (slot, peer.device, peer.key))
    }
}

fn hand_over(shard: u16, from: Endpoint, datagram: &[u8], io: &mut Io<'_>) -> Arrived {
    let queued = io.handovers.push(shard, from, datagram);
    io.counters.add(if queued { Count::HandedOver } else { Count::HandoverFull });
    Arrived::Nothing
}
