//! A device of a fuzzer's world: what it ever said, what it is owed, and its opinion on what it gets.
//! It shares nothing with `packet` and `filter`.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use protocol::{key::WgKey, target::Proto};

use super::judge::{self, Fragment, RST, Said};
use crate::{PeerSpec, noise::model::ModelPeer};

pub(super) const GATEWAY: WgKey = WgKey([200; 32]);
pub(super) const GATEWAY_ADDRS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))];
/// Answers echo requests.
pub(super) const ECHO: Ipv4Addr = Ipv4Addr::new(100, 64, 128, 7);

pub(super) struct Device {
    pub(super) spec: PeerSpec,
    pub(super) peer: ModelPeer,
    pub(super) addr: SocketAddr,
    pub(super) enrolled: bool,
    /// Every packet it ever sent.
    pub(super) said: HashSet<Vec<u8>>,
    /// What the kernel sent to it while that was permitted.
    pub(super) owed: HashSet<Vec<u8>>,
    /// What it ever said in datagrams.
    pub(super) asked: HashSet<Said>,
    /// What the shell said to it while that was permitted.
    pub(super) answers: HashSet<Said>,
    /// A message of which fragments arrived.
    pieces: Vec<u8>,
}

impl Device {
    pub(super) fn new(n: u8, now: Instant) -> Self {
        let spec = PeerSpec {
            device: format!("d{n}").parse().expect("an id"),
            keys: vec![WgKey([n; 32])],
            v4: [100, 64, 0, n + 1].into(),
            v6: [0xfd00, 0, 0, 1, 0, 0, 0, u16::from(n) + 1].into(),
        };
        let peer = ModelPeer::new(spec.keys[0], GATEWAY, n.into(), now);
        Self {
            spec,
            peer,
            addr: ([198, 51, 100, n], 40_000).into(),
            enrolled: true,
            said: HashSet::new(),
            owed: HashSet::new(),
            asked: HashSet::new(),
            answers: HashSet::new(),
            pieces: Vec::new(),
        }
    }

    pub(super) fn sources(&self) -> [IpAddr; 2] {
        [self.spec.v4.into(), self.spec.v6.into()]
    }

    pub(super) fn says(&mut self, packet: &[u8]) {
        self.said.insert(on_wire(packet));
        self.asked.extend(judge::question(packet));
    }

    /// What came out of the tunnel: the kernel's along a flow of this device, or ours.
    pub(super) fn judge(&mut self, packet: &[u8]) {
        if let Some(fragment) = judge::fragment(packet) {
            return self.judge_piece(fragment);
        }
        let (src, dst, protocol, payload) = judge::plain(packet).expect("a device gets plain packets");
        assert!(self.sources().contains(&dst), "for {dst}, not for {:?}", self.sources());
        if self.owed.contains(&on_wire(packet)) {
            return;
        }
        assert!(judge::checksums_hold(packet), "a wrong checksum: {packet:02x?}");
        match protocol {
            6 => assert!(payload.len() == 20 && payload[13] & RST != 0, "not permitted: {packet:02x?}"),
            1 if payload[0] == 3 => {}
            58 if payload[0] == 1 => {}
            _ => self.judge_answer((src, dst, protocol), payload),
        }
    }

    /// The shell's answer, or ours: to a name server's question, or to an echo.
    fn judge_answer(&self, (src, dst, protocol): (IpAddr, IpAddr, u8), message: &[u8]) {
        let answer = judge::answer(src, dst, protocol, message);
        let answer = answer.unwrap_or_else(|| panic!("not permitted: {protocol} {message:02x?}"));
        let ours = match answer.0 {
            Proto::Icmp => src == IpAddr::from(ECHO),
            _ => GATEWAY_ADDRS.map(|addr| (addr, 53)).contains(&(src, answer.1.target.port())),
        };
        assert!(ours || self.answers.contains(&answer), "nobody answered {answer:02x?}");
    }

    /// A fragment of an answer; they come in order, and one that is missing spoils the message.
    fn judge_piece(&mut self, Fragment { src, dst, protocol, at, more, bytes }: Fragment<'_>) {
        assert!(self.sources().contains(&dst), "for {dst}, not for {:?}", self.sources());
        self.pieces.truncate(at);
        if self.pieces.len() == at {
            self.pieces.extend(bytes);
            if !more {
                let message = std::mem::take(&mut self.pieces);
                self.judge_answer((src, dst, protocol), &message);
            }
        }
    }
}

/// A packet but for what says only which it is: IPv4's identification, and so its header's checksum.
pub(super) fn on_wire(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.first().is_some_and(|first| first >> 4 == 4) && packet.len() >= 20 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}
