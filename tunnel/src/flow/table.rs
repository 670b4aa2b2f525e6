//! The flows of all devices: the transitions, the limits, the deadlines.
//! Every method that ends a flow returns it, so that the caller can tell the shell.
//! Always true: of the flows with one key only the youngest may be held or closing, and the
//! tallies are the numbers of flows in each state.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::state::{DRAIN, Flow, FlowSlot, HOLD, LAST_ACK, PERMIT, State};
use crate::{
    budget::Pace,
    config::Limits,
    counters::Count,
    deadlines::Deadlines,
    devices::DeviceSlot,
    event::{FlowId, FlowKey, FlowPhase},
    packet::tcp::{RST, Tcp},
    shard::Shard,
    slab::Slab,
};

/// What becomes of a SYN of a device.
#[derive(Debug)]
pub(crate) enum OnSyn {
    /// Held anew; an older hold of the key was given up for it.
    Opened { flow: FlowId, superseded: Option<Box<Flow>> },
    /// A repetition of a held SYN.
    Repeated,
    /// The kernel answers it.
    Pass(FlowSlot),
    /// To be refused by RST, and why.
    Refuse(Count),
    /// The device opens too many at a time: let it ask again.
    TooFast,
}

/// What becomes of any other segment of a device.
#[derive(Debug)]
pub(crate) enum OnSegment {
    Pass(FlowSlot),
    /// The flow is being cut: answer by RST.
    Closing,
    NoFlow,
    /// The device took back its SYN.
    Withdrawn(Box<Flow>),
}

/// What becomes of a segment of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outbound {
    /// Of the flow, unless it is to survive its cut.
    Pass(DeviceSlot, Option<FlowId>),
    Drop(Count),
}

/// What became of a cut.
#[derive(Debug)]
pub(crate) enum OnCut {
    /// The flow is gone at once.
    Ended(Box<Flow>),
    /// It closes, and says so now.
    Farewell(FlowSlot),
    /// It closes, and says so in its turn.
    Later,
    /// It was being cut already, or there is none.
    Nothing,
}

/// What time brought.
#[derive(Debug)]
pub(crate) enum Due {
    /// The flow is over.
    Ended(Box<Flow>),
    /// It is being cut, and says so now or again.
    Farewell(FlowSlot),
}

/// Resets of flows that are cut together go to their device so many at once, then one every so often: a
/// client's socket holds some 270 small datagrams (Linux: net.core.rmem_default, 768 bytes for each), and
/// WireGuard clients empty it at tens of thousands a second.
const FAREWELL_BURST: u32 = 64;
const FAREWELL_EVERY: Duration = Duration::from_micros(50);

/// What became of a verdict to admit.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// Give this SYN to the kernel.
    Syn(Vec<u8>),
    /// Too many of the device's SYNs wait in the kernel: the flow is gone.
    OverLimit(Box<Flow>),
    NotHeld,
}

/// How many flows a device has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    all: usize,
    held: usize,
    admitted: usize,
}

impl Tally {
    fn adjust(&mut self, phase: FlowPhase, by: isize) {
        match phase {
            FlowPhase::Held => self.held = self.held.saturating_add_signed(by),
            FlowPhase::Admitted => self.admitted = self.admitted.saturating_add_signed(by),
            FlowPhase::Live | FlowPhase::Draining | FlowPhase::Closing => {}
        }
    }
}

/// Every flow there is.
#[derive(Debug)]
pub(crate) struct Flows {
    flows: Slab<Flow>,
    by_id: HashMap<FlowId, FlowSlot>,
    /// The youngest flow of each key; the others stand behind it, in order of age.
    by_key: HashMap<FlowKey, FlowSlot>,
    tallies: HashMap<DeviceSlot, Tally>,
    farewells: HashMap<DeviceSlot, Pace>,
    /// Draining flows of which both sides said all they had, oldest first; the first still exists.
    goodbyes: HashMap<DeviceSlot, VecDeque<FlowId>>,
    deadlines: Deadlines<FlowId>,
    shard: Shard,
    /// The next flow's number in the shard; those of datagrams are even.
    next: u64,
    limits: Limits,
}

impl Flows {
    pub(crate) fn new(limits: Limits, shard: Shard) -> Self {
        Self {
            flows: Slab::new(),
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            tallies: HashMap::new(),
            farewells: HashMap::new(),
            goodbyes: HashMap::new(),
            deadlines: Deadlines::new(),
            shard,
            next: 1,
            limits,
        }
    }

    pub(crate) fn get(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(self.slot(id)?)
    }

    pub(crate) fn at_mut(&mut self, slot: FlowSlot) -> Option<&mut Flow> {
        self.flows.get_mut(slot)
    }

    /// Whether the device has any flow, in whatever state.
    pub(crate) fn any_of(&self, device: DeviceSlot) -> bool {
        self.tallies.contains_key(&device)
    }

    /// Whether the youngest flow of the key is this device's and is being cut.
    pub(crate) fn is_closing(&self, key: &FlowKey, device: DeviceSlot) -> bool {
        let youngest = self.by_key.get(key).and_then(|&slot| self.flows.get(slot));
        youngest.is_some_and(|flow| flow.device == device && flow.phase() == FlowPhase::Closing)
    }

    /// Every flow, oldest first.
    pub(crate) fn all(&self) -> Vec<(FlowId, &Flow)> {
        let mut all: Vec<_> = self.flows.values().map(|flow| (flow.id, flow)).collect();
        all.sort_unstable_by_key(|&(id, _)| id);
        all
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// A SYN without ACK. On a flow that is not over it goes to the kernel, which answers with a
    /// challenge ACK (RFC 9293 §3.10.7.4) or, before the handshake ended, with its SYN-ACK.
    pub(crate) fn syn(
        &mut self,
        device: DeviceSlot,
        key: FlowKey,
        tcp: &Tcp,
        packet: &[u8],
        may_open: impl FnOnce() -> bool,
        now: Instant,
    ) -> OnSyn {
        let mut supersedes = None;
        if let Some((slot, flow)) = self.youngest_mut(&key) {
            let anew = flow.isn != tcp.seq;
            let over = flow.over();
            match &mut flow.state {
                State::Closing { .. } => return OnSyn::Refuse(Count::ClosingSegment),
                State::Held { syn } if !anew => {
                    *syn = packet.to_vec();
                    return OnSyn::Repeated;
                }
                State::Held { .. } => supersedes = Some(slot),
                State::Draining if anew => {}
                State::Admitted | State::Live if anew && over => {}
                State::Admitted | State::Live | State::Draining => return OnSyn::Pass(slot),
            }
        }
        if !may_open() {
            return OnSyn::TooFast;
        }
        if supersedes.is_none() {
            self.make_room(device);
            if let Some(limit) = self.limit_hit(device) {
                return OnSyn::Refuse(limit);
            }
        }
        let superseded = supersedes.and_then(|slot| self.remove(slot));
        let flow = self.open(Flow::held(device, key, tcp.seq, packet.to_vec(), now), now);
        OnSyn::Opened { flow, superseded }
    }

    /// Any other segment of a device.
    pub(crate) fn segment_in(&mut self, key: &FlowKey, tcp: &Tcp, now: Instant) -> OnSegment {
        let Some((slot, youngest)) = self.youngest_mut(key) else { return OnSegment::NoFlow };
        match youngest.state {
            State::Closing { .. } => return OnSegment::Closing,
            State::Held { .. } if tcp.has(RST) && tcp.seq == youngest.isn.wrapping_add(1) => {
                return self.remove(slot).map_or(OnSegment::NoFlow, OnSegment::Withdrawn);
            }
            State::Held { .. } | State::Admitted | State::Live | State::Draining => {}
        }
        let Some((slot, flow)) = self.passing_mut(slot) else { return OnSegment::NoFlow };
        flow.see_in(tcp);
        self.after_segment(slot, now);
        OnSegment::Pass(slot)
    }

    /// A segment of the kernel.
    pub(crate) fn segment_out(&mut self, key: &FlowKey, tcp: &Tcp, now: Instant) -> Outbound {
        let Some((slot, youngest)) = self.youngest_mut(key) else { return Outbound::Drop(Count::TunNoFlow) };
        let device = youngest.device;
        if youngest.phase() == FlowPhase::Closing {
            let news = tcp.has(RST) && !youngest.says_farewell_too(tcp);
            return if news { Outbound::Pass(device, None) } else { Outbound::Drop(Count::TunClosing) };
        }
        let Some((slot, flow)) = self.passing_mut(slot) else { return Outbound::Drop(Count::TunNoFlow) };
        let id = flow.id;
        flow.see_out(tcp, now);
        self.after_segment(slot, now);
        Outbound::Pass(device, Some(id))
    }

    /// Takes the SYN out of its hold.
    pub(crate) fn admit(&mut self, id: FlowId, now: Instant) -> Admitted {
        let Some((slot, flow)) = self.by_id_mut(id) else { return Admitted::NotHeld };
        let device = flow.device;
        if flow.phase() != FlowPhase::Held {
            return Admitted::NotHeld;
        }
        let waiting = self.tallies.get(&device).map_or(0, |tally| tally.admitted);
        if waiting >= self.limits.admitted_per_device {
            return self.remove(slot).map_or(Admitted::NotHeld, Admitted::OverLimit);
        }
        let Some(State::Held { syn }) = self.enter(slot, State::Admitted) else { return Admitted::NotHeld };
        self.deadlines.set(id, now + PERMIT);
        Admitted::Syn(syn)
    }

    /// Ends a hold; none if it is not held.
    pub(crate) fn refuse(&mut self, id: FlowId) -> Option<Box<Flow>> {
        let slot = self.slot(id)?;
        let held = self.flows.get(slot)?.phase() == FlowPhase::Held;
        if held { self.remove(slot) } else { None }
    }

    /// Pairs an accepted socket with its permit: the same key and the same SYN, once.
    pub(crate) fn accepted(&mut self, key: &FlowKey, isn: u32) -> Option<FlowId> {
        let fits = |flow: &Flow| flow.state == State::Admitted && flow.isn == isn;
        let slot = self.of_key(key).filter(|(_, flow)| fits(flow)).last()?.0;
        self.enter(slot, State::Live);
        let id = self.flows.get(slot)?.id;
        self.deadlines.clear(id);
        Some(id)
    }

    /// Stops everything but RST. A flow that is over or was replaced, and a hold, end at once.
    pub(crate) fn cut(&mut self, id: FlowId, now: Instant) -> OnCut {
        let Some((slot, flow)) = self.by_id_mut(id) else { return OnCut::Nothing };
        let (device, key, reset) = (flow.device, flow.key, flow.reset());
        let over = match flow.state {
            State::Closing { .. } => return OnCut::Nothing,
            State::Held { .. } => true,
            State::Admitted | State::Live | State::Draining => reset || self.by_key.get(&key) != Some(&slot),
        };
        if over {
            return self.remove(slot).map_or(OnCut::Nothing, OnCut::Ended);
        }
        let since = self.farewells.entry(device).or_default().next(FAREWELL_BURST, FAREWELL_EVERY, now);
        self.enter(slot, State::Closing { since, said: 0 });
        let said = (since <= now).then(|| self.flows.get_mut(slot)?.say()).flatten();
        self.deadlines.set(id, said.unwrap_or(since));
        if said.is_some() { OnCut::Farewell(slot) } else { OnCut::Later }
    }

    /// The shell closed the socket in peace: the kernel still says goodbye.
    pub(crate) fn finished(&mut self, id: FlowId, now: Instant) {
        let Some((slot, flow)) = self.by_id_mut(id) else { return };
        if flow.state != State::Live {
            return;
        }
        // Counted from now, not from a segment that may be hours old.
        flow.last_out = now;
        self.enter(slot, State::Draining);
        self.deadlines.set(id, now + DRAIN);
        self.after_segment(slot, now);
    }

    /// One flow whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Due> {
        loop {
            let id = self.deadlines.pop(now)?;
            let Some((slot, flow)) = self.by_id_mut(id) else { continue };
            let quiet = flow.last_out + DRAIN;
            if flow.state == State::Draining && quiet > now && !flow.said_goodbye() {
                self.deadlines.set(id, quiet);
                continue;
            }
            if let Some(next) = flow.say() {
                self.deadlines.set(id, next);
                return Some(Due::Farewell(slot));
            }
            return self.remove(slot).map(Due::Ended);
        }
    }

    /// A draining flow ends with a RST that stands, and soon after the second goodbye.
    fn after_segment(&mut self, slot: FlowSlot, now: Instant) {
        let Some(flow) = self.flows.get(slot).filter(|flow| flow.state == State::Draining) else { return };
        if flow.reset_stands() {
            self.remove(slot);
        } else if flow.said_goodbye() {
            let (id, device, at) = (flow.id, flow.device, now + LAST_ACK);
            // Brought forward, never back.
            if self.deadlines.at(id).is_none_or(|set| at < set) {
                self.deadlines.set(id, at);
                self.goodbyes.entry(device).or_default().push_back(id);
            }
        }
    }

    /// Forgets the oldest flow that said all it had, should the device have as many as it may: nothing
    /// would come of it but the repetition of a lost last acknowledgement.
    fn make_room(&mut self, device: DeviceSlot) {
        let full = self.tallies.get(&device).is_some_and(|tally| tally.all >= self.limits.flows_per_device);
        let oldest = self.goodbyes.get(&device).and_then(|goodbyes| goodbyes.front().copied());
        if let Some(slot) = oldest.filter(|_| full).and_then(|id| self.slot(id)) {
            self.remove(slot);
        }
    }

    fn limit_hit(&self, device: DeviceSlot) -> Option<Count> {
        let tally = self.tallies.get(&device).copied().unwrap_or_default();
        if self.flows.len() >= self.limits.flows {
            Some(Count::FlowLimit)
        } else if tally.all >= self.limits.flows_per_device {
            Some(Count::DeviceFlowLimit)
        } else if tally.held >= self.limits.held_per_device {
            Some(Count::HeldLimit)
        } else {
            None
        }
    }

    fn slot(&self, id: FlowId) -> Option<FlowSlot> {
        self.by_id.get(&id).copied()
    }

    fn by_id_mut(&mut self, id: FlowId) -> Option<(FlowSlot, &mut Flow)> {
        let slot = self.slot(id)?;
        Some((slot, self.flows.get_mut(slot)?))
    }

    fn youngest_mut(&mut self, key: &FlowKey) -> Option<(FlowSlot, &mut Flow)> {
        let slot = *self.by_key.get(key)?;
        Some((slot, self.flows.get_mut(slot)?))
    }

    /// The flow itself and all older ones of its key, youngest first.
    fn from(&self, slot: Option<FlowSlot>) -> impl Iterator<Item = (FlowSlot, &Flow)> {
        let named = |slot: FlowSlot| Some((slot, self.flows.get(slot)?));
        std::iter::successors(slot.and_then(named), move |(_, flow)| flow.older.and_then(named))
    }

    fn of_key(&self, key: &FlowKey) -> impl Iterator<Item = (FlowSlot, &Flow)> {
        self.from(self.by_key.get(key).copied())
    }

    /// The youngest flow, from this one on, whose segments go to the kernel.
    fn passing_mut(&mut self, slot: FlowSlot) -> Option<(FlowSlot, &mut Flow)> {
        let (slot, _) = self.from(Some(slot)).find(|(_, flow)| flow.passes())?;
        Some((slot, self.flows.get_mut(slot)?))
    }

    fn open(&mut self, mut flow: Flow, now: Instant) -> FlowId {
        let id = self.shard.flow(self.next);
        self.next += 2;
        let tally = self.tallies.entry(flow.device).or_default();
        tally.all += 1;
        tally.adjust(flow.phase(), 1);
        (flow.id, flow.older) = (id, self.by_key.get(&flow.key).copied());
        let key = flow.key;
        let slot = self.flows.insert(flow);
        self.by_id.insert(id, slot);
        self.by_key.insert(key, slot);
        self.deadlines.set(id, now + HOLD);
        id
    }

    /// Changes a flow's state and returns the one before.
    fn enter(&mut self, slot: FlowSlot, state: State) -> Option<State> {
        let flow = self.flows.get_mut(slot)?;
        let tally = self.tallies.entry(flow.device).or_default();
        tally.adjust(flow.phase(), -1);
        let before = std::mem::replace(&mut flow.state, state);
        tally.adjust(flow.phase(), 1);
        Some(before)
    }

    fn remove(&mut self, slot: FlowSlot) -> Option<Box<Flow>> {
        let younger = self.flows.get(slot).and_then(|flow| {
            self.of_key(&flow.key).find(|(_, younger)| younger.older == Some(slot)).map(|(slot, _)| slot)
        });
        let flow = Box::new(self.flows.remove(slot)?);
        self.by_id.remove(&flow.id);
        self.deadlines.clear(flow.id);
        match (younger.and_then(|younger| self.flows.get_mut(younger)), flow.older) {
            (Some(younger), older) => younger.older = older,
            (None, Some(older)) => drop(self.by_key.insert(flow.key, older)),
            (None, None) => drop(self.by_key.remove(&flow.key)),
        }
        if let Some(tally) = self.tallies.get_mut(&flow.device) {
            tally.all = tally.all.saturating_sub(1);
            tally.adjust(flow.phase(), -1);
            if tally.all == 0 {
                self.tallies.remove(&flow.device);
                self.farewells.remove(&flow.device);
                self.goodbyes.remove(&flow.device);
            }
        }
        if let Some(goodbyes) = self.goodbyes.get_mut(&flow.device) {
            while goodbyes.front().is_some_and(|id| !self.by_id.contains_key(id)) {
                goodbyes.pop_front();
            }
        }
        Some(flow)
    }

    /// Panics if the indexes, tallies, limits and deadlines do not say the same.
    pub(crate) fn check_invariants(&self) {
        let mut tallies: HashMap<DeviceSlot, Tally> = HashMap::new();
        for (slot, flow) in self.flows.iter() {
            let tally = tallies.entry(flow.device).or_default();
            tally.all += 1;
            tally.adjust(flow.phase(), 1);
            assert_eq!(self.slot(flow.id), Some(slot), "a flow is found by its id");
            assert_eq!(
                self.of_key(&flow.key).filter(|&(other, _)| other == slot).count(),
                1,
                "and by its key"
            );
            let ends = self.deadlines.at(flow.id).is_some();
            assert_eq!(ends, flow.state != State::Live, "all but live flows end");
            if matches!(flow.state, State::Held { .. } | State::Closing { .. }) {
                let youngest = self.by_key.get(&flow.key);
                assert_eq!(youngest, Some(&slot), "only the youngest is held or closing");
            }
        }
        assert_eq!(self.tallies, tallies);
        assert!(self.farewells.keys().chain(self.goodbyes.keys()).all(|device| tallies.contains_key(device)));
        let oldest = self.goodbyes.values().filter_map(VecDeque::front);
        assert!(oldest.clone().all(|id| self.by_id.contains_key(id)));
        assert_eq!(self.by_id.len(), self.flows.len());
        let by_key = |key| self.of_key(key).map(|(_, flow)| flow.id).collect::<Vec<_>>();
        assert!(self.by_key.keys().map(by_key).all(|ids| ids.iter().rev().is_sorted() && !ids.is_empty()));
        assert!(self.flows.len() <= self.limits.flows);
        for tally in self.tallies.values() {
            assert!(tally.all <= self.limits.flows_per_device);
            assert!(tally.held <= self.limits.held_per_device);
            assert!(tally.admitted <= self.limits.admitted_per_device);
        }
        let live = self.flows.values().filter(|flow| flow.state == State::Live).count();
        assert_eq!(self.deadlines.len(), self.flows.len() - live);
    }
}
