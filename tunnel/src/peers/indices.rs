//! Receiver indices: the upper 24 bits of what a peer writes into its messages to us. It finds a peer by
//! its index, and draws one for who has none.
//! Always true: an index leads to one peer, and an index divided by the number of shards leaves the
//! shard's own number.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::PeerSlot;
use crate::rng::Rng;

/// The peers with an index.
#[derive(Debug)]
pub(super) struct Indices {
    slots: HashMap<u32, PeerSlot, BuildHasherDefault<Spread>>,
    rng: Rng,
}

impl Indices {
    pub(super) fn new(rng: Rng) -> Self {
        Self { slots: HashMap::default(), rng }
    }

    pub(super) fn add(&mut self, slot: PeerSlot) -> u32 {
        let mut index = self.rng.index();
        while self.slots.contains_key(&index) {
            index = self.rng.index();
        }
        self.slots.insert(index, slot);
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<PeerSlot> {
        self.slots.get(&index).copied()
    }

    pub(super) fn remove(&mut self, index: u32) {
        self.slots.remove(&index);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, PeerSlot)> {
        self.slots.iter().map(|(&index, &slot)| (index, slot))
    }
}

/// Enough for keys that we draw ourselves: whoever sends chooses what to look for, not what is found.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write_u32(&mut self, index: u32) {
        let product = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
