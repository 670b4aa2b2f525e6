//! Devices by the thousand in one process: the client end of a tunnel each, with a UDP socket and an
//! address of its own, that sends one ping a second to the gateway whatever happens.
//! They do nothing a stock client would not: handshakes, their repetition and cookies are the client's own.
//! Always true: a ping carries the number of the round it was sent in, so no late answer counts for a later one.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use protocol::key::WgKey;
// Without the colons it would be this file's own tests.
use ::tests::host::Host;
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    time::sleep_until,
};
use tunnel::{
    Checksum, Offload,
    peer::{Client, ClientConfig},
};

use crate::enrolled::{Enrolled, PORT};

/// What this process opens beside a socket for each device.
pub const OTHER_FILES: u64 = 500;
/// How often a device has something to send.
const EVERY: Duration = Duration::from_secs(1);
/// Longer than any answer to a ping, and than any handshake message.
const LONGEST: usize = 512;
/// The gateway inside the tunnel.
const INSIDE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const THREADS: usize = 2;

/// The devices, until it is dropped.
pub struct Swarm {
    round: watch::Sender<u16>,
    answered: Receiver<(u16, Instant)>,
    _runtime: Runtime,
}

/// Where the gateway is, and by which key.
#[derive(Debug, Clone, Copy)]
pub struct Gateway {
    /// Its key.
    pub key: WgKey,
    /// Where it listens.
    pub endpoint: SocketAddr,
}

impl Swarm {
    /// Lets devices 0 to `count` begin on `host`, all at once, in round 0.
    pub fn start(host: &Host, count: u16, gateway: Gateway) -> Result<Self> {
        let sockets = host
            .within(|| (0..count).map(|number| bind(Enrolled(number.into()))).collect::<Result<Vec<_>>>())?;
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
        let (round, _) = watch::channel(0);
        let (sender, answered) = channel();
        for (number, socket) in (0..u32::from(count)).zip(sockets) {
            let phase = EVERY * number / u32::from(count);
            let (round, sender) = (round.subscribe(), sender.clone());
            runtime.spawn(async move {
                // Errors end a device, and the one who waits for it learns that it never came back.
                if let Err(error) =
                    Device::new(Enrolled(number), socket, gateway, round, sender)?.live(phase).await
                {
                    eprintln!("device {number}: {error:#}");
                }
                anyhow::Ok(())
            });
        }
        Ok(Self { round, answered, _runtime: runtime })
    }

    /// From now on only answers to pings of this round count.
    pub fn begin(&self, round: u16) {
        self.round.send_replace(round);
    }

    /// When each of `count` devices had its first answer in `round`.
    pub fn all_answered(&self, round: u16, count: u16, limit: Duration) -> Result<Vec<Instant>> {
        let deadline = Instant::now() + limit;
        let mut moments = Vec::with_capacity(count.into());
        while moments.len() < usize::from(count) {
            let left = deadline.saturating_duration_since(Instant::now());
            let (of, moment) = self
                .answered
                .recv_timeout(left)
                .with_context(|| format!("{} of {count} devices came back in {limit:?}", moments.len()))?;
            moments.extend((of == round).then_some(moment));
        }
        Ok(moments)
    }
}

fn bind(device: Enrolled) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((device.outside(), PORT))
        .with_context(|| format!("a socket at {}", device.outside()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One device.
struct Device {
    enrolled: Enrolled,
    socket: tokio::net::UdpSocket,
    gateway: SocketAddr,
    client: Client,
    round: watch::Receiver<u16>,
    answered: Sender<(u16, Instant)>,
    /// The latest round that was told.
    told: Option<u16>,
}

impl Device {
    fn new(
        enrolled: Enrolled,
        socket: UdpSocket,
        gateway: Gateway,
        round: watch::Receiver<u16>,
        answered: Sender<(u16, Instant)>,
    ) -> Result<Self> {
        let config = ClientConfig {
            private_key: enrolled.key(),
            gateway: gateway.key,
            endpoint: gateway.endpoint,
            keepalive: None,
            preshared: None,
            seed: enrolled.0.into(),
        };
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let client = Client::new(config, Instant::now());
        Ok(Self { enrolled, socket, gateway: gateway.endpoint, client, round, answered, told: None })
    }

    /// Sends its first ping after `phase`, and so on for ever.
    async fn live(mut self, phase: Duration) -> Result<()> {
        // The first handshake waits already; a new socket cannot be tried before it was waited for.
        self.socket.writable().await?;
        let mut ping_at = Instant::now() + phase;
        let mut buffer = [0; LONGEST];
        loop {
            self.send();
            let due = self.client.poll_timeout().min(ping_at);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    // What the network says of an earlier datagram (ICMP): the gateway is away.
                    if let Ok((length, from)) = received {
                        self.receive(from, buffer.get(..length).unwrap_or_default());
                    }
                }
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    self.client.handle_timeout(now);
                    if ping_at <= now {
                        // Whoever was kept from sending does not make up for it.
                        while ping_at <= now {
                            ping_at += EVERY;
                        }
                        let complete = Offload { checksum: Checksum::Complete, segment: None };
                        let mut ping = ping(self.enrolled.address(), *self.round.borrow());
                        self.client.handle_tun(complete, &mut ping, now);
                    }
                }
            }
        }
    }

    fn send(&mut self) {
        for transmit in self.client.transmits() {
            for datagram in transmit.bytes.chunks(transmit.segment) {
                // As on any network, what cannot be sent is lost.
                let _ = self.socket.try_send_to(datagram, self.gateway);
            }
        }
        self.client.clear_transmits();
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = Instant::now();
        self.client.handle_datagrams(from, datagram.len(), datagram, now);
        let rounds = self.client.packets().filter_map(|packet| pong(packet.parts().next()?));
        if let Some(round) = rounds.max().filter(|&round| self.told.is_none_or(|told| told < round)) {
            self.told = Some(round);
            // Whoever counted has seen enough.
            let _ = self.answered.send((round, now));
        }
        self.client.clear_packets();
    }
}

const HEADER: usize = 20;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// An ICMP echo request (RFC 792) to the gateway, with `id`.
fn ping(from: Ipv4Addr, id: u16) -> [u8; HEADER + 8] {
    let mut packet = [0; HEADER + 8];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 28]);
    packet[8..10].copy_from_slice(&[64, 1]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&INSIDE.octets());
    let sum = checksum(&packet[..HEADER]);
    packet[10..12].copy_from_slice(&sum);
    packet[HEADER] = ECHO_REQUEST;
    packet[HEADER + 4..HEADER + 6].copy_from_slice(&id.to_be_bytes());
    let sum = checksum(&packet[HEADER..]);
    packet[HEADER + 2..HEADER + 4].copy_from_slice(&sum);
    packet
}

/// The id of an echo reply.
fn pong(packet: &[u8]) -> Option<u16> {
    let id = packet.get(HEADER + 4..HEADER + 6)?.try_into().ok()?;
    (packet.get(9) == Some(&1) && packet.get(HEADER) == Some(&ECHO_REPLY)).then(|| u16::from_be_bytes(id))
}

/// The Internet checksum (RFC 1071) of an even number of bytes, too few to carry twice.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.as_chunks().0.iter().map(|&pair| u32::from(u16::from_be_bytes(pair)));
    let sum: u32 = words.sum();
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}
