//! One WireGuard peer without filter and flows: the client side, for a device.
//! What comes from the TUN goes to the gateway, what the gateway sent goes to the TUN, nothing else.
//! Always true: nothing is sent but to the configured endpoint, nothing accepted but from it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use protocol::key::WgKey;

use crate::{
    config::{PrivateKey, Shard},
    event::Transmit,
    noise::{BoringPeer, DATA_OVERHEAD, HANDSHAKE_BYTES, Kind, NoisePeer, Received, Ticked},
    outbox::Outbox,
    rng::Rng,
};

/// The longest packet the TUN may give us.
const LARGEST_PACKET: usize = 65_535 - DATA_OVERHEAD;
/// What each output queue holds at most.
const QUEUE_BYTES: usize = 4 << 20;
/// boringtun's queue of packets without a session is no longer than this.
const FLUSH_LIMIT: usize = 256;

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

/// The client end of a tunnel. Used like [`crate::Tunnel`]: inputs, then every output until `None`, then
/// wait until [`poll_timeout`](Self::poll_timeout) at the latest.
pub struct Client {
    noise: Box<dyn NoisePeer>,
    endpoint: SocketAddr,
    keep_trying: bool,
    transmits: Outbox<()>,
    tun: Outbox<()>,
    scratch: Vec<u8>,
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
            endpoint,
            keep_trying,
            transmits: Outbox::new(QUEUE_BYTES),
            tun: Outbox::new(QUEUE_BYTES),
            scratch: vec![0; LARGEST_PACKET + DATA_OVERHEAD],
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

    /// A datagram arrived.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let kind =
            Kind::of(datagram).filter(|_| from == self.endpoint && datagram.len() <= self.scratch.len());
        let Some(kind) = kind else {
            self.status.refused += 1;
            return;
        };
        match self.noise.receive(from.ip(), datagram, &mut self.scratch, now) {
            Received::Nothing => {}
            Received::Reply(len) => {
                let reply = self.scratch.get(..len).unwrap_or(&[]);
                self.status.dropped += u64::from(!self.transmits.push((), reply));
                self.status.last_handshake = Some(now);
            }
            Received::Packet(len) => {
                let packet = self.scratch.get(..len).unwrap_or(&[]);
                self.status.dropped += u64::from(!self.tun.push((), packet));
                self.status.received += len as u64;
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

    /// A packet for the gateway.
    pub fn handle_tun(&mut self, packet: &[u8], now: Instant) {
        let room = (packet.len() + DATA_OVERHEAD).max(HANDSHAKE_BYTES);
        let room = if packet.len() > LARGEST_PACKET { None } else { self.transmits.room(room) };
        let Some(room) = room else {
            self.status.dropped += 1;
            return;
        };
        let len = self.noise.send(packet, room, now);
        self.status.sent += packet.len() as u64;
        if len > 0 {
            self.transmits.commit((), len);
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
            Ticked::Send(len) => self.transmits.commit((), len),
            // After 90 s without an answer the protocol gives up until there is something to send; who
            // wants keepalives wants to be connected, so we try again.
            Ticked::Expired if self.keep_trying => self.initiate(now),
            Ticked::Expired => {}
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        let to = self.endpoint;
        self.transmits.pop().map(|((), bytes)| Transmit { socket: 0, to, bytes })
    }

    /// The next packet for the TUN.
    pub fn poll_tun(&mut self) -> Option<&[u8]> {
        self.tun.pop().map(|((), packet)| packet)
    }

    fn initiate(&mut self, now: Instant) {
        if let Some(room) = self.transmits.room(HANDSHAKE_BYTES) {
            let len = self.noise.initiate(room, now);
            if len > 0 {
                self.transmits.commit((), len);
            }
        }
    }

    /// Sends what waited for a session.
    fn flush(&mut self, now: Instant) {
        for _ in 0..FLUSH_LIMIT {
            let len = self.noise.flush(&mut self.scratch, now);
            if len == 0 {
                return;
            }
            let datagram = self.scratch.get(..len).unwrap_or(&[]);
            self.status.dropped += u64::from(!self.transmits.push((), datagram));
        }
    }
}
