//! One flow of datagrams: its state and how long it lives. It knows no other flow.
//! Always true: only a held flow holds payloads.

use std::time::{Duration, Instant};

use protocol::target::Proto;

use crate::{
    devices::DeviceSlot,
    event::{FlowKey, FlowPhase, Refusal},
};

/// A verdict takes a dial at most; a hold that gets none ends.
const HOLD: Duration = Duration::from_secs(11);
/// Until it is answered, and echo always: `nf_conntrack_udp_timeout` and `nf_conntrack_icmp_timeout` of
/// Linux (Documentation/networking/nf_conntrack-sysctl.rst).
const SHORT: Duration = Duration::from_secs(30);
/// A stream: `nf_conntrack_udp_timeout_stream`, which is also the least that RFC 4787 REQ-5 asks for.
const STREAM: Duration = Duration::from_secs(120);
/// Answered and still in use after this long, it is a stream (as in nf_conntrack_proto_udp.c).
const STREAM_AFTER: Duration = Duration::from_secs(2);
/// How long a refusal is repeated before the question is asked again.
pub(super) const CLOSED: Duration = Duration::from_secs(1);
/// Enough of a packet for an ICMP error: either IP header and eight bytes (RFC 792, RFC 4443 §2.4).
const QUOTE: usize = 48;

/// What tells one flow from another. An echo's device port is its identifier, its target port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DatagramKey {
    pub(crate) proto: Proto,
    pub(crate) ends: FlowKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// These payloads wait for a verdict.
    Held(Vec<Vec<u8>>),
    Live,
    /// Refused or cut: who goes on is told so.
    Closed(Refusal),
}

/// A flow of datagrams.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) device: DeviceSlot,
    pub(crate) key: DatagramKey,
    pub(crate) since: Instant,
    pub(super) state: State,
    /// When it ends if nothing passes; its deadline may be earlier, never later.
    pub(super) until: Instant,
    pub(super) answered: bool,
    /// The beginning of the device's latest packet, for an ICMP error to quote.
    quote: [u8; QUOTE],
    /// Of the next answer that must be cut in fragments.
    pub(super) fragment_id: u32,
}

impl Flow {
    pub(super) fn held(
        device: DeviceSlot,
        key: DatagramKey,
        payload: &[u8],
        fragment_id: u32,
        now: Instant,
    ) -> Self {
        let state = State::Held(vec![payload.to_vec()]);
        let (until, quote) = (now + HOLD, [0; QUOTE]);
        Self { device, key, since: now, state, until, answered: false, quote, fragment_id }
    }

    pub(crate) fn phase(&self) -> FlowPhase {
        match self.state {
            State::Held(_) => FlowPhase::Held,
            State::Live => FlowPhase::Live,
            State::Closed(_) => FlowPhase::Closing,
        }
    }

    /// The beginning of the device's latest packet.
    pub(crate) fn quote(&self) -> &[u8] {
        let header = if self.key.ends.device.is_ipv4() { 20 } else { 40 };
        self.quote.get(..header + 8).unwrap_or(&self.quote)
    }

    pub(super) fn remember(&mut self, packet: &[u8]) {
        let length = packet.len().min(QUOTE);
        if let (Some(quote), Some(packet)) = (self.quote.get_mut(..length), packet.get(..length)) {
            quote.copy_from_slice(packet);
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        match &self.state {
            State::Held(waiting) => waiting.iter().map(Vec::len).sum(),
            State::Live | State::Closed(_) => 0,
        }
    }

    /// Something passed.
    pub(super) fn refresh(&mut self, now: Instant) {
        let stream = self.answered && now >= self.since + STREAM_AFTER;
        self.until = now + if stream && self.key.proto == Proto::Udp { STREAM } else { SHORT };
    }
}
