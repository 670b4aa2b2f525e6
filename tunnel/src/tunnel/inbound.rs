//! Packets of devices: filter, then flows, DNS, echo, or a refusal.

use std::{net::SocketAddr, time::Instant};

use super::{Tunnel, events::Query};
use crate::{
    counters::Count,
    devices::DeviceSlot,
    event::{FlowKey, Gone, Refusal},
    filter::Inbound,
    flow::{FlowSlot, OnSegment, OnSyn},
    kernel::Open,
    packet::{
        Ends, Ip, TCP, icmp,
        tcp::{self, Tcp},
    },
};

/// What becomes of a packet that is not dropped.
enum Fate {
    /// It was answered, held or handed on.
    Done,
    /// It goes to the kernel, behind what waits of its flow.
    Kernel(Ends, Tcp, FlowSlot),
}

impl Tunnel {
    /// A decrypted packet of a device, `len` bytes in the room in the kernel's queue.
    pub(super) fn receive(&mut self, slot: DeviceSlot, len: usize, now: Instant) {
        let lent = self.out.kernel.lend(len);
        let fate = self.judge(slot, lent.packet(), now);
        self.out.kernel.give_back(lent);
        match fate {
            Ok(Fate::Kernel(ends, tcp, flow)) => {
                let mut closed = Open::default();
                let open = self.flows.at_mut(flow).map_or(&mut closed, |flow| &mut flow.open);
                self.out.kernel.push_segment((ends, &tcp), len, open);
                self.out.counters.add(Count::PassedIn);
            }
            Ok(Fate::Done) => {}
            Err(reason) => self.out.counters.add(reason),
        }
    }

    fn judge(&mut self, slot: DeviceSlot, packet: &[u8], now: Instant) -> Result<Fate, Count> {
        if packet.len() > self.mtu {
            return Err(Count::TooBig);
        }
        let ip = Ip::parse(packet).inspect_err(|&reason| {
            if reason == Count::Fragment {
                self.refuse_fragment(slot, packet, now);
            }
        })?;
        let device = self.devices.get(slot).ok_or(Count::DeviceRemoved)?;
        if device.retiring {
            return self.last_word(slot, &ip, now);
        }
        match self.addresses.judge(&ip, device.sources(), |addr| self.is_device(addr))? {
            Inbound::Tcp(tcp) if tcp.opens() => self.syn(slot, &ip, &tcp, now),
            Inbound::Tcp(tcp) => self.segment(slot, &ip, &tcp, now),
            Inbound::Dns { from, to, payload } => self.query(slot, from, to, payload).map(|()| Fate::Done),
            Inbound::Echo => self.echo(slot, &ip, now).map(|()| Fate::Done),
            Inbound::Datagram { key, payload } => {
                self.datagram(slot, &ip, key, payload, now).map(|()| Fate::Done)
            }
            Inbound::Unsupported => {
                self.refuse_datagram(slot, &ip, Refusal::Prohibited, now);
                Err(Count::IcmpUnsupported)
            }
        }
    }

    /// A removed device learns that its flows are reset, and nothing else.
    fn last_word(&mut self, slot: DeviceSlot, ip: &Ip<'_>, now: Instant) -> Result<Fate, Count> {
        if ip.protocol == TCP {
            let tcp = Tcp::parse(ip.payload)?;
            if self.flows.is_closing(&key(ip, &tcp), slot) {
                self.reset(slot, ip, &tcp, now);
            }
        } else {
            self.last_refusal(slot, ip, now);
        }
        Err(Count::DeviceRemoved)
    }

    fn syn(&mut self, slot: DeviceSlot, ip: &Ip<'_>, tcp: &Tcp, now: Instant) -> Result<Fate, Count> {
        let (devices, rate) = (&mut self.devices, self.limits.opens_per_second);
        let may_open = || devices.get_mut(slot).is_some_and(|device| device.opens.take(rate, now));
        match self.flows.syn(slot, key(ip, tcp), tcp, ip.whole, may_open, now) {
            OnSyn::TooFast => Err(Count::OpensLimited),
            OnSyn::Repeated => Ok(Fate::Done),
            OnSyn::Pass(flow) => Ok(Fate::Kernel(ip.ends, *tcp, flow)),
            OnSyn::Refuse(reason) => {
                self.reset(slot, ip, tcp, now);
                Err(reason)
            }
            OnSyn::Opened { flow, superseded } => {
                if let Some(old) = superseded {
                    self.gone(&old, Gone::Superseded);
                }
                if self.events.full() || !self.events.opened.push(slot, flow) {
                    self.flows.refuse(flow);
                    self.reset(slot, ip, tcp, now);
                    return Err(Count::EventLimit);
                }
                self.out.counters.add(Count::FlowHeld);
                Ok(Fate::Done)
            }
        }
    }

    fn segment(&mut self, slot: DeviceSlot, ip: &Ip<'_>, tcp: &Tcp, now: Instant) -> Result<Fate, Count> {
        match self.flows.segment_in(&key(ip, tcp), tcp, now) {
            OnSegment::Pass(flow) => Ok(Fate::Kernel(ip.ends, *tcp, flow)),
            OnSegment::Closing => {
                self.reset(slot, ip, tcp, now);
                Err(Count::ClosingSegment)
            }
            OnSegment::Withdrawn(flow) => {
                self.gone(&flow, Gone::DeviceReset);
                Ok(Fate::Done)
            }
            OnSegment::NoFlow => {
                let rate = self.limits.resets_per_second;
                if self.devices.get_mut(slot).is_some_and(|device| device.resets.take(rate, now)) {
                    self.reset(slot, ip, tcp, now);
                } else {
                    self.out.counters.add(Count::ResetLimited);
                }
                Err(Count::NoFlow)
            }
        }
    }

    /// Answers a segment by RST.
    fn reset(&mut self, slot: DeviceSlot, ip: &Ip<'_>, tcp: &Tcp, now: Instant) {
        if let Some(packet) = tcp::reset(ip.ends, tcp) {
            self.give_device(slot, &packet, now);
        }
    }

    fn query(
        &mut self,
        slot: DeviceSlot,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<(), Count> {
        let query = Query { from, to, payload: payload.to_vec() };
        Err(if self.events.queries.push(slot, query) { Count::DnsQuery } else { Count::DnsLimited })
    }

    fn echo(&mut self, slot: DeviceSlot, ip: &Ip<'_>, now: Instant) -> Result<(), Count> {
        self.afford_icmp(slot, now)?;
        if let Some(reply) = icmp::echo_reply(ip) {
            self.give_device(slot, &reply, now);
            self.out.counters.add(Count::EchoAnswered);
        }
        Ok(())
    }

    pub(super) fn afford_icmp(&mut self, slot: DeviceSlot, now: Instant) -> Result<(), Count> {
        let rate = self.limits.icmp_per_second;
        let afforded = self.devices.get_mut(slot).is_some_and(|device| device.icmp.take(rate, now));
        if afforded { Ok(()) } else { Err(Count::IcmpLimited) }
    }
}

fn key(ip: &Ip<'_>, tcp: &Tcp) -> FlowKey {
    FlowKey {
        device: SocketAddr::new(ip.ends.src(), tcp.src),
        target: SocketAddr::new(ip.ends.dst(), tcp.dst),
    }
}
