//! A TCP just good enough to carry a script: a few segments in flight, repetition each second, RST as
//! RFC 5961 has it. Every payload byte follows from its sequence number and port, so the receiver
//! notices any byte that its peer did not send.

use std::{net::SocketAddr, time::Duration};

use super::wire::Inner;
use crate::packet::{
    Ends,
    tcp::{ACK, FIN, RST, SYN, tests::segment as packet},
};

const MSS: u32 = 300;
const WINDOW: u32 = 3 * MSS;
const RETRY: Duration = Duration::from_secs(1);
const TRIES: u32 = 8;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    Open,
    /// Refused, reset, or given up.
    Dead,
}

/// One end of a connection. Offsets count from our first sequence number; the SYN is offset 0.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) own: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    /// How many bytes we have to say.
    pub(super) goal: u32,
    /// Whether we say goodbye after them.
    pub(super) closing: bool,
    pub(super) received: u32,
    pub(super) heard_fin: bool,
    iss: u32,
    their_next: Option<u32>,
    acked: u32,
    next: u32,
    top: u32,
    retry_at: Duration,
    tries: u32,
}

/// The payload byte of the sender at `port` under a sequence number.
fn byte(port: u16, seq: u32) -> u8 {
    (seq ^ u32::from(port) << 9).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]
}

impl Conn {
    /// A connection to be dialled, or, with the peer's first sequence number, to be accepted.
    pub(super) fn new(own: SocketAddr, peer: SocketAddr, iss: u32, their_isn: Option<u32>) -> Self {
        Self {
            own,
            peer,
            state: State::Opening,
            goal: 0,
            closing: false,
            received: 0,
            heard_fin: false,
            iss,
            their_next: their_isn.map(|isn| isn.wrapping_add(1)),
            acked: 0,
            next: 0,
            top: 0,
            retry_at: Duration::ZERO,
            tries: 0,
        }
    }

    /// Both sides said and acknowledged everything.
    pub(super) fn done(&self) -> bool {
        self.closing && self.heard_fin && self.acked == self.goal + 2
    }

    /// Our first sequence number.
    pub(super) fn isn(&self) -> u32 {
        self.iss
    }

    pub(super) fn write(&self, offset: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let ends = Ends::new(self.own.ip(), self.peer.ip()).unwrap();
        let ports = (self.own.port(), self.peer.port());
        packet(ends, ports, self.iss.wrapping_add(offset), self.their_next.unwrap_or(0), flags, data)
    }

    /// A reset that the peer believes.
    pub(super) fn reset(&mut self) -> Vec<u8> {
        self.state = State::Dead;
        self.write(self.next, RST | ACK, &[])
    }

    /// What can be sent now; at least an acknowledgement if `owed`.
    pub(super) fn pump(&mut self, owed: bool, now: Duration, out: &mut Vec<Vec<u8>>) {
        let before = out.len();
        match self.state {
            State::Dead => return,
            State::Opening => {
                out.push(self.write(0, if self.their_next.is_some() { SYN | ACK } else { SYN }, &[]));
                self.next = 1;
            }
            State::Open => {
                while self.next <= self.goal && self.next - self.acked < WINDOW {
                    let until = (self.next + MSS).min(self.goal + 1);
                    let at = |offset| byte(self.own.port(), self.iss.wrapping_add(offset));
                    let data: Vec<u8> = (self.next..until).map(at).collect();
                    out.push(self.write(self.next, ACK, &data));
                    self.next = until;
                }
                if self.closing && self.next == self.goal + 1 {
                    out.push(self.write(self.next, FIN | ACK, &[]));
                    self.next += 1;
                } else if owed && out.len() == before {
                    out.push(self.write(self.next, ACK, &[]));
                }
            }
        }
        if out.len() > before && self.acked < self.next {
            self.retry_at = now + RETRY;
        }
        self.top = self.top.max(self.next);
    }

    /// Repeats what was not acknowledged.
    pub(super) fn beat(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) {
        if self.state == State::Dead || self.acked == self.next && self.next > 0 || now < self.retry_at {
            return;
        }
        self.tries += 1;
        if self.tries > TRIES {
            out.push(self.reset());
            return;
        }
        self.next = self.acked;
        self.pump(false, now, out);
    }

    /// A segment of the peer.
    pub(super) fn hear(&mut self, segment: &Inner<'_>, now: Duration, out: &mut Vec<Vec<u8>>) {
        if self.state == State::Dead {
            return;
        }
        let answers_syn = segment.ack == self.iss.wrapping_add(1) && segment.has(ACK);
        match self.their_next {
            None if segment.has(RST) && answers_syn => self.state = State::Dead,
            None if segment.has(RST) => {}
            None if segment.has(SYN) && answers_syn => {
                self.their_next = Some(segment.seq.wrapping_add(1));
                self.state = State::Open;
                (self.acked, self.next, self.tries) = (1, 1, 0);
                self.pump(true, now, out);
            }
            // An old connection of the same ports lives at the other end.
            None if segment.has(ACK) && !answers_syn => {
                let ends = Ends::new(self.own.ip(), self.peer.ip()).unwrap();
                let ports = (self.own.port(), self.peer.port());
                out.push(packet(ends, ports, segment.ack, 0, RST, &[]));
            }
            None => {}
            Some(next) if segment.has(RST) && segment.seq == next => self.state = State::Dead,
            Some(_) if segment.has(RST) => out.push(self.write(self.next, ACK, &[])),
            Some(next)
                if self.state == State::Opening && segment.opens() && segment.seq.wrapping_add(1) == next =>
            {
                self.pump(true, now, out);
            }
            Some(_) if segment.has(SYN) => out.push(self.write(self.next, ACK, &[])),
            Some(next) => self.take(segment, next, now, out),
        }
    }

    fn take(&mut self, segment: &Inner<'_>, next: u32, now: Duration, out: &mut Vec<Vec<u8>>) {
        let acked = segment.ack.wrapping_sub(self.iss);
        if segment.has(ACK) && acked <= self.top && acked > self.acked {
            self.acked = acked;
            self.next = self.next.max(acked);
            self.tries = 0;
            self.state = State::Open;
        }
        if self.state == State::Opening {
            return;
        }
        let len = u32::try_from(segment.data.len()).unwrap();
        let fin = segment.has(FIN);
        if segment.seq == next && !self.heard_fin && (len > 0 || fin) {
            for (at, &got) in (0..).zip(segment.data) {
                let sent = byte(self.peer.port(), next.wrapping_add(at));
                assert_eq!(got, sent, "{} got from {} a byte nobody sent", self.own, self.peer);
            }
            self.received += len;
            self.heard_fin = fin;
            self.their_next = Some(next.wrapping_add(len + u32::from(fin)));
        }
        self.pump(len > 0 || fin, now, out);
    }
}
