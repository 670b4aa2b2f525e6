//! The datagram flows of all devices: transitions, limits, deadlines.
//! Every method that ends a flow returns it, so that the caller can tell the shell.
//! Always true: the tallies are the numbers of flows, and no deadline is later than its flow's end.

use std::{collections::HashMap, time::Instant};

use super::state::{CLOSED, DatagramKey, Flow, State};
use crate::{
    config::Limits,
    counters::Count,
    deadlines::Deadlines,
    devices::DeviceSlot,
    event::{FlowId, FlowPhase, Refusal},
    rng::Rng,
    shard::Shard,
};

/// Payloads of one flow that wait for a verdict: what a client sends before it gives up.
const HELD_PER_FLOW: usize = 4;

/// What becomes of a datagram of a device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OnDatagram {
    /// A new flow holds it.
    Opened(FlowId),
    /// The flow's verdict is still out.
    Waits,
    /// Give its payload to the shell.
    Pass(FlowId),
    /// Tell the device so.
    Refuse(Count, Refusal),
    Drop(Count),
}

/// How an answer reaches the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) device: DeviceSlot,
    pub(crate) key: DatagramKey,
    /// Should it have to be cut in fragments.
    pub(crate) fragment_id: u32,
}

/// How many flows a device has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    all: usize,
    held: usize,
}

/// Every flow of datagrams there is.
#[derive(Debug)]
pub(crate) struct Datagrams {
    flows: HashMap<FlowId, Flow>,
    by_key: HashMap<DatagramKey, FlowId>,
    tallies: HashMap<DeviceSlot, Tally>,
    deadlines: Deadlines<FlowId>,
    held_bytes: usize,
    shard: Shard,
    /// The next flow's number in the shard; TCP's are odd.
    next: u64,
    fragment_ids: Rng,
    limits: Limits,
}

impl Datagrams {
    pub(crate) fn new(limits: Limits, seed: u64, shard: Shard) -> Self {
        Self {
            flows: HashMap::new(),
            by_key: HashMap::new(),
            tallies: HashMap::new(),
            deadlines: Deadlines::new(),
            held_bytes: 0,
            shard,
            next: 2,
            fragment_ids: Rng::new(!seed, Shard::default()),
            limits,
        }
    }

    pub(crate) fn get(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(&id)
    }

    /// Whether the device has any flow, in whatever state.
    pub(crate) fn any_of(&self, device: DeviceSlot) -> bool {
        self.tallies.contains_key(&device)
    }

    /// Every flow, oldest first.
    pub(crate) fn all(&self) -> Vec<(FlowId, &Flow)> {
        let mut all: Vec<_> = self.flows.iter().map(|(&id, flow)| (id, flow)).collect();
        all.sort_unstable_by_key(|&(id, _)| id);
        all
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// How the device's flow of this key was refused, if it was.
    pub(crate) fn refusal(&self, device: DeviceSlot, key: &DatagramKey) -> Option<Refusal> {
        let flow = self.by_key.get(key).and_then(|id| self.flows.get(id))?;
        match flow.state {
            State::Closed(refusal) if flow.device == device => Some(refusal),
            State::Held(_) | State::Live | State::Closed(_) => None,
        }
    }

    /// A device sent `payload` in `packet`.
    pub(crate) fn inbound(
        &mut self,
        device: DeviceSlot,
        key: DatagramKey,
        payload: &[u8],
        packet: &[u8],
        now: Instant,
    ) -> OnDatagram {
        if let Some(&id) = self.by_key.get(&key) {
            if self.flows.get(&id).is_some_and(|flow| flow.device == device) {
                return self.repeated(id, payload, packet, now);
            }
            // What a removed device left behind is not in the way of the one that has its address now.
            self.remove(id);
        }
        if let Some(limit) = self.limit_hit(device, payload.len()) {
            return OnDatagram::Refuse(limit, Refusal::Prohibited);
        }
        let mut flow = Flow::held(device, key, payload, self.fragment_ids.index(), now);
        flow.remember(packet);
        OnDatagram::Opened(self.open(flow))
    }

    fn repeated(&mut self, id: FlowId, payload: &[u8], packet: &[u8], now: Instant) -> OnDatagram {
        let room = self.held_bytes + payload.len() <= self.limits.held_bytes;
        let Some(flow) = self.flows.get_mut(&id) else { return OnDatagram::Drop(Count::DatagramNoFlow) };
        flow.remember(packet);
        match &mut flow.state {
            State::Closed(refusal) => OnDatagram::Refuse(Count::DatagramClosed, *refusal),
            State::Held(waiting) if room && waiting.len() < HELD_PER_FLOW => {
                waiting.push(payload.to_vec());
                self.held_bytes += payload.len();
                OnDatagram::Waits
            }
            State::Held(_) => OnDatagram::Drop(Count::DatagramHoldFull),
            State::Live => {
                flow.refresh(now);
                OnDatagram::Pass(id)
            }
        }
    }

    /// Takes the payloads out of their hold; none if it is not held.
    pub(crate) fn admit(&mut self, id: FlowId, now: Instant) -> Option<Vec<Vec<u8>>> {
        let flow = self.flows.get_mut(&id).filter(|flow| flow.phase() == FlowPhase::Held)?;
        flow.refresh(now);
        let until = flow.until;
        self.deadlines.set(id, until);
        match self.enter(id, State::Live) {
            Some(State::Held(waiting)) => Some(waiting),
            Some(State::Live | State::Closed(_)) | None => None,
        }
    }

    /// Ends a hold or a live flow: for a while its key answers with `refusal`. None if it has ended.
    pub(crate) fn close(&mut self, id: FlowId, refusal: Refusal, now: Instant) -> Option<&Flow> {
        let flow = self.flows.get_mut(&id).filter(|flow| flow.phase() != FlowPhase::Closing)?;
        flow.until = now + CLOSED;
        self.deadlines.set(id, now + CLOSED);
        self.enter(id, State::Closed(refusal));
        self.flows.get(&id)
    }

    /// The shell is done with it: the next datagram opens anew.
    pub(crate) fn finished(&mut self, id: FlowId) -> Option<Flow> {
        let live = self.flows.get(&id)?.phase() == FlowPhase::Live;
        if live { self.remove(id) } else { None }
    }

    /// Gives up a flow nobody was told of.
    pub(crate) fn forget(&mut self, id: FlowId) {
        self.remove(id);
    }

    /// The target answered; none unless the flow is live.
    pub(crate) fn answer(&mut self, id: FlowId, now: Instant) -> Option<Answer> {
        let flow = self.flows.get_mut(&id).filter(|flow| flow.state == State::Live)?;
        flow.answered = true;
        flow.refresh(now);
        let fragment_id = flow.fragment_id;
        flow.fragment_id = fragment_id.wrapping_add(1);
        Some(Answer { device: flow.device, key: flow.key, fragment_id })
    }

    /// Ends one flow whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<(FlowId, Flow)> {
        loop {
            let id = self.deadlines.pop(now)?;
            match self.flows.get(&id).map(|flow| flow.until) {
                Some(until) if until > now => self.deadlines.set(id, until),
                Some(_) => return self.remove(id).map(|flow| (id, flow)),
                None => {}
            }
        }
    }

    fn limit_hit(&self, device: DeviceSlot, bytes: usize) -> Option<Count> {
        let tally = self.tallies.get(&device).copied().unwrap_or_default();
        if self.flows.len() >= self.limits.datagram_flows {
            Some(Count::DatagramFlowLimit)
        } else if tally.all >= self.limits.datagram_flows_per_device {
            Some(Count::DatagramDeviceLimit)
        } else if tally.held >= self.limits.held_per_device
            || self.held_bytes + bytes > self.limits.held_bytes
        {
            Some(Count::DatagramHeldLimit)
        } else {
            None
        }
    }

    fn open(&mut self, flow: Flow) -> FlowId {
        let id = self.shard.flow(self.next);
        self.next += 2;
        let tally = self.tallies.entry(flow.device).or_default();
        (tally.all, tally.held) = (tally.all + 1, tally.held + 1);
        self.held_bytes += flow.held_bytes();
        self.by_key.insert(flow.key, id);
        self.deadlines.set(id, flow.until);
        self.flows.insert(id, flow);
        id
    }

    /// Changes the state and returns the one before.
    fn enter(&mut self, id: FlowId, state: State) -> Option<State> {
        let flow = self.flows.get_mut(&id)?;
        if flow.phase() == FlowPhase::Held {
            self.held_bytes = self.held_bytes.saturating_sub(flow.held_bytes());
            if let Some(tally) = self.tallies.get_mut(&flow.device) {
                tally.held = tally.held.saturating_sub(1);
            }
        }
        Some(std::mem::replace(&mut flow.state, state))
    }

    fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let state = self.enter(id, State::Live)?;
        let mut flow = self.flows.remove(&id)?;
        flow.state = state;
        self.deadlines.clear(id);
        self.by_key.remove(&flow.key);
        if let Some(tally) = self.tallies.get_mut(&flow.device) {
            tally.all = tally.all.saturating_sub(1);
            if tally.all == 0 {
                self.tallies.remove(&flow.device);
            }
        }
        Some(flow)
    }

    /// Panics if the indexes, tallies, limits and deadlines do not say the same.
    pub(crate) fn check_invariants(&self) {
        let mut tallies: HashMap<DeviceSlot, Tally> = HashMap::new();
        for (id, flow) in &self.flows {
            let tally = tallies.entry(flow.device).or_default();
            tally.all += 1;
            tally.held += usize::from(flow.phase() == FlowPhase::Held);
            assert_eq!(self.by_key.get(&flow.key), Some(id), "a flow is found by its key");
            let due = self.deadlines.at(*id).expect("every flow ends");
            assert!(due <= flow.until, "a deadline is never later than the flow's end");
        }
        assert_eq!(self.tallies, tallies);
        assert_eq!(self.by_key.len(), self.flows.len());
        assert_eq!(self.deadlines.len(), self.flows.len());
        assert_eq!(self.held_bytes, self.flows.values().map(Flow::held_bytes).sum::<usize>());
        assert!(self.held_bytes <= self.limits.held_bytes);
        assert!(self.flows.len() <= self.limits.datagram_flows);
        for tally in self.tallies.values() {
            assert!(tally.all <= self.limits.datagram_flows_per_device);
            assert!(tally.held <= self.limits.held_per_device);
        }
    }
}
