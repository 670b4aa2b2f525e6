//! The shell: it decides late, twice, or never, pairs sockets, closes and cuts, and freezes for a while.
//! It tells the reference model whatever it tells the core.

use std::{collections::BTreeMap, time::Duration};

use protocol::target::Proto;

use super::{rules::Cause, world::World};
use crate::{Event, FlowId, FlowKey, FlowPhase, Gone, KnownEndpoint, KnownStamp, Refusal, Verdict};

pub(super) const REFUSALS: [Refusal; 5] = [
    Refusal::Rst,
    Refusal::PortUnreachable,
    Refusal::Prohibited,
    Refusal::HostUnreachable,
    Refusal::NetUnreachable,
];

/// What the shell remembers.
#[derive(Default)]
pub(super) struct Shell {
    pub(super) frozen_until: Duration,
    verdicts: BTreeMap<FlowId, (Duration, Verdict)>,
    paired: BTreeMap<FlowId, FlowKey>,
    /// What it will say along flows of datagrams, and when.
    pub(super) answers: Vec<(Duration, FlowId, Vec<u8>)>,
    /// What it wrote down for a restart, a while ago.
    pub(super) endpoints: Vec<KnownEndpoint>,
    pub(super) stamps: Vec<KnownStamp>,
}

impl Shell {
    /// From now on it answers at once.
    pub(super) fn thaw(&mut self) {
        self.frozen_until = Duration::ZERO;
        for (due, verdict) in self.verdicts.values_mut() {
            (*due, *verdict) = (Duration::ZERO, Verdict::Admit);
        }
    }

    /// The gateway began anew: what it had in hand is gone.
    pub(super) fn restart(&mut self) {
        self.verdicts.clear();
        self.paired.clear();
        self.answers.clear();
    }
}

impl World {
    /// The shell does what is due.
    pub(super) fn consult_shell(&mut self) {
        if self.now < self.shell.frozen_until {
            return;
        }
        self.hear_events();
        self.rules.datagrams.check_ends(self.now);
        let now = self.now;
        let due: Vec<_> = self.shell.verdicts.extract_if(.., |_, (due, _)| *due <= now).collect();
        for (flow, (_, verdict)) in due {
            self.decide(flow, verdict);
            if self.plan.stormy && self.dice.chance(50) {
                self.decide(flow, Verdict::Admit);
            }
        }
        self.answer_late();
        self.accept();
        self.close();
    }

    pub(super) fn hear_events(&mut self) {
        while let Some(event) = self.gate.tunnel.poll_event() {
            let text = format!("{event:?}");
            self.trace.note(self.now, "event", text.as_bytes(), || text.clone());
            self.hear_event(event);
        }
    }

    fn hear_event(&mut self, event: Event) {
        match event {
            Event::FlowOpened { flow, device, key, isn } => {
                self.rules.opened(flow, device, key, isn);
                if let Some(verdict) = self.draw_verdict() {
                    self.shell.verdicts.insert(flow, verdict);
                }
            }
            Event::FlowGone { flow, why } if self.rules.datagrams.knows(flow) => {
                self.rules.datagrams.gone(flow, why, self.now);
            }
            Event::FlowGone { flow, why } => {
                self.rules.gone(flow);
                let key = self.shell.paired.remove(&flow);
                if let (Some(key), Gone::DeviceRemoved) = (key, why) {
                    self.reset_socket(flow, key);
                }
            }
            Event::PermitExpired { flow } => self.rules.gone(flow),
            Event::Dns { device, from, to, payload } => {
                let owner = self.devices.iter().find(|own| own.spec.device == device).expect("of a device");
                assert!(owner.sources().contains(&from.ip()), "a query from another's address");
                let at = self.gate.at(self.now);
                self.gate.tunnel.send_udp(to, from, &payload, at);
                self.drain(Cause::Command);
            }
            Event::Handshake { device, key, .. } => {
                let owner = self.devices.iter().find(|own| own.spec.device == device);
                assert!(owner.is_some_and(|own| own.had_keys.contains(&key)), "a handshake of another's key");
            }
            Event::UnknownKey { .. } => {}
            Event::DatagramFlowOpened { flow, device, proto, key } => {
                self.rules.opened_datagrams(flow, &device, (proto == Proto::Icmp, key), self.now);
                if self.plan.stormy && self.dice.chance(100) {
                    self.answer(flow, b"before the verdict");
                }
                if let Some(verdict) = self.draw_verdict() {
                    self.shell.verdicts.insert(flow, verdict);
                }
            }
            Event::Datagram { flow, payload } => self.hear_datagram(flow, payload),
        }
    }

    fn draw_verdict(&mut self) -> Option<(Duration, Verdict)> {
        if !self.plan.stormy {
            return Some((self.now, Verdict::Admit));
        }
        let (now, wait) = (self.now, |ms: usize| Duration::from_millis(ms as u64));
        match self.dice.of(0..10) {
            0 => None,
            1 => Some((now + wait(self.dice.of(8000..14_000)), Verdict::Admit)),
            2 => Some((now, Verdict::Refuse(*self.dice.pick(&REFUSALS).unwrap()))),
            _ => Some((now + wait(self.dice.of(0..2000)), Verdict::Admit)),
        }
    }

    fn decide(&mut self, flow: FlowId, verdict: Verdict) {
        self.trace.note(self.now, "decide", &flow.0.to_be_bytes(), || format!("{flow:?} {verdict:?}"));
        if self.rules.datagrams.knows(flow) {
            return self.decide_datagrams(flow, verdict);
        }
        let at = self.gate.at(self.now);
        let flows = self.gate.tunnel.flows();
        let device = flows.iter().find(|info| info.flow == flow).map(|info| info.device.clone());
        let waits = |info: &&crate::FlowInfo| {
            info.phase == FlowPhase::Admitted && Some(&info.device) == device.as_ref()
        };
        let room = flows.iter().filter(waits).count() < self.limits().admitted_per_device;
        self.gate.tunnel.decide(flow, verdict, at);
        match verdict {
            Verdict::Admit => self.drain(Cause::Admit(flow, room)),
            Verdict::Refuse(_) => {
                self.rules.refused(flow);
                self.drain(Cause::Command);
            }
        }
        self.settle();
    }

    /// Takes sockets out of the accept queue.
    fn accept(&mut self) {
        let open = self.kernel.sockets.iter().filter(|(_, socket)| socket.waits());
        let waiting: Vec<_> = open.map(|(&key, socket)| (key, socket.isn)).collect();
        for (key, isn) in waiting {
            if self.plan.stormy && self.dice.chance(300) {
                continue;
            }
            let guess = self.plan.stormy && self.dice.chance(50);
            let asked = if guess { isn.wrapping_add(1) } else { isn };
            let flow = self.gate.tunnel.accepted(key, asked);
            self.trace.note(self.now, "accept", &asked.to_be_bytes(), || format!("{key:?} {asked} {flow:?}"));
            self.rules.accepted(key, asked, flow, self.now);
            match flow {
                Some(flow) => {
                    self.shell.paired.insert(flow, key);
                    self.kernel.pair(&key, flow, self.now);
                }
                None if guess => {}
                None => self.kernel.reset(&key),
            }
        }
        self.settle();
    }

    /// Closes what ended in peace, and cuts what the kernel gave up.
    fn close(&mut self) {
        for (flow, key) in self.shell.paired.clone() {
            let socket = self.kernel.sockets.get(&key).filter(|socket| socket.flow == Some(flow));
            match socket {
                None => self.cut(flow),
                Some(socket) if socket.conn.heard_fin => {
                    self.shell.paired.remove(&flow);
                    self.rules.finished(flow, self.now);
                    let at = self.gate.at(self.now);
                    self.gate.tunnel.finished(flow, at);
                    self.drain(Cause::Command);
                    self.kernel.close(&key, self.now);
                }
                Some(_) => {}
            }
        }
        self.settle();
    }

    /// Ends a flow by force: first in the core, then its socket.
    pub(super) fn cut(&mut self, flow: FlowId) {
        self.trace.note(self.now, "cut", &flow.0.to_be_bytes(), || format!("{flow:?}"));
        let at = self.gate.at(self.now);
        self.rules.cut(flow, self.now);
        self.gate.tunnel.cut(flow, at);
        self.drain(Cause::Command);
        self.shell.verdicts.remove(&flow);
        if let Some(key) = self.shell.paired.remove(&flow) {
            self.reset_socket(flow, key);
        }
    }

    fn reset_socket(&mut self, flow: FlowId, key: FlowKey) {
        if self.kernel.sockets.get(&key).is_some_and(|socket| socket.flow == Some(flow)) {
            if self.plan.stormy {
                self.kernel.leftovers(&key);
            }
            self.kernel.reset(&key);
        }
        self.settle();
    }

    /// Ends whatever is open, half of it in peace.
    pub(super) fn close_all(&mut self) {
        for (flow, _) in self.shell.paired.clone() {
            if self.dice.chance(500) {
                self.cut(flow);
            } else {
                self.shell.paired.remove(&flow);
                self.rules.finished(flow, self.now);
                let at = self.gate.at(self.now);
                self.gate.tunnel.finished(flow, at);
            }
        }
        self.end_datagrams(500);
        self.kernel.sockets.clear();
        self.settle();
    }
}
