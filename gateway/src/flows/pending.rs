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
