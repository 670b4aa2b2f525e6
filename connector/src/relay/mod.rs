//! Copies one flow both ways: between a TCP connection and the link, or between two TCP connections.
//! It opens and closes nothing: the caller ends both sides by what comes out.
//! Always true: an end (FIN) is passed on as an end; a reset of either side is noticed while waiting
//! for the other, and is never passed on as an end; a flow that waits for bytes holds no buffer.

mod buffer;
mod link;
mod stall;
mod tcp;

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{io::AsyncWriteExt, net::tcp::WriteHalf};

pub use self::{
    link::run as link,
    stall::{Places, Stalls},
    tcp::run as tcp,
};

/// The side of a flow that ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The TCP connection named first was reset, or vanished.
    Near,
    /// What it is connected with was.
    Far,
    /// The TCP connection named first does not take what waits for it, and there is no place for such a flow.
    Stuck,
}

/// Bytes carried so far.
#[derive(Debug, Default)]
pub struct Traffic {
    pub(crate) forth: AtomicU64,
    pub(crate) back: AtomicU64,
}

impl Traffic {
    /// From the near side to the far one.
    pub fn forth(&self) -> u64 {
        self.forth.load(Ordering::Relaxed)
    }

    /// From the far side to the near one.
    pub fn back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }
}

pub(crate) fn add(count: &AtomicU64, bytes: usize) {
    count.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Half-closes; a peer that has gone meanwhile already knows.
async fn finish(socket: &mut WriteHalf<'_>) -> io::Result<()> {
    match socket.shutdown().await {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}
