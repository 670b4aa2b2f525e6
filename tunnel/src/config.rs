//! What the shell tells the core: keys, addresses, limits, peers, and what it remembered for us
//! over a restart. Nothing here is read from files. A private key never shows in `Debug`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use protocol::{id::DeviceId, key::WgKey};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::shard::Shard;

/// A WireGuard private key. `Debug` hides it; it is wiped when dropped.
#[derive(Clone)]
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// Wraps 32 secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> WgKey {
        WgKey(PublicKey::from(&self.0).to_bytes())
    }

    pub(crate) fn secret(&self) -> &StaticSecret {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What handshake cookies are made of. The data-plane threads of one gateway share one, so that each takes
/// the cookies of the others. `Debug` hides it.
#[derive(Clone)]
pub struct CookieSecret {
    pub(crate) bytes: [u8; 32],
    pub(crate) since: Instant,
}

impl CookieSecret {
    /// 32 bytes nobody can guess; epochs are counted from `since`.
    pub fn new(bytes: [u8; 32], since: Instant) -> Self {
        Self { bytes, since }
    }
}

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Everything a [`crate::Tunnel`] needs to know at birth.
#[derive(Debug, Clone)]
pub struct Config {
    /// The gateway's WireGuard key.
    pub private_key: PrivateKey,
    /// What its cookies are made of.
    pub cookies: CookieSecret,
    /// The gateway's own addresses inside the tunnel.
    pub gateway_addrs: Vec<IpAddr>,
    /// Bounds on everything.
    pub limits: Limits,
    /// Where receiver indices begin; random in the product, fixed in a simulation.
    pub seed: u64,
    /// The largest inner packet, in bytes.
    pub mtu: usize,
    /// Which part of the peers this is.
    pub shard: Shard,
}

/// The bound of every table, queue and rate of one shard. Each has a [`crate::Count`] for when it is hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Flows of all devices together.
    pub flows: usize,
    /// Flows of one device.
    pub flows_per_device: usize,
    /// SYNs of one device that wait for a verdict; and, counted by themselves, its new datagram flows.
    pub held_per_device: usize,
    /// SYNs of one device the kernel has and nobody accepted yet.
    pub admitted_per_device: usize,
    /// Flows of datagrams, of all devices together.
    pub datagram_flows: usize,
    /// Flows of datagrams of one device.
    pub datagram_flows_per_device: usize,
    /// Bytes of datagrams that wait for a verdict, of all devices together.
    pub held_bytes: usize,
    /// Datagrams of one device that wait to be polled.
    pub datagrams_per_device: usize,
    /// DNS queries of one device that wait to be polled.
    pub dns_per_device: usize,
    /// Events that wait to be polled; beyond it no flow opens.
    pub events: usize,
    /// Bytes waiting in each output queue.
    pub queue_bytes: usize,
    /// What handshakes may cost.
    pub handshakes: HandshakeLimits,
    /// Forced re-handshakes per second, over all peers.
    pub rehandshakes_per_second: u32,
    /// TCP flows that one device may open per second; its further SYNs are dropped, to be sent again.
    pub opens_per_second: u32,
    /// RSTs per second and device for segments that belong to no flow.
    pub resets_per_second: u32,
    /// ICMP messages (errors and echo replies) per second and device.
    pub icmp_per_second: u32,
    /// Unknown-key events per second.
    pub unknown_keys_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 100_000,
            flows_per_device: 8192,
            held_per_device: 128,
            admitted_per_device: 128,
            datagram_flows: 65_536,
            datagram_flows_per_device: 1024,
            held_bytes: 32 << 20,
            datagrams_per_device: 256,
            dns_per_device: 64,
            events: 16_384,
            queue_bytes: 8 << 20,
            handshakes: HandshakeLimits::default(),
            rehandshakes_per_second: 1000,
            opens_per_second: 2000,
            resets_per_second: 200,
            icmp_per_second: 20,
            unknown_keys_per_second: 8,
        }
    }
}

/// What handshake messages may cost, per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Messages answered without a cookie; above it cookies are asked for.
    pub unverified_per_second: u32,
    /// Messages answered because their sender returned a cookie; beyond it they share the budget of the rest.
    pub verified_per_second: u32,
    /// Of those, messages of one source (an IPv4 address, an IPv6 /64).
    pub source_per_second: u32,
    /// Cookies sent.
    pub cookies_per_second: u32,
}

/// Shares of one core, measured on a 2-core AMD EPYC machine (release build): a forged initiation costs 42 µs,
/// a recorded one of a known key 85 µs, an answer to a peer at rest 281 µs, a cookie 2 µs. So whoever has
/// no key takes at most 17 % without cookies, 13 % with cookies and 4 % for cookies, and a gateway whose
/// devices all come back at once does little else until they are.
impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            unverified_per_second: 2000,
            verified_per_second: 1500,
            source_per_second: 20,
            cookies_per_second: 20_000,
        }
    }
}

/// One device and the keys that speak for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSpec {
    /// The device.
    pub device: DeviceId,
    /// One key, or two while rotating; each is one WireGuard peer.
    pub keys: Vec<WgKey>,
    /// The only v4 source the device may use.
    pub v4: Ipv4Addr,
    /// The only v6 source the device may use.
    pub v6: Ipv6Addr,
}

/// Where a peer was last proven to be; kept over restarts so that we can call it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KnownEndpoint {
    /// The peer.
    pub key: WgKey,
    /// The socket its datagrams arrived on.
    pub socket: usize,
    /// Its address outside the tunnel.
    pub addr: SocketAddr,
}

/// A TAI64N label; the byte order is the time order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub [u8; 12]);

/// The greatest label a peer's initiations carried; kept so that none can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KnownStamp {
    /// The peer.
    pub key: WgKey,
    /// Its greatest label.
    pub stamp: Stamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_hidden() {
        let key = PrivateKey::new([7; 32]);
        assert_eq!(format!("{key:?}"), "(hidden)");
        assert_ne!(key.public(), WgKey([7; 32]));
        assert_eq!(format!("{:?}", CookieSecret::new([7; 32], crate::testing::start())), "(hidden)");
    }
}
