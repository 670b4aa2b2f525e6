//! A deterministic cipher for tests: WireGuard's shapes and lifetimes, no secrecy. Whoever knows two
//! public keys can forge it; tests do not. Time is the argument, and the same calls give the same
//! bytes. Sessions end 180 s after their handshake, initiations repeat every 5 s for 90 s, data is answered
//! within 10 s, and who hears nothing for 15 s shakes hands again. Handshake messages end in real MACs,
//! and the limiter is the product's.

use std::{
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
const KEEPALIVE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(15);
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
}

impl Session {
    fn new(ours: u32, theirs: u32, since: Instant) -> Self {
        Self { ours, theirs, since, sent: 0, received: None }
    }
}

/// Both ends of a model session.
pub(crate) struct ModelPeer {
    own: WgKey,
    peer: WgKey,
    next: u32,
    epoch: Instant,
    /// The one we answered last (it counts once its initiator used it), the current, the one before.
    sessions: [Option<Session>; 3],
    /// Our index, when first tried, when last tried.
    trying: Option<(u32, Instant, Instant)>,
    /// Since when data of ours waits for any answer, and data of the peer's for one of ours.
    unanswered: Option<Instant>,
    owed: Option<Instant>,
    greatest: Option<Stamp>,
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
            sessions: [const { None }; 3],
            trying: None,
            unanswered: None,
            owed: None,
            greatest: None,
            proven: None,
            cookie: None,
        }
    }

    fn index(&mut self) -> u32 {
        self.next = self.next & !0xff | (self.next + 1) & 0xff;
        self.next
    }

    /// A session that both ends know becomes the current one.
    fn establish(&mut self, session: Session) {
        self.sessions = [None, Some(session), self.sessions[1].take()];
        self.unanswered = None;
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

    fn write_data(&mut self, packet: &[u8], out: &mut [u8], now: Instant) -> usize {
        let (own, peer) = (self.own, self.peer);
        let session = self.sessions[1].as_mut().unwrap();
        let len = packet.len() + 32;
        out[..4].copy_from_slice(&4u32.to_le_bytes());
        out[4..8].copy_from_slice(&session.theirs.to_le_bytes());
        out[8..16].copy_from_slice(&session.sent.to_le_bytes());
        out[16..16 + packet.len()].copy_from_slice(packet);
        session.sent += 1;
        let mark = tag((&out[..len - 16], own, peer, session.ours, session.theirs));
        out[len - 16..len].fill(0);
        out[len - 16..len - 8].copy_from_slice(&mark);
        self.owed = None;
        if !packet.is_empty() {
            self.unanswered.get_or_insert(now);
        }
        len
    }

    fn answer(&mut self, datagram: &[u8], out: &mut [u8], now: Instant) -> Received {
        let stamp = Stamp(datagram[40..52].try_into().unwrap());
        let genuine = datagram[8..40] == self.peer.0
            && datagram[52..60] == tag((&datagram[..52], self.peer, self.own))
            && self.greatest.is_none_or(|greatest| stamp > greatest);
        if !genuine {
            return Received::Failed(Failure::Invalid);
        }
        self.greatest = Some(stamp);
        let (theirs, ours) = (word(datagram, 4), self.index());
        self.sessions[0] = Some(Session::new(ours, theirs, now));
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
        self.establish(Session::new(ours, theirs, now));
        Received::Reply(self.write_data(&[], out, now))
    }

    fn open_data(&mut self, datagram: &[u8], out: &mut [u8], now: Instant) -> Received {
        let (own, peer, index) = (self.own, self.peer, word(datagram, 4));
        let fits = |s: &Session| s.ours == index && now - s.since < SESSION;
        let Some(at) = self.sessions.iter().position(|s| s.as_ref().is_some_and(fits)) else {
            return Received::Failed(Failure::NoSession);
        };
        let session = self.sessions[at].as_mut().unwrap();
        let body = datagram.len() - 16;
        if datagram[body..body + 8] != tag((&datagram[..body], peer, own, session.theirs, session.ours)) {
            return Received::Failed(Failure::Invalid);
        }
        let counter = u64::from_le_bytes(datagram[8..16].try_into().unwrap());
        if session.received.is_some_and(|seen| counter <= seen) {
            return Received::Failed(Failure::Replayed);
        }
        session.received = Some(counter);
        if at == 0 {
            let session = self.sessions[0].take().unwrap();
            self.establish(session);
        }
        self.unanswered = None;
        if body > 16 {
            self.owed.get_or_insert(now);
        }
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

    fn send(&mut self, packet: &[u8], out: &mut [u8], now: Instant) -> usize {
        if self.has_session(now) { self.write_data(packet, out, now) } else { 0 }
    }

    fn begin(&mut self, out: &mut [u8], now: Instant) -> usize {
        if self.trying.is_some() { 0 } else { self.write_initiation(out, now) }
    }

    fn initiate(&mut self, out: &mut [u8], now: Instant) -> usize {
        self.write_initiation(out, now)
    }

    fn tick(&mut self, out: &mut [u8], now: Instant) -> Ticked {
        match self.trying {
            Some((_, first, _)) if now - first >= GIVE_UP => {
                let greatest = self.greatest;
                *self = Self { greatest, ..Self::new(self.own, self.peer, self.next >> 8, self.epoch) };
                Ticked::Expired
            }
            Some((_, _, last)) if now - last >= RETRY => Ticked::Send(self.write_initiation(out, now)),
            None if self.unanswered.take_if(|since| now - *since >= PATIENCE).is_some() => {
                Ticked::Send(self.write_initiation(out, now))
            }
            None if self.has_session(now) && self.owed.is_some_and(|since| now - since >= KEEPALIVE) => {
                Ticked::Send(self.write_data(&[], out, now))
            }
            Some(_) | None => Ticked::Nothing,
        }
    }

    fn has_session(&self, now: Instant) -> bool {
        self.sessions[1].as_ref().is_some_and(|s| now - s.since < SESSION)
    }
}
