//! A deterministic cipher for tests: WireGuard's shapes and lifetimes, no secrecy. Whoever knows two
//! public keys can forge it; tests do not. Time is the argument, and the same calls give the same
//! bytes. Sessions end 180 s after their handshake; initiations repeat every 5 s for 90 s.
//! Handshake messages end in real MACs, and the limiter is the product's.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use protocol::key::WgKey;

use super::{
    Admission, Failure, HANDSHAKE_BYTES, Kind, Noise, NoisePeer, Opened, Received, Ticked,
    cookie::client::{open, prove},
    limiter::Limiter,
};
use crate::config::{CookieSecret, HandshakeLimits, Stamp};

const SESSION: Duration = Duration::from_secs(180);
const RETRY: Duration = Duration::from_secs(5);
const GIVE_UP: Duration = Duration::from_secs(90);
const COOKIE: Duration = Duration::from_secs(120);

fn tag(parts: impl Hash) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish().to_le_bytes()
}

fn word(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

/// The static key is its own public key.
pub(crate) struct Model {
    key: WgKey,
    epoch: Instant,
    limiter: Limiter,
}

impl Model {
    pub(crate) fn new(key: WgKey, epoch: Instant, cookies: &CookieSecret, limits: HandshakeLimits) -> Self {
        Self { key, epoch, limiter: Limiter::new(&key, cookies, limits) }
    }
}

impl Noise for Model {
    fn admit(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Admission {
        self.limiter.admit(from, datagram, now)
    }

    fn open(&self, datagram: &[u8], known: &dyn Fn(&WgKey) -> bool) -> Opened {
        let claimed = WgKey(datagram[8..40].try_into().unwrap());
        if !known(&claimed) {
            return Opened::Stranger(claimed);
        }
        if datagram[52..60] != tag((&datagram[..52], claimed, self.key)) {
            return Opened::Invalid;
        }
        Opened::Known(claimed, Stamp(datagram[40..52].try_into().unwrap()))
    }

    fn peer(&self, key: &WgKey, index: u32, _now: Instant) -> Box<dyn NoisePeer> {
        Box::new(ModelPeer::new(self.key, *key, index, self.epoch))
    }
}

struct Session {
    ours: u32,
    theirs: u32,
    since: Instant,
    sent: u64,
    received: Option<u64>,
    confirmed: bool,
}

/// Both ends of a model session.
pub(crate) struct ModelPeer {
    own: WgKey,
    peer: WgKey,
    next: u32,
    epoch: Instant,
    session: Option<Session>,
    /// Our index, when first tried, when last tried.
    trying: Option<(u32, Instant, Instant)>,
    queue: VecDeque<Vec<u8>>,
    /// mac1 of the last handshake message, its index, and the cookie that came for one.
    proven: Option<([u8; 16], u32)>,
    cookie: Option<([u8; 16], Instant)>,
}

impl ModelPeer {
    pub(crate) fn new(own: WgKey, peer: WgKey, index: u32, epoch: Instant) -> Self {
        Self {
            own,
            peer,
            next: index << 8,
            epoch,
            session: None,
            trying: None,
            queue: VecDeque::new(),
            proven: None,
            cookie: None,
        }
    }

    fn index(&mut self) -> u32 {
        self.next = self.next & !0xff | (self.next + 1) & 0xff;
        self.next
    }

    fn live(&self, now: Instant) -> Option<&Session> {
        self.session.as_ref().filter(|s| now - s.since < SESSION)
    }

    fn write_initiation(&mut self, out: &mut [u8], now: Instant) -> usize {
        let index = self.index();
        let first = self.trying.map_or(now, |(_, first, _)| first);
        self.trying = Some((index, first, now));
        let out = &mut out[..HANDSHAKE_BYTES];
        out.fill(0);
        out[..4].copy_from_slice(&1u32.to_le_bytes());
        out[4..8].copy_from_slice(&index.to_le_bytes());
        out[8..40].copy_from_slice(&self.own.0);
        out[44..52].copy_from_slice(&(u64::try_from((now - self.epoch).as_nanos()).unwrap()).to_be_bytes());
        let mark = tag((&out[..52], self.own, self.peer));
        out[52..60].copy_from_slice(&mark);
        self.prove(index, out, now);
        HANDSHAKE_BYTES
    }

    fn write_data(&mut self, packet: &[u8], out: &mut [u8]) -> usize {
        let (own, peer) = (self.own, self.peer);
        let session = self.session.as_mut().unwrap();
        let len = packet.len() + 32;
        out[..4].copy_from_slice(&4u32.to_le_bytes());
        out[4..8].copy_from_slice(&session.theirs.to_le_bytes());
        out[8..16].copy_from_slice(&session.sent.to_le_bytes());
        out[16..16 + packet.len()].copy_from_slice(packet);
        session.sent += 1;
        let mark = tag((&out[..len - 16], own, peer, session.ours, session.theirs));
        out[len - 16..len].fill(0);
        out[len - 16..len - 8].copy_from_slice(&mark);
        len
    }

    fn answer(&mut self, datagram: &[u8], out: &mut [u8], now: Instant) -> Received {
        let (theirs, ours) = (word(datagram, 4), self.index());
        self.session = Some(Session { ours, theirs, since: now, sent: 0, received: None, confirmed: false });
        self.trying = None;
        let out = &mut out[..92];
        out.fill(0);
        out[..4].copy_from_slice(&2u32.to_le_bytes());
        out[4..8].copy_from_slice(&ours.to_le_bytes());
        out[8..12].copy_from_slice(&theirs.to_le_bytes());
        let mark = tag((&out[..12], self.own, self.peer));
        out[12..20].copy_from_slice(&mark);
        self.prove(ours, out, now);
        Received::Reply(92)
    }

    fn prove(&mut self, index: u32, message: &mut [u8], now: Instant) {
        let cookie = self.cookie.filter(|(_, since)| now - *since < COOKIE).map(|(cookie, _)| cookie);
        prove(message, &self.peer, cookie);
        self.proven = message[message.len() - 32..].first_chunk().map(|mac1| (*mac1, index));
    }

    fn take_cookie(&mut self, reply: &[u8], now: Instant) -> Received {
        let asked = self.proven.filter(|(_, index)| word(reply, 4) == *index);
        match asked.and_then(|(mac1, _)| open(reply, &self.peer, &mac1)) {
            Some(cookie) => {
                self.cookie = Some((cookie, now));
                Received::Nothing
            }
            None => Received::Failed(Failure::Invalid),
        }
    }

    fn conclude(&mut self, datagram: &[u8], out: &mut [u8], now: Instant) -> Received {
        let (theirs, ours) = (word(datagram, 4), word(datagram, 8));
        let ours_tried = self.trying.is_some_and(|(index, ..)| index == ours);
        if !ours_tried || datagram[12..20] != tag((&datagram[..12], self.peer, self.own)) {
            return Received::Failed(Failure::Invalid);
        }
        self.trying = None;
        self.session = Some(Session { ours, theirs, since: now, sent: 0, received: None, confirmed: true });
        Received::Reply(self.write_data(&[], out))
    }

    fn open_data(&mut self, datagram: &[u8], out: &mut [u8], now: Instant) -> Received {
        let (own, peer) = (self.own, self.peer);
        let Some(session) = self.session.as_mut().filter(|s| now - s.since < SESSION) else {
            return Received::Failed(Failure::NoSession);
        };
        if word(datagram, 4) != session.ours {
            return Received::Failed(Failure::NoSession);
        }
        let body = datagram.len() - 16;
        if datagram[body..body + 8] != tag((&datagram[..body], peer, own, session.theirs, session.ours)) {
            return Received::Failed(Failure::Invalid);
        }
        let counter = u64::from_le_bytes(datagram[8..16].try_into().unwrap());
        if session.received.is_some_and(|seen| counter <= seen) {
            return Received::Failed(Failure::Replayed);
        }
        session.received = Some(counter);
        session.confirmed = true;
        out[..body - 16].copy_from_slice(&datagram[16..body]);
        if body == 16 { Received::Nothing } else { Received::Packet(body - 16) }
    }
}

impl NoisePeer for ModelPeer {
    fn receive(&mut self, _from: IpAddr, datagram: &[u8], out: &mut [u8], now: Instant) -> Received {
        match Kind::of(datagram) {
            Some(Kind::Initiation) => self.answer(datagram, out, now),
            Some(Kind::Response(_)) => self.conclude(datagram, out, now),
            Some(Kind::Data(_)) => self.open_data(datagram, out, now),
            Some(Kind::Cookie(_)) => self.take_cookie(datagram, now),
            None => Received::Failed(Failure::Invalid),
        }
    }

    fn flush(&mut self, out: &mut [u8], now: Instant) -> usize {
        let ready = self.live(now).is_some_and(|s| s.confirmed);
        match self.queue.pop_front().filter(|_| ready) {
            Some(packet) => self.write_data(&packet, out),
            None => 0,
        }
    }

    fn send(&mut self, packet: &[u8], out: &mut [u8], now: Instant) -> usize {
        if self.live(now).is_some_and(|s| s.confirmed) {
            return self.write_data(packet, out);
        }
        self.queue.push_back(packet.to_vec());
        if self.trying.is_some() { 0 } else { self.write_initiation(out, now) }
    }

    fn initiate(&mut self, out: &mut [u8], now: Instant) -> usize {
        self.write_initiation(out, now)
    }

    fn tick(&mut self, out: &mut [u8], now: Instant) -> Ticked {
        match self.trying {
            Some((_, first, _)) if now - first >= GIVE_UP => {
                *self = Self::new(self.own, self.peer, self.next >> 8, self.epoch);
                Ticked::Expired
            }
            Some((_, _, last)) if now - last >= RETRY => Ticked::Send(self.write_initiation(out, now)),
            Some(_) | None => Ticked::Nothing,
        }
    }

    fn has_session(&self, now: Instant) -> bool {
        self.live(now).is_some_and(|s| s.confirmed)
    }
}
