//! Which peers are ticked when: each one awake once a second, in sixteen groups spread over that second,
//! so that thousands are neither due at once nor wake us for nothing. boringtun's earliest deadlines are
//! 5 s after a handshake message and 10 s after data; being a second late is in time for both (a peer
//! expects a keepalive within 15 s, WireGuard paper §6.5).
//! Always true: an empty group is not waited for, and a late call ticks nobody twice.

use std::time::{Duration, Instant};

use super::PeerSlot;

const GROUPS: usize = 16;
const STEP: Duration = Duration::from_micros(1_000_000 / GROUPS as u64);
/// From the first group to the last.
const ROUND: Duration = STEP.saturating_mul(GROUPS as u32 - 1);

/// The peers to tick, by group.
#[derive(Debug)]
pub(super) struct Ticks {
    groups: [Vec<PeerSlot>; GROUPS],
    /// Whose turn comes next, and when; nobody's while all are empty.
    turn: usize,
    at: Option<Instant>,
}

impl Ticks {
    pub(super) fn new() -> Self {
        Self { groups: Default::default(), turn: 0, at: None }
    }

    pub(super) fn add(&mut self, slot: PeerSlot, now: Instant) {
        if self.next().is_none() {
            self.at = Some(now + STEP);
        }
        self.groups[slot.part(GROUPS)].push(slot);
    }

    /// When the next group with a peer in it is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let waits = |ahead: &u32| !self.groups[(self.turn + *ahead as usize) % GROUPS].is_empty();
        let ahead = (0..GROUPS as u32).find(waits)?;
        Some(self.at? + STEP * ahead)
    }

    /// Takes out the next group that is due; who is still awake is to be [`put_back`](Self::put_back).
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<PeerSlot>> {
        let at = self.at.as_mut()?;
        *at += now.saturating_duration_since(*at).saturating_sub(ROUND);
        while *at <= now {
            let group = std::mem::take(&mut self.groups[self.turn]);
            self.turn = (self.turn + 1) % GROUPS;
            *at += STEP;
            if !group.is_empty() {
                return Some(group);
            }
        }
        None
    }

    /// Gives back what is left of the group taken last.
    pub(super) fn put_back(&mut self, mut group: Vec<PeerSlot>) {
        let place = &mut self.groups[(self.turn + GROUPS - 1) % GROUPS];
        group.append(place);
        *place = group;
    }

    /// Everyone, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = PeerSlot> {
        self.groups.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use protocol::key::WgKey;

    use super::*;
    use crate::{
        devices::Devices,
        peers::{Memory, Peer},
        slab::Slab,
        testing::start,
    };

    fn slots(n: usize) -> Vec<PeerSlot> {
        let device =
            Devices::new().add("d".parse().unwrap(), [100, 64, 0, 2].into(), [1; 16].into()).unwrap();
        let mut slab = Slab::new();
        let mut peer = || slab.insert(Peer::new(WgKey([1; 32]), device, Memory::default()));
        (0..n).map(|_| peer()).collect()
    }

    #[test]
    fn everyone_is_ticked_once_a_second_however_late_the_call() {
        let (mut ticks, start) = (Ticks::new(), start());
        let slots = slots(40);
        slots.iter().for_each(|&slot| ticks.add(slot, start));
        let mut now = start;
        for (steps, due) in [(1, 3), (1, 3), (14, 34), (16, 40), (160, 40)] {
            now += STEP * steps;
            let mut ticked = Vec::new();
            while let Some(group) = ticks.take(now) {
                ticked.extend_from_slice(&group);
                ticks.put_back(group);
            }
            assert_eq!(ticked.len(), due, "after {steps} steps");
            ticked.sort_unstable();
            ticked.dedup();
            assert_eq!(ticked.len(), due, "nobody twice");
            assert!(ticks.next().is_some_and(|next| next > now && next <= now + STEP));
        }
    }

    #[test]
    fn an_empty_group_is_not_waited_for() {
        let (mut ticks, now) = (Ticks::new(), start());
        assert_eq!((ticks.next(), ticks.take(now)), (None, None));
        let last = slots(GROUPS)[GROUPS - 1];
        ticks.add(last, now);
        assert_eq!(ticks.next(), Some(now + STEP * 16));
        assert_eq!(ticks.take(now + STEP * 15), None);
        assert_eq!(ticks.take(now + STEP * 16), Some(vec![last]));
        assert_eq!(ticks.next(), None);
        ticks.add(last, now + STEP * 20);
        assert!(ticks.next().is_some_and(|next| next > now + STEP * 20));
    }
}
