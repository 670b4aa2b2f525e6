//! The table of datagram flows against a small model: a list of flows, searched by key.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use protocol::target::Proto;

use super::{DatagramKey, Datagrams, OnDatagram};
use crate::{
    config::Limits,
    counters::Count,
    devices::{DeviceSlot, Devices},
    event::{FlowId, FlowKey, FlowPhase, Refusal},
    shard::Shard,
    testing::start,
};

#[derive(Debug, Clone)]
enum Op {
    In { key: usize, bytes: usize },
    Admit(usize),
    Close(usize),
    Finished(usize),
    Answer(usize),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..6usize, 0..30usize).prop_map(|(key, bytes)| Op::In { key, bytes }),
        4 => (0..8usize).prop_map(Op::Admit),
        1 => (0..8usize).prop_map(Op::Close),
        1 => (0..8usize).prop_map(Op::Finished),
        3 => (0..8usize).prop_map(Op::Answer),
        2 => (1..100_000u64).prop_map(Op::Pass),
        1 => (1..3_000u64).prop_map(Op::Pass),
    ]
}

/// A flow as the model sees it.
#[derive(Debug, Clone)]
struct Reference {
    id: FlowId,
    key: usize,
    phase: FlowPhase,
    held: Vec<usize>,
    answered: bool,
    since: Instant,
    ends: Instant,
}

/// The table, the model, and the clock of both.
struct Pair {
    table: Datagrams,
    flows: Vec<Reference>,
    devices: [DeviceSlot; 2],
    limits: Limits,
    now: Instant,
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Keys 0 to 2 are the first device's, the others the second's; of each three the last is an echo.
fn key(at: usize) -> DatagramKey {
    let (device, at) = (u8::try_from(at / 3).unwrap() + 1, u16::try_from(at % 3).unwrap());
    let (proto, port) = if at == 2 { (Proto::Icmp, 0) } else { (Proto::Udp, 53) };
    let ends =
        FlowKey { device: ([100, 64, 0, device], 4000 + at).into(), target: ([10, 0, 0, 1], port).into() };
    DatagramKey { proto, ends }
}

impl Pair {
    fn new() -> Self {
        let limits = Limits {
            datagram_flows: 4,
            datagram_flows_per_device: 2,
            held_per_device: 1,
            held_bytes: 60,
            ..Limits::default()
        };
        let mut devices = Devices::new();
        let mut add =
            |n: u8| devices.add(format!("d{n}").parse().unwrap(), [100, 64, 0, n].into(), [n; 16].into());
        let devices = [add(1).unwrap(), add(2).unwrap()];
        Self {
            table: Datagrams::new(limits.clone(), 1, Shard::default()),
            flows: Vec::new(),
            devices,
            limits,
            now: start(),
        }
    }

    fn limit_hit(&self, key: usize, bytes: usize) -> Option<Count> {
        let of_device = |flow: &&Reference| flow.key / 3 == key / 3;
        let held = self.flows.iter().filter(of_device).filter(|flow| flow.phase == FlowPhase::Held);
        if self.flows.len() >= self.limits.datagram_flows {
            Some(Count::DatagramFlowLimit)
        } else if self.flows.iter().filter(of_device).count() >= self.limits.datagram_flows_per_device {
            Some(Count::DatagramDeviceLimit)
        } else if held.count() >= self.limits.held_per_device || !self.room(bytes) {
            Some(Count::DatagramHeldLimit)
        } else {
            None
        }
    }

    fn room(&self, bytes: usize) -> bool {
        let held: usize = self.flows.iter().flat_map(|flow| &flow.held).sum();
        held + bytes <= self.limits.held_bytes
    }

    fn refresh(&mut self, at: usize) {
        let flow = &mut self.flows[at];
        let stream = flow.answered && self.now >= flow.since + seconds(2) && flow.key % 3 != 2;
        flow.ends = self.now + seconds(if stream { 120 } else { 30 });
    }

    fn inbound(&mut self, index: usize, bytes: usize) {
        let payload = vec![7; bytes];
        let got = self.table.inbound(self.devices[index / 3], key(index), &payload, &[0x45; 28], self.now);
        let room = self.room(bytes);
        let Some(at) = self.flows.iter().position(|flow| flow.key == index) else {
            let want = self.limit_hit(index, bytes);
            return match got {
                OnDatagram::Refuse(reason, Refusal::Prohibited) => assert_eq!(Some(reason), want),
                OnDatagram::Opened(id) => {
                    assert_eq!((want, id.0 % 2), (None, 0));
                    assert!(self.flows.iter().all(|flow| flow.id < id), "an id is never used again");
                    let (now, held) = (self.now, vec![bytes]);
                    let ends = now + seconds(11);
                    let phase = FlowPhase::Held;
                    self.flows.push(Reference {
                        id,
                        key: index,
                        phase,
                        held,
                        answered: false,
                        since: now,
                        ends,
                    });
                }
                other => panic!("{other:?}"),
            };
        };
        let flow = &mut self.flows[at];
        match flow.phase {
            FlowPhase::Held if room && flow.held.len() < 4 => {
                flow.held.push(bytes);
                assert_eq!(got, OnDatagram::Waits);
            }
            FlowPhase::Held => assert_eq!(got, OnDatagram::Drop(Count::DatagramHoldFull)),
            FlowPhase::Closing => {
                assert_eq!(got, OnDatagram::Refuse(Count::DatagramClosed, Refusal::PortUnreachable));
            }
            _ => {
                assert_eq!(got, OnDatagram::Pass(flow.id));
                self.refresh(at);
            }
        }
    }

    fn admit(&mut self, at: usize) {
        let Some(flow) = self.flows.get_mut(at) else { return };
        let got = self.table.admit(flow.id, self.now);
        if flow.phase != FlowPhase::Held {
            return assert_eq!(got, None);
        }
        flow.phase = FlowPhase::Live;
        let held = std::mem::take(&mut flow.held);
        assert_eq!(got.map(|waiting| waiting.iter().map(Vec::len).collect()), Some(held));
        self.refresh(at);
    }

    fn close(&mut self, at: usize) {
        let Some(flow) = self.flows.get_mut(at) else { return };
        let closed = self.table.close(flow.id, Refusal::PortUnreachable, self.now).is_some();
        assert_eq!(closed, flow.phase != FlowPhase::Closing);
        if closed {
            (flow.phase, flow.ends) = (FlowPhase::Closing, self.now + seconds(1));
            flow.held.clear();
        }
    }

    fn finished(&mut self, at: usize) {
        let Some(flow) = self.flows.get(at) else { return };
        let live = flow.phase == FlowPhase::Live;
        assert_eq!(self.table.finished(flow.id).is_some(), live);
        if live {
            self.flows.remove(at);
        }
    }

    fn answer(&mut self, at: usize) {
        let Some(flow) = self.flows.get_mut(at) else { return };
        let got = self.table.answer(flow.id, self.now).map(|answer| (answer.device, answer.key));
        if flow.phase != FlowPhase::Live {
            return assert_eq!(got, None);
        }
        assert_eq!(got, Some((self.devices[flow.key / 3], key(flow.key))));
        flow.answered = true;
        self.refresh(at);
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
        let mut expired: Vec<FlowId> =
            std::iter::from_fn(|| self.table.expire(self.now)).map(|(id, _)| id).collect();
        expired.sort_unstable();
        let now = self.now;
        let want: Vec<FlowId> = self.flows.extract_if(.., |flow| flow.ends <= now).map(|f| f.id).collect();
        assert_eq!(expired, want);
        let due = self.flows.iter().map(|flow| flow.ends).min();
        assert!(self.table.poll_timeout() <= due && self.table.poll_timeout().is_some() == due.is_some());
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::In { key, bytes } => self.inbound(key, bytes),
            Op::Admit(at) => self.admit(at),
            Op::Close(at) => self.close(at),
            Op::Finished(at) => self.finished(at),
            Op::Answer(at) => self.answer(at),
            Op::Pass(milliseconds) => self.pass(milliseconds),
        }
        self.table.check_invariants();
        let got: Vec<_> = self.table.all().iter().map(|(id, flow)| (*id, flow.phase())).collect();
        let want: Vec<_> = self.flows.iter().map(|flow| (flow.id, flow.phase)).collect();
        assert_eq!(got, want);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_table_does_what_the_model_does(ops in prop::collection::vec(op(), 1..80)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
        }
    }
}

/// Case D10: a device that fills its part of the table takes nothing from another, and nothing is evicted.
#[test]
fn a_noisy_device_fills_its_own_part_only() {
    let mut pair = Pair::new();
    for op in [Op::In { key: 0, bytes: 1 }, Op::Admit(0), Op::In { key: 1, bytes: 1 }, Op::Admit(1)] {
        pair.apply(&op);
    }
    let got = pair.table.inbound(pair.devices[0], key(2), b"x", &[0x45; 28], pair.now);
    assert_eq!(got, OnDatagram::Refuse(Count::DatagramDeviceLimit, Refusal::Prohibited));
    pair.apply(&Op::In { key: 3, bytes: 1 });
    pair.apply(&Op::In { key: 0, bytes: 1 });
    assert_eq!(pair.flows.len(), 3, "the other's flow opens, its own live on");
}
