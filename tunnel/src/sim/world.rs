//! A world: one gateway, its devices, its kernel, its shell and the network, on a virtual clock.
//! First comes a storm; then everything turns benign, and each honest device must get through; then
//! all leave, and the core must forget everything. The reference model sees every input and output.

use std::time::{Duration, Instant};

use protocol::target::Proto;

use super::{
    device::{Device, Purpose, gateway_key},
    dice::Dice,
    gate::{self, Gate, Sent},
    kernel::Kernel,
    net::{Flight, Net, Weather, gateway},
    rules::{Cause, Rules},
    shell::Shell,
    storm::Plan,
    trace::{Log, Trace},
    wire::{self, Inner},
};
use crate::{Count, FlowInfo, FlowPhase, Limits, PeerSpec};

/// How often devices, kernel and shell look at their timers.
pub(super) const BEAT: Duration = Duration::from_millis(250);
/// In a benign world a device gets through in this time, whatever was before: permits that nobody uses
/// give their places back after 30 s, and a session the other end lost is replaced after 15 s.
const LIVELY: Duration = Duration::from_secs(45);
/// After all left, every record but those of the peers is gone in this time.
const FORGETFUL: Duration = Duration::from_secs(400);

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) hash: u64,
    pub(super) steps: u64,
    pub(super) lasted: Duration,
}

/// Everything, and the time.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now: Duration,
    pub(super) epoch: Instant,
    pub(super) gate: Gate,
    pub(super) rules: Rules,
    pub(super) net: Net,
    pub(super) devices: Vec<Device>,
    /// What the core was told last.
    enrolled: Vec<PeerSpec>,
    pub(super) kernel: Kernel,
    pub(super) shell: Shell,
    pub(super) plan: Plan,
    pub(super) trace: Trace,
}

/// Runs the world of a seed to its end.
pub(super) fn run(seed: u64, epoch: Instant, log: Option<Log>) -> Outcome {
    let mut world = World::new(seed, epoch, log);
    world.change_peers();
    let storm = Duration::from_secs(world.plan.seconds);
    world.pass(storm, |_| false);
    world.turn_benign();
    assert!(world.pass(LIVELY, World::proven), "an honest device did not get through: {}", world.unproven());
    world.leave();
    Outcome { hash: world.trace.hash(), steps: world.trace.steps, lasted: world.now }
}

impl World {
    fn new(seed: u64, epoch: Instant, log: Option<Log>) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let weather = Weather::draw(&mut dice);
        let device = |n: u8| Device::new(n, usize::from(n) <= plan.hostile_devices, epoch, &mut dice);
        let devices: Vec<Device> = (1..=plan.devices).map(device).collect();
        let limits = plan.limits.clone();
        Self {
            now: Duration::ZERO,
            epoch,
            gate: Gate::new(gateway_key(), limits, dice.draw(), epoch),
            rules: Rules::default(),
            net: Net::new(weather),
            devices,
            enrolled: Vec::new(),
            kernel: Kernel::default(),
            shell: Shell::default(),
            plan,
            trace: Trace::new(log),
            dice,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.plan.limits
    }

    /// Lets time pass until `done` or `time` is over; whether it was done.
    fn pass(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + time;
        let mut beat = self.now + BEAT;
        while self.now < until {
            let due = [self.net.next_at(), self.gate.timeout(), Some(beat)].into_iter().flatten().min();
            self.now = due.unwrap_or(beat).clamp(self.now, beat);
            self.arrive();
            if !self.dice.chance(self.plan.lateness) && self.gate.timeout().is_some_and(|at| at <= self.now) {
                self.tell_time();
            }
            if self.now == beat {
                beat += BEAT;
                self.tell_time();
                self.beat();
                if done(self) {
                    return true;
                }
            } else {
                // Whoever was late is asked again a little later.
                self.now += Duration::from_millis(1);
            }
            self.now = self.now.min(beat);
        }
        false
    }

    pub(super) fn tell_time(&mut self) {
        let at = self.gate.at(self.now);
        self.gate.tunnel.handle_timeout(at);
        self.drain(Cause::Time);
    }

    fn beat(&mut self) {
        if self.plan.stormy {
            self.disturb();
        }
        for at in 0..self.devices.len() {
            self.beat_device(at);
        }
        self.kernel.beat(self.now);
        self.settle();
        self.consult_shell();
        self.settle();
        self.check_bounds();
    }

    fn beat_device(&mut self, at: usize) {
        let now = self.gate.at(self.now);
        let device = &mut self.devices[at];
        let idle = !device.conns.iter().any(|(purpose, _)| *purpose == Purpose::Proof);
        if self.plan.stormy && self.dice.chance(self.plan.dials) {
            device.dial(Purpose::Any, &mut self.dice);
        } else if !self.plan.stormy && idle && !device.proven && !device.hostile {
            device.dial(Purpose::Proof, &mut self.dice);
        }
        device.client.handle_timeout(now);
        let mut out = Vec::new();
        device.beat(self.now, &mut out);
        if self.plan.stormy && self.dice.chance(self.plan.asks) {
            out.extend(device.ask(&mut self.dice));
        } else if !self.plan.stormy {
            out.extend(device.insist());
        }
        for packet in out {
            gate::client_sends(&mut device.client, &packet, now);
        }
        self.flush_device(at);
    }

    /// Carries what a device's client has to say, until it is quiet.
    pub(super) fn flush_device(&mut self, at: usize) {
        let now = self.gate.at(self.now);
        let device = &mut self.devices[at];
        loop {
            let mut out = Vec::new();
            for packet in gate::client_packets(&mut device.client) {
                device.hear(&packet, self.now, &mut out);
            }
            for packet in &out {
                gate::client_sends(&mut device.client, packet, now);
            }
            let datagrams = gate::client_datagrams(&mut device.client);
            let quiet = datagrams.is_empty();
            for Sent { to, bytes, .. } in datagrams {
                self.net.send((Some(device.key), bytes), (device.addr, to), &mut self.dice, self.now);
            }
            if quiet {
                return;
            }
        }
    }

    /// Hands over what the network carried.
    fn arrive(&mut self) {
        let flights = self.net.arrived(self.now);
        let (inward, outward): (Vec<_>, Vec<_>) =
            flights.into_iter().partition(|flight| (0..2).any(|socket| gateway(socket) == flight.to));
        for flight in outward {
            let Some(at) = self.devices.iter().position(|device| device.addr == flight.to) else { continue };
            let now = self.gate.at(self.now);
            gate::client_hears(&mut self.devices[at].client, flight.from, &flight.bytes, now);
            self.flush_device(at);
        }
        if !inward.is_empty() {
            self.receive(&inward);
        }
    }

    fn receive(&mut self, flights: &[Flight]) {
        for flight in flights {
            let socket = usize::from(gateway(1) == flight.to);
            self.trace.note(self.now, "datagram", &flight.bytes, || describe(flight));
            self.gate.datagram(socket, flight.from, &flight.bytes, self.now);
            let (endpoints, stamps) = (self.gate.tunnel.endpoints(), self.gate.tunnel.stamps());
            self.rules.remembered(Some((flight, socket)), &endpoints, &stamps, self.now);
        }
        self.drain(Cause::Datagrams(flights));
        self.settle();
    }

    /// Takes everything the core has to say, checks it, and passes it on.
    pub(super) fn drain(&mut self, cause: Cause<'_>) {
        let packets = self.gate.take_kernel();
        for packet in &packets {
            self.trace.note(self.now, "to kernel", packet, || format!("{:?}", Inner::read(packet)));
        }
        self.rules.check_kernel(cause, &packets, self.now);
        let sent = self.gate.take_sent();
        let bytes: usize = sent.iter().map(|sent| sent.bytes.len()).sum();
        assert!(bytes <= self.limits().queue_bytes, "the transmit queue keeps its bound");
        assert!(packets.iter().map(Vec::len).sum::<usize>() <= self.limits().queue_bytes);
        for sent in sent {
            let inner = || format!("{} {:?}", sent.to, wire::plaintext(&sent.bytes).map(Inner::read));
            self.trace.note(self.now, "transmit", &sent.bytes, inner);
            self.rules.check_sent(cause, sent.to, &sent.bytes, self.now);
            let ends = (gateway(sent.socket), sent.to);
            self.net.send((Some(gateway_key()), sent.bytes), ends, &mut self.dice, self.now);
        }
        for packet in packets {
            self.kernel.hear(&packet, self.now, &mut self.dice);
        }
    }

    /// Hands the kernel's packets to the core until it has no more.
    pub(super) fn settle(&mut self) {
        while !self.kernel.out.is_empty() {
            for packet in std::mem::take(&mut self.kernel.out) {
                self.trace.note(self.now, "kernel", &packet, || format!("{:?}", Inner::read(&packet)));
                self.rules.kernel_sent(&packet, self.now);
                self.gate.kernel(&packet, self.now);
                self.drain(Cause::Kernel(&packet));
            }
        }
    }

    /// The core learns who is enrolled.
    pub(super) fn change_peers(&mut self) {
        let enrolled = self.devices.iter().filter(|device| device.enrolled);
        let specs: Vec<_> = enrolled.map(|device| device.spec.clone()).collect();
        self.trace.note(self.now, "peers", &[], || format!("{specs:?}"));
        self.rules.set_peers(&specs, self.now);
        let at = self.gate.at(self.now);
        if self.now.as_millis().is_multiple_of(2) {
            self.gate.tunnel.set_peers(&specs, at);
        } else {
            self.change_some(&specs, at);
        }
        self.enrolled = specs;
        self.drain(Cause::Command);
        self.check_memory();
    }

    /// Says only what is different, which must come to the same.
    fn change_some(&mut self, specs: &[PeerSpec], at: Instant) {
        let only = |a: &[PeerSpec], b: &[PeerSpec]| {
            a.iter().filter(|spec| !b.contains(spec)).cloned().collect::<Vec<_>>()
        };
        let (gone, come) = (only(&self.enrolled, specs), only(specs, &self.enrolled));
        let devices = gone.iter().chain(&come).map(|spec| spec.device.clone()).collect();
        self.gate.tunnel.change_peers(&devices, &come, at);
    }

    /// No command moves an endpoint or a label.
    pub(super) fn check_memory(&mut self) {
        let (endpoints, stamps) = (self.gate.tunnel.endpoints(), self.gate.tunnel.stamps());
        self.rules.remembered(None, &endpoints, &stamps, self.now);
    }

    fn check_bounds(&mut self) {
        let (datagrams, flows): (Vec<_>, Vec<_>) =
            self.gate.tunnel.flows().into_iter().partition(|flow| flow.proto != Proto::Tcp);
        assert!(flows.len() <= self.limits().flows);
        assert!(datagrams.len() <= self.limits().datagram_flows);
        for device in &self.devices {
            let own = flows.iter().filter(|flow| flow.device == device.spec.device);
            let in_phase = |phase| own.clone().filter(|flow| flow.phase == phase).count();
            assert!(own.clone().count() <= 2 * self.limits().flows_per_device, "its own, and those it had");
            assert!(in_phase(FlowPhase::Held) <= self.limits().held_per_device);
            assert!(in_phase(FlowPhase::Admitted) <= self.limits().admitted_per_device);
            self.check_quota(device, &datagrams);
        }
        let forced = self.gate.tunnel.counters().get(Count::Rehandshake);
        let most = u64::from(self.limits().rehandshakes_per_second) * (self.now.as_secs() + 2);
        assert!(forced <= most, "forced handshakes keep their rate");
        assert_eq!(self.gate.tunnel.counters().get(Count::SpecConflict), 0);
    }

    /// Each address of a device has its part of the table, and what holds has a part of that.
    fn check_quota(&self, device: &Device, datagrams: &[FlowInfo]) {
        let sources = device.sources();
        let own = datagrams.iter().filter(|flow| sources.contains(&flow.key.device.ip()));
        let own = own.filter(|flow| flow.device == device.spec.device);
        assert!(
            own.clone().count() <= 2 * self.limits().datagram_flows_per_device,
            "its own, and those it had"
        );
        assert!(own.filter(|flow| flow.phase == FlowPhase::Held).count() <= self.limits().held_per_device);
    }

    /// From here on nobody does harm and nothing is lost.
    fn turn_benign(&mut self) {
        self.trace.note(self.now, "benign", &[], String::new);
        self.plan.stormy = false;
        self.plan.lateness = 0;
        self.net.weather = Weather::FINE;
        self.shell.thaw();
        self.end_datagrams(0);
        for device in &mut self.devices {
            device.enrolled = true;
            if !device.spec.keys.contains(&device.key) {
                let key = *device.spec.keys.last().unwrap();
                device.restart(key, self.now, self.epoch, &mut self.dice);
            }
        }
        self.change_peers();
    }

    fn proven(&self) -> bool {
        self.devices.iter().all(|device| is_proven(device) || device.hostile)
    }

    fn unproven(&self) -> String {
        let late = self.devices.iter().filter(|device| !is_proven(device) && !device.hostile);
        late.map(|device| format!("{} {:?} {:?} ", device.spec.device, device.conns, device.asker)).collect()
    }

    /// Everyone leaves without a word; the shell ends what it has; then only time passes.
    fn leave(&mut self) {
        self.trace.note(self.now, "leave", &[], String::new);
        self.close_all();
        let until = self.now + FORGETFUL;
        while let Some(at) = self.gate.timeout() {
            self.now = self.now.max(at);
            assert!(self.now < until, "the core does not come to rest: {:?}", self.gate.tunnel.flows());
            self.tell_time();
            self.consult_shell();
        }
        assert_eq!(self.gate.tunnel.flows(), [], "no flow outlives its lifetime");
        assert!(
            self.gate.tunnel.peers().iter().all(|peer| !peer.awake),
            "no cipher state outlives its session"
        );
        assert!(self.rules.is_idle(), "the shell holds on to a flow");
    }
}

fn is_proven(device: &Device) -> bool {
    device.proven && device.asker.proven()
}

fn describe(flight: &Flight) -> String {
    let inner = wire::plaintext(&flight.bytes).map(Inner::read);
    let author = flight.author.map(|key| u32::from_be_bytes(key.0[..4].try_into().unwrap()));
    let kind = wire::kind(&flight.bytes);
    format!("#{} kind {kind} by {author:?} from {}: {inner:?}", flight.id, flight.from)
}
