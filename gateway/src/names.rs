//! The name server's shell: takes questions from the tunnel, answers or relays them.
//! What is answered is `dns`' business. Always true: only so many questions are under way at once;
//! one more is dropped and counted (a resolver asks again).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use protocol::id::DeviceId;
use tokio::{net::TcpStream, sync::Semaphore};

use crate::{
    dataplane::{Command, DataPlane},
    dns::{self, Answer, Relay},
    live::Live,
};

/// Questions under way at once, over all devices.
const UNDER_WAY: usize = 1024;

/// The name server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Names(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    live: Live,
    data_plane: DataPlane,
    relay: Relay,
    under_way: Arc<Semaphore>,
    dropped: AtomicU64,
}

impl Names {
    /// A name server that answers from the snapshot in force.
    pub fn new(live: Live, data_plane: DataPlane) -> Self {
        Self(Arc::new(Parts {
            live,
            data_plane,
            relay: Relay::default(),
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
            dropped: AtomicU64::new(0),
        }))
    }

    /// A device asked by UDP, from `from` to our address `to`.
    pub fn asked(&self, device: DeviceId, from: SocketAddr, to: SocketAddr, query: Vec<u8>) {
        let Ok(slot) = self.0.under_way.clone().try_acquire_owned() else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let names = self.clone();
        tokio::spawn(async move {
            if let Some(payload) = names.answer(&device, &query).await {
                names.0.data_plane.send(Command::SendUdp { from: to, to: from, payload }).await;
            }
            drop(slot);
        });
    }

    async fn answer(&self, device: &DeviceId, query: &[u8]) -> Option<Vec<u8>> {
        let snapshot = self.0.live.snapshot();
        match dns::answer(snapshot.dns(), query) {
            Answer::Reply(reply) => Some(reply),
            Answer::Relay => Some(self.0.relay.relay(device, snapshot.dns(), query).await),
            Answer::Ignore => None,
        }
    }

    /// Serves DNS over TCP until the device is done or idle.
    pub async fn serve_tcp(&self, socket: TcpStream, device: &DeviceId) {
        let snapshot = self.0.live.snapshot();
        dns::serve_tcp(socket, snapshot.dns(), &self.0.relay, device).await;
    }

    /// Questions dropped because too many were under way.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}
