//! The one thread that owns the UDP sockets, the TUN and the tunnel core: poll, batch, hand on.
//! It does not decide: it emits what happened and obeys commands.
//! Always true: nothing here blocks but the poll, every queue out of it is bounded, and what came before a
//! command has left before it is obeyed: nothing of a flow leaves after its cut.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    net::IpAddr,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use netio::{
    poll::{Poller, Waker},
    tun::{self, Tun},
    udp::{RecvBatch, Train, UdpSockets},
};
use protocol::id::DeviceId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tunnel::{Event, FlowId, FlowKey, MAX_PARTS, PeerSpec, Refusal, Transmit, Tunnel, Verdict};

use crate::peerfile::Known;

/// Commands that may wait for the thread; senders wait when it is full.
const COMMANDS: usize = 4096;
/// Events that may wait for the shell; when it is full they stay in the core's own bounded queues.
const EVENTS: usize = 4096;
/// Datagrams, packets or commands handled before the other descriptors get their turn.
const TURN: usize = 64;
/// The same for trains of datagrams, each of up to 64 KiB.
const TRAINS: usize = 16;
/// The TUN's token; the UDP sockets have their positions.
const TUN: u64 = 1 << 32;

/// What the rest of the gateway tells the thread.
#[derive(Debug)]
pub enum Command {
    /// Let the flow's SYN or datagrams through.
    Admit(FlowId),
    /// Answer its SYN or datagram with a refusal.
    Refuse(FlowId, Refusal),
    /// Its socket was accepted.
    Accepted(FlowKey, u32),
    /// Nothing more in, only the reset or refusal out.
    Cut(FlowId),
    /// Its socket was closed by both sides.
    Finished(FlowId),
    /// A datagram of ours to a device.
    SendUdp {
        /// Our address.
        from: std::net::SocketAddr,
        /// The device's.
        to: std::net::SocketAddr,
        /// What it says.
        payload: Vec<u8>,
    },
    /// A payload of the target to the flow's device.
    SendDatagram(FlowId, Vec<u8>),
    /// What the network said of the flow's latest datagram.
    Unreachable(FlowId, Refusal),
    /// The devices and the addresses that answer pings, from now on.
    Peers(Vec<PeerSpec>, Vec<IpAddr>),
    /// Tell how things are.
    Report(oneshot::Sender<Report>),
    /// Tell what must outlive a restart.
    Remember(oneshot::Sender<Known>),
    /// End the thread.
    Stop,
}

/// How the packet path is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Every enrolled key.
    pub peers: Vec<Peer>,
    /// Packets, handshakes and limits by what became of them, since the start.
    pub counters: BTreeMap<String, u64>,
    /// Flows the core knows, held, live and ending.
    pub flows: usize,
}

/// One enrolled key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    /// Whose.
    pub device: DeviceId,
    /// The key.
    pub key: String,
    /// Where it was last proven to be.
    pub endpoint: Option<std::net::SocketAddr>,
    /// Seconds since its last handshake.
    pub handshake_s: Option<u64>,
    /// Bytes received from it, inside the tunnel.
    pub received: u64,
    /// Bytes sent to it, inside the tunnel.
    pub sent: u64,
}

/// The way to the thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataPlane {
    commands: mpsc::Sender<Command>,
    waker: Waker,
}

impl DataPlane {
    /// Hands `command` over, waiting while the queue is full. After the thread has ended there is
    /// nothing left to command, and the command is dropped.
    pub async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_ok() {
            self.waker.wake();
        }
    }

    /// The way to a thread that has ended.
    #[cfg(test)]
    pub fn ended() -> Self {
        let poller = Poller::new().expect("a poller");
        Self { commands: mpsc::channel(1).0, waker: poller.waker() }
    }

    /// How things are; `None` once the thread has ended.
    pub async fn report(&self) -> Option<Report> {
        let (sender, answer) = oneshot::channel();
        self.send(Command::Report(sender)).await;
        answer.await.ok()
    }

    /// What must outlive a restart; `None` once the thread has ended.
    pub async fn remember(&self) -> Option<Known> {
        let (sender, answer) = oneshot::channel();
        self.send(Command::Remember(sender)).await;
        answer.await.ok()
    }
}

/// The running thread and what comes out of it.
#[derive(Debug)]
pub struct Running {
    /// The way to it.
    pub handle: DataPlane,
    /// What happened, in order; ends with the thread.
    pub events: mpsc::Receiver<Event>,
    /// An error if it could not go on.
    pub thread: JoinHandle<io::Result<()>>,
}

/// Starts the thread over its descriptors.
pub fn start(mut tunnel: Tunnel, sockets: UdpSockets, tun: Tun) -> io::Result<Running> {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (outbox, events) = mpsc::channel(EVENTS);
    tunnel.set_offload(tun.offload());
    let poller = Poller::new()?;
    poller.add(&tun, TUN)?;
    for (token, socket) in (0..).zip(sockets.iter()) {
        poller.add(socket, token)?;
    }
    let waker = poller.waker();
    let worker = Worker {
        tunnel,
        sockets,
        tun,
        poller,
        inbox,
        outbox,
        received: RecvBatch::new(TRAINS),
        read: tun::Batch::new(TURN),
        ready: Vec::new(),
        kept: None,
        lost: Lost::default(),
    };
    let thread = std::thread::Builder::new().name("data-plane".to_owned()).spawn(|| worker.run())?;
    Ok(Running { handle: DataPlane { commands, waker }, events, thread })
}

/// What the kernel would not take.
#[derive(Debug, Default)]
struct Lost {
    datagrams: u64,
    packets: u64,
    /// Trains it would not cut.
    trains: u64,
}

struct Worker {
    tunnel: Tunnel,
    sockets: UdpSockets,
    tun: Tun,
    poller: Poller,
    inbox: mpsc::Receiver<Command>,
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
    fn run(mut self) -> io::Result<()> {
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
        if !self.inbox.is_empty() {
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
            self.tunnel.handle_tun(left(offload), packet, now);
        }
        Ok(())
    }

    /// Obeys what waits, up to a turn; `false` when it is time to end.
    fn obey(&mut self, now: Instant) -> bool {
        for _ in 0..TURN {
            match self.inbox.try_recv() {
                Ok(Command::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return false,
                Ok(command) => self.command(command, now),
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
            Command::Peers(peers, echo) => {
                self.tunnel.set_peers(&peers, now);
                self.tunnel.set_echo(echo.into_iter().collect());
            }
            // Whoever asked may have stopped waiting.
            Command::Report(answer) => drop(answer.send(self.report(now))),
            Command::Remember(answer) => drop(answer.send(self.known())),
            Command::Stop => {}
        }
    }

    /// Hands out everything the core has for the network and the kernel, from where it lies.
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
        let peer = |peer: tunnel::PeerStatus| Peer {
            device: peer.device,
            key: peer.key.to_string(),
            endpoint: peer.endpoint,
            handshake_s: peer.last_handshake.map(|at| now.saturating_duration_since(at).as_secs()),
            received: peer.received,
            sent: peer.sent,
        };
        let mut counters: BTreeMap<_, _> =
            self.tunnel.counters().iter().map(|(what, count)| (what.name().to_owned(), count)).collect();
        counters.insert("datagrams_unsent".to_owned(), self.lost.datagrams);
        counters.insert("datagrams_too_long".to_owned(), self.received.truncated());
        counters.insert("packets_malformed".to_owned(), self.read.malformed());
        counters.insert("trains_uncut".to_owned(), self.lost.trains);
        counters.insert("packets_unwritten".to_owned(), self.lost.packets);
        let peers = self.tunnel.peers().into_iter().map(peer).collect();
        Report { peers, counters, flows: self.tunnel.flows().len() }
    }

    fn known(&self) -> Known {
        Known { endpoints: self.tunnel.endpoints(), stamps: self.tunnel.stamps() }
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
