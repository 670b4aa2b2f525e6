//! Pairs accepted sockets with the flows they were admitted for: by 4-tuple and client ISN,
//! exactly once (two sockets with one 4-tuple do occur in an accept queue).
//! It does not accept or decide. Always true: a socket without a match is nobody's, and is reset.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{net::TcpStream, sync::oneshot};
use tunnel::FlowKey;

use crate::tcp;

type Waiting = HashMap<(FlowKey, u32), oneshot::Sender<TcpStream>>;

/// The flows whose SYN was let through and whose socket has not been accepted yet.
#[derive(Debug, Clone, Default)]
pub struct Pending(Arc<Mutex<Waiting>>);

/// One flow's wait for its socket; dropping it gives the wait up.
#[derive(Debug)]
pub struct Expected {
    pending: Pending,
    key: (FlowKey, u32),
    socket: oneshot::Receiver<TcpStream>,
}

impl Pending {
    /// Announces the flow; do it before its SYN is let through.
    pub fn expect(&self, key: FlowKey, isn: u32) -> Expected {
        let (sender, socket) = oneshot::channel();
        self.waiting().insert((key, isn), sender);
        Expected { pending: self.clone(), key: (key, isn), socket }
    }

    /// Hands `socket` to the flow it belongs to, or back if there is none.
    pub fn hand_over(&self, key: FlowKey, isn: u32, socket: TcpStream) -> Result<(), TcpStream> {
        match self.waiting().remove(&(key, isn)) {
            Some(waiting) => waiting.send(socket),
            None => Err(socket),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    /// The accepted socket; `None` if it was handed to nobody because a newer flow took the key.
    pub async fn socket(&mut self) -> Option<TcpStream> {
        (&mut self.socket).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.socket.close();
        if let Ok(socket) = self.socket.try_recv() {
            tcp::reset(socket);
        }
        let mut waiting = self.pending.waiting();
        // Only our own entry: a newer flow may have announced the same key, and is still open.
        if waiting.get(&self.key).is_some_and(oneshot::Sender::is_closed) {
            waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing::address;

    fn key() -> FlowKey {
        FlowKey { device: address("100.64.0.9:40000"), target: address("100.64.128.9:22") }
    }

    /// A socket, and its port as a name.
    async fn socket() -> (TcpStream, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let port = dialled.local_addr().expect("connected").port();
        (dialled, port)
    }

    fn port(socket: Option<TcpStream>) -> Option<u16> {
        socket.map(|socket| socket.local_addr().expect("connected").port())
    }

    #[tokio::test]
    async fn two_flows_from_one_port_get_each_its_own_socket() {
        let pending = Pending::default();
        let (mut old, mut new) = (pending.expect(key(), 1), pending.expect(key(), 2));
        let ((a, named_a), (b, named_b)) = (socket().await, socket().await);
        pending.hand_over(key(), 2, b).expect("awaited");
        pending.hand_over(key(), 1, a).expect("awaited");
        assert_eq!(port(old.socket().await), Some(named_a));
        assert_eq!(port(new.socket().await), Some(named_b));
    }

    #[tokio::test]
    async fn a_socket_that_nobody_awaits_comes_back() {
        let pending = Pending::default();
        let expected = pending.expect(key(), 1);
        assert!(pending.hand_over(key(), 2, socket().await.0).is_err(), "another SYN's");
        drop(expected);
        assert!(pending.hand_over(key(), 1, socket().await.0).is_err(), "given up");
        assert!(pending.waiting().is_empty());
    }

    #[tokio::test]
    async fn a_flow_gets_one_socket() {
        let pending = Pending::default();
        let mut expected = pending.expect(key(), 1);
        let (first, name) = socket().await;
        pending.hand_over(key(), 1, first).expect("awaited");
        assert!(pending.hand_over(key(), 1, socket().await.0).is_err());
        assert_eq!(port(expected.socket().await), Some(name));
    }

    #[tokio::test]
    async fn giving_up_leaves_a_newer_wait_alone() {
        let pending = Pending::default();
        let old = pending.expect(key(), 1);
        let mut new = pending.expect(key(), 1);
        drop(old);
        let (socket, name) = socket().await;
        pending.hand_over(key(), 1, socket).expect("awaited");
        assert_eq!(port(new.socket().await), Some(name));
    }
}
