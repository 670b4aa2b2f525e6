//! Accepts what the private namespace's kernel hands us and gives each socket to its flow.
//! It does not decide. Always true: a socket no flow awaits is reset and counted, never served.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};
use tunnel::FlowKey;

use super::Pending;
use crate::{
    dataplane::{Command, DataPlane},
    tcp,
};

/// Rest after a failed accept (out of descriptors, say): the backlog waits, the loop does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Accepts on `listener` for ever; `unpaired` counts sockets that belonged to nobody.
pub async fn accept_all(
    listener: TcpListener,
    pending: Pending,
    data_plane: DataPlane,
    unpaired: Arc<AtomicU64>,
) {
    loop {
        // The peer's address is the one accept gave: a socket that died in the queue has no other.
        match listener.accept().await {
            Ok((socket, peer)) => {
                if let Err(stranger) = hand_over(socket, peer, &pending, &data_plane).await {
                    unpaired.fetch_add(1, Ordering::Relaxed);
                    tcp::reset(stranger);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection from the tunnel");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Hands `socket` to the flow it belongs to; one that died in the queue or belongs to none comes back.
/// The packet core is told first: the flow's end, which its task tells, must not overtake this.
async fn hand_over(
    socket: TcpStream,
    peer: SocketAddr,
    pending: &Pending,
    data_plane: &DataPlane,
) -> Result<(), TcpStream> {
    let syn = netio::tcp::saved_syn(&socket).ok().flatten();
    let (Ok(target), Some(syn)) = (socket.local_addr(), syn) else { return Err(socket) };
    tcp::tune(&socket);
    let key = FlowKey { device: peer, target };
    data_plane.send(Command::Accepted(key, syn.isn)).await;
    pending.hand_over(key, syn.isn, socket)
}
