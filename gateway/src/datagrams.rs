//! Carries the datagrams of one flow between the device and its upstream, both ways.
//! It does not decide or dial; it obeys the cut.
//! Always true: nothing here waits to send upstream, and what the device is sent waits only for the
//! packet core; after a cut nothing passes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use connector::socket::{DatagramSocket, Heard};
use protocol::{
    id::{ConnectorId, DeviceId},
    link::Outcome,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tunnel::{FlowId, Refusal};

use crate::{
    access::DenyReason,
    connectors::{LinkDatagrams, Told},
    dataplane::{Command, DataPlane},
    live::Cut,
};

/// Payloads of one flow that wait for its task.
const PER_FLOW: usize = 256;
/// Bytes of one device that wait for the tasks of its flows.
const PER_DEVICE: usize = 2 << 20;

/// Where a permitted flow of datagrams goes.
#[derive(Debug)]
pub enum Upstream {
    /// A socket of the gateway itself.
    Direct(DatagramSocket),
    /// Over a connector.
    Link(LinkDatagrams),
}

enum Next {
    Payload(Vec<u8>),
    Undelivered(Outcome),
    Ended,
}

impl Upstream {
    /// The connector it runs over.
    pub fn connector(&self) -> Option<&ConnectorId> {
        match self {
            Self::Direct(_) => None,
            Self::Link(link) => Some(link.connector()),
        }
    }

    /// Ends it in peace; dropped without, it is reset.
    pub fn conclude(self) {
        match self {
            Self::Direct(_) => {}
            Self::Link(link) => link.conclude(),
        }
    }

    /// Whether it is on its way, and what the network says of an earlier one.
    fn send(&self, payload: &[u8]) -> (bool, Option<Outcome>) {
        match self {
            Self::Direct(socket) => socket.send(payload),
            Self::Link(link) => {
                link.send(payload);
                (true, None)
            }
        }
    }

    async fn recv(&mut self) -> Next {
        match self {
            Self::Direct(socket) => match socket.recv().await {
                Heard::Payload(payload) => Next::Payload(payload),
                Heard::Undelivered(outcome) => Next::Undelivered(outcome),
            },
            Self::Link(link) => match link.recv().await {
                Told::Payload(payload) => Next::Payload(payload.to_vec()),
                Told::Undelivered(outcome) => Next::Undelivered(outcome),
                Told::Ended => Next::Ended,
            },
        }
    }
}

/// How a flow of datagrams ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing passed for its lifetime.
    Idle,
    /// It was cut, or the packet core gave it up; the cut says why.
    Cut,
    /// The connector ended it or is gone.
    Upstream,
}

impl End {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Cut => "cut",
            Self::Upstream => "upstream_ended",
        }
    }
}

/// What a flow carried.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// How it ended.
    pub how: End,
    /// Bytes from the device.
    pub up: u64,
    /// Bytes to the device.
    pub down: u64,
    /// Datagrams from the device that the kernel had no room for.
    pub dropped: u64,
}

/// Carries until `cut`, or the upstream ends. The upstream is left to the caller.
pub async fn carry(
    flow: FlowId,
    inbox: &mut Inbox,
    upstream: &mut Upstream,
    data_plane: &DataPlane,
    cut: &Cut,
) -> Ended {
    let mut ended = Ended { how: End::Cut, up: 0, down: 0, dropped: 0 };
    loop {
        let said = tokio::select! {
            biased;
            () = cut.token().cancelled() => return Ended { how: how(cut), ..ended },
            Some(waiting) = inbox.0.recv() => {
                let (sent, said) = upstream.send(&waiting.payload);
                ended.dropped += u64::from(!sent);
                ended.up += waiting.payload.len() as u64;
                said
            }
            next = upstream.recv() => match next {
                Next::Payload(payload) => {
                    ended.down += payload.len() as u64;
                    data_plane.send(Command::SendDatagram(flow, payload)).await;
                    None
                }
                Next::Undelivered(outcome) => Some(outcome),
                Next::Ended => return Ended { how: End::Upstream, ..ended },
            },
        };
        if let Some(outcome) = said {
            data_plane.send(Command::Unreachable(flow, refusal(&outcome))).await;
        }
    }
}

fn how(cut: &Cut) -> End {
    let idle = cut.why().is_some_and(|why| why.reasons.first() == Some(&DenyReason::Idle));
    if idle { End::Idle } else { End::Cut }
}

/// What a device is told when the site's network refuses a datagram.
fn refusal(outcome: &Outcome) -> Refusal {
    match outcome {
        Outcome::Refused => Refusal::PortUnreachable,
        Outcome::NotAllowed(_) => Refusal::Prohibited,
        Outcome::Connected
        | Outcome::Timeout
        | Outcome::NameNotFound
        | Outcome::Unreachable
        | Outcome::Overloaded => Refusal::HostUnreachable,
    }
}

/// A payload on its way to its flow's task; it counts as waiting until it is dropped.
#[derive(Debug)]
struct Waiting {
    payload: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// A flow's end of the way for payloads from its device.
#[derive(Debug)]
pub struct Inbox(mpsc::Receiver<Waiting>);

/// The other end.
#[derive(Debug, Clone)]
pub struct Outlet {
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

impl Outlet {
    /// Hands a payload to the flow's task; false if the flow or its device has its fill waiting.
    pub fn offer(&self, payload: Vec<u8>) -> bool {
        let size = u32::try_from(payload.len().max(1)).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(size) else { return false };
        self.sender.try_send(Waiting { payload, _room: room }).is_ok()
    }
}

/// How much each device has waiting. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rooms(Arc<Mutex<HashMap<DeviceId, Weak<Semaphore>>>>);

impl Rooms {
    /// The way for the payloads of a new flow of `device`, which shares its room with its others.
    pub fn way(&self, device: &DeviceId) -> (Outlet, Inbox) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.get(device).and_then(Weak::upgrade).unwrap_or_else(|| {
            rooms.retain(|_, room| room.strong_count() > 0);
            let room = Arc::new(Semaphore::new(PER_DEVICE));
            rooms.insert(device.clone(), Arc::downgrade(&room));
            room
        });
        let (sender, inbox) = mpsc::channel(PER_FLOW);
        (Outlet { sender, room }, Inbox(inbox))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case D10: what waits of one device is its own room.
    #[test]
    fn a_device_fills_its_own_room_only() {
        let rooms = Rooms::default();
        let (noisy, quiet): (DeviceId, DeviceId) = ("noisy".parse().unwrap(), "quiet".parse().unwrap());
        let flows: Vec<_> = (0..64).map(|_| rooms.way(&noisy)).collect();
        let taken = |outlet: &Outlet| (0..2 * PER_FLOW).filter(|_| outlet.offer(vec![0; 1400])).count();
        let (first, _) = flows.first().expect("64");
        assert_eq!(taken(first), PER_FLOW, "a flow's own bound");
        let all: usize = flows.iter().map(|(outlet, _)| taken(outlet)).sum();
        assert_eq!(PER_FLOW + all, PER_DEVICE / 1400, "all of them together");
        let (outlet, _inbox) = rooms.way(&quiet);
        assert_eq!(taken(&outlet), PER_FLOW);
        drop(flows);
        let (outlet, _inbox) = rooms.way(&noisy);
        assert_eq!(taken(&outlet), PER_FLOW, "room comes back");
    }
}
