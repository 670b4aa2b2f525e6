//! One WireGuard peer without filter and flows: the client side, for a device.
//! What comes from the TUN goes to the gateway, what the gateway sent goes to the TUN, nothing else.
//! Always true: nothing is sent but to the configured endpoint, nothing accepted but from it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use protocol::key::WgKey;

use crate::{
    config::PrivateKey,
    event::{Checksum, Offload, Transmit},
    kernel::{Kernel, Open, ToKernel},
    noise::{BoringPeer, DATA_OVERHEAD, HANDSHAKE_BYTES, Kind, NoisePeer, Received, Ticked},
    packet::{
        Ip, TCP,
        split::{self, Split},
        tcp::Tcp,
    },
    peers::Endpoint,
    rng::Rng,
    shard::Shard,
    trains::Trains,
    waiting::Waiting,
};

/// The longest packet the TUN may give us.
const LARGEST_PACKET: usize = 65_535 - DATA_OVERHEAD;
/// What each output queue holds at most.
const QUEUE_BYTES: usize = 4 << 20;
/// How many flows' super-segments grow at a time.
const OPEN: usize = 64;

/// How often cipher state looks at its timers (boringtun asks for at most 250 ms).
const TICK: Duration = Duration::from_millis(250);

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The device's key.
    pub private_key: PrivateKey,
    /// The gateway's key.
    pub gateway: WgKey,
    /// Where the gateway listens.
    pub endpoint: SocketAddr,
    /// Seconds between keepalives; without it the client is silent when idle.
    pub keepalive: Option<u16>,
    /// An extra secret shared with the gateway.
    pub preshared: Option<PresharedKey>,
    /// Where receiver indices begin.
    pub seed: u64,
}

/// A preshared key; `Debug` hides it.
#[derive(Clone)]
pub struct PresharedKey(pub [u8; 32]);

impl std::fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What a client has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientStatus {
    /// When the last handshake was completed.
    pub last_handshake: Option<Instant>,
    /// Inner bytes received.
    pub received: u64,
    /// Inner bytes sent.
    pub sent: u64,
    /// Datagrams that were not the gateway's, or did not decrypt.
    pub refused: u64,
    /// Packets lost to a full queue or too long for any.
    pub dropped: u64,
}

/// The client end of a tunnel. Used like [`crate::Tunnel`]: inputs, then every output and its clearing, then
/// wait until [`poll_timeout`](Self::poll_timeout) at the latest.
pub struct Client {
    noise: Box<dyn NoisePeer>,
    waiting: Waiting,
    to: Endpoint,
    keep_trying: bool,
    transmits: Trains,
    kernel: Kernel,
    /// What of the flows waits for the kernel and may still grow. Flows that share a place only lose by
    /// it: a super-segment takes none but its own.
    open: [Open; OPEN],
    status: ClientStatus,
    tick_at: Instant,
}

impl Client {
    /// A client that begins its first handshake at once.
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let ClientConfig { private_key, gateway, endpoint, keepalive, preshared, seed } = config;
        let index = Rng::new(seed, Shard::default()).index();
        let preshared = preshared.map(|key| key.0);
        let noise = BoringPeer::client(&private_key, &gateway, preshared, keepalive, index);
        Self::with_noise(Box::new(noise), endpoint, keepalive.is_some(), now)
    }

    pub(crate) fn with_noise(
        noise: Box<dyn NoisePeer>,
        endpoint: SocketAddr,
        keep_trying: bool,
        now: Instant,
    ) -> Self {
        let mut client = Self {
            noise,
            waiting: Waiting::default(),
            to: Endpoint { socket: 0, addr: endpoint },
            keep_trying,
            transmits: Trains::new(QUEUE_BYTES),
            kernel: Kernel::new(QUEUE_BYTES),
            open: [Open::default(); OPEN],
            status: ClientStatus::default(),
            tick_at: now + TICK,
        };
        client.initiate(now);
        client
    }

    /// What happened so far.
    pub fn status(&self) -> ClientStatus {
        self.status
    }

    /// Whether packets would be sent at once.
    pub fn connected(&self, now: Instant) -> bool {
        self.noise.has_session(now)
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    pub fn poll_timeout(&self) -> Instant {
        self.tick_at
    }

    /// Whether the kernel takes super-segments; it does not until this was said.
    pub fn set_offload(&mut self, offload: bool) {
        self.kernel.offload = offload;
    }

    /// Datagrams arrived: `segment` bytes each, one behind the other, the last may be shorter.
    pub fn handle_datagrams(&mut self, from: SocketAddr, segment: usize, bytes: &[u8], now: Instant) {
        for datagram in bytes.chunks(segment.max(1)) {
            self.take_from_network(from, datagram, now);
        }
    }

    fn take_from_network(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let Some(kind) = Kind::of(datagram).filter(|_| from == self.to.addr) else {
            self.status.refused += 1;
            return;
        };
        let room = match kind {
            Kind::Data(_) => self.kernel.room(datagram.len()),
            Kind::Initiation | Kind::Response(_) | Kind::Cookie(_) => self.transmits.room(HANDSHAKE_BYTES),
        };
        let Some(room) = room else {
            self.status.dropped += 1;
            return;
        };
        match self.noise.receive(from.ip(), datagram, room, now) {
            Received::Nothing => {}
            Received::Reply(len) => {
                self.transmits.commit(self.to, len);
                self.status.last_handshake = Some(now);
            }
            Received::Packet(len) => {
                self.status.received += len as u64;
                self.give_kernel(len);
            }
            Received::Garbage | Received::Failed(_) => {
                self.status.refused += 1;
                return;
            }
        }
        match kind {
            Kind::Response(_) | Kind::Data(_) => self.flush(now),
            Kind::Initiation | Kind::Cookie(_) => {}
        }
    }

    /// Queues the packet in the room; whether a checksum is right is the kernel's business, but for a
    /// segment that joins others.
    fn give_kernel(&mut self, len: usize) {
        let lent = self.kernel.lend(len);
        let ip = Ip::parse(lent.packet()).ok().filter(|ip| ip.protocol == TCP);
        let segment = ip.and_then(|ip| Some((ip.ends, Tcp::verified(&ip).ok()?)));
        self.kernel.give_back(lent);
        let Some((ends, tcp)) = segment else { return self.kernel.push(len) };
        let open = self.open.get_mut(usize::from(tcp.src ^ tcp.dst) % OPEN);
        self.kernel.push_segment((ends, &tcp), len, open.unwrap_or(&mut Open::default()));
    }

    /// A packet for the gateway, of which the kernel left `offload` to us. Its bytes are overwritten.
    pub fn handle_tun(&mut self, offload: Offload, packet: &mut [u8], now: Instant) {
        match (offload.segment, offload.checksum) {
            (Some(_), _) => self.send_pieces(offload, packet, now),
            (None, Checksum::Partial) if !split::complete(packet) => self.status.dropped += 1,
            (None, Checksum::Partial | Checksum::Complete) => self.send(packet, now),
        }
    }

    fn send_pieces(&mut self, offload: Offload, packet: &mut [u8], now: Instant) {
        let ip = Ip::parse(packet).ok().filter(|ip| ip.protocol == TCP);
        let parsed = ip.and_then(|ip| Some((ip.ends, Tcp::parse(ip.payload).ok()?)));
        let split =
            parsed.and_then(|(ends, tcp)| Split::tcp(packet, (ends, &tcp), offload, LARGEST_PACKET).ok());
        let Some(mut split) = split else {
            self.status.dropped += 1;
            return;
        };
        while let Some(piece) = split.next() {
            self.send(piece, now);
        }
    }

    fn send(&mut self, packet: &[u8], now: Instant) {
        let room = (packet.len() + DATA_OVERHEAD).max(HANDSHAKE_BYTES);
        let room = if packet.len() > LARGEST_PACKET { None } else { self.transmits.room(room) };
        let Some(room) = room else {
            self.status.dropped += 1;
            return;
        };
        let mut len = self.noise.send(packet, room, now);
        if len == 0 {
            if !self.waiting.push(None, packet) {
                self.status.dropped += 1;
                return;
            }
            len = self.noise.begin(room, now);
        }
        self.status.sent += packet.len() as u64;
        if len > 0 {
            self.transmits.commit(self.to, len);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.tick_at {
            return;
        }
        self.tick_at = now + TICK;
        let Some(room) = self.transmits.room(HANDSHAKE_BYTES) else { return };
        match self.noise.tick(room, now) {
            Ticked::Nothing => {}
            Ticked::Send(len) => self.transmits.commit(self.to, len),
            // After 90 s without an answer the protocol gives up until there is something to send; who
            // wants keepalives wants to be connected, so we try again.
            Ticked::Expired => {
                self.waiting.clear();
                if self.keep_trying {
                    self.initiate(now);
                }
            }
        }
    }

    /// Everything for the gateway, in order, until [`clear_transmits`](Self::clear_transmits).
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.transmits.iter()
    }

    /// The network has it all.
    pub fn clear_transmits(&mut self) {
        self.transmits.clear();
    }

    /// Everything for the kernel, in order, until [`clear_packets`](Self::clear_packets).
    pub fn packets(&mut self) -> impl Iterator<Item = ToKernel<'_>> {
        self.kernel.iter()
    }

    /// The kernel has it all.
    pub fn clear_packets(&mut self) {
        self.kernel.clear();
    }

    fn initiate(&mut self, now: Instant) {
        if let Some(room) = self.transmits.room(HANDSHAKE_BYTES) {
            let len = self.noise.initiate(room, now);
            if len > 0 {
                self.transmits.commit(self.to, len);
            }
        }
    }

    /// Sends what waited for a session.
    fn flush(&mut self, now: Instant) {
        while let Some(packet) = self.waiting.first() {
            let Some(room) = self.transmits.room((packet.len() + DATA_OVERHEAD).max(HANDSHAKE_BYTES)) else {
                return;
            };
            let len = self.noise.send(packet, room, now);
            if len == 0 {
                return;
            }
            self.transmits.commit(self.to, len);
            self.waiting.sent();
        }
    }
}
