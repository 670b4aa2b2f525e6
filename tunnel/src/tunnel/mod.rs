//! The façade: one gateway's peers, devices, filter and flows, without I/O.
//! It owns the parts and the queues between them; each part keeps its own rules.

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod datagram_tests;
mod datagrams;
mod events;
mod handover;
mod inbound;
mod membership;
#[cfg(test)]
mod offload_tests;
#[cfg(test)]
mod shard_tests;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use events::Events;
use protocol::target::Proto;

use crate::{
    config::{Config, KnownEndpoint, KnownStamp, Limits},
    counters::{Count, Counters},
    datagram::Datagrams,
    devices::{DeviceSlot, Devices},
    event::{Event, FlowId, FlowInfo, FlowKey, FlowPhase, Gone, Offload, PeerStatus, Transmit},
    filter::Addresses,
    flow::{Due, Flow, Flows, Outbound},
    kernel::{Kernel, ToKernel},
    noise::{Boring, Noise},
    packet::{Ip, TCP, split::Split, tcp::Tcp, udp},
    peers::{Arrived, Endpoint, Io, Peers},
    shard::Handovers,
    trains::Trains,
};

/// A full check costs as much as there are flows and peers: tests pay it always, other debug builds
/// once in so many inputs.
const CHECK_EVERY: u32 = if cfg!(any(test, fuzzing)) { 1 } else { 1024 };

/// A WireGuard gateway that decides nothing and does no I/O.
///
/// Three kinds of methods:
/// - getters: [`peers`](Self::peers), [`flows`](Self::flows), [`counters`](Self::counters),
///   [`endpoints`](Self::endpoints), [`stamps`](Self::stamps), [`poll_timeout`](Self::poll_timeout);
/// - inputs, which change state and queue outputs: `handle_*` for what arrived,
///   [`decide`](Self::decide), [`accepted`](Self::accepted), [`finished`](Self::finished),
///   [`cut`](Self::cut), [`cut_where`](Self::cut_where), the `send_*`, and the `set_*` and
///   `restore_*` of configuration;
/// - outputs: [`poll_event`](Self::poll_event); [`transmits`](Self::transmits) and
///   [`packets`](Self::packets), which lend what waits where it lies, until
///   [`clear_transmits`](Self::clear_transmits) and [`clear_packets`](Self::clear_packets); with several
///   shards also [`handovers`](Self::handovers), for the others to [`take_over`](Self::take_over).
///
/// The order of calls, after birth [`set_peers`](Self::set_peers) and then `restore_*`:
/// 1. inputs, in batches, all with a `now` that never goes back;
/// 2. every output, and the clearing of what was lent. What is not drained is bounded, and then dropped
///    and counted. Packets and datagrams leave before the next [`cut`](Self::cut), or what waits of a
///    flow leaves after its cut;
/// 3. wait for input, but no longer than until [`poll_timeout`](Self::poll_timeout), and then call
///    [`handle_timeout`](Self::handle_timeout). It may be called at any time.
///
/// The life of a flow: [`Event::FlowOpened`] → [`decide`](Self::decide) → the kernel accepts, and
/// [`accepted`](Self::accepted) pairs the socket → [`finished`](Self::finished) when the shell closed it in
/// peace, or [`cut`](Self::cut) *before* the shell resets it. What ends by itself is told by
/// [`Event::FlowGone`] or [`Event::PermitExpired`].
///
/// The life of a flow of datagrams: [`Event::DatagramFlowOpened`] → [`decide`](Self::decide) → payloads by
/// [`Event::Datagram`], answers by [`send_datagram`](Self::send_datagram) → [`Event::FlowGone`] when nothing
/// passed for its lifetime, or [`finished`](Self::finished), or [`cut`](Self::cut).
pub struct Tunnel {
    peers: Peers,
    devices: Devices,
    flows: Flows,
    datagrams: Datagrams,
    addresses: Addresses,
    events: Events,
    out: Output,
    limits: Limits,
    mtu: usize,
    steps: u32,
}

/// Packets on their way out, and what is counted on the way.
struct Output {
    transmits: Trains,
    kernel: Kernel,
    handovers: Handovers,
    counters: Counters,
}

impl Output {
    fn io(&mut self) -> Io<'_> {
        Io {
            transmits: &mut self.transmits,
            kernel: &mut self.kernel,
            handovers: &mut self.handovers,
            counters: &mut self.counters,
        }
    }
}

impl Tunnel {
    /// A gateway without peers.
    pub fn new(config: Config) -> Self {
        let noise = Boring::new(&config.private_key, &config.cookies, config.limits.handshakes);
        Self::with_noise(config, Box::new(noise))
    }

    pub(crate) fn with_noise(config: Config, noise: Box<dyn Noise>) -> Self {
        let Config { private_key: _, cookies: _, gateway_addrs, limits, seed, mtu, shard } = config;
        Self {
            peers: Peers::new(noise, (seed, shard), &limits),
            devices: Devices::new(),
            flows: Flows::new(limits.clone(), shard),
            datagrams: Datagrams::new(limits.clone(), seed, shard),
            addresses: Addresses::new(gateway_addrs),
            events: Events::new(&limits),
            out: Output {
                transmits: Trains::new(limits.queue_bytes),
                kernel: Kernel::new(limits.queue_bytes),
                handovers: Handovers::new(shard, limits.queue_bytes),
                counters: Counters::default(),
            },
            limits,
            mtu,
            steps: 0,
        }
    }

    /// Every peer, by key.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = |peer: &crate::peers::Peer| {
            Some(PeerStatus {
                device: self.devices.get(peer.device)?.id.clone(),
                key: peer.key,
                endpoint: peer.endpoint.map(|endpoint| endpoint.addr),
                last_handshake: peer.usage.last_handshake,
                last_heard: peer.usage.last_heard,
                received: peer.usage.received,
                sent: peer.usage.sent,
                awake: peer.is_awake(),
            })
        };
        let mut peers: Vec<_> = self.peers.current().filter_map(status).collect();
        peers.sort_unstable_by_key(|peer| peer.key);
        peers
    }

    /// Every flow, TCP's first, oldest first.
    pub fn flows(&self) -> Vec<FlowInfo> {
        let tcp = self.flows.all().into_iter().filter_map(|(id, flow)| self.info(id, flow));
        tcp.chain(self.datagram_flows()).collect()
    }

    /// What happened how often.
    pub fn counters(&self) -> &Counters {
        &self.out.counters
    }

    /// Where each peer was last proven to be; to be kept over a restart.
    pub fn endpoints(&self) -> Vec<KnownEndpoint> {
        self.peers.endpoints()
    }

    /// The greatest handshake label of each peer; to be kept over a restart.
    pub fn stamps(&self) -> Vec<KnownStamp> {
        self.peers.stamps()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [self.peers.poll_timeout(), self.flows.poll_timeout(), self.datagrams.poll_timeout()];
        due.into_iter().flatten().min()
    }

    /// Gives back what [`endpoints`](Self::endpoints) told before a restart, so that a peer whose session
    /// we lost is called back at once. Unknown keys and peers already heard are left alone.
    pub fn restore_endpoints(&mut self, known: &[KnownEndpoint]) {
        self.peers.restore_endpoints(known);
        self.check();
    }

    /// Gives back what [`stamps`](Self::stamps) told, so that no old handshake can be replayed.
    pub fn restore_stamps(&mut self, known: &[KnownStamp]) {
        self.peers.restore_stamps(known);
    }

    /// The addresses that answer an echo request.
    pub fn set_echo(&mut self, addresses: HashSet<IpAddr>) {
        self.addresses.echo = addresses;
    }

    /// Whether the kernel takes super-segments; it does not until this was said.
    pub fn set_offload(&mut self, offload: bool) {
        self.out.kernel.offload = offload;
    }

    /// Datagrams arrived at `socket`: `segment` bytes each, one behind the other, the last may be shorter.
    pub fn handle_datagrams(
        &mut self,
        socket: usize,
        from: SocketAddr,
        segment: usize,
        bytes: &[u8],
        now: Instant,
    ) {
        let endpoint = Endpoint { socket, addr: from };
        for datagram in bytes.chunks(segment.max(1)) {
            let arrived = self.peers.handle_datagram(endpoint, datagram, &mut self.out.io(), now);
            self.follow(endpoint, arrived, now);
        }
        self.check();
    }

    /// Does what a datagram asks for.
    fn follow(&mut self, from: Endpoint, arrived: Arrived, now: Instant) {
        match arrived {
            Arrived::Nothing => {}
            Arrived::Packet { device, len } => self.receive(device, len, now),
            Arrived::Handshake { device, key } => {
                if let Some(device) = self.devices.get(device) {
                    let device = device.id.clone();
                    self.inform(Event::Handshake { device, key, endpoint: from.addr });
                }
            }
            Arrived::Stranger(key) => {
                self.out.counters.add(Count::UnknownKey);
                if self.events.unknown_keys.take(self.limits.unknown_keys_per_second, now) {
                    self.inform(Event::UnknownKey { key, from: from.addr });
                }
            }
        }
    }

    /// The kernel sent a packet and left `offload` of it to us: it passes if it belongs to a flow. Its bytes
    /// are overwritten.
    pub fn handle_tun(&mut self, offload: Offload, packet: &mut [u8], now: Instant) {
        let done = self.take_from_kernel(offload, packet, now);
        self.count(done);
        self.check();
    }

    fn take_from_kernel(&mut self, offload: Offload, packet: &mut [u8], now: Instant) -> Result<(), Count> {
        let ip = Ip::parse(packet).ok().filter(|ip| ip.protocol == TCP).ok_or(Count::TunNotTcp)?;
        let tcp = Tcp::parse(ip.payload).map_err(|_| Count::TunNotTcp)?;
        let ends = ip.ends;
        let mut split = Split::tcp(packet, (ends, &tcp), offload, self.mtu)?;
        let target = SocketAddr::new(ends.src(), tcp.src);
        let device = SocketAddr::new(ends.dst(), tcp.dst);
        match self.flows.segment_out(&FlowKey { device, target }, &tcp, now) {
            Outbound::Drop(reason) => return Err(reason),
            Outbound::Pass(slot, of) => {
                let way = self.devices.get(slot).and_then(|device| self.peers.way(&device.peers));
                let way = way.ok_or(Count::NoEndpoint)?;
                while let Some(piece) = split.next() {
                    if self.peers.send(way, (of, piece), &mut self.out.io(), now) {
                        self.out.counters.add(Count::PassedOut);
                    }
                }
            }
        }
        Ok(())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.peers.handle_timeout(&mut self.out.io(), now);
        while let Some(due) = self.flows.expire(now) {
            match due {
                Due::Ended(flow) => self.expired(&flow),
                Due::Farewell(flow) => self.say_farewell_of(flow, now),
            }
        }
        self.expire_datagrams(now);
        self.forget_retired();
        self.check();
    }

    fn expired(&mut self, flow: &Flow) {
        match flow.phase() {
            FlowPhase::Held => {
                self.out.counters.add(Count::HoldExpired);
                self.gone(flow, Gone::HoldExpired);
            }
            FlowPhase::Admitted => {
                self.out.counters.add(Count::PermitExpired);
                self.events.push(Event::PermitExpired { flow: flow.id });
            }
            FlowPhase::Live | FlowPhase::Draining | FlowPhase::Closing => {}
        }
    }

    /// Sends a datagram to a device: the answer to [`Event::Dns`].
    pub fn send_udp(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8], now: Instant) {
        let done = self.answer_udp(from, to, payload, now);
        self.count(done);
        self.check();
    }

    fn answer_udp(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Count> {
        let slot = self.devices.by_addr(to.ip()).ok_or(Count::NoSuchDevice)?;
        let packet = udp::datagram(from, to, payload).filter(|packet| packet.len() <= self.mtu);
        self.give_device(slot, &packet.ok_or(Count::AnswerUnsendable)?, now);
        Ok(())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop() {
            return Some(event);
        }
        while let Some((slot, id)) = self.events.opened.pop() {
            if let (Some(device), Some(flow)) = (self.devices.get(slot), self.flows.get(id)) {
                let (device, key, isn) = (device.id.clone(), flow.key, flow.isn);
                return Some(Event::FlowOpened { flow: id, device, key, isn });
            }
        }
        if let Some((slot, query)) = self.events.queries.pop() {
            let device = self.devices.get(slot)?.id.clone();
            return Some(Event::Dns { device, from: query.from, to: query.to, payload: query.payload });
        }
        self.poll_datagram_event()
    }

    /// Everything for the network, in order, until [`clear_transmits`](Self::clear_transmits).
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.out.transmits.iter()
    }

    /// The network has it all.
    pub fn clear_transmits(&mut self) {
        self.out.transmits.clear();
    }

    /// Everything for the kernel, in order, until [`clear_packets`](Self::clear_packets).
    pub fn packets(&mut self) -> impl Iterator<Item = ToKernel<'_>> {
        self.out.kernel.iter()
    }

    /// The kernel has it all.
    pub fn clear_packets(&mut self) {
        self.out.kernel.clear();
    }

    fn info(&self, id: FlowId, flow: &Flow) -> Option<FlowInfo> {
        let device = self.devices.get(flow.device)?.id.clone();
        Some(FlowInfo {
            flow: id,
            device,
            proto: Proto::Tcp,
            key: flow.key,
            phase: flow.phase(),
            since: flow.since,
        })
    }

    /// Encrypts for a device; whether the packet is on its way.
    fn give_device(&mut self, slot: DeviceSlot, packet: &[u8], now: Instant) -> bool {
        self.give_device_of(None, slot, packet, now)
    }

    /// The same for a packet of a flow that may be cut.
    fn give_device_of(&mut self, of: Option<FlowId>, slot: DeviceSlot, packet: &[u8], now: Instant) -> bool {
        let way = self.devices.get(slot).and_then(|device| self.peers.way(&device.peers));
        match way {
            Some(way) => self.peers.send(way, (of, packet), &mut self.out.io(), now),
            None => {
                self.out.counters.add(Count::NoEndpoint);
                false
            }
        }
    }

    /// Gives the kernel a packet that belongs to no super-segment.
    fn give_kernel(&mut self, packet: &[u8]) {
        let queued = self.out.kernel.push_copy(packet);
        self.out.counters.add(if queued { Count::PassedIn } else { Count::QueueFull });
    }

    /// A flow ended by itself. If the shell was not told of it yet, it never is.
    fn gone(&mut self, flow: &Flow, why: Gone) {
        if !self.events.opened.take_back(flow.device, |&waiting| waiting == flow.id) {
            self.events.push(Event::FlowGone { flow: flow.id, why });
        }
    }

    /// Whether an address is a device's, be it of another shard.
    fn is_device(&self, addr: IpAddr) -> bool {
        self.devices.by_addr(addr).is_some() || self.peers.enrolled().has_addr(addr)
    }

    fn inform(&mut self, event: Event) {
        if !self.events.offer(event) {
            self.out.counters.add(Count::EventLost);
        }
    }

    fn count(&mut self, done: Result<(), Count>) {
        if let Err(reason) = done {
            self.out.counters.add(reason);
        }
    }

    fn check(&mut self) {
        self.steps = self.steps.wrapping_add(1);
        if cfg!(debug_assertions) && self.steps.is_multiple_of(CHECK_EVERY) {
            self.check_invariants();
        }
    }

    /// Panics if any two parts contradict each other.
    fn check_invariants(&self) {
        self.peers.check_invariants();
        self.devices.check_invariants();
        self.flows.check_invariants();
        self.datagrams.check_invariants();
        self.events.opened.check_invariants();
        self.events.queries.check_invariants();
        self.events.datagram_flows.check_invariants();
        self.events.datagrams.check_invariants();
        let tcp = self.flows.all().into_iter().map(|(_, flow)| (flow.device, flow.key, flow.phase()));
        let datagrams = self.datagrams.all().into_iter();
        for (device, key, phase) in tcp.chain(datagrams.map(|(_, f)| (f.device, f.key.ends, f.phase()))) {
            let device = self.devices.get(device).expect("a flow's device exists");
            assert!(!device.retiring || phase == FlowPhase::Closing, "a removed device's flows close");
            assert!(device.sources().contains(&key.device.ip()), "a flow begins at its device");
        }
    }
}
