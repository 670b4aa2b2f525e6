//! The flow table against a small model: a list of flows, searched from its end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{Admitted, Due, Flows, OnCut, OnSegment, OnSyn, Outbound};
use crate::{
    config::Limits,
    counters::Count,
    devices::{DeviceSlot, Devices},
    event::{FlowId, FlowKey, FlowPhase},
    packet::{
        Ends, Ip,
        tcp::{ACK, FIN, RST, SYN, Tcp, tests::segment},
    },
    shard::Shard,
    testing::start,
};

#[derive(Debug, Clone)]
enum Op {
    Syn { key: usize, isn: u32 },
    In { key: usize, flags: u8, seq: u32 },
    Out { key: usize, flags: u8 },
    Admit(usize),
    Refuse(usize),
    Accepted { key: usize, isn: u32 },
    Cut(usize),
    Finished(usize),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop::sample::select(vec![ACK, ACK, FIN | ACK, RST]);
    prop_oneof![
        4 => (0..4usize, 1..4u32).prop_map(|(key, isn)| Op::Syn { key, isn: isn * 100 }),
        3 => (0..4usize, flags.clone(), 1..4u32).prop_map(|(key, flags, isn)| Op::In { key, flags, seq: isn * 100 + 1 }),
        3 => (0..4usize, flags).prop_map(|(key, flags)| Op::Out { key, flags }),
        3 => (0..8usize).prop_map(Op::Admit),
        1 => (0..8usize).prop_map(Op::Refuse),
        3 => (0..4usize, 1..4u32).prop_map(|(key, isn)| Op::Accepted { key, isn: isn * 100 }),
        1 => (0..8usize).prop_map(Op::Cut),
        1 => (0..8usize).prop_map(Op::Finished),
        2 => (1..16_000u64).prop_map(Op::Pass),
    ]
}

/// A flow as the model sees it.
#[derive(Debug, Clone)]
struct Reference {
    id: FlowId,
    key: usize,
    isn: u32,
    phase: FlowPhase,
    reset: bool,
    reset_stands: bool,
    fin_in: bool,
    fin_out: bool,
    heard_out: bool,
    ends: Option<Instant>,
    last_out: Instant,
}

impl Reference {
    fn over(&self) -> bool {
        self.reset || self.fin_in && self.fin_out
    }

    fn passes(&self) -> bool {
        matches!(self.phase, FlowPhase::Admitted | FlowPhase::Live | FlowPhase::Draining)
    }
}

/// The table, the model, and the clock of both.
struct Pair {
    table: Flows,
    flows: Vec<Reference>,
    devices: [DeviceSlot; 2],
    limits: Limits,
    now: Instant,
}

const HOLD: u64 = 10;
const PERMIT: u64 = 30;
const CLOSING: u64 = 2;
const DRAIN: u64 = 60;

impl Pair {
    fn new() -> Self {
        let limits = Limits {
            flows: 9,
            flows_per_device: 5,
            held_per_device: 2,
            admitted_per_device: 2,
            ..Limits::default()
        };
        let mut devices = Devices::new();
        let mut add =
            |n: u8| devices.add(format!("d{n}").parse().unwrap(), [100, 64, 0, n].into(), [n; 16].into());
        let devices = [add(1).unwrap(), add(2).unwrap()];
        Self {
            table: Flows::new(limits.clone(), Shard::default()),
            flows: Vec::new(),
            devices,
            limits,
            now: start(),
        }
    }

    fn key(at: usize) -> FlowKey {
        let device = u8::try_from(at / 2).unwrap() + 1;
        FlowKey {
            device: SocketAddr::from(([100, 64, 0, device], 4000 + u16::try_from(at % 2).unwrap())),
            target: ([10, 0, 0, 1], 22).into(),
        }
    }

    fn packet(at: usize, seq: u32, flags: u8) -> (Vec<u8>, Tcp) {
        let key = Self::key(at);
        let ends = Ends::new(key.device.ip(), key.target.ip()).unwrap();
        let packet = segment(ends, (key.device.port(), key.target.port()), seq, 0, flags, &[]);
        let tcp = Tcp::parse(Ip::parse(&packet).unwrap().payload).unwrap();
        (packet, tcp)
    }

    fn after(&self, seconds: u64) -> Option<Instant> {
        Some(self.now + Duration::from_secs(seconds))
    }

    fn youngest(&self, key: usize) -> Option<usize> {
        self.flows.iter().rposition(|flow| flow.key == key)
    }

    fn passing(&self, key: usize) -> Option<usize> {
        self.flows.iter().rposition(|flow| flow.key == key && flow.passes())
    }

    fn of_device(&self, key: usize, phase: Option<FlowPhase>) -> usize {
        let same =
            |flow: &&Reference| flow.key / 2 == key / 2 && phase.is_none_or(|phase| flow.phase == phase);
        self.flows.iter().filter(same).count()
    }

    fn limit_hit(&self, key: usize) -> Option<Count> {
        if self.flows.len() >= self.limits.flows {
            Some(Count::FlowLimit)
        } else if self.of_device(key, None) >= self.limits.flows_per_device {
            Some(Count::DeviceFlowLimit)
        } else if self.of_device(key, Some(FlowPhase::Held)) >= self.limits.held_per_device {
            Some(Count::HeldLimit)
        } else {
            None
        }
    }

    fn syn(&mut self, key: usize, isn: u32) {
        let (packet, tcp) = Self::packet(key, isn, SYN);
        let got = self.table.syn(self.devices[key / 2], Self::key(key), &tcp, &packet, || true, self.now);
        let mut superseded = None;
        if let Some(at) = self.youngest(key) {
            let flow = &self.flows[at];
            let anew = flow.isn != isn;
            match flow.phase {
                FlowPhase::Closing => return assert!(matches!(got, OnSyn::Refuse(Count::ClosingSegment))),
                FlowPhase::Held if !anew => return assert!(matches!(got, OnSyn::Repeated)),
                FlowPhase::Held => superseded = Some(self.flows.remove(at).id),
                FlowPhase::Draining if anew => {}
                FlowPhase::Admitted | FlowPhase::Live if anew && flow.over() => {}
                FlowPhase::Admitted | FlowPhase::Live | FlowPhase::Draining => {
                    return assert!(matches!(got, OnSyn::Pass(_)));
                }
            }
        }
        let limit = self.limit_hit(key);
        match got {
            OnSyn::Refuse(reason) => assert_eq!(limit, Some(reason)),
            OnSyn::Opened { flow, superseded: old } => {
                assert_eq!((limit, superseded), (None, old.map(|flow| flow.id)));
                assert!(self.flows.iter().all(|known| known.id < flow), "an id is never used again");
                self.flows.push(Reference {
                    id: flow,
                    key,
                    isn,
                    phase: FlowPhase::Held,
                    reset: false,
                    reset_stands: false,
                    fin_in: false,
                    fin_out: false,
                    heard_out: false,
                    ends: self.after(HOLD),
                    last_out: self.now,
                });
            }
            OnSyn::Repeated | OnSyn::Pass(_) | OnSyn::TooFast => panic!("a new SYN was taken for an old one"),
        }
    }

    fn segment_in(&mut self, key: usize, flags: u8, seq: u32) {
        let (_, tcp) = Self::packet(key, seq, flags);
        let got = self.table.segment_in(&Self::key(key), &tcp, self.now);
        let Some(at) = self.youngest(key) else { return assert!(matches!(got, OnSegment::NoFlow)) };
        let flow = &self.flows[at];
        if flow.phase == FlowPhase::Closing {
            return assert!(matches!(got, OnSegment::Closing));
        }
        if flow.phase == FlowPhase::Held && flags == RST && seq == flow.isn + 1 {
            let id = self.flows.remove(at).id;
            return assert!(matches!(got, OnSegment::Withdrawn(flow) if flow.id == id));
        }
        let Some(at) = self.passing(key) else { return assert!(matches!(got, OnSegment::NoFlow)) };
        assert!(matches!(got, OnSegment::Pass(_)));
        self.flows[at].reset |= flags & RST != 0;
        self.flows[at].reset_stands |= flags & RST != 0;
        self.flows[at].fin_in |= flags & FIN != 0;
        self.drop_if_reset(at);
    }

    fn segment_out(&mut self, key: usize, flags: u8) {
        // Sequence numbers beyond every acknowledgement, so that no FIN is ever acknowledged here.
        let (_, tcp) = Self::packet(key, 1 << 20, flags);
        let got = self.table.segment_out(&Self::key(key), &tcp, self.now);
        let device = self.devices[key / 2];
        // The farewell's sequence number is the same, unless a FIN has moved it on.
        let same = self.youngest(key).is_some_and(|at| self.flows[at].heard_out && !self.flows[at].fin_out);
        let want = match (self.youngest(key).map(|at| self.flows[at].phase), self.passing(key)) {
            (Some(FlowPhase::Closing), _) if flags & RST != 0 && !same => Outbound::Pass(device, None),
            (Some(FlowPhase::Closing), _) => Outbound::Drop(Count::TunClosing),
            (Some(_), Some(at)) => {
                let now = self.now;
                let flow = &mut self.flows[at];
                flow.reset |= flags & RST != 0;
                flow.reset_stands = flags & RST != 0;
                flow.fin_out |= flags & FIN != 0;
                flow.heard_out = true;
                flow.last_out = now;
                let id = flow.id;
                self.drop_if_reset(at);
                Outbound::Pass(device, Some(id))
            }
            (_, None) | (None, _) => Outbound::Drop(Count::TunNoFlow),
        };
        assert_eq!(got, want);
    }

    fn drop_if_reset(&mut self, at: usize) {
        if self.flows[at].phase == FlowPhase::Draining && self.flows[at].reset_stands {
            self.flows.remove(at);
        }
    }

    fn admit(&mut self, at: usize) {
        let Some(flow) = self.flows.get(at).cloned() else { return };
        let got = self.table.admit(flow.id, self.now);
        if flow.phase != FlowPhase::Held {
            return assert!(matches!(got, Admitted::NotHeld));
        }
        if self.of_device(flow.key, Some(FlowPhase::Admitted)) >= self.limits.admitted_per_device {
            self.flows.remove(at);
            return assert!(matches!(got, Admitted::OverLimit(_)));
        }
        assert!(matches!(got, Admitted::Syn(syn) if syn == Self::packet(flow.key, flow.isn, SYN).0));
        self.flows[at].phase = FlowPhase::Admitted;
        self.flows[at].ends = self.after(PERMIT);
    }

    fn refuse(&mut self, at: usize) {
        let Some(flow) = self.flows.get(at).cloned() else { return };
        let held = flow.phase == FlowPhase::Held;
        assert_eq!(self.table.refuse(flow.id).is_some(), held);
        if held {
            self.flows.remove(at);
        }
    }

    fn accepted(&mut self, key: usize, isn: u32) {
        let fits = |flow: &Reference| flow.key == key && flow.isn == isn && flow.phase == FlowPhase::Admitted;
        let want = self.flows.iter_mut().find(|flow| fits(flow));
        assert_eq!(self.table.accepted(&Self::key(key), isn), want.as_ref().map(|flow| flow.id));
        if let Some(flow) = want {
            (flow.phase, flow.ends) = (FlowPhase::Live, None);
        }
    }

    fn cut(&mut self, at: usize) {
        let Some(flow) = self.flows.get(at).cloned() else { return };
        let got = self.table.cut(flow.id, self.now);
        let ended = matches!(got, OnCut::Ended(_));
        assert_eq!(matches!(got, OnCut::Nothing), flow.phase == FlowPhase::Closing);
        let replaced = self.youngest(flow.key) != Some(at);
        let ends = flow.phase == FlowPhase::Held || flow.passes() && (replaced || flow.reset);
        assert_eq!(ended, ends);
        if ends {
            self.flows.remove(at);
        } else if flow.phase != FlowPhase::Closing {
            self.flows[at].phase = FlowPhase::Closing;
            self.flows[at].ends = self.after(CLOSING);
        }
    }

    fn finished(&mut self, at: usize) {
        let Some(flow) = self.flows.get(at).cloned() else { return };
        self.table.finished(flow.id, self.now);
        if flow.phase == FlowPhase::Live {
            let ends = self.after(DRAIN);
            let flow = &mut self.flows[at];
            (flow.phase, flow.ends, flow.last_out) = (FlowPhase::Draining, ends, self.now);
            self.drop_if_reset(at);
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
        let due = std::iter::from_fn(|| self.table.expire(self.now));
        let mut expired: Vec<FlowId> = due.filter_map(ended).collect();
        expired.sort_unstable();
        let now = self.now;
        let due = |flow: &Reference| match flow.phase {
            FlowPhase::Draining => flow.last_out + Duration::from_secs(DRAIN) <= now,
            FlowPhase::Held | FlowPhase::Admitted | FlowPhase::Live | FlowPhase::Closing => {
                flow.ends.is_some_and(|ends| ends <= now)
            }
        };
        let mut want: Vec<FlowId> = self.flows.extract_if(.., |flow| due(flow)).map(|flow| flow.id).collect();
        want.sort_unstable();
        assert_eq!(expired, want);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Syn { key, isn } => self.syn(key, isn),
            Op::In { key, flags, seq } => self.segment_in(key, flags, seq),
            Op::Out { key, flags } => self.segment_out(key, flags),
            Op::Admit(at) => self.admit(at),
            Op::Refuse(at) => self.refuse(at),
            Op::Accepted { key, isn } => self.accepted(key, isn),
            Op::Cut(at) => self.cut(at),
            Op::Finished(at) => self.finished(at),
            Op::Pass(milliseconds) => self.pass(milliseconds),
        }
        self.table.check_invariants();
        let got: Vec<_> = self.table.all().iter().map(|(id, flow)| (*id, flow.phase())).collect();
        let want: Vec<_> = self.flows.iter().map(|flow| (flow.id, flow.phase)).collect();
        assert_eq!(got, want);
    }
}

fn ended(due: Due) -> Option<FlowId> {
    match due {
        Due::Ended(flow) => Some(flow.id),
        Due::Farewell(_) => None,
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

#[test]
fn a_goodbye_heard_by_both_ends_a_draining_flow_soon() {
    let mut pair = Pair::new();
    pair.apply(&Op::Syn { key: 0, isn: 100 });
    pair.apply(&Op::Admit(0));
    pair.apply(&Op::Accepted { key: 0, isn: 100 });
    let id = pair.flows[0].id;
    let (key, ends) = (Pair::key(0), Ends::new([1, 1, 1, 1].into(), [2, 2, 2, 2].into()).unwrap());
    let tcp = |seq, ack| Tcp::parse(&segment(ends, (1, 2), seq, ack, FIN | ACK, &[])[20..]).unwrap();
    pair.table.segment_out(&key, &tcp(500, 101), pair.now);
    pair.table.segment_in(&key, &tcp(101, 501), pair.now);
    pair.table.finished(id, pair.now);
    assert_eq!(pair.table.poll_timeout(), pair.after(DRAIN), "the last acknowledgement is missing");
    pair.table.segment_out(&key, &tcp(500, 102), pair.now);
    assert_eq!(pair.table.poll_timeout(), pair.after(3));
    assert_eq!(pair.table.expire(pair.now + Duration::from_secs(3)).and_then(ended), Some(id));
}

#[test]
fn who_has_as_many_flows_as_it_may_loses_the_oldest_that_said_goodbye() {
    let mut pair = Pair::new();
    let most = pair.limits.flows_per_device;
    let ends = Ends::new([1, 1, 1, 1].into(), [2, 2, 2, 2].into()).unwrap();
    let tcp = |seq, ack| Tcp::parse(&segment(ends, (1, 2), seq, ack, FIN | ACK, &[])[20..]).unwrap();
    let syn = |pair: &mut Pair, port: usize| {
        let key = FlowKey { device: ([100, 64, 0, 1], u16::try_from(port).unwrap()).into(), ..Pair::key(0) };
        let (packet, tcp) = Pair::packet(0, 100, SYN);
        let opened = pair.table.syn(pair.devices[0], key, &tcp, &packet, || true, pair.now);
        let OnSyn::Opened { flow, .. } = opened else { return None };
        pair.table.admit(flow, pair.now);
        pair.table.accepted(&key, 100);
        Some((key, flow))
    };
    let flows: Vec<_> = (0..most).map(|port| syn(&mut pair, port).expect("room")).collect();
    assert!(syn(&mut pair, most).is_none());
    for (key, flow) in [flows[2], flows[1]] {
        pair.table.segment_out(&key, &tcp(500, 101), pair.now);
        pair.table.segment_in(&key, &tcp(101, 501), pair.now);
        pair.table.segment_out(&key, &tcp(500, 102), pair.now);
        pair.table.finished(flow, pair.now);
    }
    for gone in [flows[2], flows[1]] {
        assert!(pair.table.get(gone.1).is_some());
        assert!(syn(&mut pair, most + usize::from(gone.0.device.port())).is_some());
        assert!(pair.table.get(gone.1).is_none());
        pair.table.check_invariants();
    }
    assert!(syn(&mut pair, 4 * most).is_none(), "the others go on");
}
