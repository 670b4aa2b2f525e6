//! The cipher of the product: boringtun 0.7.1.
//! What it draws inside: `OsRng` for ephemeral keys; `CLOCK_BOOTTIME` for its timers and the wall
//! clock for TAI64N labels. So `now` is ignored here, and only here, but for our own limiter.
//! Lengths it returns are those of slices that begin where our buffer begins.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use boringtun::{
    noise::{Tunn, TunnResult, errors::WireGuardError, rate_limiter::RateLimiter},
    x25519::{PublicKey, StaticSecret},
};
use protocol::key::WgKey;

use super::{
    Admission, Failure, Kind, Noise, NoisePeer, Opened, Received, Ticked, initiation::Opener,
    limiter::Limiter,
};
use crate::config::{CookieSecret, HandshakeLimits, PrivateKey};

/// The gateway's static key.
pub(crate) struct Boring {
    secret: StaticSecret,
    opener: Opener,
    limiter: Limiter,
    unlimited: Arc<RateLimiter>,
}

impl Boring {
    pub(crate) fn new(key: &PrivateKey, cookies: &CookieSecret, limits: HandshakeLimits) -> Self {
        let secret = key.secret().clone();
        Self {
            opener: Opener::new(&secret),
            limiter: Limiter::new(&key.public(), cookies, limits),
            unlimited: unlimited(key),
            secret,
        }
    }
}

impl Noise for Boring {
    fn admit(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Admission {
        self.limiter.admit(from, datagram, now)
    }

    fn open(&self, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Opened {
        self.opener.open(datagram, known)
    }

    fn peer(&self, key: &WgKey, index: u32, _now: Instant) -> Box<dyn NoisePeer> {
        Box::new(BoringPeer::new(&self.secret, key, Extras::default(), index, Arc::clone(&self.unlimited)))
    }
}

/// For each peer's state. boringtun has no entry for a message that was verified, so mac1 of what our
/// limiter passed is checked a second time here (0.3 µs beside key agreements of 42 µs each), and what
/// `Opener` opened is opened again. It must not be counted again: this limiter never asks for a cookie.
fn unlimited(key: &PrivateKey) -> Arc<RateLimiter> {
    Arc::new(RateLimiter::new(&PublicKey::from(key.secret()), u64::MAX))
}

/// What a client may set and the gateway does not.
#[derive(Default)]
struct Extras {
    preshared: Option<[u8; 32]>,
    keepalive: Option<u16>,
}

/// One `Tunn`: 11 KB, so never made for a peer at rest.
pub(crate) struct BoringPeer(Tunn);

impl BoringPeer {
    /// A client's only peer.
    pub(crate) fn client(
        own: &PrivateKey,
        gateway: &WgKey,
        preshared: Option<[u8; 32]>,
        keepalive: Option<u16>,
        index: u32,
    ) -> Self {
        Self::new(own.secret(), gateway, Extras { preshared, keepalive }, index, unlimited(own))
    }

    fn new(own: &StaticSecret, peer: &WgKey, extras: Extras, index: u32, limiter: Arc<RateLimiter>) -> Self {
        let peer = PublicKey::from(peer.0);
        Self(Tunn::new(own.clone(), peer, extras.preshared, extras.keepalive, index, Some(limiter)))
    }
}

/// The length of what is to be sent; zero for everything else.
fn sent(result: &TunnResult<'_>) -> usize {
    match result {
        TunnResult::WriteToNetwork(message) => message.len(),
        TunnResult::Done
        | TunnResult::Err(_)
        | TunnResult::WriteToTunnelV4(..)
        | TunnResult::WriteToTunnelV6(..) => 0,
    }
}

fn failure(error: &WireGuardError) -> Failure {
    match error {
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => Failure::NoSession,
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => Failure::Replayed,
        _ => Failure::Invalid,
    }
}

impl NoisePeer for BoringPeer {
    fn receive(&mut self, from: IpAddr, datagram: &[u8], out: &mut [u8], _now: Instant) -> Received {
        if out.len() < datagram.len() {
            return Received::Failed(Failure::Invalid);
        }
        let data = matches!(Kind::of(datagram), Some(Kind::Data(_)));
        match self.0.decapsulate(Some(from), datagram, out) {
            TunnResult::Done => Received::Nothing,
            TunnResult::WriteToNetwork(message) => Received::Reply(message.len()),
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Received::Packet(packet.len())
            }
            // For data, this error comes only after decryption.
            TunnResult::Err(WireGuardError::InvalidPacket) if data => Received::Garbage,
            TunnResult::Err(error) => Received::Failed(failure(&error)),
        }
    }

    fn flush(&mut self, out: &mut [u8], _now: Instant) -> usize {
        sent(&self.0.decapsulate(None, &[], out))
    }

    fn send(&mut self, packet: &[u8], out: &mut [u8], _now: Instant) -> usize {
        sent(&self.0.encapsulate(packet, out))
    }

    fn initiate(&mut self, out: &mut [u8], _now: Instant) -> usize {
        sent(&self.0.format_handshake_initiation(out, true))
    }

    fn tick(&mut self, out: &mut [u8], _now: Instant) -> Ticked {
        match self.0.update_timers(out) {
            TunnResult::WriteToNetwork(message) => Ticked::Send(message.len()),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Ticked::Expired,
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Ticked::Nothing,
        }
    }

    fn has_session(&self, _now: Instant) -> bool {
        self.0.stats().0.is_some()
    }
}
