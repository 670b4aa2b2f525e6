//! WireGuard peers: a small record each at rest, cipher state only while in use, and where each was
//! last proven to be. It knows which device a peer speaks for, but no addresses inside and no flows.
//! Always true: an index, a key or an endpoint leads to one peer; an endpoint moves only when data
//! of a session decrypts; a peer without cipher state costs no timer.

#[cfg(test)]
mod attacks;
mod inbound;
mod indices;
mod outbound;
#[cfg(test)]
mod tests;
mod ticks;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::key::WgKey;

use crate::{
    budget::Budget,
    config::{KnownEndpoint, KnownStamp, Limits, Stamp},
    counters::Counters,
    devices::DeviceSlot,
    kernel::Kernel,
    noise::{Noise, NoisePeer},
    rng::Rng,
    shard::{Enrolled, Handovers, Shard},
    slab::{Slab, Slot},
    trains::Trains,
    waiting::Waiting,
};

use indices::Indices;
use ticks::Ticks;

pub(crate) use inbound::Arrived;

/// REJECT_AFTER_TIME (WireGuard paper §6.1) after the last handshake message no key is of use; ten
/// seconds more, because cipher and shell do not read the same clock.
const ASLEEP_AFTER: Duration = Duration::from_secs(190);

/// A peer's name while it exists; never reused.
pub(crate) type PeerSlot = Slot<Peer>;

/// An address outside the tunnel, and the socket that reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) socket: usize,
    pub(crate) addr: SocketAddr,
}

/// Where inputs leave their outputs.
pub(crate) struct Io<'a> {
    pub(crate) transmits: &'a mut Trains,
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) handovers: &'a mut Handovers,
    pub(crate) counters: &'a mut Counters,
}

/// A peer. At rest, everything but `awake` is all there is.
pub(crate) struct Peer {
    pub(crate) key: WgKey,
    pub(crate) device: DeviceSlot,
    /// Its device was removed: it may only be told about flows being cut.
    retired: bool,
    pub(crate) endpoint: Option<Endpoint>,
    stamp: Option<Stamp>,
    initiated: Option<Instant>,
    forced: Option<Instant>,
    pub(crate) usage: Usage,
    awake: Option<Awake>,
    /// Stands among those to be ticked; whoever fell asleep does so until its next tick.
    ticked: bool,
}

/// What status tells about a peer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) last_handshake: Option<Instant>,
    pub(crate) last_heard: Option<Instant>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// Cipher state in use.
struct Awake {
    noise: Box<dyn NoisePeer>,
    index: u32,
    /// When the last handshake message was sent or accepted.
    shaken: Instant,
    /// What is sent with the next session.
    waiting: Waiting,
}

impl Peer {
    fn new(key: WgKey, device: DeviceSlot, memory: Memory) -> Self {
        Self {
            key,
            device,
            retired: false,
            endpoint: None,
            stamp: memory.stamp,
            initiated: None,
            forced: None,
            usage: Usage::default(),
            awake: None,
            ticked: false,
        }
    }

    pub(crate) fn is_awake(&self) -> bool {
        self.awake.is_some()
    }
}

/// What outlives a peer's record.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    endpoint: Option<Endpoint>,
    stamp: Option<Stamp>,
}

/// All peers.
pub(crate) struct Peers {
    noise: Box<dyn Noise>,
    slots: Slab<Peer>,
    by_key: HashMap<WgKey, PeerSlot>,
    /// The peers awake, by their receiver index without its low byte.
    by_index: Indices,
    by_endpoint: HashMap<SocketAddr, PeerSlot>,
    ticks: Ticks,
    rehandshakes: Rehandshakes,
    shard: Shard,
    /// Whose keys are the other shards'.
    enrolled: Arc<Enrolled>,
}

/// The rate of forced handshakes over all peers.
struct Rehandshakes {
    budget: Budget,
    per_second: u32,
}

impl Peers {
    pub(crate) fn new(noise: Box<dyn Noise>, (seed, shard): (u64, Shard), limits: &Limits) -> Self {
        Self {
            noise,
            slots: Slab::new(),
            by_key: HashMap::new(),
            by_index: Indices::new(Rng::new(seed, shard)),
            by_endpoint: HashMap::new(),
            ticks: Ticks::new(),
            rehandshakes: Rehandshakes {
                budget: Budget::default(),
                per_second: limits.rehandshakes_per_second,
            },
            shard,
            enrolled: Arc::default(),
        }
    }

    pub(crate) fn set_enrolled(&mut self, enrolled: Arc<Enrolled>) {
        self.enrolled = enrolled;
    }

    pub(crate) fn enrolled(&self) -> &Enrolled {
        &self.enrolled
    }

    /// Adds a peer; none if the key is another's.
    pub(crate) fn add(&mut self, key: WgKey, device: DeviceSlot, memory: Memory) -> Option<PeerSlot> {
        if self.by_key.contains_key(&key) {
            return None;
        }
        let slot = self.slots.insert(Peer::new(key, device, memory));
        self.by_key.insert(key, slot);
        if let Some(endpoint) = memory.endpoint {
            self.move_to(slot, endpoint);
        }
        Some(slot)
    }

    /// Lets no new session begin; what is awake stays so until [`forget`](Self::forget).
    pub(crate) fn retire(&mut self, slot: PeerSlot) -> Option<(WgKey, Memory)> {
        let peer = self.slots.get_mut(slot).filter(|peer| !peer.retired)?;
        peer.retired = true;
        let (key, memory) = (peer.key, Memory { endpoint: peer.endpoint, stamp: peer.stamp });
        self.by_key.remove(&key);
        if let Some(endpoint) = memory.endpoint
            && self.by_endpoint.get(&endpoint.addr) == Some(&slot)
        {
            self.by_endpoint.remove(&endpoint.addr);
        }
        Some((key, memory))
    }

    /// Drops a peer with its keys and indexes.
    pub(crate) fn forget(&mut self, slot: PeerSlot) -> Option<(WgKey, Memory)> {
        let memory = self.retire(slot);
        self.sleep(slot);
        self.slots.remove(slot);
        memory
    }

    pub(crate) fn get(&self, slot: PeerSlot) -> Option<&Peer> {
        self.slots.get(slot)
    }

    /// Every peer that was not retired, in an order that stays while they do.
    pub(crate) fn current(&self) -> impl Iterator<Item = &Peer> {
        self.slots.values().filter(|peer| !peer.retired)
    }

    pub(crate) fn endpoints(&self) -> Vec<KnownEndpoint> {
        let known = |peer: &Peer| {
            let Endpoint { socket, addr } = peer.endpoint?;
            Some(KnownEndpoint { key: peer.key, socket, addr })
        };
        self.current().filter_map(known).collect()
    }

    /// Takes endpoints for known peers that have none yet.
    pub(crate) fn restore_endpoints(&mut self, known: &[KnownEndpoint]) {
        for &KnownEndpoint { key, socket, addr } in known {
            let Some(&slot) = self.by_key.get(&key) else { continue };
            if self.slots.get(slot).is_some_and(|peer| peer.endpoint.is_none()) {
                self.move_to(slot, Endpoint { socket, addr });
            }
        }
    }

    pub(crate) fn stamps(&self) -> Vec<KnownStamp> {
        let known = |peer: &Peer| Some(KnownStamp { key: peer.key, stamp: peer.stamp? });
        self.current().filter_map(known).collect()
    }

    /// Raises stamps of known peers; never lowers one.
    pub(crate) fn restore_stamps(&mut self, known: &[KnownStamp]) {
        for KnownStamp { key, stamp } in known {
            if let Some(peer) = self.by_key.get(key).and_then(|&slot| self.slots.get_mut(slot)) {
                peer.stamp = peer.stamp.max(Some(*stamp));
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.ticks.next()
    }

    /// The stored endpoint becomes `endpoint`; whoever was there is not found there any more.
    fn move_to(&mut self, slot: PeerSlot, endpoint: Endpoint) {
        let Some(peer) = self.slots.get_mut(slot) else { return };
        let before = peer.endpoint.replace(endpoint);
        if before == Some(endpoint) {
            return;
        }
        if let Some(before) = before
            && self.by_endpoint.get(&before.addr) == Some(&slot)
        {
            self.by_endpoint.remove(&before.addr);
        }
        if !peer.retired {
            self.by_endpoint.insert(endpoint.addr, slot);
        }
    }

    /// Makes cipher state unless there is some.
    fn wake(&mut self, slot: PeerSlot, now: Instant) -> Option<&mut Awake> {
        let peer = self.slots.get_mut(slot)?;
        if peer.awake.is_none() {
            let index = self.by_index.add(slot);
            if !std::mem::replace(&mut peer.ticked, true) {
                self.ticks.add(slot, now);
            }
            let noise = self.noise.peer(&peer.key, index, now);
            peer.awake = Some(Awake { noise, index, shaken: now, waiting: Waiting::default() });
        }
        peer.awake.as_mut()
    }

    /// Drops cipher state.
    pub(crate) fn sleep(&mut self, slot: PeerSlot) {
        if let Some(awake) = self.slots.get_mut(slot).and_then(|peer| peer.awake.take()) {
            self.by_index.remove(awake.index);
        }
    }

    /// Panics if the indexes do not say what the records say.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.by_key.len(), self.slots.values().filter(|peer| !peer.retired).count());
        for (index, slot) in self.by_index.iter() {
            let awake = self.slots.get(slot).and_then(|peer| peer.awake.as_ref());
            assert_eq!(awake.map(|awake| awake.index), Some(index), "an index leads to its peer");
        }
        assert_eq!(self.by_index.iter().count(), self.slots.values().filter(|peer| peer.is_awake()).count());
        for (addr, &slot) in &self.by_endpoint {
            let endpoint = self.slots.get(slot).and_then(|peer| peer.endpoint);
            assert_eq!(endpoint.map(|endpoint| endpoint.addr), Some(*addr), "an endpoint leads to its peer");
        }
        let mut ticked: Vec<_> = self.ticks.iter().filter(|&slot| self.slots.get(slot).is_some()).collect();
        ticked.sort_unstable();
        let marked = self.slots.iter().filter(|(_, peer)| peer.ticked);
        assert_eq!(ticked, marked.map(|(slot, _)| slot).collect::<Vec<_>>(), "who is marked is ticked, once");
        assert!(self.slots.values().all(|peer| peer.ticked || !peer.is_awake()), "who is awake is ticked");
    }
}
