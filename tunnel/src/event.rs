//! What the core and its shell say to each other about flows and peers.
//! Values only; who may send what when is told in [`crate::Tunnel`].

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Instant,
};

use protocol::{id::DeviceId, key::WgKey, target::Proto};

/// A flow; never reused. Divided by the number of shards it leaves the number of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct FlowId(pub u64);

/// From where to where, as the device sees it. Of an echo the device's port is its identifier, and the
/// target's port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// The device's end.
    pub device: SocketAddr,
    /// What it dialled.
    pub target: SocketAddr,
}

impl Hash for FlowKey {
    /// As derived, but in as few words as it takes: this is done for each packet.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for addr in [self.device.ip(), self.target.ip()] {
            match addr {
                IpAddr::V4(v4) => state.write_u32(v4.to_bits()),
                IpAddr::V6(v6) => state.write_u128(v6.to_bits()),
            }
        }
        state.write_u32(u32::from(self.device.port()) << 16 | u32::from(self.target.port()));
    }
}

/// The shell's answer to [`Event::FlowOpened`] and [`Event::DatagramFlowOpened`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give the SYN to the kernel, or what was held of the datagrams to the shell.
    Admit,
    /// Tell the device no.
    Refuse(Refusal),
}

/// How the device is told no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// TCP reset: connection refused.
    Rst,
    /// ICMP: port unreachable.
    PortUnreachable,
    /// ICMP: administratively prohibited.
    Prohibited,
    /// ICMP: host (IPv6: address) unreachable.
    HostUnreachable,
    /// ICMP: net unreachable (IPv6: no route).
    NetUnreachable,
}

/// Why a flow ended although the shell did not end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// No verdict came in time.
    HoldExpired,
    /// The device began anew from the same port.
    Superseded,
    /// The device took its SYN back with a RST.
    DeviceReset,
    /// The device was removed; what is open must be reset.
    DeviceRemoved,
    /// Admitted, but too many of the device's SYNs wait to be accepted.
    OverLimit,
    /// Nothing passed for the lifetime of a flow of datagrams.
    Idle,
}

/// What the shell must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A SYN is held: decide.
    FlowOpened {
        /// The new flow.
        flow: FlowId,
        /// Who dials.
        device: DeviceId,
        /// From where to where.
        key: FlowKey,
        /// The SYN's sequence number, to pair the accepted socket with.
        isn: u32,
    },
    /// A datagram of a new flow is held: decide.
    DatagramFlowOpened {
        /// The new flow.
        flow: FlowId,
        /// Who sends.
        device: DeviceId,
        /// UDP, or echo.
        proto: Proto,
        /// From where to where.
        key: FlowKey,
    },
    /// A datagram on an admitted flow; answer with [`crate::Tunnel::send_datagram`].
    Datagram {
        /// The flow.
        flow: FlowId,
        /// UDP's payload; of an echo, its sequence number and data.
        payload: Vec<u8>,
    },
    /// A flow ended by itself: drop what was dialled or accepted for it.
    FlowGone {
        /// The flow.
        flow: FlowId,
        /// Why.
        why: Gone,
    },
    /// An admitted flow was never accepted and is forgotten.
    PermitExpired {
        /// The flow.
        flow: FlowId,
    },
    /// A DNS query to a gateway address; answer with [`crate::Tunnel::send_udp`].
    Dns {
        /// Who asks.
        device: DeviceId,
        /// The asking socket.
        from: SocketAddr,
        /// The gateway's address that was asked.
        to: SocketAddr,
        /// The message.
        payload: Vec<u8>,
    },
    /// A peer proved its key in a handshake.
    Handshake {
        /// The device.
        device: DeviceId,
        /// Which of its keys.
        key: WgKey,
        /// Where the handshake came from.
        endpoint: SocketAddr,
    },
    /// Someone with a key of no device wants in. The key is claimed, not proven.
    UnknownKey {
        /// The key.
        key: WgKey,
        /// From where.
        from: SocketAddr,
    },
}

/// What a kernel left to us to do for a packet it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// Whether the transport checksum is there.
    pub checksum: Checksum,
    /// TCP payload bytes per segment, if the packet is to be cut into segments.
    pub segment: Option<NonZeroU16>,
}

impl Offload {
    /// The packet is as it will be on the wire.
    pub const NOTHING: Self = Self { checksum: Checksum::Complete, segment: None };
}

/// The transport checksum of a packet from a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Right, or not needed.
    Complete,
    /// To be computed.
    Partial,
}

/// Datagrams to send to one place, one behind the other: all `segment` bytes long but the last, which may
/// be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// By which socket.
    pub socket: usize,
    /// To whom.
    pub to: SocketAddr,
    /// All of them.
    pub bytes: &'a [u8],
    /// The length of one.
    pub segment: usize,
}

/// How far a flow has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowPhase {
    /// The SYN waits for a verdict.
    Held,
    /// The kernel has the SYN.
    Admitted,
    /// A socket is paired with it.
    Live,
    /// The shell closed the socket; the kernel says goodbye.
    Draining,
    /// Cut: only resets pass.
    Closing,
}

/// A flow as status and `cut_where` see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowInfo {
    /// The flow.
    pub flow: FlowId,
    /// Whose.
    pub device: DeviceId,
    /// What it speaks.
    pub proto: Proto,
    /// From where to where.
    pub key: FlowKey,
    /// How far.
    pub phase: FlowPhase,
    /// Since when it exists.
    pub since: Instant,
}

/// A peer as status sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The device.
    pub device: DeviceId,
    /// The key.
    pub key: WgKey,
    /// Where it was last proven to be.
    pub endpoint: Option<SocketAddr>,
    /// When it last shook hands.
    pub last_handshake: Option<Instant>,
    /// When data of it last decrypted.
    pub last_heard: Option<Instant>,
    /// Inner bytes received from it.
    pub received: u64,
    /// Inner bytes sent to it.
    pub sent: u64,
    /// Whether cipher state is held for it now.
    pub awake: bool,
}
