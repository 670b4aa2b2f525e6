//! A thread that owns UDP sockets, a TUN queue and a tunnel core with its peers: poll, batch, hand on.
//! It does not decide: it emits what happened and obeys orders.
//! Always true: nothing here blocks but the poll, every queue out of it is bounded, and what came before an
//! order has left before it is obeyed: nothing of a flow leaves after its cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use netio::{
    poll::Poller,
    tun::{self, Tun},
    udp::{RecvBatch, Train, UdpSockets},
};
use protocol::id::DeviceId;
use tokio::sync::{mpsc, oneshot};
use tunnel::{Count, Enrolled, Event, FlowId, MAX_PARTS, PeerSpec, PeerStatus, Transmit, Tunnel, Verdict};

use super::{
    Command, Part,
    report::{Load, Peer, Report},
    siblings::{Handed, Siblings},
};
use crate::peerfile::Known;

/// Packets, orders or what was handed over, handled before the other descriptors get their turn.
const TURN: usize = 64;
/// The same for trains of datagrams, each of up to 64 KiB.
const TRAINS: usize = 16;
/// The TUN's token; the UDP sockets have their positions.
const TUN: u64 = 1 << 32;

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Command(Command),
    Cut(Vec<FlowId>),
    Peers(NewPeers),
    /// Of these devices, those that are named are the thread's from now on, the others are not.
    SomePeers(SomePeers),
    /// The devices of all threads.
    Enrolled(Arc<Enrolled>),
    /// Tell how things are.
    Report(oneshot::Sender<Report>),
    /// Tell what must outlive a restart.
    Remember(oneshot::Sender<Known>),
    /// End.
    Stop,
}

/// The thread's devices from now on.
#[derive(Debug)]
pub(super) struct NewPeers {
    pub(super) specs: Vec<PeerSpec>,
    /// The addresses that answer pings.
    pub(super) echo: Vec<IpAddr>,
    /// What other threads knew of them.
    pub(super) known: Arc<Known>,
    /// Told when they are in force.
    pub(super) done: oneshot::Sender<()>,
}

/// A change to few of the thread's devices.
#[derive(Debug)]
pub(super) struct SomePeers {
    pub(super) devices: BTreeSet<DeviceId>,
    pub(super) specs: Vec<PeerSpec>,
    /// Told when it is in force.
    pub(super) done: oneshot::Sender<()>,
}

/// What the kernel would not take.
#[derive(Debug, Default)]
struct Lost {
    datagrams: u64,
    packets: u64,
    /// Trains it would not cut.
    trains: u64,
}

pub(super) struct Worker {
    tunnel: Tunnel,
    sockets: UdpSockets,
    tun: Tun,
    poller: Poller,
    siblings: Siblings,
    inbox: mpsc::Receiver<Order>,
    outbox: mpsc::Sender<Event>,
    received: RecvBatch,
    read: tun::Batch,
    ready: Vec<u64>,
    /// An event the shell had no room for; the core keeps the ones behind it.
    kept: Option<Event>,
    lost: Lost,
}

/// How soon a full event queue is tried again.
const EVENT_RETRY: Duration = Duration::from_millis(5);

impl Worker {
    /// A thread yet to be started.
    pub(super) fn new(
        part: Part,
        poller: Poller,
        siblings: Siblings,
        inbox: mpsc::Receiver<Order>,
        outbox: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let Part { mut tunnel, sockets, tun } = part;
        tunnel.set_offload(tun.offload());
        poller.add(&tun, TUN)?;
        for (token, socket) in (0..).zip(sockets.iter()) {
            poller.add(socket, token)?;
        }
        Ok(Self {
            tunnel,
            sockets,
            tun,
            poller,
            siblings,
            inbox,
            outbox,
            received: RecvBatch::new(TRAINS),
            read: tun::Batch::new(TURN),
            ready: Vec::new(),
            kept: None,
            lost: Lost::default(),
        })
    }

    /// Until told to end, or until the system refuses to go on.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            let timeout = self.timeout();
            self.ready.clear();
            self.ready.extend(self.poller.wait(timeout)?);
            for at in 0..self.ready.len() {
                match self.ready.get(at).map(|&token| (token, usize::try_from(token))) {
                    Some((token, Ok(socket))) if token != TUN => self.receive(socket)?,
                    _ => self.read_tun()?,
                }
                self.flush();
            }
            let now = Instant::now();
            self.take_over(now);
            let go_on = self.obey(now);
            if self.tunnel.poll_timeout().is_some_and(|due| due <= now) {
                self.tunnel.handle_timeout(now);
            }
            self.flush();
            self.tell();
            if !go_on {
                return Ok(());
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.kept.is_some() {
            return Some(EVENT_RETRY);
        }
        if !self.inbox.is_empty() || self.siblings.waiting() {
            return Some(Duration::ZERO);
        }
        self.tunnel.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()))
    }

    fn receive(&mut self, socket: usize) -> io::Result<()> {
        match self.sockets.recv_batch(socket, &mut self.received) {
            Ok(_) => {}
            // What the network says of an earlier datagram (ICMP), not of this socket.
            Err(error) if transient(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        for (from, segment, bytes) in self.received.trains() {
            self.tunnel.handle_datagrams(socket, from, segment, bytes, now);
        }
        Ok(())
    }

    fn read_tun(&mut self) -> io::Result<()> {
        self.tun.read_batch(&mut self.read)?;
        let now = Instant::now();
        for (offload, packet) in self.read.packets() {
            match self.siblings.other(packet) {
                None => self.tunnel.handle_tun(left(offload), packet, now),
                Some(thread) => self.siblings.hand_packet(thread, left(offload), packet),
            }
        }
        Ok(())
    }

    /// Handles what others handed over, up to a turn.
    fn take_over(&mut self, now: Instant) {
        for _ in 0..TURN {
            match self.siblings.take() {
                Some(Handed::Datagrams { socket, from, segment, bytes }) => {
                    self.tunnel.take_over(socket, from, segment, &bytes, now);
                }
                Some(Handed::Packet { offload, mut bytes }) => {
                    self.tunnel.handle_tun(offload, &mut bytes, now);
                }
                None => return,
            }
            self.flush();
        }
    }

    /// Obeys what waits, up to a turn; `false` when it is time to end.
    fn obey(&mut self, now: Instant) -> bool {
        for _ in 0..TURN {
            match self.inbox.try_recv() {
                Ok(Order::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return false,
                Ok(Order::Command(command)) => self.command(command, now),
                Ok(Order::Cut(flows)) => flows.into_iter().for_each(|flow| self.tunnel.cut(flow, now)),
                Ok(Order::Peers(peers)) => self.set_peers(peers, now),
                Ok(Order::SomePeers(SomePeers { devices, specs, done })) => {
                    self.tunnel.change_peers(&devices, &specs, now);
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                Ok(Order::Enrolled(enrolled)) => self.tunnel.set_enrolled(enrolled),
                // Whoever asked may have stopped waiting.
                Ok(Order::Report(answer)) => drop(answer.send(self.report(now))),
                Ok(Order::Remember(answer)) => drop(answer.send(self.known())),
                Err(mpsc::error::TryRecvError::Empty) => return true,
            }
        }
        true
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Admit(flow) => self.tunnel.decide(flow, Verdict::Admit, now),
            Command::Refuse(flow, refusal) => self.tunnel.decide(flow, Verdict::Refuse(refusal), now),
            Command::Accepted(key, isn) => {
                // A flow that ended meanwhile has told so by an event.
                let _ = self.tunnel.accepted(key, isn);
            }
            Command::Cut(flow) => self.tunnel.cut(flow, now),
            Command::Finished(flow) => self.tunnel.finished(flow, now),
            Command::SendUdp { from, to, payload } => self.tunnel.send_udp(from, to, &payload, now),
            Command::SendDatagram(flow, payload) => self.tunnel.send_datagram(flow, &payload, now),
            Command::Unreachable(flow, refusal) => self.tunnel.send_unreachable(flow, refusal, now),
        }
    }

    fn set_peers(&mut self, NewPeers { specs, echo, known, done }: NewPeers, now: Instant) {
        self.tunnel.set_peers(&specs, now);
        self.tunnel.set_echo(echo.into_iter().collect());
        self.tunnel.restore_endpoints(&known.endpoints);
        self.tunnel.restore_stamps(&known.stamps);
        // Whoever asked may have stopped waiting.
        let _ = done.send(());
    }

    /// Hands out everything the core has for the network, the kernel and its siblings, from where it lies.
    fn flush(&mut self) {
        let train = |Transmit { socket, to, bytes, segment }| Train { socket, to, bytes, segment };
        let sent = self.sockets.send(self.tunnel.transmits().map(train));
        self.tunnel.clear_transmits();
        self.lost.datagrams += sent.dropped;
        self.lost.trains += sent.unsegmented;
        let mut room = [IoSlice::new(&[]); MAX_PARTS];
        for packet in self.tunnel.packets() {
            let parts =
                packet.parts().zip(&mut room).map(|(part, slice)| *slice = IoSlice::new(part)).count();
            let tunnel::ToKernel { v6, ip_head, head, segment, .. } = packet;
            let parts = room.get(..parts).unwrap_or_default();
            let written = self.tun.write(&tun::Packet { v6, ip_head, head, segment, parts });
            self.lost.packets += if written.is_ok() { 0 } else { parts.len() as u64 };
        }
        self.tunnel.clear_packets();
        for handover in self.tunnel.handovers() {
            self.siblings.hand_datagrams(handover);
        }
        self.tunnel.clear_handovers();
    }

    /// Hands out what the shell must know.
    fn tell(&mut self) {
        while let Some(event) = self.kept.take().or_else(|| self.tunnel.poll_event()) {
            match self.outbox.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.kept = Some(event);
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }

    fn report(&self, now: Instant) -> Report {
        let statuses = self.tunnel.peers();
        let flows = self.tunnel.flows().len();
        let counter = |what| self.tunnel.counters().get(what);
        let load = Load {
            peers: statuses.len(),
            awake: statuses.iter().filter(|peer| peer.awake).count(),
            flows,
            received: statuses.iter().map(|peer| peer.received).sum(),
            sent: statuses.iter().map(|peer| peer.sent).sum(),
            handed_over: counter(Count::HandedOver) + self.siblings.packets,
            handover_full: counter(Count::HandoverFull) + self.siblings.full,
        };
        let peers = statuses.into_iter().map(|peer| told(peer, now)).collect();
        Report { peers, counters: self.counters(&load), flows, shards: vec![load], ..Report::default() }
    }

    fn counters(&self, load: &Load) -> BTreeMap<String, u64> {
        let of_core = self.tunnel.counters().iter().map(|(what, count)| (what.name(), count));
        let ours = [
            ("datagrams_unsent", self.lost.datagrams),
            ("datagrams_too_long", self.received.truncated()),
            ("packets_malformed", self.read.malformed()),
            ("trains_uncut", self.lost.trains),
            ("packets_unwritten", self.lost.packets),
            (Count::HandedOver.name(), load.handed_over),
            (Count::HandoverFull.name(), load.handover_full),
        ];
        of_core.chain(ours).map(|(name, count)| (name.to_owned(), count)).collect()
    }

    fn known(&self) -> Known {
        Known { endpoints: self.tunnel.endpoints(), stamps: self.tunnel.stamps() }
    }
}

fn told(peer: PeerStatus, now: Instant) -> Peer {
    Peer {
        device: peer.device,
        key: peer.key.to_string(),
        endpoint: peer.endpoint,
        handshake_s: peer.last_handshake.map(|at| now.saturating_duration_since(at).as_secs()),
        received: peer.received,
        sent: peer.sent,
    }
}

/// What the kernel left to do, in the core's words.
fn left(offload: tun::Offload) -> tunnel::Offload {
    let checksum = match offload.checksum {
        tun::Checksum::Complete => tunnel::Checksum::Complete,
        tun::Checksum::Partial => tunnel::Checksum::Partial,
    };
    tunnel::Offload { checksum, segment: offload.segment }
}

fn transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkDown | NetworkUnreachable)
}
