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
pub(crate) struct BoringPeer {
    tunn: Tunn,
    /// Whether there is a session to send with: without one boringtun would keep the packet, and send it
    /// when nobody wants that any more. Known, because asking costs a look at the clock.
    session: bool,
}

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
        let Extras { preshared, keepalive } = extras;
        let tunn = Tunn::new(own.clone(), peer, preshared, keepalive, index, Some(limiter));
        Self { tunn, session: false }
    }
}

/// Whether boringtun would send, and not keep, what it is given.
fn session(tunn: &Tunn) -> bool {
    tunn.time_since_last_handshake().is_some()
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
        let received = match self.tunn.decapsulate(Some(from), datagram, out) {
            TunnResult::Done => Received::Nothing,
            TunnResult::WriteToNetwork(message) => Received::Reply(message.len()),
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Received::Packet(packet.len())
            }
            // For data, this error comes only after decryption.
            TunnResult::Err(WireGuardError::InvalidPacket) if data => Received::Garbage,
            TunnResult::Err(error) => Received::Failed(failure(&error)),
        };
        // It may have brought a session, but ended none.
        self.session = self.session || session(&self.tunn);
        received
    }

    fn send(&mut self, packet: &[u8], out: &mut [u8], _now: Instant) -> usize {
        if self.session { sent(&self.tunn.encapsulate(packet, out)) } else { 0 }
    }

    fn begin(&mut self, out: &mut [u8], _now: Instant) -> usize {
        sent(&self.tunn.format_handshake_initiation(out, false))
    }

    fn initiate(&mut self, out: &mut [u8], _now: Instant) -> usize {
        sent(&self.tunn.format_handshake_initiation(out, true))
    }

    fn tick(&mut self, out: &mut [u8], _now: Instant) -> Ticked {
        let ticked = match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(message) => Ticked::Send(message.len()),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Ticked::Expired,
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Ticked::Nothing,
        };
        self.session = session(&self.tunn);
        ticked
    }

    fn has_session(&self, _now: Instant) -> bool {
        self.session
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn boringtun_is_given_nothing_to_keep() {
        let keys = [PrivateKey::new([1; 32]), PrivateKey::new([2; 32])];
        let peer = |own: usize, other: usize| {
            BoringPeer::client(&keys[own], &keys[other].public(), None, None, u32::try_from(own).unwrap())
        };
        let (mut ours, mut theirs) = (peer(0, 1), peer(1, 0));
        let (now, from) = (start(), IpAddr::from([192, 0, 2, 1]));
        let (mut a, mut b) = ([0; 256], [0; 256]);
        assert_eq!(ours.send(b"too early", &mut a, now), 0);
        let len = ours.begin(&mut a, now);
        assert_eq!((len, ours.begin(&mut b, now)), (148, 0), "one is under way");
        let Received::Reply(len) = theirs.receive(from, &a[..len], &mut b, now) else { panic!("no answer") };
        assert_eq!(theirs.send(b"too early", &mut a, now), 0, "not before the initiator used it");
        let Received::Reply(len) = ours.receive(from, &b[..len], &mut a, now) else { panic!("no session") };
        assert_eq!(theirs.receive(from, &a[..len], &mut b, now), Received::Nothing);
        for peer in [&mut ours, &mut theirs] {
            assert!(peer.has_session(now));
            assert!(matches!(peer.tunn.decapsulate(None, &[], &mut a), TunnResult::Done), "it kept a packet");
            assert_eq!(peer.send(b"in time", &mut a, now), 7 + 32);
        }
    }
}
