//! The shell's part in flows of datagrams: it answers at once, late, twice or never, in one packet or in
//! fragments, says that a target is unreachable, cuts and finishes, and goes on answering afterwards.
//! It tells the reference model whatever it tells the core.

use std::time::Duration;

use super::{rules::Cause, shell::REFUSALS, world::World};
use crate::{Count, FlowId, Verdict};

/// No packet is that large.
const LARGE: std::ops::Range<usize> = 1400..6000;

impl World {
    /// What a device said along a flow.
    pub(super) fn hear_datagram(&mut self, flow: FlowId, said: Vec<u8>) {
        self.rules.datagrams.given(flow, &said);
        if !self.plan.stormy {
            // Done with each at once, so that what the storm left behind takes no one's place.
            self.answer(flow, &said);
            return self.finish_datagrams(flow);
        }
        match self.dice.of(0..16) {
            0 | 1 => {}
            2 => {
                self.plan_answer(1500, flow, said);
                self.cut(flow);
            }
            3 => self.finish_datagrams(flow),
            4 => self.call_unreachable(flow),
            5 => {
                self.answer(flow, &said);
                self.answer(flow, &said);
            }
            6 | 7 => self.plan_answer(35_000, flow, said),
            8 => {
                let mut large = said;
                large.resize(self.dice.of(LARGE).max(large.len()), b'.');
                self.answer(flow, &large);
            }
            _ => self.answer(flow, &said),
        }
    }

    /// Answers some time in so many milliseconds.
    fn plan_answer(&mut self, within: usize, flow: FlowId, said: Vec<u8>) {
        let due = self.now + Duration::from_millis(self.dice.of(0..within) as u64);
        self.shell.answers.push((due, flow, said));
    }

    /// Says what is due, whatever became of the flow.
    pub(super) fn answer_late(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.shell.answers.extract_if(.., |(due, ..)| *due <= now).collect();
        for (_, flow, said) in due {
            if self.dice.chance(200) {
                self.call_unreachable(flow);
            }
            self.answer(flow, &said);
        }
    }

    pub(super) fn answer(&mut self, flow: FlowId, said: &[u8]) {
        self.trace.note(self.now, "answer", said, || format!("{flow:?} {} bytes", said.len()));
        let (at, before) = (self.gate.at(self.now), self.nowhere());
        self.rules.datagrams.answered(flow, said, self.now);
        self.gate.tunnel.send_datagram(flow, said, at);
        let refused = self.nowhere() > before;
        assert_eq!(refused, !self.rules.datagrams.is_live(flow), "the shell knows whether {flow:?} is open");
        self.drain(Cause::Along(flow));
    }

    fn nowhere(&self) -> u64 {
        self.gate.tunnel.counters().get(Count::DatagramNoFlow)
    }

    fn call_unreachable(&mut self, flow: FlowId) {
        self.trace.note(self.now, "unreachable", &flow.0.to_be_bytes(), || format!("{flow:?}"));
        let (at, refusal) = (self.gate.at(self.now), *self.dice.pick(&REFUSALS).unwrap());
        self.gate.tunnel.send_unreachable(flow, refusal, at);
        self.drain(Cause::Along(flow));
    }

    pub(super) fn decide_datagrams(&mut self, flow: FlowId, verdict: Verdict) {
        let at = self.gate.at(self.now);
        match verdict {
            Verdict::Admit => {
                let begins = self.rules.datagrams.admit(flow, self.now);
                self.gate.tunnel.decide(flow, verdict, at);
                self.drain(Cause::Quiet);
                self.hear_events();
                if begins {
                    self.rules.datagrams.check_begun(flow);
                }
            }
            Verdict::Refuse(_) => {
                self.rules.datagrams.refuse(flow, self.now);
                self.gate.tunnel.decide(flow, verdict, at);
                self.drain(Cause::Command);
            }
        }
    }

    fn finish_datagrams(&mut self, flow: FlowId) {
        self.trace.note(self.now, "finish", &flow.0.to_be_bytes(), || format!("{flow:?}"));
        let at = self.gate.at(self.now);
        self.rules.datagrams.finish(flow);
        self.gate.tunnel.finished(flow, at);
        self.drain(Cause::Quiet);
    }

    /// Ends what is open, so many in a thousand by force.
    pub(super) fn end_datagrams(&mut self, by_force: usize) {
        self.hear_events();
        for flow in self.rules.datagrams.live() {
            if self.dice.chance(by_force) {
                self.cut(flow);
            } else {
                self.finish_datagrams(flow);
            }
        }
    }
}
