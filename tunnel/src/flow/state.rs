//! One flow: its state, and what its segments have told about its end.
//! It follows FIN, ACK and RST only as far as forgetting in time needs; the kernel is the truth.

use std::time::{Duration, Instant};

use crate::{
    devices::DeviceSlot,
    event::{FlowId, FlowKey, FlowPhase},
    kernel::Open,
    packet::{
        Ends, Ip,
        tcp::{self, ACK, FIN, RST, Tcp, not_before},
    },
    slab::Slot,
};

/// A held SYN. Clients repeat a SYN after 1, 3 and 7 s (RFC 6298: 1 s, doubling); a verdict that comes
/// later than three repetitions finds nobody waiting, and the next repetition asks anew.
pub(super) const HOLD: Duration = Duration::from_secs(10);
/// An admitted SYN. The kernel repeats its SYN-ACK after 1, 3, 7 and 15 s (RFC 6298); a device that
/// answered none of these by now will not, and what was dialled for it is wasted.
pub(super) const PERMIT: Duration = Duration::from_secs(30);
/// A flow being cut: time enough for the kernel's RST and for one round of segments answered by RST.
const CLOSING: Duration = Duration::from_secs(2);
/// When its RST is sent: repeated, for none is ever acknowledged, and a client that only waits would never
/// learn of a lost one.
const FAREWELLS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(150), Duration::from_millis(500)];
/// A closed socket with nothing coming from the kernel: Linux ends FIN-WAIT-2 and TIME-WAIT after 60 s
/// (tcp_fin_timeout, TCP_TIMEWAIT_LEN), which stands for the 2 MSL of RFC 9293 §3.4.2.
pub(super) const DRAIN: Duration = Duration::from_secs(60);
/// Both FINs acknowledged: the last ACK may be lost, and the FIN repeated after 1 s (RFC 6298).
pub(super) const LAST_ACK: Duration = Duration::from_secs(3);

/// A flow's name in the table.
pub(crate) type FlowSlot = Slot<Flow>;

/// What may pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: this SYN waits for a verdict.
    Held { syn: Vec<u8> },
    /// Everything; no socket is paired yet.
    Admitted,
    /// Everything.
    Live,
    /// Everything; the shell is done.
    Draining,
    /// Only RST, and only outwards.
    Closing { since: Instant, said: usize },
}

/// One flow.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) id: FlowId,
    pub(crate) device: DeviceSlot,
    pub(crate) key: FlowKey,
    pub(crate) isn: u32,
    pub(crate) since: Instant,
    pub(super) state: State,
    /// The next younger flow of the same key has this one behind it.
    pub(super) older: Option<FlowSlot>,
    /// What of it waits for the kernel and may still grow.
    pub(crate) open: Open,
    /// The sequence number after the kernel's last segment: where a RST of ours belongs.
    pub(super) next_out: Option<u32>,
    /// When the kernel last sent something.
    pub(super) last_out: Instant,
    by_device: Half,
    by_kernel: Half,
    reset: bool,
    /// The kernel sent nothing but a RST since then. If it goes on, it did not believe the RST (RFC 5961
    /// §3.2), or the RST was for an older connection of these ports (RFC 9293 §3.5.1).
    reset_stands: bool,
}

/// How one direction ended.
#[derive(Debug, Default)]
struct Half {
    /// The sequence number after its FIN.
    fin: Option<u32>,
    acked: bool,
}

impl Half {
    fn see(&mut self, tcp: &Tcp) {
        if tcp.has(FIN) {
            self.fin = Some(tcp.end());
        }
    }

    /// The other side acknowledged up to here.
    fn see_ack(&mut self, tcp: &Tcp) {
        if tcp.has(ACK) && self.fin.is_some_and(|fin| not_before(tcp.ack, fin)) {
            self.acked = true;
        }
    }
}

impl Flow {
    /// A flow whose SYN is `syn`; its place among others is the table's to set.
    pub(super) fn held(device: DeviceSlot, key: FlowKey, isn: u32, syn: Vec<u8>, now: Instant) -> Self {
        Self {
            id: FlowId(0),
            device,
            key,
            isn,
            since: now,
            state: State::Held { syn },
            older: None,
            open: Open::default(),
            next_out: None,
            last_out: now,
            by_device: Half::default(),
            by_kernel: Half::default(),
            reset: false,
            reset_stands: false,
        }
    }

    /// A segment of the device passed.
    pub(super) fn see_in(&mut self, tcp: &Tcp) {
        self.by_device.see(tcp);
        self.by_kernel.see_ack(tcp);
        self.reset |= tcp.has(RST);
        self.reset_stands |= tcp.has(RST);
    }

    /// A segment of the kernel passed.
    pub(super) fn see_out(&mut self, tcp: &Tcp, now: Instant) {
        self.by_kernel.see(tcp);
        self.by_device.see_ack(tcp);
        self.reset |= tcp.has(RST);
        self.reset_stands = tcp.has(RST);
        self.last_out = now;
        if self.next_out.is_none_or(|next| not_before(tcp.end(), next)) {
            self.next_out = Some(tcp.end());
        }
    }

    /// Reset, or both sides said all they had: the device may dial anew from this port.
    pub(super) fn over(&self) -> bool {
        self.reset || (self.by_device.fin.is_some() && self.by_kernel.fin.is_some())
    }

    pub(super) fn reset(&self) -> bool {
        self.reset
    }

    /// The kernel will send nothing more.
    pub(super) fn reset_stands(&self) -> bool {
        self.reset_stands
    }

    /// Both FINs are acknowledged.
    pub(super) fn said_goodbye(&self) -> bool {
        self.by_device.acked && self.by_kernel.acked
    }

    /// Whether segments of this flow go to and from the kernel.
    pub(super) fn passes(&self) -> bool {
        match self.state {
            State::Admitted | State::Live | State::Draining => true,
            State::Held { .. } | State::Closing { .. } => false,
        }
    }

    /// Of a flow being cut, if a RST is due now: when the next is, or its end.
    pub(super) fn say(&mut self) -> Option<Instant> {
        let State::Closing { since, said } = &mut self.state else { return None };
        *said += 1;
        (*said <= FAREWELLS.len()).then(|| *since + FAREWELLS.get(*said).copied().unwrap_or(CLOSING))
    }

    /// Whether a RST of the kernel says what ours have said or will say.
    pub(super) fn says_farewell_too(&self, tcp: &Tcp) -> bool {
        self.next_out == Some(tcp.seq)
    }

    /// What tells the device that it is over: the refusal of a held SYN, or a RST where the kernel's
    /// next segment would be, which is exact once all is delivered and else draws a challenge ACK
    /// (RFC 5961 §3.2).
    pub(crate) fn farewell(&self) -> Option<Vec<u8>> {
        if let Some(syn) = self.held_syn() {
            let ip = Ip::parse(syn).ok()?;
            return tcp::reset(ip.ends, &Tcp::parse(ip.payload).ok()?);
        }
        let FlowKey { device, target } = self.key;
        tcp::reset_at(Ends::new(target.ip(), device.ip())?, target.port(), device.port(), self.next_out?)
    }

    /// The SYN, while it is held.
    pub(crate) fn held_syn(&self) -> Option<&[u8]> {
        match &self.state {
            State::Held { syn } => Some(syn),
            State::Admitted | State::Live | State::Draining | State::Closing { .. } => None,
        }
    }

    pub(crate) fn phase(&self) -> FlowPhase {
        match self.state {
            State::Held { .. } => FlowPhase::Held,
            State::Admitted => FlowPhase::Admitted,
            State::Live => FlowPhase::Live,
            State::Draining => FlowPhase::Draining,
            State::Closing { .. } => FlowPhase::Closing,
        }
    }
}
