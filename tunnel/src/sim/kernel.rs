//! The gateway's kernel and the targets behind it: it accepts whatever connection reaches it and echoes
//! what it gets. It checks nothing, so that whatever should not have reached it shows.

use std::{collections::BTreeMap, time::Duration};

use super::{
    conn::{Conn, State},
    dice::Dice,
    wire::Inner,
};
use crate::{
    FlowId, FlowKey,
    packet::{
        Ends,
        tcp::{ACK, FIN, RST, tests::segment},
    },
};

/// How long a silent peer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One socket, and what the shell knows of it.
pub(super) struct Socket {
    pub(super) conn: Conn,
    /// The first sequence number of the SYN that made it.
    pub(super) isn: u32,
    /// The flow it was paired with.
    pub(super) flow: Option<FlowId>,
    heard: Duration,
}

impl Socket {
    /// In the accept queue.
    pub(super) fn waits(&self) -> bool {
        self.conn.state == State::Open && self.flow.is_none()
    }
}

/// All sockets, and the packets they send.
#[derive(Default)]
pub(super) struct Kernel {
    pub(super) sockets: BTreeMap<FlowKey, Socket>,
    pub(super) out: Vec<Vec<u8>>,
}

impl Kernel {
    /// A packet came out of the TUN.
    pub(super) fn hear(&mut self, packet: &[u8], now: Duration, dice: &mut Dice) {
        let Some(inner) = Inner::read(packet).filter(Inner::is_tcp) else { return };
        let key = FlowKey { device: inner.src, target: inner.dst };
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.heard = now;
            let conn = &mut socket.conn;
            conn.hear(&inner, now, &mut self.out);
            if socket.flow.is_some() {
                conn.goal = conn.received;
                conn.pump(false, now, &mut self.out);
            }
        } else if inner.opens() {
            let iss = u32::try_from(dice.draw() >> 32).unwrap();
            let mut conn = Conn::new(inner.dst, inner.src, iss, Some(inner.seq));
            conn.pump(false, now, &mut self.out);
            self.sockets.insert(key, Socket { conn, isn: inner.seq, flow: None, heard: now });
        } else if !inner.has(RST) {
            let ends = Ends::new(inner.dst.ip(), inner.src.ip()).unwrap();
            let ports = (inner.dst.port(), inner.src.port());
            self.out.push(segment(ends, ports, inner.ack, 0, RST, &[]));
        }
        self.sockets.retain(|_, socket| socket.conn.state != State::Dead);
    }

    /// A quarter of a second has passed.
    pub(super) fn beat(&mut self, now: Duration) {
        for socket in self.sockets.values_mut() {
            socket.conn.beat(now, &mut self.out);
            if now > socket.heard + PATIENCE {
                self.out.push(socket.conn.reset());
            }
        }
        self.sockets.retain(|_, socket| socket.conn.state != State::Dead && !socket.conn.done());
    }

    /// The shell took the socket: now the target echoes.
    pub(super) fn pair(&mut self, key: &FlowKey, flow: FlowId, now: Duration) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.flow = Some(flow);
            socket.conn.goal = socket.conn.received;
            socket.conn.pump(false, now, &mut self.out);
        }
    }

    /// The shell closed the socket in peace.
    pub(super) fn close(&mut self, key: &FlowKey, now: Duration) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.conn.closing = true;
            socket.conn.pump(false, now, &mut self.out);
        }
    }

    /// Closes by force: nothing but a reset is sent.
    pub(super) fn reset(&mut self, key: &FlowKey) {
        if let Some(mut socket) = self.sockets.remove(key) {
            self.out.push(socket.conn.reset());
        }
    }

    /// What a socket had in its queue when it was cut: data, and a clean end.
    pub(super) fn leftovers(&mut self, key: &FlowKey) {
        if let Some(socket) = self.sockets.get(key) {
            self.out.push(socket.conn.write(1, ACK, b"queued before the cut"));
            self.out.push(socket.conn.write(22, ACK | FIN, &[]));
        }
    }
}
