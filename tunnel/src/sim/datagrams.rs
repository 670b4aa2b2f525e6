//! The reference model of flows of datagrams: who may say what to whom and until when, told from what the
//! shell decided and from what devices were heard to say. It uses nothing of the core's; every method
//! panics when the core did what it must not.
//! Always true: the shell hears all events before it acts, so an open flow here is one of the core's.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    gate::{INSIDE, VIP},
    hostile::NOWHERE,
    rules::addresses,
    wire::{self, Inner, Line, Piece},
};
use crate::{FlowId, FlowKey, Gone, PeerSpec};

/// The shell may tell the core the time this much late.
const LATE: Duration = Duration::from_secs(2);
/// The lifetimes the core documents: of a hold, of a flow, of a stream, and of a refusal.
const HOLD: Duration = Duration::from_secs(11);
const SHORT: Duration = Duration::from_secs(30);
const STREAM: Duration = Duration::from_secs(120);
const CLOSED: Duration = Duration::from_secs(1);

/// How far a flow came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing passes; told of then.
    Asked(Duration),
    /// Both ways are open: at least until the one moment, at most until the other.
    Live {
        least: Duration,
        most: Duration,
    },
    /// Refused or cut then.
    Closed(Duration),
    /// Its device left; that must be told.
    Left,
    Over,
}

/// A flow the shell was told of.
#[derive(Debug)]
struct Known {
    line: Line,
    way: Way,
    /// When the device first said what may have opened it.
    since: Duration,
    answered: bool,
    /// What of it the shell heard last.
    last: Option<u64>,
}

/// What a device was heard to say.
#[derive(Debug, Clone, Copy)]
struct Said {
    nth: u64,
    first: Duration,
    /// Whether it went to where a flow may go.
    may_open: bool,
}

/// Everything the core must keep to.
#[derive(Default)]
pub(super) struct Datagrams {
    flows: BTreeMap<FlowId, Known>,
    /// What devices were heard to say and the shell did not hear yet.
    said: BTreeMap<(Line, Vec<u8>), Said>,
    heard: u64,
    /// How the packets of devices begin, for errors to quote.
    heads: BTreeSet<Vec<u8>>,
    /// What the shell answered while it might.
    answers: BTreeSet<(Line, Vec<u8>)>,
}

fn is_open(way: Way) -> bool {
    matches!(way, Way::Asked(_) | Way::Live { .. })
}

/// As much of a packet as every error about it quotes.
fn head(packet: &[u8]) -> &[u8] {
    let length = if packet.first().is_some_and(|first| first >> 4 == 4) { 28 } else { 48 };
    packet.get(..length).unwrap_or(packet)
}

impl Datagrams {
    /// A packet arrived that a key of this device sealed, for the first time if `fresh`.
    pub(super) fn saw(
        &mut self,
        packet: &[u8],
        (speaker, peers): (Option<&PeerSpec>, &[PeerSpec]),
        fresh: bool,
        now: Duration,
    ) {
        self.heads.insert(head(packet).to_vec());
        let Some((line, said)) = Inner::read(packet).and_then(|inner| inner.asks()) else { return };
        if !speaker.is_some_and(|spec| addresses(spec).contains(&line.1.device.ip())) {
            return;
        }
        if fresh {
            self.heard += 1;
            let said_now = Said { nth: self.heard, first: now, may_open: false };
            self.said.entry((line, said.to_vec())).or_insert(said_now);
        }
        if let Some(said) = self.said.get_mut(&(line, said.to_vec())) {
            said.may_open |= may_open(&line, peers);
        }
        for flow in self.flows.values_mut().filter(|flow| flow.line == line) {
            flow.lasts(now);
        }
    }

    pub(super) fn knows(&self, id: FlowId) -> bool {
        self.flows.contains_key(&id)
    }

    /// The core told of a flow of a device that has these addresses.
    pub(super) fn opened(&mut self, id: FlowId, own: &[IpAddr], line: Line, now: Duration) {
        assert!(own.contains(&line.1.device.ip()), "a flow from another's address");
        for old in self.flows.values().filter(|old| old.line == line) {
            assert!(!is_open(old.way), "two flows of one line");
            let asked_again = matches!(old.way, Way::Closed(at) if now < at + CLOSED);
            assert!(!asked_again, "asked again about what was just refused");
        }
        let said = self.said.iter().filter(|((of, _), said)| *of == line && said.may_open);
        let since = said.map(|(_, said)| said.first).min().expect("a flow nobody asked for");
        let known = Known { line, way: Way::Asked(now), since, answered: false, last: None };
        assert!(self.flows.insert(id, known).is_none(), "a flow's name was used again");
    }

    /// The shell says yes; whether that lets anything through.
    pub(super) fn admit(&mut self, id: FlowId, now: Duration) -> bool {
        let asked = |flow: &&mut Known| matches!(flow.way, Way::Asked(_));
        let Some(flow) = self.flows.get_mut(&id).filter(asked) else { return false };
        flow.way = Way::Live { least: now + SHORT, most: now + SHORT };
        true
    }

    /// An admission gives the shell what it was asked about.
    pub(super) fn check_begun(&self, id: FlowId) {
        assert!(self.flows.get(&id).is_some_and(|flow| flow.last.is_some()), "what was held is lost");
    }

    pub(super) fn refuse(&mut self, id: FlowId, now: Duration) {
        if let Some(flow) = self.flows.get_mut(&id).filter(|flow| matches!(flow.way, Way::Asked(_))) {
            flow.way = Way::Closed(now);
        }
    }

    pub(super) fn cut(&mut self, id: FlowId, now: Duration) {
        if let Some(flow) = self.flows.get_mut(&id).filter(|flow| is_open(flow.way)) {
            flow.way = Way::Closed(now);
        }
    }

    pub(super) fn finish(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(&id).filter(|flow| matches!(flow.way, Way::Live { .. })) {
            flow.way = Way::Over;
        }
    }

    /// A device left its addresses: nothing it said is heard any more.
    pub(super) fn leave(&mut self, own: [IpAddr; 2]) {
        for flow in self.flows.values_mut().filter(|flow| own.contains(&flow.line.1.device.ip())) {
            flow.way = if is_open(flow.way) || flow.way == Way::Left { Way::Left } else { Way::Over };
        }
        self.said.retain(|(line, _), _| !own.contains(&line.1.device.ip()));
    }

    /// The core told that a flow ended by itself.
    pub(super) fn gone(&mut self, id: FlowId, why: Gone, now: Duration) {
        let flow = self.flows.get_mut(&id).expect("only a flow that was told can end");
        match (flow.way, why) {
            (Way::Asked(_), Gone::HoldExpired) => assert!(now >= flow.since + HOLD, "a hold ended early"),
            (Way::Live { least, .. }, Gone::Idle) => assert!(now >= least, "a flow in use ended"),
            // It may have ended right before its device left.
            (Way::Left, Gone::DeviceRemoved | Gone::HoldExpired | Gone::Idle) => {}
            (way, why) => panic!("a flow that is {way:?} ended by {why:?}"),
        }
        flow.way = Way::Over;
    }

    /// The core gave the shell what a device said: each is given once, in order, to a flow that is open.
    pub(super) fn given(&mut self, id: FlowId, said: &[u8]) {
        let flow = self.flows.get_mut(&id).expect("a datagram of a flow that was never told");
        let Way::Live { least, .. } = &mut flow.way else { panic!("{said:?} passed on {flow:?}") };
        let heard = self.said.remove(&(flow.line, said.to_vec()));
        let Said { nth, first, .. } =
            heard.unwrap_or_else(|| panic!("{said:?} passed, which its device did not just say"));
        *least = (*least).max(first + SHORT);
        assert!(flow.last < Some(nth), "{said:?} overtook what was said before it");
        flow.last = Some(nth);
    }

    pub(super) fn is_live(&self, id: FlowId) -> bool {
        self.flows.get(&id).is_some_and(|flow| matches!(flow.way, Way::Live { .. }))
    }

    pub(super) fn live(&self) -> Vec<FlowId> {
        self.flows.keys().copied().filter(|&id| self.is_live(id)).collect()
    }

    /// The shell answers along a flow, open or not.
    pub(super) fn answered(&mut self, id: FlowId, said: &[u8], now: Duration) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.answered = true;
        flow.lasts(now);
        if let Way::Live { least, .. } = &mut flow.way {
            *least = now + SHORT;
            self.answers.insert((flow.line, said.to_vec()));
        }
    }

    /// The shell has heard all events: no flow is left that should have ended.
    pub(super) fn check_ends(&self, now: Duration) {
        for flow in self.flows.values() {
            let until = match flow.way {
                Way::Asked(told) => told + HOLD,
                Way::Live { most, .. } => most,
                Way::Left => panic!("nobody told that {flow:?} ended"),
                Way::Closed(_) | Way::Over => continue,
            };
            assert!(now <= until + LATE, "{flow:?} outlived its time");
        }
    }

    /// What is no TCP and goes to a device because the shell said something along `id`.
    pub(super) fn check_sent(&self, id: FlowId, packet: &[u8]) {
        assert!(self.is_live(id), "something passed on a flow that is not open: {packet:?}");
        let owner = self.flows.get(&id).map(|flow| flow.line.1.device.ip());
        assert_eq!(wire::destination(packet), owner, "an answer reached another than its asker");
    }

    /// What is no TCP and goes to a device: an answer, or an error about something it sent.
    pub(super) fn check_told(&self, packet: &[u8]) {
        if let Some(piece) = Piece::read(packet) {
            let known = self.answers.iter().any(|(line, said)| is_piece(&piece, line, said));
            return assert!(known, "{piece:?} is of no answer");
        }
        let inner = Inner::read(packet).expect("only plain packets and fragments reach a device");
        if let Some(quote) = inner.quote() {
            let said = self.heads.contains(head(quote));
            return assert!(said && quoted(quote) == Some(inner.dst.ip()), "{inner:?} quotes another");
        }
        let (line, said) = inner.answers().unwrap_or_else(|| panic!("{inner:?} is no answer"));
        let ours = |own: &[&str]| own.iter().any(|addr| addr.parse() == Ok(inner.src.ip()));
        let by_us =
            if line.0 { ours(&[INSIDE[0], INSIDE[1], VIP]) } else { ours(&INSIDE) && inner.src.port() == 53 };
        assert!(by_us || self.answers.contains(&(line, said.to_vec())), "{inner:?} was never answered");
    }

    /// No flow is open.
    pub(super) fn is_idle(&self) -> bool {
        !self.flows.values().any(|flow| is_open(flow.way))
    }
}

impl Known {
    /// Something may have passed.
    fn lasts(&mut self, now: Duration) {
        let stream = self.answered && !self.line.0;
        if let Way::Live { most, .. } = &mut self.way {
            *most = (*most).max(now + if stream { STREAM } else { SHORT });
        }
    }
}

/// Whether a flow may be asked for at all: not to us, to devices, or to where nothing goes.
fn may_open(&(echo, FlowKey { target, .. }): &Line, peers: &[PeerSpec]) -> bool {
    let is = |addr: &str| addr.parse() == Ok(target.ip());
    let of_device = peers.iter().any(|spec| addresses(spec).contains(&target.ip()));
    let ours = INSIDE.iter().any(|addr| is(addr)) || echo && is(VIP);
    let nowhere = NOWHERE.iter().any(|addr| is(addr));
    !(of_device || ours || nowhere)
}

/// Who sent what an error quotes.
fn quoted(quote: &[u8]) -> Option<IpAddr> {
    match quote.first()? >> 4 {
        4 => Some(<[u8; 4]>::try_from(quote.get(12..16)?).ok()?.into()),
        _ => Some(<[u8; 16]>::try_from(quote.get(8..24)?).ok()?.into()),
    }
}

/// Whether a fragment is of this answer. Of UDP's header the lengths and sums are left to others.
fn is_piece(piece: &Piece<'_>, &(echo, FlowKey { device, target }): &Line, said: &[u8]) -> bool {
    let protocol = match (echo, device.is_ipv4()) {
        (false, _) => 17,
        (true, true) => 1,
        (true, false) => 58,
    };
    let head = if echo { 6 } else { 8 };
    let (from, skip) = (piece.offset.saturating_sub(head), head.saturating_sub(piece.offset));
    let own = piece.bytes.get(skip..).zip(said.get(from..));
    let same = own.is_some_and(|(bytes, said)| said.starts_with(bytes));
    (piece.src, piece.dst, piece.protocol) == (target.ip(), device.ip(), protocol) && same
}
