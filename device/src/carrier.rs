//! Carries packets between the command's TUN and the gateway: the system calls around
//! `tunnel::peer`. It waits for nothing; `run` says what is ready.
//! Always true: only AllowedIPs pass, either way; one call moves a bounded number of packets.

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use netio::{
    poll::Poller,
    tun::{self, Batch, Tun},
    udp::{BindError, RecvBatch, Train, UdpSockets},
};
use tunnel::{MAX_PARTS, Transmit, peer::Client};

use crate::{allowed::Allowed, config::Config};

/// Packets moved per call in each direction: enough to make the wait cheap, few enough that neither
/// direction starves the other.
const BATCH: usize = 64;

/// The same for trains of datagrams, each of up to 64 KiB.
const TRAINS: usize = 16;

/// We have one socket.
const SOCKET: usize = 0;

/// The tunnel of one command.
pub struct Carrier {
    client: Client,
    tun: Tun,
    udp: UdpSockets,
    allowed: Allowed,
    packets: Batch,
    inbox: RecvBatch,
}

/// Opens the socket datagrams to `endpoint` leave by, on the host.
pub fn bind(endpoint: SocketAddr) -> Result<UdpSockets, BindError> {
    let any = match endpoint {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    UdpSockets::bind(&[any])
}

impl Carrier {
    /// Joins the two ends.
    pub fn new(config: &Config, mut client: Client, tun: Tun, udp: UdpSockets) -> Self {
        client.set_offload(tun.offload());
        Self {
            client,
            tun,
            udp,
            allowed: Allowed::new(&config.peer.allowed_ips),
            packets: Batch::new(BATCH),
            inbox: RecvBatch::new(TRAINS),
        }
    }

    /// Has the poller watch both ends.
    pub fn watch(&self, poller: &Poller, tun: u64, udp: u64) -> io::Result<()> {
        poller.add(&self.tun, tun)?;
        self.udp.iter().try_for_each(|socket| poller.add(socket, udp))
    }

    /// The command has sent packets.
    pub fn command_sent(&mut self, now: Instant) -> io::Result<()> {
        self.tun.read_batch(&mut self.packets)?;
        for (offload, packet) in self.packets.packets().filter(|(_, packet)| self.allowed.target(packet)) {
            self.client.handle_tun(left(offload), packet, now);
        }
        self.flush();
        Ok(())
    }

    /// The gateway has sent datagrams.
    pub fn gateway_sent(&mut self, now: Instant) -> io::Result<()> {
        self.udp.recv_batch(SOCKET, &mut self.inbox)?;
        for (from, segment, bytes) in self.inbox.trains() {
            self.client.handle_datagrams(from, segment, bytes, now);
        }
        self.flush();
        Ok(())
    }

    /// Time has passed.
    pub fn time_passed(&mut self, now: Instant) {
        self.client.handle_timeout(now);
        self.flush();
    }

    /// When to call `time_passed` at the latest.
    pub fn deadline(&self) -> Instant {
        self.client.poll_timeout()
    }

    /// Whether the gateway ever answered.
    pub fn connected(&self) -> bool {
        self.client.status().last_handshake.is_some()
    }

    fn flush(&mut self) {
        let train = |Transmit { to, bytes, segment, .. }| Train { socket: SOCKET, to, bytes, segment };
        // A datagram the host cannot send now is lost, as on any network; the tunnel's timers and the
        // command's TCP send it again.
        self.udp.send(self.client.transmits().map(train));
        self.client.clear_transmits();
        let mut room = [IoSlice::new(&[]); MAX_PARTS];
        for packet in self.client.packets() {
            if !packet.parts().next().is_some_and(|first| self.allowed.source(first)) {
                continue;
            }
            let parts =
                packet.parts().zip(&mut room).map(|(part, slice)| *slice = IoSlice::new(part)).count();
            let tunnel::ToKernel { v6, ip_head, head, segment, .. } = packet;
            let parts = room.get(..parts).unwrap_or_default();
            // The kernel refuses what is no valid packet; it is the gateway's loss.
            drop(self.tun.write(&tun::Packet { v6, ip_head, head, segment, parts }));
        }
        self.client.clear_packets();
    }
}

/// What the kernel left to do, in the tunnel's words.
fn left(offload: tun::Offload) -> tunnel::Offload {
    let checksum = match offload.checksum {
        tun::Checksum::Complete => tunnel::Checksum::Complete,
        tun::Checksum::Partial => tunnel::Checksum::Partial,
    };
    tunnel::Offload { checksum, segment: offload.segment }
}
