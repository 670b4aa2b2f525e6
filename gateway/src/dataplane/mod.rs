//! The packet path as the rest of the gateway sees it: commands in, events out, and behind both one
//! thread or several. It moves no packet itself.
//! Always true: a command reaches the thread it concerns, commands of one flow in order; a peer is no
//! two threads'; when one thread ends, that is told.

mod report;
mod shards;
mod siblings;
mod worker;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use netio::{poll::Poller, tun::Tun, udp::UdpSockets};
use protocol::id::DeviceId;
use tokio::sync::{mpsc, oneshot};
use tunnel::{Enrolled, Event, FlowId, FlowKey, PeerSpec, Refusal, Tunnel};

pub use self::{
    report::{Load, Peer, Report},
    shards::{Divided, Shards},
};
use self::{
    siblings::{Siblings, Way},
    worker::{NewPeers, Order, SomePeers, Worker},
};
use crate::peerfile::Known;

/// Orders that may wait for a thread; senders wait when it is full.
const ORDERS: usize = 4096;
/// Events that may wait for the shell; when it is full they stay in the cores' own bounded queues.
const EVENTS: usize = 4096;

/// What the rest of the gateway says of a flow or to a device.
#[derive(Debug)]
pub enum Command {
    /// Let the flow's SYN or datagrams through.
    Admit(FlowId),
    /// Answer its SYN or datagram with a refusal.
    Refuse(FlowId, Refusal),
    /// Its socket was accepted.
    Accepted(FlowKey, u32),
    /// Nothing more in, only the reset or refusal out.
    Cut(FlowId),
    /// Its socket was closed by both sides.
    Finished(FlowId),
    /// A datagram of ours to a device.
    SendUdp {
        /// Our address.
        from: SocketAddr,
        /// The device's.
        to: SocketAddr,
        /// What it says.
        payload: Vec<u8>,
    },
    /// A payload of the target to the flow's device.
    SendDatagram(FlowId, Vec<u8>),
    /// What the network said of the flow's latest datagram.
    Unreachable(FlowId, Refusal),
}

impl Command {
    /// The thread it concerns.
    fn thread(&self, shards: Shards) -> usize {
        match self {
            Self::Admit(flow)
            | Self::Refuse(flow, _)
            | Self::Cut(flow)
            | Self::Finished(flow)
            | Self::SendDatagram(flow, _)
            | Self::Unreachable(flow, _) => shards.of_flow(*flow),
            Self::Accepted(key, _) => shards.of(key.device.ip()),
            Self::SendUdp { to, .. } => shards.of(to.ip()),
        }
    }
}

/// The way to the threads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataPlane(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Shards,
    steered: bool,
    /// By number.
    threads: Vec<Way<Order>>,
    enrolled: ArcSwap<Enrolled>,
}

impl DataPlane {
    /// Hands `command` over, waiting while the queue is full. After the thread has ended there is
    /// nothing left to command, and the command is dropped.
    pub async fn send(&self, command: Command) {
        if let Some(thread) = self.0.threads.get(command.thread(self.0.shards)) {
            thread.order(Order::Command(command)).await;
        }
    }

    /// Cuts all these flows. If a queue is full, some are left to their owners, and it is false.
    pub fn cut_at_once(&self, flows: impl IntoIterator<Item = FlowId>) -> bool {
        let mut parts: Vec<_> = self.0.threads.iter().map(|thread| (thread, Vec::new())).collect();
        for flow in flows {
            if let Some((_, part)) = parts.get_mut(self.0.shards.of_flow(flow)) {
                part.push(flow);
            }
        }
        let mut all = true;
        for (thread, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            all &= thread.queue.try_send(Order::Cut(part)).is_ok();
            thread.waker.wake();
        }
        all
    }

    /// The devices and the addresses that answer pings, from now on; in force everywhere on return.
    /// Called by one task only.
    pub async fn set_peers(&self, specs: Vec<PeerSpec>, echo: Vec<IpAddr>) {
        let divided = self.0.shards.divide(specs);
        let known = Arc::new(self.known_of_moved(&divided).await);
        let mut peers = divided.peers.into_iter();
        let order = |done| {
            let specs = peers.next().unwrap_or_default();
            Order::Peers(NewPeers { specs, echo: echo.clone(), known: known.clone(), done })
        };
        self.ask(order).await;
        // Only now, so that what a thread hands over is known where it goes.
        for thread in &self.0.threads {
            thread.order(Order::Enrolled(divided.enrolled.clone())).await;
        }
        self.0.enrolled.store(divided.enrolled);
    }

    /// Of `devices`, exactly those that `specs` names are peers from now on; in force everywhere on return.
    /// Called by the task that calls [`DataPlane::set_peers`]. With several threads every one of them has to
    /// know the whole list, which `all` makes.
    pub async fn change_peers(
        &self,
        devices: BTreeSet<DeviceId>,
        specs: Vec<PeerSpec>,
        all: impl FnOnce() -> (Vec<PeerSpec>, Vec<IpAddr>),
    ) {
        let [thread] = self.0.threads.as_slice() else {
            let (specs, echo) = all();
            return self.set_peers(specs, echo).await;
        };
        let (done, changed) = oneshot::channel();
        thread.order(Order::SomePeers(SomePeers { devices, specs, done })).await;
        // A thread that has ended has no peers.
        let _ = changed.await;
    }

    /// What a thread forgets with a peer that becomes another's: above all its newest handshake, so that
    /// none before it can be replayed.
    async fn known_of_moved(&self, divided: &Divided) -> Known {
        let moved = divided.moved_since(&self.0.enrolled.load());
        if moved.is_empty() {
            return Known::default();
        }
        self.remember().await.unwrap_or_default().of(|key| moved.contains(key))
    }

    /// How things are; `None` once a thread has ended.
    pub async fn report(&self) -> Option<Report> {
        Some(Report::of_all(self.ask(Order::Report).await?, self.0.steered))
    }

    /// What must outlive a restart; `None` once a thread has ended.
    pub async fn remember(&self) -> Option<Known> {
        Some(Known::of_all(self.ask(Order::Remember).await?))
    }

    /// Ends the threads, behind what was sent before.
    pub async fn stop(&self) {
        for thread in &self.0.threads {
            thread.order(Order::Stop).await;
        }
    }

    /// Asks every thread, and then waits for the answers.
    async fn ask<T>(&self, mut order: impl FnMut(oneshot::Sender<T>) -> Order) -> Option<Vec<T>> {
        let mut answers = Vec::new();
        for thread in &self.0.threads {
            let (sender, answer) = oneshot::channel();
            thread.order(order(sender)).await;
            answers.push(answer);
        }
        let mut all = Vec::new();
        for answer in answers {
            all.push(answer.await.ok()?);
        }
        Some(all)
    }

    /// The way to a thread that has ended.
    #[cfg(test)]
    pub fn ended() -> Self {
        Self::played().0
    }

    /// The way to a thread that is nothing but its queue, and the cuts ordered there.
    #[cfg(test)]
    pub fn played() -> (Self, impl FnMut() -> Option<Vec<FlowId>>) {
        let (queue, mut orders) = mpsc::channel(1);
        let way = Way { queue, waker: Poller::new().expect("a poller").waker() };
        let shards = Shards::new(std::num::NonZeroU8::MIN, std::net::Ipv4Addr::UNSPECIFIED);
        let inner = Inner { shards, steered: true, threads: vec![way], enrolled: ArcSwap::default() };
        let cuts = move || match orders.try_recv() {
            Ok(Order::Cut(flows)) => Some(flows),
            Ok(_) | Err(_) => None,
        };
        (Self(Arc::new(inner)), cuts)
    }
}

impl Way<Order> {
    async fn order(&self, order: Order) {
        if self.queue.send(order).await.is_ok() {
            self.waker.wake();
        }
    }
}

/// What one thread owns.
pub struct Part {
    /// The core, with its peers.
    pub tunnel: Tunnel,
    /// Its sockets.
    pub sockets: UdpSockets,
    /// Its queue of the TUN.
    pub tun: Tun,
}

/// The running threads and what comes out of them.
#[derive(Debug)]
pub struct Running {
    /// The way to them.
    pub handle: DataPlane,
    /// What happened; of one flow in order.
    pub events: mpsc::Receiver<Event>,
    /// Tells when the first thread has ended, however it did.
    pub ended: mpsc::Receiver<()>,
    /// The threads.
    pub threads: Threads,
}

/// The threads themselves.
#[derive(Debug)]
pub struct Threads(Vec<JoinHandle<io::Result<()>>>);

impl Threads {
    /// Waits until all have ended; an error if one could not go on.
    pub fn join(self) -> io::Result<()> {
        let ended = self.0.into_iter().map(JoinHandle::join).collect::<Vec<_>>();
        let panicked = |_| Err(io::Error::other("a data-plane thread panicked"));
        ended.into_iter().try_for_each(|thread| thread.unwrap_or_else(panicked))
    }
}

/// Tells, when dropped, that a thread has ended.
struct Sentinel(mpsc::Sender<()>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Another may have told already.
        let _ = self.0.try_send(());
    }
}

/// Starts a thread for each part; the cores know their peers, which are those of `enrolled`. `steered`
/// is only told.
pub fn start(
    shards: Shards,
    steered: bool,
    enrolled: Arc<Enrolled>,
    parts: Vec<Part>,
) -> io::Result<Running> {
    let (outbox, events) = mpsc::channel(EVENTS);
    let (sentinel, ended) = mpsc::channel(1);
    let pollers = parts.iter().map(|_| Poller::new()).collect::<io::Result<Vec<_>>>()?;
    let wakers: Vec<_> = pollers.iter().map(Poller::waker).collect();
    let siblings = Siblings::all(shards, &wakers);
    let (mut ways, mut threads) = (Vec::new(), Vec::new());
    for (number, ((part, poller), siblings)) in parts.into_iter().zip(pollers).zip(siblings).enumerate() {
        let (queue, inbox) = mpsc::channel(ORDERS);
        ways.push(Way { queue, waker: poller.waker() });
        let worker = Worker::new(part, poller, siblings, inbox, outbox.clone())?;
        let sentinel = Sentinel(sentinel.clone());
        let thread = std::thread::Builder::new().name(format!("data-plane-{number}"));
        threads.push(thread.spawn(move || {
            let _sentinel = sentinel;
            worker.run()
        })?);
    }
    let handle = Inner { shards, steered, threads: ways, enrolled: ArcSwap::new(enrolled) };
    Ok(Running { handle: DataPlane(Arc::new(handle)), events, ended, threads: Threads(threads) })
}

#[cfg(test)]
mod tests;
