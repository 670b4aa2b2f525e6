//! A device: a stock client over the model cipher, and the connections of its script.
//! A hostile one is a device like any other that also sends what `hostile` makes up.

use std::{collections::BTreeSet, net::IpAddr, net::SocketAddr, time::Duration, time::Instant};

use protocol::key::WgKey;

use super::{
    ask::Asker,
    conn::{Conn, State},
    dice::Dice,
    gate::VIP,
    net,
    wire::{self, Inner},
};
use crate::{PeerSpec, noise::model::ModelPeer, peer::Client};

const TARGETS: [&str; 5] = ["10.1.0.9", "10.1.0.10", "fd50::9", VIP, "100.64.0.1"];
const PORTS: [u16; 2] = [22, 443];
/// Few, so that ports are used again.
const OWN_PORTS: std::ops::Range<usize> = 4000..4012;

/// Key number `n`; the gateway's is the last.
pub(super) fn key(n: u32) -> WgKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    WgKey(bytes)
}

pub(super) fn gateway_key() -> WgKey {
    key(u32::MAX)
}

/// Whether a connection is only noise of the storm, or one that must come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Any,
    Proof,
}

/// One device.
pub(super) struct Device {
    pub(super) spec: PeerSpec,
    pub(super) enrolled: bool,
    pub(super) hostile: bool,
    /// The key its client uses, one of the spec's or an old one.
    pub(super) key: WgKey,
    pub(super) client: Client,
    pub(super) addr: SocketAddr,
    pub(super) socket: usize,
    pub(super) conns: Vec<(Purpose, Conn)>,
    /// Every inner address and every key it ever had.
    pub(super) had: BTreeSet<IpAddr>,
    pub(super) had_keys: BTreeSet<WgKey>,
    /// Whether its proof came through.
    pub(super) proven: bool,
    pub(super) asker: Asker,
}

impl Device {
    pub(super) fn new(n: u8, hostile: bool, epoch: Instant, dice: &mut Dice) -> Self {
        let key = key(u32::from(n));
        let spec = PeerSpec {
            device: format!("d{n}").parse().unwrap(),
            keys: vec![key],
            v4: [100, 64, 0, 10 + n].into(),
            v6: [0xfd00, 0, 0, 1, 0, 0, 0, 10 + u16::from(n)].into(),
        };
        let socket = dice.of(0..2);
        let mut device = Self {
            spec,
            enrolled: true,
            hostile,
            key,
            client: client(key, socket, Duration::ZERO, epoch, dice),
            addr: ([198, 51, 100, n], 40_000).into(),
            socket,
            conns: Vec::new(),
            had: BTreeSet::new(),
            had_keys: BTreeSet::new(),
            proven: false,
            asker: Asker::default(),
        };
        device.remember();
        device
    }

    /// A process anew: no session, no connections.
    pub(super) fn restart(&mut self, key: WgKey, now: Duration, epoch: Instant, dice: &mut Dice) {
        self.key = key;
        self.socket = dice.of(0..2);
        self.client = client(key, self.socket, now, epoch, dice);
        self.conns.clear();
    }

    pub(super) fn sources(&self) -> [IpAddr; 2] {
        [self.spec.v4.into(), self.spec.v6.into()]
    }

    pub(super) fn remember(&mut self) {
        self.had.extend(self.sources());
        self.had_keys.extend(&self.spec.keys);
    }

    /// Other addresses inside the tunnel; what was open is lost.
    pub(super) fn renumber(&mut self, host: u8) {
        self.spec.v4 = [100, 64, 0, host].into();
        self.spec.v6 = [0xfd00, 0, 0, 1, 0, 0, 0, u16::from(host)].into();
        self.conns.clear();
        self.remember();
    }

    /// Dials a target with something to say.
    pub(super) fn dial(&mut self, purpose: Purpose, dice: &mut Dice) {
        let target: IpAddr = dice.pick(&TARGETS).unwrap().parse().unwrap();
        let own = if target.is_ipv4() { self.spec.v4.into() } else { self.spec.v6.into() };
        let own = SocketAddr::new(own, u16::try_from(dice.of(OWN_PORTS)).unwrap());
        let target = SocketAddr::new(target, *dice.pick(&PORTS).unwrap());
        let mut conn = Conn::new(own, target, u32::try_from(dice.draw() >> 32).unwrap(), None);
        conn.goal = u32::try_from(dice.of(1..3000)).unwrap();
        self.conns.retain(|(_, old)| old.own != own || old.peer != target);
        self.conns.push((purpose, conn));
    }

    /// A packet from the tunnel.
    pub(super) fn hear(&mut self, packet: &[u8], now: Duration, out: &mut Vec<Vec<u8>>) {
        let to = wire::destination(packet).expect("what the gateway sends is plain, or a fragment");
        assert!(self.had.contains(&to), "{} got a packet for {to}", self.spec.device);
        let Some(inner) = Inner::read(packet) else { return };
        if inner.is_tcp() {
            let mut conns = self.conns.iter_mut().map(|(_, conn)| conn);
            if let Some(conn) = conns.find(|conn| conn.own == inner.dst && conn.peer == inner.src) {
                conn.hear(&inner, now, out);
            }
        } else if let Some(quote) = inner.quote().and_then(Inner::read).filter(Inner::is_tcp) {
            let refused = |conn: &Conn| conn.own == quote.src && conn.peer == quote.dst;
            for (_, conn) in self.conns.iter_mut().filter(|(_, conn)| refused(conn)) {
                conn.state = State::Dead;
            }
        } else {
            self.hear_answer(&inner);
        }
    }

    /// A quarter of a second has passed.
    pub(super) fn beat(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) {
        for (_, conn) in &mut self.conns {
            if conn.received == conn.goal && !conn.closing {
                conn.closing = true;
                conn.pump(false, now, out);
            }
            conn.beat(now, out);
        }
        let proof = |(purpose, conn): &(Purpose, Conn)| {
            *purpose == Purpose::Proof && conn.received == conn.goal && conn.heard_fin
        };
        self.proven |= self.conns.iter().any(proof);
        self.conns.retain(|(_, conn)| conn.state != State::Dead && !conn.done());
    }
}

fn client(key: WgKey, socket: usize, now: Duration, epoch: Instant, dice: &mut Dice) -> Client {
    let index = u32::try_from(dice.of(0..1 << 24)).unwrap();
    let noise = ModelPeer::new(key, gateway_key(), index, epoch);
    Client::with_noise(Box::new(noise), net::gateway(socket), dice.chance(300), epoch + now)
}
