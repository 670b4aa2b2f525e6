//! From "a device sent a SYN" to a relayed connection: one task per flow that decides, dials,
//! lets the SYN through, takes the accepted socket and copies until the end or the cut; likewise datagrams.
//! It does not touch packets. Always true: a flow's task is registered before it is decided, and
//! tells the data plane how the flow ended, whatever happens.

mod accept;
mod datagrams;
mod decide;
mod door;
mod pending;
mod table;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use connector::relay::Stalls;
use protocol::{id::DeviceId, target::Proto};
use tokio::{net::TcpStream, sync::watch};
use tokio_util::task::TaskTracker;
use tunnel::{FlowId, FlowKey, Refusal};

pub use self::{accept::accept_all, pending::Pending, table::FlowRow};
use self::{decide::Asked, table::Flows};
use crate::{
    access::{self, Denied, DenyReason, ResourceId},
    books::Books,
    connectors::OpenError,
    datagrams::Rooms,
    dataplane::{Command, DataPlane},
    denials::Denials,
    dial::{Dialer, Upstream},
    door::Door,
    gate::FrontFlow,
    http::HttpFront,
    limits::Descriptors,
    live::{Cut, Live},
    names::Names,
    reach::Destination,
    tcp::{self, End},
    tls::TlsFront,
};

/// How long an admitted SYN may take to become an accepted socket; the data plane gives up after
/// 30 s and says so, this is only the net below it.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(40);

/// Flows over connectors that a device may leave unread: a browser's worth of paused downloads, 128 MiB at
/// most.
pub const STALLS: usize = 32;

/// Descriptors a flow needs: the device's socket; one to the target, unless a connector has it. The HTTP
/// front counts its own connections to apps.
const SOCKET: u64 = 1;
const DIRECT: u64 = 1;

/// What every flow's task needs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shell(Arc<Parts>);

/// The parts a [`Shell`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The registry and the snapshot in force.
    pub live: Live,
    /// The thread that owns the packets.
    pub data_plane: DataPlane,
    /// Opens what is permitted.
    pub dialer: Dialer,
    /// The HTTP front.
    pub front: HttpFront,
    /// The name server.
    pub names: Names,
    /// The portal.
    pub door: Door,
    /// Ends TLS for it.
    pub tls: TlsFront,
    /// Sockets that are awaited.
    pub pending: Pending,
    /// Counted denials.
    pub denials: Denials,
    /// The audit log.
    pub books: Books,
    /// Devices that do not read.
    pub stalls: Stalls<DeviceId>,
    /// The budget of descriptors.
    pub descriptors: Descriptors,
    /// `true` once the gateway is shutting down.
    pub draining: watch::Receiver<bool>,
}

/// A flow as its task sees it.
#[derive(Debug, Clone)]
struct Flow {
    id: FlowId,
    device: DeviceId,
    proto: Proto,
    key: FlowKey,
    /// TCP's; 0 otherwise.
    isn: u32,
}

/// The flows' owner: starts their tasks and remembers what is open.
#[derive(Debug, Clone)]
pub struct FlowSet {
    shell: Shell,
    flows: Flows,
    rooms: Rooms,
    dropped: Arc<AtomicU64>,
    tasks: TaskTracker,
}

impl FlowSet {
    /// An empty set over `parts`.
    pub fn new(parts: Parts) -> Self {
        Self {
            shell: Shell(Arc::new(parts)),
            flows: Flows::default(),
            rooms: Rooms::default(),
            dropped: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// A device wants a connection. Bounded: the data plane holds only so many SYNs per device.
    pub fn opened(&self, id: FlowId, device: DeviceId, key: FlowKey, isn: u32) {
        let flow = Flow { id, device, proto: Proto::Tcp, key, isn };
        let row = self.flows.insert(&flow, None);
        let shell = self.shell.clone();
        self.tasks.spawn(async move { shell.run(flow, &row).await });
    }

    /// A device sends datagrams to somewhere new. Bounded as well.
    pub fn opened_datagrams(&self, id: FlowId, device: DeviceId, proto: Proto, key: FlowKey) {
        let (outlet, inbox) = self.rooms.way(&device);
        let flow = Flow { id, device, proto, key, isn: 0 };
        let row = self.flows.insert(&flow, Some(outlet));
        let shell = self.shell.clone();
        self.tasks.spawn(async move { shell.run_datagrams(flow, inbox, &row).await });
    }

    /// A datagram of a device on a flow that was admitted.
    pub fn datagram(&self, id: FlowId, payload: Vec<u8>) {
        let taken = self.flows.outlet(id).is_some_and(|outlet| outlet.offer(payload));
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Datagrams of devices whose flow's task was too slow or had ended.
    pub fn datagrams_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The data plane has dropped the flow: its task ends as if it had been cut.
    pub fn gone(&self, id: FlowId, why: DenyReason) {
        self.flows.cut(id, Denied::because(why));
    }

    /// What is open, for status.
    pub fn rows(&self) -> Vec<FlowRow> {
        self.flows.rows()
    }

    /// Where accepted sockets are awaited.
    pub fn pending(&self) -> &Pending {
        &self.shell.0.pending
    }

    /// Descriptors in use, and how many may be.
    pub fn descriptors(&self) -> (u64, u64) {
        self.shell.0.descriptors.usage()
    }

    /// Flows that were reset because their device did not read them, nor too many others.
    pub fn stuck(&self) -> u64 {
        self.shell.0.stalls.reset()
    }

    /// Resolves when the last flow has ended.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Resets everything that is still open.
    pub fn cut_all(&self) {
        self.flows.cut_all(&Denied::because(DenyReason::Draining));
    }
}

impl Flow {
    /// What was asked for, for people.
    fn to(&self) -> String {
        match self.proto {
            Proto::Tcp => self.key.target.to_string(),
            Proto::Udp => format!("udp {}", self.key.target),
            Proto::Icmp => format!("icmp {}", self.key.target.ip()),
        }
    }
}

impl Shell {
    async fn run(&self, flow: Flow, row: &table::Row) {
        if *self.0.draining.borrow() {
            return self.refuse(&flow, &Denied::because(DenyReason::Draining)).await;
        }
        let snapshot = self.0.live.snapshot();
        match snapshot.resolve(flow.key.target) {
            to @ Destination::Front { .. } => self.front(&flow, &to, row).await,
            Destination::App { app, target } => {
                self.tcp(&flow, Asked::new(&flow, ResourceId::App(app), target), row).await;
            }
            Destination::Subnet { subnet, target } => {
                self.tcp(&flow, Asked::new(&flow, ResourceId::Subnet(subnet), target), row).await;
            }
            to @ Destination::Through { .. } => self.through(&flow, &to, row).await,
            Destination::Door { secure } => self.door(&flow, secure, row).await,
            Destination::Dns => self.dns(&flow, row).await,
            Destination::NoSuchPort { .. } => {
                self.refuse(&flow, &Denied::because(DenyReason::NoSuchPort)).await;
            }
            Destination::Nothing => self.refuse(&flow, &Denied::because(DenyReason::NoResource)).await,
        }
    }

    async fn tcp(&self, flow: &Flow, asked: Asked, row: &table::Row) {
        let Some(_socket) = self.0.descriptors.take(SOCKET) else {
            return self.refuse(flow, &Denied::because(DenyReason::Exhausted)).await;
        };
        let (allowed, _guard) = match decide::decide(&self.0.live, &self.0.books, flow, &asked, row.cut()) {
            Ok(decided) => decided,
            Err(denied) if door::leads_there(flow, &asked.resource, &denied) => {
                return self.lead(flow, &denied, row).await;
            }
            Err(denied) => return self.refuse_for(flow, &asked.resource, &denied).await,
        };
        let direct = allowed.permit.site().is_local();
        let Some(_upstream) = self.0.descriptors.take(if direct { DIRECT } else { 0 }) else {
            return self.refuse(flow, &Denied::because(DenyReason::Exhausted)).await;
        };
        row.decided(&asked.resource, &allowed);
        let dialled = tokio::select! {
            biased;
            () = row.cut().token().cancelled() => None,
            dialled = self.0.dialer.open(allowed.permit, flow.id.0) => Some(dialled),
        };
        match dialled {
            None => self.refuse_for(flow, &asked.resource, &row.why_cut()).await,
            Some(Err(error)) => self.unreachable(flow, &asked, &error).await,
            Some(Ok(upstream)) => {
                row.over(upstream.connector());
                match self.admit(flow, row.cut()).await {
                    Some(socket) => self.relay(flow, socket, upstream, row).await,
                    None => upstream.abort(),
                }
            }
        }
    }

    /// Lets the SYN through and waits for the socket that comes of it.
    async fn admit(&self, flow: &Flow, cut: &Cut) -> Option<TcpStream> {
        let mut expected = self.0.pending.expect(flow.key, flow.isn);
        self.0.data_plane.send(Command::Admit(flow.id)).await;
        let socket = tokio::select! {
            biased;
            () = cut.token().cancelled() => None,
            () = tokio::time::sleep(ACCEPT_TIMEOUT) => None,
            socket = expected.socket() => socket,
        };
        if socket.is_none() {
            self.cut_packets(flow, cut).await;
        }
        socket
    }

    async fn relay(&self, flow: &Flow, socket: TcpStream, upstream: Upstream, row: &table::Row) {
        let places = self.0.stalls.of(&flow.device);
        let relay = tcp::relay(socket, upstream, &places, row.cut());
        let ended = self.cut_packets_first(flow, row.cut(), relay).await;
        match ended.how {
            End::Closed => self.0.data_plane.send(Command::Finished(flow.id)).await,
            End::Cut | End::DeviceReset | End::UpstreamReset | End::Stuck => {
                self.cut_packets(flow, row.cut()).await;
            }
        }
        let why = row.cut().why().map(Denied::to_string);
        let how = why.as_deref().unwrap_or(ended.how.as_str());
        self.0.books.ended(&self.0.books.id_of(flow.id), how, ended.up, ended.down);
        tracing::info!(target: "flow", flow = flow.id.0, device = %flow.device, to = %flow.key.target,
            end = ended.how.as_str(), up = ended.up, down = ended.down, why, "flow ended");
    }

    async fn front(&self, flow: &Flow, to: &Destination, row: &table::Row) {
        let Some(_descriptors) = self.0.descriptors.take(SOCKET) else {
            return self.refuse(flow, &Denied::because(DenyReason::Exhausted)).await;
        };
        let snapshot = self.0.live.snapshot();
        let Some(permit) = access::admit_front(&snapshot, &flow.device, to) else {
            return self.refuse(flow, &Denied::because(DenyReason::UnknownDevice)).await;
        };
        row.front(permit.app());
        let Some(socket) = self.admit(flow, row.cut()).await else { return };
        let front =
            FrontFlow::new(permit, flow.device.clone(), flow.key.device, flow.key.target, row.cut().clone());
        let serve = self.0.front.serve(socket, Arc::new(front), self.0.draining.clone());
        self.cut_packets_first(flow, row.cut(), serve).await;
        self.0.data_plane.send(Command::Finished(flow.id)).await;
    }

    /// Does `work`, which ends at the cut. The packet core is told of the cut first (unless its queue
    /// is full just then), so that nothing the kernel still holds passes between the two.
    async fn cut_packets_first<T>(&self, flow: &Flow, cut: &Cut, work: impl Future<Output = T>) -> T {
        let packets = async {
            cut.token().cancelled().await;
            self.cut_packets(flow, cut).await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            never = packets => match never {},
            done = work => done,
        }
    }

    async fn cut_packets(&self, flow: &Flow, cut: &Cut) {
        if !cut.is_told() {
            self.0.data_plane.send(Command::Cut(flow.id)).await;
        }
    }

    async fn dns(&self, flow: &Flow, row: &table::Row) {
        let Some(_descriptors) = self.0.descriptors.take(SOCKET) else {
            return self.refuse(flow, &Denied::because(DenyReason::Exhausted)).await;
        };
        let Some(socket) = self.admit(flow, row.cut()).await else { return };
        tokio::select! {
            () = self.0.names.serve_tcp(socket, &flow.device) => {}
            () = row.cut().token().cancelled() => {}
        }
        self.0.data_plane.send(Command::Finished(flow.id)).await;
    }

    /// Refuses what never became a question to the policies.
    async fn refuse(&self, flow: &Flow, denied: &Denied) {
        tracing::info!(target: "decision", flow = flow.id.0, device = %flow.device, proto = %flow.proto,
            to = %flow.key.target, decision = "deny", reason = %denied);
        self.reset(flow, &flow.to(), denied).await;
    }

    /// Refuses what was denied or cut; its decision line is written.
    async fn refuse_for(&self, flow: &Flow, resource: &ResourceId, denied: &Denied) {
        self.reset(flow, &resource.to_string(), denied).await;
    }

    async fn reset(&self, flow: &Flow, to: &str, denied: &Denied) {
        decide::record(&self.0.denials, flow, to, denied);
        let refusal = if flow.proto == Proto::Tcp { Refusal::Rst } else { datagrams::refusal(denied) };
        self.0.data_plane.send(Command::Refuse(flow.id, refusal)).await;
    }

    /// Refused by the target is refused; everything else says unreachable.
    async fn unreachable(&self, flow: &Flow, asked: &Asked, error: &OpenError) {
        tracing::warn!(target: "flow", flow = flow.id.0, device = %flow.device, resource = %asked.resource,
            proto = %flow.proto, to = %flow.key.target, %error, "cannot open the target");
        let refusal = match error {
            OpenError::Refused if flow.proto == Proto::Tcp => Refusal::Rst,
            OpenError::Refused => Refusal::PortUnreachable,
            OpenError::NotAllowed(_) | OpenError::TooOld(_) => Refusal::Prohibited,
            OpenError::NoConnector | OpenError::Overloaded => Refusal::NetUnreachable,
            OpenError::Unreachable | OpenError::Timeout | OpenError::NameNotFound => Refusal::HostUnreachable,
        };
        self.0.data_plane.send(Command::Refuse(flow.id, refusal)).await;
    }
}
