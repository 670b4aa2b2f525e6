//! Flows of datagrams: what devices send, what the shell answers, verdicts, the end.

use std::{collections::BTreeSet, time::Instant};

use protocol::target::Proto;

use super::Tunnel;
use crate::{
    counters::Count,
    datagram::{DatagramKey, Flow, OnDatagram},
    devices::DeviceSlot,
    event::{Event, FlowId, FlowInfo, FlowKey, FlowPhase, Gone, Refusal},
    filter::{self, Inbound},
    packet::{Ends, Ip, UDP, fragment, icmp, udp},
};

impl Tunnel {
    /// Sends an answer of the target to the flow's device: UDP's payload; of an echo, the sequence number
    /// and the data. One too large for a packet goes in fragments.
    pub fn send_datagram(&mut self, flow: FlowId, payload: &[u8], now: Instant) {
        let done = self.answer_datagram(flow, payload, now);
        self.count(done);
        self.check();
    }

    fn answer_datagram(&mut self, id: FlowId, payload: &[u8], now: Instant) -> Result<(), Count> {
        let answer = self.datagrams.answer(id, now).ok_or(Count::DatagramNoFlow)?;
        let FlowKey { device, target } = answer.key.ends;
        let (ends, protocol, message) = match answer.key.proto {
            Proto::Icmp => {
                let ends = Ends::new(target.ip(), device.ip()).ok_or(Count::AnswerUnsendable)?;
                (ends, icmp::protocol(ends), icmp::echo_answer(ends, device.port(), payload))
            }
            // TCP has flows of its own.
            Proto::Udp | Proto::Tcp => {
                let (ends, message) = udp::message(target, device, payload).ok_or(Count::AnswerUnsendable)?;
                (ends, UDP, message)
            }
        };
        let packets = fragment::packets(ends, protocol, &message, self.mtu, answer.fragment_id);
        let mut sent = true;
        for packet in packets.ok_or(Count::AnswerUnsendable)? {
            sent &= self.give_device_of(Some(id), answer.device, &packet, now);
        }
        if sent { Err(Count::DatagramOut) } else { Ok(()) }
    }

    /// Tells the flow's device what the network said of the flow's latest datagram.
    pub fn send_unreachable(&mut self, flow: FlowId, refusal: Refusal, now: Instant) {
        if let Some(flow) = self.datagrams.get(flow).filter(|flow| flow.phase() == FlowPhase::Live) {
            let (device, error) = (flow.device, self.refusal_of(flow, refusal));
            let done = self.afford_icmp(device, now);
            if let (Ok(()), Some(error)) = (done, error) {
                self.give_device(device, &error, now);
            }
            self.count(done);
        }
        self.check();
    }

    /// A datagram of a device that passed the filter.
    pub(super) fn datagram(
        &mut self,
        slot: DeviceSlot,
        ip: &Ip<'_>,
        key: DatagramKey,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Count> {
        match self.datagrams.inbound(slot, key, payload, ip.whole, now) {
            OnDatagram::Waits => Ok(()),
            OnDatagram::Pass(flow) => Err(self.hand_over(slot, flow, payload.to_vec())),
            OnDatagram::Drop(reason) => Err(reason),
            OnDatagram::Refuse(reason, refusal) => {
                self.refuse_datagram(slot, ip, refusal, now);
                Err(reason)
            }
            OnDatagram::Opened(flow) => {
                if self.events.full() || !self.events.datagram_flows.push(slot, flow) {
                    self.datagrams.forget(flow);
                    self.refuse_datagram(slot, ip, Refusal::Prohibited, now);
                    return Err(Count::EventLimit);
                }
                Err(Count::DatagramFlowHeld)
            }
        }
    }

    fn hand_over(&mut self, slot: DeviceSlot, flow: FlowId, payload: Vec<u8>) -> Count {
        if self.events.datagrams.push(slot, (flow, payload)) {
            Count::DatagramIn
        } else {
            Count::DatagramQueueFull
        }
    }

    /// A fragment of a device is dropped, but the first of a datagram is not dropped silently. "Prohibited"
    /// (RFC 1812 §5.2.7.1, RFC 4443 §3.1) and not "too big": no smaller path MTU would help who cuts
    /// its datagrams to the tunnel's already. Later fragments are never answered (RFC 1122 §3.2.2).
    pub(super) fn refuse_fragment(&mut self, slot: DeviceSlot, packet: &[u8], now: Instant) {
        let Some(ip) = fragment::first(packet) else { return };
        let Some(device) = self.devices.get(slot).filter(|device| !device.retiring) else { return };
        let own = device.sources().contains(&ip.ends.src());
        let begins = ip.protocol == UDP || icmp::begins_echo(&ip);
        let to = ip.ends.dst();
        let anywhere = filter::unreachable_by_nature(to).is_none() && !self.is_device(to);
        if own && begins && anywhere {
            self.refuse_datagram(slot, &ip, Refusal::Prohibited, now);
        }
    }

    /// Refuses one datagram by ICMP, within the device's rate.
    pub(super) fn refuse_datagram(&mut self, slot: DeviceSlot, ip: &Ip<'_>, refusal: Refusal, now: Instant) {
        let done = self.afford_icmp(slot, now);
        if done.is_ok() {
            let gateway = self.addresses.gateway_like(ip.ends.src());
            if let Some(error) = icmp::unreachable(ip, refusal, gateway) {
                self.give_device(slot, &error, now);
            }
        }
        self.count(done);
    }

    pub(super) fn admit_datagrams(&mut self, id: FlowId, now: Instant) -> Result<(), Count> {
        let device = self.datagrams.get(id).map(|flow| flow.device).ok_or(Count::LateVerdict)?;
        let waiting = self.datagrams.admit(id, now).ok_or(Count::LateVerdict)?;
        for payload in waiting {
            let counted = self.hand_over(device, id, payload);
            self.out.counters.add(counted);
        }
        Err(Count::DatagramFlowAdmitted)
    }

    pub(super) fn refuse_datagrams(
        &mut self,
        id: FlowId,
        refusal: Refusal,
        now: Instant,
    ) -> Result<(), Count> {
        let held = self.datagrams.get(id).is_some_and(|flow| flow.phase() == FlowPhase::Held);
        if !held {
            return Err(Count::LateVerdict);
        }
        self.close_datagrams(id, refusal, now);
        Err(Count::DatagramFlowRefused)
    }

    /// Closes a flow, tells its device at once and with each of the next datagrams.
    pub(super) fn close_datagrams(&mut self, id: FlowId, refusal: Refusal, now: Instant) -> bool {
        let Some(flow) = self.datagrams.close(id, refusal, now) else { return false };
        let device = flow.device;
        let error = self.datagrams.get(id).and_then(|flow| self.refusal_of(flow, refusal));
        self.events.datagram_flows.take_back(device, |&waiting| waiting == id);
        self.events.datagrams.take_back(device, |&(waiting, _)| waiting == id);
        if let Some(error) = error {
            self.give_device(device, &error, now);
        }
        true
    }

    fn refusal_of(&self, flow: &Flow, refusal: Refusal) -> Option<Vec<u8>> {
        let FlowKey { device, target } = flow.key.ends;
        let ends = Ends::new(device.ip(), target.ip())?;
        icmp::refuse(ends, flow.quote(), refusal, self.addresses.gateway_like(device.ip()))
    }

    /// A removed device learns that its flows are closed, and nothing else.
    pub(super) fn last_refusal(&mut self, slot: DeviceSlot, ip: &Ip<'_>, now: Instant) {
        let Ok(Inbound::Datagram { key, .. }) = filter::inbound(ip) else { return };
        if let Some(refusal) = self.datagrams.refusal(slot, &key) {
            self.refuse_datagram(slot, ip, refusal, now);
        }
    }

    pub(super) fn finish_datagrams(&mut self, id: FlowId) {
        if let Some(flow) = self.datagrams.finished(id) {
            self.events.datagrams.take_back(flow.device, |&(waiting, _)| waiting == id);
        }
    }

    pub(super) fn cut_datagrams_of(&mut self, leaving: &BTreeSet<DeviceSlot>, now: Instant) {
        let flows = self.datagrams.all().into_iter().filter(|(_, flow)| leaving.contains(&flow.device));
        for (id, phase, device) in flows.map(|(id, flow)| (id, flow.phase(), flow.device)).collect::<Vec<_>>()
        {
            let untold = self.events.datagram_flows.take_back(device, |&waiting| waiting == id);
            let was_open = phase != FlowPhase::Closing;
            self.cut_one(id, now);
            if was_open && !untold {
                self.events.push(Event::FlowGone { flow: id, why: Gone::DeviceRemoved });
            }
        }
    }

    pub(super) fn expire_datagrams(&mut self, now: Instant) {
        while let Some((id, flow)) = self.datagrams.expire(now) {
            let (why, count) = match flow.phase() {
                FlowPhase::Held => (Gone::HoldExpired, Count::HoldExpired),
                FlowPhase::Live => (Gone::Idle, Count::DatagramFlowIdle),
                FlowPhase::Admitted | FlowPhase::Draining | FlowPhase::Closing => continue,
            };
            self.out.counters.add(count);
            self.events.datagrams.take_back(flow.device, |&(waiting, _)| waiting == id);
            if !self.events.datagram_flows.take_back(flow.device, |&waiting| waiting == id) {
                self.events.push(Event::FlowGone { flow: id, why });
            }
        }
    }

    /// The next event of a flow of datagrams: openings first, each kind served in turn among devices.
    pub(super) fn poll_datagram_event(&mut self) -> Option<Event> {
        while let Some((slot, id)) = self.events.datagram_flows.pop() {
            if let (Some(device), Some(flow)) = (self.devices.get(slot), self.datagrams.get(id)) {
                let (device, DatagramKey { proto, ends: key }) = (device.id.clone(), flow.key);
                return Some(Event::DatagramFlowOpened { flow: id, device, proto, key });
            }
        }
        let (_, (flow, payload)) = self.events.datagrams.pop()?;
        Some(Event::Datagram { flow, payload })
    }

    pub(super) fn datagram_flows(&self) -> impl Iterator<Item = FlowInfo> {
        self.datagrams.all().into_iter().filter_map(|(id, flow)| {
            let device = self.devices.get(flow.device)?.id.clone();
            let DatagramKey { proto, ends: key } = flow.key;
            Some(FlowInfo { flow: id, device, proto, key, phase: flow.phase(), since: flow.since })
        })
    }
}
