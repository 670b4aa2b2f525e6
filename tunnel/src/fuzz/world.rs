//! A gateway, its devices and a ledger of what it was told to admit. Every output is judged as it comes:
//! - to the kernel goes only what a device sent, from its own address, along an admitted flow;
//! - to a device goes only what the kernel or the shell sent along such a flow, or a refusal;
//! - datagrams go only to where some came from, and every packet of a device is passed or counted.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::{Duration, Instant},
};

use protocol::{id::DeviceId, target::Proto};

use super::{
    craft,
    device::{Device, ECHO, GATEWAY, GATEWAY_ADDRS, on_wire},
    judge::{self, RST, Said},
};
use crate::{
    Checksum, Config, CookieSecret, Count, Event, FlowId, FlowKey, Limits, Offload, PrivateKey, Refusal,
    Shard, ToKernel, Tunnel, Verdict,
    noise::{Kind, NoisePeer, Received, model::Model},
};

const DEVICES: u8 = 2;
/// Datagrams that a script can replay or spoil.
const REMEMBERED: usize = 16;
const MTU: usize = 1420;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Held,
    Admitted,
    Live,
    Cut,
}

/// A flow as the shell knows it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    device: usize,
    proto: Proto,
    key: FlowKey,
    /// Of a SYN.
    isn: u32,
    told: Told,
}

pub(super) struct World {
    now: Instant,
    tunnel: Tunnel,
    devices: Vec<Device>,
    ledger: BTreeMap<FlowId, Entry>,
    heard: HashSet<SocketAddr>,
    remembered: Vec<Vec<u8>>,
    /// Whether the shell leaves its events where they are.
    deaf: bool,
}

impl World {
    /// Everyone is enrolled, nobody has shaken hands. Limits are low, so that they are met.
    #[expect(clippy::disallowed_methods, reason = "a script must begin somewhere; from here time is added")]
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let limits = Limits {
            flows: 5,
            flows_per_device: 4,
            held_per_device: 3,
            admitted_per_device: 2,
            dns_per_device: 1,
            events: 6,
            queue_bytes: 16 << 10,
            resets_per_second: 2,
            icmp_per_second: 2,
            rehandshakes_per_second: 2,
            datagram_flows: 5,
            datagram_flows_per_device: 4,
            held_bytes: 500,
            datagrams_per_device: 3,
            ..Limits::default()
        };
        let gateway_addrs = GATEWAY_ADDRS.to_vec();
        let private_key = PrivateKey::new([200; 32]);
        let (cookies, shard) = (CookieSecret::new([9; 32], now), Shard::default());
        let noise = Model::new(GATEWAY, now, &cookies, limits.handshakes);
        let config = Config { private_key, gateway_addrs, limits, seed: 7, cookies, mtu: MTU, shard };
        let tunnel = Tunnel::with_noise(config, Box::new(noise));
        let devices = (1..=DEVICES).map(|n| Device::new(n, now)).collect();
        let (ledger, heard, remembered) = (BTreeMap::new(), HashSet::new(), Vec::new());
        let mut world = Self { now, tunnel, devices, ledger, heard, remembered, deaf: false };
        world.tunnel.set_offload(true);
        world.tunnel.set_echo([ECHO.into()].into());
        world.enrol(0);
        world
    }

    /// Every device but those whose bits are set.
    pub(super) fn enrol(&mut self, without: u8) {
        for (at, device) in self.devices.iter_mut().enumerate() {
            device.enrolled = without >> at & 1 == 0;
        }
        let enrolled = self.devices.iter().filter(|device| device.enrolled);
        let specs: Vec<_> = enrolled.map(|device| device.spec.clone()).collect();
        self.tunnel.set_peers(&specs, self.now);
        self.settle();
    }

    pub(super) fn sources(&self, device: usize) -> [IpAddr; 2] {
        self.device(device).sources()
    }

    /// The nth flow of the ledger, whose it is.
    pub(super) fn flow(&self, nth: usize) -> Option<(usize, FlowKey)> {
        self.nth(nth).map(|(_, entry)| (entry.device, entry.key))
    }

    pub(super) fn roam(&mut self, device: usize, to: SocketAddr) {
        let at = device % self.devices.len();
        self.devices[at].addr = to;
    }

    pub(super) fn initiate(&mut self, device: usize) {
        let at = device % self.devices.len();
        let mut out = [0; 256];
        let length = self.devices[at].peer.initiate(&mut out, self.now);
        self.device_transmits(at, vec![out[..length].to_vec()]);
    }

    /// A datagram that some device sent before; empty if none did.
    pub(super) fn remembered(&self, nth: u8) -> Vec<u8> {
        let newest_first = self.remembered.iter().rev();
        newest_first.cycle().nth(nth.into()).cloned().unwrap_or_default()
    }

    /// Bytes from anywhere. The model cipher can be forged, so what might be inside counts as said.
    pub(super) fn arrives(&mut self, from: SocketAddr, datagram: &[u8]) {
        if let (Some(Kind::Data(_)), Some(inner)) =
            (Kind::of(datagram), datagram.get(16..datagram.len().max(32) - 16))
        {
            for device in &mut self.devices {
                device.says(inner);
            }
        }
        let (before, known) = (self.count(Count::UnknownSession), self.tunnel.endpoints());
        self.receive(from, datagram);
        if self.count(Count::UnknownSession) > before && !known.iter().any(|known| known.addr == from) {
            assert!(self.tunnel.transmits().next().is_none(), "a stranger without a session was answered");
        }
        self.settle();
    }

    /// Datagrams of one length, the last may be shorter, in one batch.
    pub(super) fn train(&mut self, from: SocketAddr, segment: usize, bytes: &[u8]) {
        self.heard.insert(from);
        self.tunnel.handle_datagrams(0, from, segment, bytes, self.now);
        self.settle();
    }

    /// If it is `unheard`, what comes of it waits until the shell did something else.
    pub(super) fn device_asks(&mut self, device: usize, packet: &[u8], unheard: bool) {
        self.deaf = unheard;
        self.device_sends(device, packet);
        self.deaf = false;
    }

    pub(super) fn device_sends(&mut self, device: usize, packet: &[u8]) {
        let (before, taken) = (self.counted(), self.taken());
        let sent = self.device_sends_all(device, &[packet.to_vec()]);
        if sent && !packet.is_empty() && judge::segment(packet).is_none() {
            let waits = judge::question(packet).is_some_and(|said| self.deaf || self.is_held(&said));
            assert!(waits || self.counted() > before, "a packet vanished: {packet:02x?}");
            assert_eq!(self.taken(), taken, "taken for a segment: {packet:02x?}");
        }
    }

    /// Packets of one length, in one batch; whether anything was sent.
    pub(super) fn device_sends_all(&mut self, device: usize, packets: &[Vec<u8>]) -> bool {
        let at = device % self.devices.len();
        let mut train = Vec::new();
        for packet in packets {
            let mut out = vec![0; packet.len() + 256];
            let sender = &mut self.devices[at];
            sender.says(packet);
            let length = match sender.peer.send(packet, &mut out, self.now) {
                0 => sender.peer.begin(&mut out, self.now),
                sent => sent,
            };
            out.truncate(length);
            train.extend((length > 0).then_some(out));
        }
        self.device_transmits(at, train)
    }

    /// The kernel sends a packet and leaves its checksum or segmentation to us.
    pub(super) fn kernel_sends(&mut self, offload: Offload, packet: &[u8]) {
        if let Some(segment) = judge::segment(packet) {
            let pieces = match (offload.checksum, offload.segment) {
                (Checksum::Complete, None) => vec![packet.to_vec()],
                (_, segment) => craft::cut(packet, segment.map_or(packet.len(), |n| n.get().into())),
            };
            let key = FlowKey { device: segment.to, target: segment.from };
            let permits = |entry: &&Entry| match entry.told {
                Told::Admitted | Told::Live => true,
                Told::Cut => segment.flags & RST != 0,
                Told::Held => false,
            };
            let flows = self.ledger.values().filter(|entry| entry.key == key && entry.proto == Proto::Tcp);
            for entry in flows.filter(permits) {
                self.devices[entry.device].owed.extend(pieces.iter().map(|piece| on_wire(piece)));
            }
        }
        self.tunnel.handle_tun(offload, &mut packet.to_vec(), self.now);
        self.settle();
    }

    pub(super) fn decide(&mut self, nth: usize, verdict: Verdict) {
        let Some((id, entry)) = self.nth(nth) else { return };
        if entry.told == Told::Held {
            match verdict {
                Verdict::Admit if entry.proto == Proto::Tcp => self.tell(id, Told::Admitted),
                Verdict::Admit => self.tell(id, Told::Live),
                Verdict::Refuse(_) => drop(self.ledger.remove(&id)),
            }
        }
        self.tunnel.decide(id, verdict, self.now);
        self.settle();
    }

    /// The kernel accepted what the nth flow asked for: paired if it was admitted, and only once.
    pub(super) fn accept(&mut self, nth: usize) {
        let Some((_, entry)) = self.nth(nth) else { return };
        if let Some(id) = self.tunnel.accepted(entry.key, entry.isn) {
            let paired = self.ledger.get(&id).expect("a pair is of a flow in the ledger");
            let paired = (paired.proto, paired.key, paired.isn, paired.told);
            assert_eq!(paired, (Proto::Tcp, entry.key, entry.isn, Told::Admitted));
            self.tell(id, Told::Live);
        }
        self.settle();
    }

    /// Cut by the shell, or closed by it in peace.
    pub(super) fn end(&mut self, nth: usize, cut: bool) {
        let Some((id, entry)) = self.nth(nth) else { return };
        if !cut {
            if entry.proto != Proto::Tcp && entry.told == Told::Live {
                self.tell(id, Told::Cut);
            }
            self.tunnel.finished(id, self.now);
        } else {
            match entry.told {
                Told::Held => drop(self.ledger.remove(&id)),
                Told::Admitted | Told::Live | Told::Cut => self.tell(id, Told::Cut),
            }
            self.tunnel.cut(id, self.now);
        }
        self.settle();
    }

    /// The shell speaks along the nth flow, of datagrams or not.
    pub(super) fn say(&mut self, nth: usize, said: &[u8]) {
        let Some((id, entry)) = self.nth(nth) else { return };
        let open = entry.proto != Proto::Tcp && entry.told == Told::Live;
        if open {
            self.devices[entry.device].answers.insert((entry.proto, entry.key, said.to_vec()));
        }
        self.tunnel.send_datagram(id, said, self.now);
        assert!(open || self.tunnel.transmits().next().is_none(), "{entry:?} was answered");
        self.settle();
    }

    pub(super) fn unreachable(&mut self, nth: usize, refusal: Refusal) {
        let Some((id, entry)) = self.nth(nth) else { return };
        let open = entry.proto != Proto::Tcp && entry.told == Told::Live;
        self.tunnel.send_unreachable(id, refusal, self.now);
        assert!(open || self.tunnel.transmits().next().is_none(), "{entry:?} was refused");
        self.settle();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tunnel.handle_timeout(self.now);
        self.settle();
    }

    fn device(&self, device: usize) -> &Device {
        &self.devices[device % self.devices.len()]
    }

    fn nth(&self, nth: usize) -> Option<(FlowId, Entry)> {
        let at = nth.checked_rem(self.ledger.len())?;
        self.ledger.iter().nth(at).map(|(id, entry)| (*id, *entry))
    }

    /// Whether a flow of datagrams waits for its verdict.
    fn is_held(&self, (proto, key, _): &Said) -> bool {
        let same = |entry: &Entry| (entry.proto, entry.key, entry.told) == (*proto, *key, Told::Held);
        self.ledger.values().any(same)
    }

    fn tell(&mut self, id: FlowId, told: Told) {
        if let Some(entry) = self.ledger.get_mut(&id) {
            entry.told = told;
        }
    }

    fn count(&self, what: Count) -> u64 {
        self.tunnel.counters().get(what)
    }

    /// How many segments were held or passed.
    fn taken(&self) -> u64 {
        [Count::FlowHeld, Count::PassedIn, Count::NoFlow].map(|what| self.count(what)).iter().sum()
    }

    fn counted(&self) -> u64 {
        self.tunnel.counters().iter().map(|(_, count)| count).sum()
    }

    fn device_transmits(&mut self, at: usize, train: Vec<Vec<u8>>) -> bool {
        let Some(segment) = train.first().map(Vec::len) else { return false };
        let from = self.devices[at].addr;
        self.heard.insert(from);
        self.tunnel.handle_datagrams(0, from, segment, &train.concat(), self.now);
        self.remembered.extend(train);
        self.remembered.drain(..self.remembered.len().saturating_sub(REMEMBERED));
        self.settle();
        true
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.heard.insert(from);
        self.tunnel.handle_datagrams(0, from, datagram.len(), datagram, self.now);
    }

    /// Takes and judges all outputs until there are none. Events last: what passed, passed before them.
    fn settle(&mut self) {
        loop {
            for (packet, segment) in self.packets() {
                self.judge_given(&packet, segment);
            }
            while !self.deaf
                && let Some(event) = self.tunnel.poll_event()
            {
                self.judge_event(event);
            }
            let sent = self.datagrams();
            if sent.is_empty() {
                return;
            }
            for (to, datagram) in sent {
                assert!(self.heard.contains(&to), "{to} never sent us anything");
                let at = self.devices.iter().position(|device| device.addr == to);
                if let Some(reply) = at.and_then(|at| self.deliver(at, &datagram)) {
                    self.receive(to, &reply);
                }
            }
        }
    }

    /// What is on its way to the kernel, each with the length of its segments if it has several.
    fn packets(&mut self) -> Vec<(Vec<u8>, Option<NonZeroU16>)> {
        let whole = |packet: ToKernel<'_>| (packet.parts().flatten().copied().collect(), packet.segment);
        let packets = self.tunnel.packets().map(whole).collect();
        self.tunnel.clear_packets();
        packets
    }

    /// What is on its way over the network, datagram by datagram.
    fn datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        for train in self.tunnel.transmits() {
            datagrams.extend(train.bytes.chunks(train.segment).map(|bytes| (train.to, bytes.to_vec())));
        }
        self.tunnel.clear_transmits();
        datagrams
    }

    /// To the kernel: an ordinary packet, or several segments of which it is told to trust the checksum.
    fn judge_given(&self, packet: &[u8], segment: Option<NonZeroU16>) {
        let Some(segment) = segment else {
            assert!(judge::checksums_hold(packet), "a wrong checksum: {packet:02x?}");
            return self.judge_packet(packet);
        };
        assert!(judge::partial_holds(packet), "no sum of the pseudo-header: {packet:02x?}");
        for piece in craft::cut(packet, segment.get().into()) {
            self.judge_packet(&piece);
        }
    }

    /// On its way to the kernel.
    fn judge_packet(&self, packet: &[u8]) {
        let segment = judge::segment(packet).unwrap_or_else(|| panic!("not a plain segment: {packet:02x?}"));
        assert!(!judge::forbidden(segment.to.ip()), "{segment:?}");
        let key = FlowKey { device: segment.from, target: segment.to };
        let fits = |entry: &&Entry| {
            let device = &self.devices[entry.device];
            let passes = matches!(entry.told, Told::Admitted | Told::Live);
            let of_tcp = entry.proto == Proto::Tcp;
            entry.key == key && of_tcp && passes && device.enrolled && device.said.contains(&on_wire(packet))
        };
        let entry = self.ledger.values().find(fits);
        let entry = entry.unwrap_or_else(|| panic!("no admitted flow: {segment:?} in {:?}", self.ledger));
        assert!(self.devices[entry.device].sources().contains(&segment.from.ip()), "{segment:?}");
    }

    /// At the device it was sent to, which may answer.
    fn deliver(&mut self, at: usize, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; datagram.len() + 256];
        let device = &mut self.devices[at];
        match device.peer.receive([192, 0, 2, 1].into(), datagram, &mut out, self.now) {
            Received::Reply(length) => return Some(out[..length].to_vec()),
            Received::Packet(length) => device.judge(&out[..length]),
            Received::Nothing | Received::Garbage | Received::Failed(_) => {}
        }
        None
    }

    fn judge_event(&mut self, event: Event) {
        match event {
            Event::FlowOpened { flow, device, key, isn } => {
                let at = self.at(&device);
                self.open(flow, Entry { device: at, proto: Proto::Tcp, key, isn, told: Told::Held });
            }
            Event::FlowGone { flow, .. } | Event::PermitExpired { flow } => {
                assert!(self.ledger.remove(&flow).is_some(), "{flow:?} ended before it began");
            }
            Event::Dns { device, from, to, payload } => {
                assert!(self.devices[self.at(&device)].sources().contains(&from.ip()) && to.port() == 53);
                self.tunnel.send_udp(to, from, &payload, self.now);
            }
            Event::Handshake { .. } | Event::UnknownKey { .. } => {}
            Event::DatagramFlowOpened { flow, device, proto, key } => {
                let entry = Entry { device: self.at(&device), proto, key, isn: 0, told: Told::Held };
                let open = |old: &Entry| old.told != Told::Cut && (old.proto, old.key) == (proto, key);
                assert!(proto != Proto::Tcp && !self.ledger.values().any(open), "two flows of {key:?}");
                self.open(flow, entry);
            }
            Event::Datagram { flow, payload } => {
                let entry = self.ledger.get(&flow).expect("a datagram is of a flow in the ledger");
                let asked = self.devices[entry.device].asked.contains(&(entry.proto, entry.key, payload));
                assert!(asked && entry.told == Told::Live, "passed on {entry:?}");
            }
        }
    }

    fn open(&mut self, flow: FlowId, entry: Entry) {
        let (device, key) = (&self.devices[entry.device], entry.key);
        assert!(device.enrolled && device.sources().contains(&key.device.ip()), "{entry:?}");
        assert!(!judge::forbidden(key.target.ip()), "{entry:?}");
        assert!(self.ledger.insert(flow, entry).is_none(), "{flow:?} opened twice");
    }

    fn at(&self, id: &DeviceId) -> usize {
        self.devices.iter().position(|device| device.spec.device == *id).expect("an event is of a device")
    }
}
