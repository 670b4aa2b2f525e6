//! How often each thing happened that someone on call may ask about: every drop has a reason here.
//! Counters only grow, and never hold an address or a name.

use serde::{Serialize, Serializer, ser::SerializeMap};

macro_rules! counts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One thing that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Count {
            $($(#[$doc])* $variant,)*
        }

        impl Count {
            /// Every counter, in the order they are printed.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in metrics and status.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

counts! {
    /// The datagram is no WireGuard message.
    NotWireguard = "not_wireguard",
    /// A handshake message with a wrong MAC, or one that did not decrypt.
    HandshakeInvalid = "handshake_invalid",
    /// An initiation not newer than the newest one of that key.
    HandshakeReplayed = "handshake_replayed",
    /// Initiations of one key in quicker succession than 20 ms.
    HandshakeTooFast = "handshake_too_fast",
    /// An initiation by a key no device has.
    UnknownKey = "unknown_key",
    /// Under load: answered with a cookie instead of a handshake.
    CookieSent = "cookie_sent",
    /// Under load: a cookie withheld by its rate.
    CookieLimited = "cookie_limited",
    /// Under load: a cookie was returned, but its source's rate is spent.
    SourceLimited = "source_limited",
    /// Under load: a cookie was returned, but the rate of all who return one is spent.
    HandshakeLimited = "handshake_limited",
    /// A completed or answered handshake.
    Handshake = "handshake",
    /// Data for a session we do not have.
    UnknownSession = "unknown_session",
    /// A handshake forced because a peer at its known endpoint used a session we lost.
    Rehandshake = "rehandshake",
    /// A forced handshake withheld by its rate.
    RehandshakeLimited = "rehandshake_limited",
    /// Data that did not decrypt.
    DataInvalid = "data_invalid",
    /// Data that was received before.
    DataReplayed = "data_replayed",
    /// A packet for a peer whose endpoint is unknown.
    NoEndpoint = "no_endpoint",
    /// An output queue is full.
    QueueFull = "queue_full",
    /// A packet dropped: too many wait for a session with that peer.
    WaitingFull = "waiting_full",
    /// The event queue is full: an informative event is lost.
    EventLost = "event_lost",
    /// A datagram or packet given to the shard that it belongs to.
    HandedOver = "handed_over",
    /// One that was not, because too many wait for that shard.
    HandoverFull = "handover_full",
    /// A peer specification contradicts an earlier one (address or key in use), or has more than two keys.
    SpecConflict = "spec_conflict",
    /// An inner packet passed to the kernel.
    PassedIn = "passed_in",
    /// A packet of the kernel passed to a device.
    PassedOut = "passed_out",
    /// Neither IPv4 nor IPv6.
    NotIp = "not_ip",
    /// An IPv4 header that makes no sense, or with a wrong checksum.
    Ipv4Malformed = "ipv4_malformed",
    /// An IPv6 header that makes no sense.
    Ipv6Malformed = "ipv6_malformed",
    /// The length field is not the packet's length.
    WrongLength = "wrong_length",
    /// The packet is longer than the tunnel's MTU.
    TooBig = "too_big",
    /// IPv4 options other than source routes.
    Ipv4Options = "ipv4_options",
    /// A source route (IPv4 option or IPv6 routing header).
    SourceRoute = "source_route",
    /// A fragment, of either version.
    Fragment = "fragment",
    /// An IPv6 hop-by-hop header.
    HopByHop = "hop_by_hop",
    /// Another IPv6 extension header.
    Ipv6Extension = "ipv6_extension",
    /// A TCP header that makes no sense.
    TcpMalformed = "tcp_malformed",
    /// A TCP segment with a wrong checksum.
    TcpChecksum = "tcp_checksum",
    /// A TCP flag combination no honest stack sends.
    TcpFlags = "tcp_flags",
    /// A UDP header that makes no sense, or with a wrong checksum.
    UdpMalformed = "udp_malformed",
    /// An ICMP message that makes no sense, or with a wrong checksum.
    IcmpMalformed = "icmp_malformed",
    /// The source is not the device's own address.
    WrongSource = "wrong_source",
    /// The destination is a loopback address.
    ToLoopback = "to_loopback",
    /// The destination is link-local.
    ToLinkLocal = "to_link_local",
    /// The destination is multicast.
    ToMulticast = "to_multicast",
    /// The destination is unspecified, broadcast, class E, 0/8 or v4-mapped.
    ToReserved = "to_reserved",
    /// The destination is the gateway, and it is neither DNS nor echo.
    ToGateway = "to_gateway",
    /// The destination is a device.
    ToDevice = "to_device",
    /// A packet of a device that was removed.
    DeviceRemoved = "device_removed",
    /// An IP protocol other than TCP, UDP and ICMP.
    ProtocolUnsupported = "protocol_unsupported",
    /// ICMP other than echo and errors, which no flow carries.
    IcmpUnsupported = "icmp_unsupported",
    /// An ICMP error; never answered.
    IcmpError = "icmp_error",
    /// An ICMP message of ours withheld by its rate.
    IcmpLimited = "icmp_limited",
    /// An echo request that was answered.
    EchoAnswered = "echo_answered",
    /// A DNS query handed to the shell.
    DnsQuery = "dns_query",
    /// A DNS query dropped: the device has too many waiting.
    DnsLimited = "dns_limited",
    /// An answer that fits no packet, or between addresses of different families.
    AnswerUnsendable = "answer_unsendable",
    /// An answer or a segment for an address no device has.
    NoSuchDevice = "no_such_device",
    /// A SYN held for a verdict.
    FlowHeld = "flow_held",
    /// A SYN given to the kernel.
    FlowAdmitted = "flow_admitted",
    /// A SYN refused by verdict.
    FlowRefused = "flow_refused",
    /// An accepted socket matched to its permit.
    FlowAccepted = "flow_accepted",
    /// An accepted socket without a permit.
    PairingUnknown = "pairing_unknown",
    /// A hold that got no verdict in time.
    HoldExpired = "hold_expired",
    /// A permit whose connection was never accepted.
    PermitExpired = "permit_expired",
    /// A verdict for a flow that waits for none.
    LateVerdict = "late_verdict",
    /// A flow that was cut.
    FlowCut = "flow_cut",
    /// A SYN dropped: the device opens too many flows a second.
    OpensLimited = "opens_limited",
    /// A SYN refused: too many of the device wait for a verdict.
    HeldLimit = "held_limit",
    /// A SYN refused: too many of the device wait to be accepted.
    AdmittedLimit = "admitted_limit",
    /// A SYN refused: the device has too many flows.
    DeviceFlowLimit = "device_flow_limit",
    /// A SYN refused: there are too many flows.
    FlowLimit = "flow_limit",
    /// A SYN refused: the shell does not keep up with events.
    EventLimit = "event_limit",
    /// A segment answered with RST because its flow is being cut.
    ClosingSegment = "closing_segment",
    /// A segment that belongs to no flow.
    NoFlow = "no_flow",
    /// A flow of datagrams held for a verdict.
    DatagramFlowHeld = "datagram_flow_held",
    /// A flow of datagrams admitted by verdict.
    DatagramFlowAdmitted = "datagram_flow_admitted",
    /// A flow of datagrams refused by verdict.
    DatagramFlowRefused = "datagram_flow_refused",
    /// A flow of datagrams that was cut.
    DatagramFlowCut = "datagram_flow_cut",
    /// A flow of datagrams on which nothing passed for its lifetime.
    DatagramFlowIdle = "datagram_flow_idle",
    /// A datagram refused: there are too many flows of datagrams.
    DatagramFlowLimit = "datagram_flow_limit",
    /// A datagram refused: the device has too many flows of datagrams.
    DatagramDeviceLimit = "datagram_device_limit",
    /// A datagram refused: too many flows of the device, or bytes of all, wait for a verdict.
    DatagramHeldLimit = "datagram_held_limit",
    /// A datagram dropped: as many of its flow as may wait for the verdict.
    DatagramHoldFull = "datagram_hold_full",
    /// A datagram dropped: the device has too many waiting for the shell.
    DatagramQueueFull = "datagram_queue_full",
    /// A datagram refused: its flow was refused or cut just now.
    DatagramClosed = "datagram_closed",
    /// A datagram handed to the shell.
    DatagramIn = "datagram_in",
    /// A datagram of a target passed to its device.
    DatagramOut = "datagram_out",
    /// A datagram of the shell for a flow that is not live.
    DatagramNoFlow = "datagram_no_flow",
    /// A RST withheld by its rate.
    ResetLimited = "reset_limited",
    /// From the kernel: not a sane TCP packet.
    TunNotTcp = "tun_not_tcp",
    /// From the kernel: a segment of no flow.
    TunNoFlow = "tun_no_flow",
    /// From the kernel: more than a RST on a flow being cut.
    TunClosing = "tun_closing",
}

/// The value of every [`Count`]. Serialized as a map from name to value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters([u64; Count::ALL.len()]);

impl Counters {
    /// How often `what` happened.
    pub fn get(&self, what: Count) -> u64 {
        self.0[what as usize]
    }

    /// Every counter with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Count, u64)> + '_ {
        Count::ALL.iter().map(|&what| (what, self.get(what)))
    }

    pub(crate) fn add(&mut self, what: Count) {
        self.0[what as usize] += 1;
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self([0; Count::ALL.len()])
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Count::ALL.len()))?;
        for (what, value) in self.iter() {
            map.serialize_entry(what.name(), &value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_values_find_their_place() {
        let names: HashSet<_> = Count::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Count::ALL.len());
        let mut counters = Counters::default();
        counters.add(Count::TunClosing);
        assert_eq!(counters.get(Count::TunClosing), 1);
        assert_eq!(serde_json::to_value(&counters).unwrap()["tun_closing"], 1);
    }
}
