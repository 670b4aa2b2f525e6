//! The reference model: who may pass, told from what the shell decided and from who wrote each
//! datagram, never from what the core believes. It is as simple as it can be and uses nothing of the
//! core's. Every method panics when the core did what it must not.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use protocol::{id::DeviceId, key::WgKey};

use super::{
    datagrams::Datagrams,
    net::Flight,
    wire::{self, Inner, Line},
};
use crate::{FlowId, FlowKey, KnownEndpoint, KnownStamp, PeerSpec, packet::tcp::RST};

/// The shell may tell the core the time this much late.
const LATE: Duration = Duration::from_secs(2);
/// The lifetimes the core documents.
const HOLD: Duration = Duration::from_secs(10);
const PERMIT: Duration = Duration::from_secs(30);
const CLOSING: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(60);

/// What the core was told before it put something out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause<'a> {
    /// These arrived, one after the other.
    Datagrams(&'a [Flight]),
    /// The kernel sent this.
    Kernel(&'a [u8]),
    /// The shell admitted this flow; whether the device had room for one more.
    Admit(FlowId, bool),
    /// The shell refused, cut or closed something, answered a query, or changed the peers.
    Command,
    /// The shell said something along this flow of datagrams.
    Along(FlowId),
    /// The shell did what nobody hears of: it admitted or finished a flow of datagrams.
    Quiet,
    /// The core was born, or time passed.
    Time,
}

/// How far the shell let a flow come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Not decided: nothing passes.
    Asked,
    /// Passes; a socket must be paired by then.
    Admitted(Duration),
    Paired,
    /// The shell closed its socket then, or the kernel was heard then.
    Finished(Duration),
    /// Cut then: only resets, and only out.
    Cut(Duration),
    Over,
}

/// A flow the shell was told of.
#[derive(Debug)]
struct Known {
    device: DeviceId,
    key: FlowKey,
    isn: u32,
    /// Held since then, or later.
    since: Duration,
    way: Way,
}

/// Everything the core must keep to.
#[derive(Default)]
pub(super) struct Rules {
    /// What holds for flows of datagrams.
    pub(super) datagrams: Datagrams,
    peers: Vec<PeerSpec>,
    /// Devices that left: until when they may hear of it.
    former: Vec<(PeerSpec, Duration)>,
    flows: BTreeMap<FlowId, Known>,
    /// Every SYN a device sent and the core saw: whose, along which key, with which number, and when first.
    syns: BTreeMap<(DeviceId, FlowKey, u32), Duration>,
    /// What may reach a device later than it was sent, because it waits for a session.
    given: BTreeSet<Vec<u8>>,
    /// The datagrams that arrived: a copy of one moves no endpoint.
    heard: BTreeSet<u64>,
    /// Those whose packet reached the kernel.
    spent: BTreeSet<u64>,
    /// The initiations that raised a label and were not answered yet.
    raised: BTreeSet<u64>,
    endpoints: BTreeMap<WgKey, (usize, SocketAddr)>,
    stamps: BTreeMap<WgKey, [u8; 12]>,
}

pub(super) fn addresses(spec: &PeerSpec) -> [IpAddr; 2] {
    [spec.v4.into(), spec.v6.into()]
}

impl Rules {
    /// Whom a key speaks for.
    fn owner(&self, key: WgKey) -> Option<&PeerSpec> {
        self.peers.iter().find(|spec| spec.keys.contains(&key))
    }

    /// From now on exactly these are peers.
    pub(super) fn set_peers(&mut self, specs: &[PeerSpec], now: Duration) {
        for old in std::mem::replace(&mut self.peers, specs.to_vec()) {
            let stays = specs.iter().find(|spec| spec.device == old.device);
            let at_home = stays.is_some_and(|spec| addresses(spec) == addresses(&old));
            if !at_home {
                for flow in self.flows.values_mut().filter(|flow| flow.device == old.device) {
                    flow.way = flow.way.cut(now);
                }
                self.datagrams.leave(addresses(&old));
            }
            self.former.push((old, now + CLOSING + LATE));
        }
        self.former.retain(|&(_, until)| now <= until);
        let known: BTreeSet<WgKey> = specs.iter().flat_map(|spec| spec.keys.clone()).collect();
        self.endpoints.retain(|key, _| known.contains(key));
        self.stamps.retain(|key, _| known.contains(key));
    }

    /// The gateway began anew and knows nothing.
    pub(super) fn restart(&mut self) {
        let (heard, spent) = (std::mem::take(&mut self.heard), std::mem::take(&mut self.spent));
        *self = Self { heard, spent, ..Self::default() };
    }

    /// It was given back this: an endpoint for who has none, a label for who has no greater one.
    pub(super) fn restore(&mut self, endpoints: &[KnownEndpoint], stamps: &[KnownStamp]) {
        for &KnownEndpoint { key, socket, addr } in endpoints {
            if self.owner(key).is_some() {
                self.endpoints.entry(key).or_insert((socket, addr));
            }
        }
        for &KnownStamp { key, stamp } in stamps {
            if self.owner(key).is_some() {
                let label = self.stamps.entry(key).or_insert(stamp.0);
                *label = stamp.0.max(*label);
            }
        }
    }

    /// After one datagram: an endpoint moves only by fresh data of its key, a label only up and only by an
    /// initiation of its key.
    pub(super) fn remembered(
        &mut self,
        cause: Option<(&Flight, usize)>,
        endpoints: &[KnownEndpoint],
        stamps: &[KnownStamp],
        now: Duration,
    ) {
        for &KnownEndpoint { key, socket, addr } in endpoints {
            if self.endpoints.insert(key, (socket, addr)) == Some((socket, addr)) {
                continue;
            }
            let (flight, at) = cause.expect("an endpoint moved without a datagram");
            assert_eq!((at, flight.from), (socket, addr), "an endpoint moved to where nothing came from");
            assert_eq!(flight.author, Some(key), "an endpoint was moved by someone else");
            assert_eq!(wire::kind(&flight.bytes), 4, "an endpoint was moved by what is not data");
            assert!(!self.heard.contains(&flight.id), "an endpoint was moved by a copy");
        }
        assert_eq!(endpoints.len(), self.endpoints.len(), "an endpoint was forgotten");
        for KnownStamp { key, stamp } in stamps {
            let before = self.stamps.insert(*key, stamp.0);
            if before == Some(stamp.0) {
                continue;
            }
            assert!(before.is_none_or(|before| stamp.0 > before), "a label went back");
            let (flight, _) = cause.expect("a label changed without a datagram");
            let read = (flight.author, wire::kind(&flight.bytes));
            assert_eq!(read, (Some(*key), 1), "a label was raised by something else");
            assert_eq!(wire::label(&flight.bytes), stamp.0, "a label is not what was sent");
            self.raised.insert(flight.id);
        }
        assert_eq!(stamps.len(), self.stamps.len(), "a label was forgotten");
        if let Some((flight, _)) = cause {
            let fresh = self.heard.insert(flight.id);
            self.saw(flight, fresh, now);
        }
    }

    fn saw(&mut self, flight: &Flight, fresh: bool, now: Duration) {
        let (Some(author), Some(packet)) = (flight.author, wire::plaintext(&flight.bytes)) else { return };
        let speaker = self.peers.iter().find(|spec| spec.keys.contains(&author));
        self.datagrams.saw(packet, (speaker, &self.peers), fresh, now);
        let device = speaker.map(|spec| spec.device.clone());
        if let (Some(device), Some(inner)) = (device, Inner::read(packet).filter(Inner::opens)) {
            let key = FlowKey { device: inner.src, target: inner.dst };
            self.syns.entry((device, key, inner.seq)).or_insert(now);
        }
    }

    /// The core told of a held SYN.
    pub(super) fn opened(&mut self, id: FlowId, device: DeviceId, key: FlowKey, isn: u32) {
        let spec = self.peers.iter().find(|spec| spec.device == device).expect("a flow of no device");
        assert!(addresses(spec).contains(&key.device.ip()), "a flow from another's address");
        let since = *self.syns.get(&(device.clone(), key, isn)).expect("a flow nobody asked for");
        let known = Known { device, key, isn, since, way: Way::Asked };
        assert!(self.flows.insert(id, known).is_none(), "a flow's name was used again");
    }

    /// The core told of held datagrams.
    pub(super) fn opened_datagrams(&mut self, id: FlowId, device: &DeviceId, line: Line, now: Duration) {
        let spec = self.peers.iter().find(|spec| spec.device == *device).expect("a flow of no device");
        assert!(!self.flows.contains_key(&id), "a flow's name was used again");
        self.datagrams.opened(id, &addresses(spec), line, now);
    }

    /// The core told that a flow ended by itself.
    pub(super) fn gone(&mut self, id: FlowId) {
        let flow = self.flows.get_mut(&id).expect("only a flow that was told can end");
        flow.way = match flow.way {
            Way::Cut(at) => Way::Cut(at),
            _ => Way::Over,
        };
    }

    pub(super) fn refused(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.way == Way::Asked) {
            flow.way = Way::Over;
        }
    }

    pub(super) fn finished(&mut self, id: FlowId, now: Duration) {
        if let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.way == Way::Paired) {
            flow.way = Way::Finished(now);
        }
    }

    pub(super) fn cut(&mut self, id: FlowId, now: Duration) {
        self.datagrams.cut(id, now);
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.way = flow.way.cut(now);
        }
    }

    /// The core paired an accepted socket with `id`, or with nothing.
    pub(super) fn accepted(&mut self, key: FlowKey, isn: u32, id: Option<FlowId>, now: Duration) {
        let fits = |flow: &Known| flow.key == key && flow.isn == isn;
        match id {
            Some(id) => {
                let flow = self.flows.get_mut(&id).expect("paired with a flow that was never told");
                assert!(fits(flow), "paired with another SYN's flow");
                let Way::Admitted(at) = flow.way else { panic!("paired with a flow that is {:?}", flow.way) };
                assert!(now <= at + PERMIT + LATE, "paired with a permit that was over");
                flow.way = Way::Paired;
            }
            None => {
                let surely = |flow: &Known| matches!(flow.way, Way::Admitted(at) if now < at + PERMIT);
                let missed = self.flows.values().any(|flow| fits(flow) && surely(flow));
                assert!(!missed, "a permitted socket found no permit");
            }
        }
    }

    /// Packets came out of the core towards the kernel.
    pub(super) fn check_kernel(&mut self, cause: Cause<'_>, packets: &[Vec<u8>], now: Duration) {
        match cause {
            Cause::Datagrams(flights) => {
                for packet in packets {
                    self.check_entry(flights, packet, now);
                }
            }
            Cause::Admit(id, room) => self.check_release(id, room, packets, now),
            Cause::Kernel(_) | Cause::Command | Cause::Along(_) | Cause::Quiet | Cause::Time => {
                assert!(packets.is_empty(), "{cause:?} made a packet for the kernel");
            }
        }
    }

    fn check_entry(&mut self, flights: &[Flight], packet: &[u8], now: Duration) {
        let inner = Inner::read(packet).expect("only plain packets reach the kernel");
        assert!(inner.is_tcp(), "only TCP reaches the kernel");
        let writes = |flight: &&Flight| {
            let owner = flight.author.and_then(|key| self.owner(key));
            let own = owner.is_some_and(|spec| addresses(spec).contains(&inner.src.ip()));
            own && wire::plaintext(&flight.bytes) == Some(packet) && !self.spent.contains(&flight.id)
        };
        let flight =
            flights.iter().find(writes).expect("what reached the kernel was just sent by its source");
        let device = flight.author.and_then(|key| self.owner(key)).map(|spec| spec.device.clone());
        self.spent.insert(flight.id);
        let key = FlowKey { device: inner.src, target: inner.dst };
        let open =
            |flow: &Known| flow.key == key && Some(&flow.device) == device.as_ref() && flow.passes(now);
        assert!(self.flows.values().any(open), "{inner:?} reached the kernel without a flow");
    }

    /// An admission lets exactly its own SYN through, once, and only if it was asked for and not yet given.
    fn check_release(&mut self, id: FlowId, room: bool, packets: &[Vec<u8>], now: Duration) {
        let Some(packet) = packets.first() else {
            let held = |flow: &Known| flow.way == Way::Asked && now < flow.since + HOLD;
            assert!(!room || !self.flows.get(&id).is_some_and(held), "an admitted SYN was withheld");
            self.refused(id);
            return;
        };
        assert_eq!(packets.len(), 1, "one SYN for one admission");
        let flow = self.flows.get_mut(&id).expect("a flow nobody was told of was let through");
        assert_eq!(flow.way, Way::Asked, "a flow was let through twice, or after its end");
        let inner = Inner::read(packet).expect("a SYN is plain");
        assert!(inner.opens() && inner.seq == flow.isn, "what was let through is not the SYN that was held");
        assert_eq!((inner.src, inner.dst), (flow.key.device, flow.key.target));
        flow.way = Way::Admitted(now);
        let enrolled = self.peers.iter().any(|spec| addresses(spec).contains(&inner.src.ip()));
        assert!(enrolled, "a removed device's SYN was let through");
    }

    /// A datagram came out of the core towards the network.
    pub(super) fn check_sent(&mut self, cause: Cause<'_>, to: SocketAddr, bytes: &[u8], now: Duration) {
        match wire::kind(bytes) {
            2 => self.check_response(cause, to),
            3 => assert!(asks_for_cookie(cause, to), "a cookie was sent that nobody asked for"),
            _ => {}
        }
        let Some(packet) = wire::plaintext(bytes) else { return };
        let to = wire::destination(packet).expect("only plain packets and fragments reach a device");
        let tcp = Inner::read(packet).filter(Inner::is_tcp);
        match cause {
            Cause::Kernel(sent) => {
                let may_leave = tcp.is_some_and(|inner| self.may_leave(&inner, now));
                assert_eq!(packet, sent, "the kernel's packet was changed");
                assert!(may_leave, "{packet:?} left without a flow");
            }
            Cause::Datagrams(flights) => {
                let writer = flights.iter().filter_map(|flight| flight.author);
                let heard = writer.into_iter().any(|key| self.may_hear(key, to, now));
                assert!(heard, "{packet:?} was sent although its device said nothing");
                let carries = tcp.is_some_and(|inner| inner.carries());
                assert!(!carries || self.given.contains(packet), "{tcp:?} was made up");
            }
            Cause::Admit(..) | Cause::Command => {
                assert!(!tcp.is_some_and(|inner| inner.carries()), "{cause:?} made {tcp:?}");
            }
            Cause::Along(flow) => self.datagrams.check_sent(flow, packet),
            Cause::Time if tcp.is_some_and(|inner| self.is_farewell(&inner, now)) => {}
            Cause::Quiet | Cause::Time => panic!("{cause:?} alone made {packet:?}"),
        }
        if tcp.is_none() {
            self.datagrams.check_told(packet);
        }
    }

    /// A bare reset of a flow that is being cut, of TCP.
    fn is_farewell(&self, inner: &Inner<'_>, now: Duration) -> bool {
        let key = FlowKey { device: inner.dst, target: inner.src };
        let mut cut = self.flows.values().filter(|flow| flow.key == key && flow.closes(now));
        inner.has(RST) && !inner.carries() && cut.next().is_some()
    }

    /// An initiation is answered once, if its label is greater than all before, to where it came from.
    fn check_response(&mut self, cause: Cause<'_>, to: SocketAddr) {
        let Cause::Datagrams(flights) = cause else { panic!("a handshake was answered that nobody began") };
        let asks = |flight: &&Flight| flight.from == to && self.raised.contains(&flight.id);
        let flight = flights.iter().find(asks).expect("a forged or repeated initiation was answered");
        self.raised.remove(&flight.id);
    }

    /// The kernel sent this; it may be on its way until its device has a session.
    pub(super) fn kernel_sent(&mut self, packet: &[u8], now: Duration) {
        let Some(inner) = Inner::read(packet) else { return };
        let key = FlowKey { device: inner.dst, target: inner.src };
        for flow in self.flows.values_mut().filter(|flow| flow.key == key) {
            if let Way::Finished(heard) = &mut flow.way
                && now <= *heard + DRAIN + LATE
            {
                *heard = now;
            }
        }
        if self.may_leave(&inner, now) {
            self.given.insert(packet.to_vec());
        }
    }

    /// A reset may leave while its flow lives or closes, anything else of TCP while it passes.
    fn may_leave(&self, inner: &Inner<'_>, now: Duration) -> bool {
        let key = FlowKey { device: inner.dst, target: inner.src };
        let mut flows = self.flows.values().filter(|flow| flow.key == key);
        inner.is_tcp() && flows.any(|flow| flow.passes(now) || inner.has(RST) && flow.closes(now))
    }

    /// Whether a key speaks, or spoke until lately, for the device of an address.
    fn may_hear(&self, key: WgKey, addr: IpAddr, now: Duration) -> bool {
        let former = self.former.iter().filter(|&&(_, until)| now <= until).map(|(spec, _)| spec);
        let mut specs = self.peers.iter().chain(former);
        specs.any(|spec| spec.keys.contains(&key) && addresses(spec).contains(&addr))
    }

    /// No flow is open any more that the core would not have forgotten by itself.
    pub(super) fn is_idle(&self) -> bool {
        self.datagrams.is_idle() && !self.flows.values().any(|flow| flow.way == Way::Paired)
    }
}

/// Only a handshake message draws a cookie, and to where it came from.
fn asks_for_cookie(cause: Cause<'_>, to: SocketAddr) -> bool {
    let Cause::Datagrams(flights) = cause else { return false };
    flights.iter().any(|flight| flight.from == to && matches!(wire::kind(&flight.bytes), 1 | 2))
}

impl Way {
    fn cut(self, now: Duration) -> Self {
        match self {
            Self::Asked | Self::Over => Self::Over,
            Self::Cut(at) => Self::Cut(at),
            Self::Admitted(_) | Self::Paired | Self::Finished(_) => Self::Cut(now),
        }
    }
}

impl Known {
    fn passes(&self, now: Duration) -> bool {
        match self.way {
            Way::Asked | Way::Cut(_) | Way::Over => false,
            Way::Admitted(at) => now <= at + PERMIT + LATE,
            Way::Paired => true,
            Way::Finished(heard) => now <= heard + DRAIN + LATE,
        }
    }

    fn closes(&self, now: Duration) -> bool {
        matches!(self.way, Way::Cut(at) if now <= at + CLOSING + LATE)
    }
}
