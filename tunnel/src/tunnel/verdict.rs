//! What the shell says about flows: verdicts, accepted sockets, the end.

use std::time::Instant;

use super::Tunnel;
use crate::{
    counters::Count,
    event::{FlowId, FlowInfo, FlowKey, Gone, Refusal, Verdict},
    flow::{Admitted, Flow, FlowSlot, OnCut},
    packet::{Ip, icmp},
};

impl Tunnel {
    /// The verdict on a held SYN or datagram. One that comes too late is counted and changes nothing.
    pub fn decide(&mut self, flow: FlowId, verdict: Verdict, now: Instant) {
        let done = match (self.datagrams.get(flow).is_some(), verdict) {
            (false, Verdict::Admit) => self.admit(flow, now),
            (false, Verdict::Refuse(refusal)) => self.refuse(flow, refusal, now),
            (true, Verdict::Admit) => self.admit_datagrams(flow, now),
            (true, Verdict::Refuse(refusal)) => self.refuse_datagrams(flow, refusal, now),
        };
        self.count(done);
        self.check();
    }

    fn admit(&mut self, id: FlowId, now: Instant) -> Result<(), Count> {
        match self.flows.admit(id, now) {
            Admitted::NotHeld => Err(Count::LateVerdict),
            Admitted::OverLimit(flow) => {
                self.say_farewell(&flow, now);
                self.gone(&flow, Gone::OverLimit);
                Err(Count::AdmittedLimit)
            }
            Admitted::Syn(syn) => {
                self.out.counters.add(Count::FlowAdmitted);
                // Should the queue be full, the device's next SYN goes to the kernel all the same.
                self.give_kernel(&syn);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, id: FlowId, refusal: Refusal, now: Instant) -> Result<(), Count> {
        let flow = self.flows.refuse(id).ok_or(Count::LateVerdict)?;
        self.out.counters.add(Count::FlowRefused);
        self.events.opened.take_back(flow.device, |&waiting| waiting == id);
        let gateway = self.addresses.gateway_like(flow.key.device.ip());
        let syn = flow.held_syn().and_then(|syn| Ip::parse(syn).ok());
        match syn.and_then(|syn| icmp::unreachable(&syn, refusal, gateway)) {
            Some(error) => {
                self.give_device(flow.device, &error, now);
            }
            None => self.say_farewell(&flow, now),
        }
        Ok(())
    }

    /// The kernel accepted a connection with this first sequence number. The flow it was admitted as, or
    /// none: then nobody permitted it, and it must be reset.
    pub fn accepted(&mut self, key: FlowKey, isn: u32) -> Option<FlowId> {
        let flow = self.flows.accepted(&key, isn);
        self.out.counters.add(if flow.is_some() { Count::FlowAccepted } else { Count::PairingUnknown });
        self.check();
        flow
    }

    /// The shell closed the flow's socket in peace: its last segments still pass. The next datagram of a
    /// flow of datagrams opens a new one.
    pub fn finished(&mut self, flow: FlowId, now: Instant) {
        self.finish_datagrams(flow);
        self.flows.finished(flow, now);
        self.check();
    }

    /// Ends a flow by force: from now on nothing passes but resets and refusals. The shell then resets its
    /// socket.
    pub fn cut(&mut self, flow: FlowId, now: Instant) {
        self.cut_one(flow, now);
        self.check();
    }

    /// Cuts every flow that fits, and says which.
    pub fn cut_where(&mut self, unwanted: impl Fn(&FlowInfo) -> bool, now: Instant) -> Vec<FlowId> {
        let cut: Vec<FlowId> =
            self.flows().iter().filter(|info| unwanted(info)).map(|info| info.flow).collect();
        for &flow in &cut {
            self.cut_one(flow, now);
        }
        self.check();
        cut
    }

    pub(super) fn cut_one(&mut self, id: FlowId, now: Instant) {
        self.withdraw(id);
        if self.close_datagrams(id, Refusal::Prohibited, now) {
            return self.out.counters.add(Count::DatagramFlowCut);
        }
        match self.flows.cut(id, now) {
            OnCut::Ended(flow) => {
                self.events.opened.take_back(flow.device, |&waiting| waiting == id);
                self.say_farewell(&flow, now);
            }
            OnCut::Farewell(flow) => self.say_farewell_of(flow, now),
            OnCut::Later => {}
            OnCut::Nothing => return,
        }
        self.out.counters.add(Count::FlowCut);
    }

    /// Takes back what of the flow waits for a session.
    fn withdraw(&mut self, id: FlowId) {
        let device = self.flows.get(id).map(|flow| flow.device);
        let device = device.or_else(|| self.datagrams.get(id).map(|flow| flow.device));
        if let Some(device) = device.and_then(|slot| self.devices.get(slot)) {
            self.peers.withdraw(&device.peers, id);
        }
    }

    fn say_farewell(&mut self, flow: &Flow, now: Instant) {
        if let Some(packet) = flow.farewell() {
            self.give_device(flow.device, &packet, now);
        }
    }

    pub(super) fn say_farewell_of(&mut self, flow: FlowSlot, now: Instant) {
        let Some(flow) = self.flows.at_mut(flow) else { return };
        if let (device, Some(packet)) = (flow.device, flow.farewell()) {
            self.give_device(device, &packet, now);
        }
    }
}
