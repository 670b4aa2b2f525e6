//! What the tests of this crate share: one gateway, its devices, and the network between them.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use protocol::key::WgKey;

use crate::{
    Config, CookieSecret, Count, Event, FlowId, FlowKey, Limits, Offload, PeerSpec, PrivateKey, Shard,
    ToKernel, Transmit, Tunnel, Verdict,
    noise::model::{Model, ModelPeer},
    packet::{
        Ends, Ip, TCP,
        tcp::{ACK, SYN, Tcp, tests::segment},
    },
    peer::{Client, ClientConfig},
};

/// The only clock reading; from here tests add.
#[expect(clippy::disallowed_methods, reason = "a test must begin somewhere")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// The target most tests dial.
pub(crate) const TARGET: &str = "10.1.0.9";
const TICK: Duration = Duration::from_millis(250);

/// A stock client somewhere on the network.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) addr: SocketAddr,
    pub(crate) spec: PeerSpec,
    pub(crate) inbox: Vec<Vec<u8>>,
}

impl Device {
    /// Its kernel sends a packet.
    pub(crate) fn give(&mut self, packet: &[u8], now: Instant) {
        self.client.handle_tun(Offload::NOTHING, &mut packet.to_vec(), now);
    }

    /// The first datagram it has for the gateway.
    pub(crate) fn first_transmit(&self) -> Vec<u8> {
        self.client.transmits().next().unwrap().bytes.to_vec()
    }
}

/// A packet for a kernel, in one piece.
pub(crate) fn whole(packet: ToKernel<'_>) -> Vec<u8> {
    packet.parts().flatten().copied().collect()
}

/// Everything, and the time.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) gateway: Tunnel,
    pub(crate) devices: Vec<Device>,
    /// What the gateway's kernel got.
    pub(crate) kernel: VecDeque<Vec<u8>>,
    pub(crate) events: VecDeque<Event>,
    /// Every datagram a device sent.
    pub(crate) sent: Vec<(SocketAddr, Vec<u8>)>,
    boring: bool,
    epoch: Instant,
    limits: Limits,
}

impl World {
    /// `n` connected devices under the model cipher.
    pub(crate) fn model(n: u8) -> Self {
        Self::new(n, false, Limits::default())
    }

    /// `n` connected devices under boringtun.
    pub(crate) fn boring(n: u8) -> Self {
        Self::new(n, true, Limits::default())
    }

    pub(crate) fn new(n: u8, boring: bool, limits: Limits) -> Self {
        let now = start();
        let mut world = Self {
            now,
            gateway: gateway(boring, now, &limits, Shard::default()),
            devices: Vec::new(),
            kernel: VecDeque::new(),
            events: VecDeque::new(),
            sent: Vec::new(),
            boring,
            epoch: now,
            limits,
        };
        for n in 1..=n {
            world.devices.push(device(n, boring, now));
        }
        world.set_peers();
        world.settle();
        for at in 0..world.devices.len() {
            assert!(world.devices[at].client.connected(now), "device {at} shook hands");
        }
        world.events.clear();
        world
    }

    pub(crate) fn set_peers(&mut self) {
        let specs: Vec<_> = self.devices.iter().map(|device| device.spec.clone()).collect();
        self.gateway.set_peers(&specs, self.now);
    }

    /// A gateway that remembers nothing, with the same key.
    pub(crate) fn restart(&mut self) {
        self.gateway = gateway(self.boring, self.epoch, &self.limits, Shard::default());
        self.set_peers();
    }

    /// Carries datagrams until there are none.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for device in &mut self.devices {
                for transmit in device.client.transmits() {
                    let Transmit { bytes, segment, .. } = transmit;
                    self.gateway.handle_datagrams(0, device.addr, segment, bytes, self.now);
                    self.sent.extend(bytes.chunks(segment).map(|bytes| (device.addr, bytes.to_vec())));
                    quiet = false;
                }
                device.client.clear_transmits();
            }
            for Transmit { to, bytes, segment, .. } in self.gateway.transmits() {
                quiet = false;
                if let Some(device) = self.devices.iter_mut().find(|device| device.addr == to) {
                    device.client.handle_datagrams(gateway_addr(), segment, bytes, self.now);
                }
            }
            self.gateway.clear_transmits();
            if quiet {
                break;
            }
        }
        self.kernel.extend(self.gateway.packets().map(whole));
        self.gateway.clear_packets();
        while let Some(event) = self.gateway.poll_event() {
            self.events.push_back(event);
        }
        for device in &mut self.devices {
            device.inbox.extend(device.client.packets().map(whole));
            device.client.clear_packets();
        }
    }

    /// Lets time pass, ticking everyone.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = (self.now + TICK).min(until);
            self.gateway.handle_timeout(self.now);
            for device in &mut self.devices {
                device.client.handle_timeout(self.now);
            }
            self.settle();
        }
    }

    /// The gateway loses its session with a device, but neither its flows nor its endpoint.
    pub(crate) fn lose_session(&mut self, device: usize) {
        self.gateway.lose_sessions(&self.devices[device].spec.device);
        assert!(self.gateway.peers().iter().any(|peer| !peer.awake && peer.endpoint.is_some()));
    }

    /// A device sends a packet.
    pub(crate) fn send(&mut self, device: usize, packet: &[u8]) {
        self.devices[device].give(packet, self.now);
        self.settle();
    }

    /// The gateway's kernel sends a packet.
    pub(crate) fn kernel_sends(&mut self, packet: &[u8]) {
        self.gateway.handle_tun(Offload::NOTHING, &mut packet.to_vec(), self.now);
        self.settle();
    }

    pub(crate) fn v4(&self, device: usize) -> IpAddr {
        self.devices[device].spec.v4.into()
    }

    /// From a device to the target.
    pub(crate) fn ends(&self, device: usize) -> Ends {
        Ends::new(self.v4(device), TARGET.parse().unwrap()).unwrap()
    }

    pub(crate) fn key(&self, device: usize, port: u16) -> FlowKey {
        FlowKey {
            device: (self.v4(device), port).into(),
            target: (TARGET.parse::<IpAddr>().unwrap(), 22).into(),
        }
    }

    /// A device's segment to port 22 of the target.
    pub(crate) fn segment(&mut self, device: usize, port: u16, seq: u32, ack: u32, flags: u8, data: &[u8]) {
        let packet = segment(self.ends(device), (port, 22), seq, ack, flags, data);
        self.send(device, &packet);
    }

    /// A datagram reaches the gateway.
    pub(crate) fn arrives(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.gateway.handle_datagrams(0, from, datagram.len(), datagram, self.now);
    }

    /// Takes what the gateway has for the network.
    pub(crate) fn transmitted(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let datagrams = |train: Transmit<'_>| {
            train.bytes.chunks(train.segment).map(|bytes| (train.to, bytes.to_vec())).collect::<Vec<_>>()
        };
        let all = self.gateway.transmits().flat_map(datagrams).collect();
        self.gateway.clear_transmits();
        all
    }

    /// The kernel's segment back.
    pub(crate) fn reply(&mut self, device: usize, port: u16, seq: u32, ack: u32, flags: u8, data: &[u8]) {
        let packet = segment(self.ends(device).reversed(), (22, port), seq, ack, flags, data);
        self.kernel_sends(&packet);
    }

    /// A SYN, and the flow it opened.
    pub(crate) fn dial(&mut self, device: usize, port: u16, isn: u32) -> FlowId {
        self.segment(device, port, isn, 0, SYN, &[]);
        match self.events.pop_back() {
            Some(Event::FlowOpened { flow, isn: opened, .. }) if opened == isn => flow,
            other => panic!("no flow opened but {other:?}"),
        }
    }

    /// A connection with a paired socket; the kernel's first sequence number is 5000.
    pub(crate) fn connect(&mut self, device: usize, port: u16, isn: u32) -> FlowId {
        let flow = self.dial(device, port, isn);
        self.gateway.decide(flow, Verdict::Admit, self.now);
        self.settle();
        self.reply(device, port, 5000, isn + 1, SYN | ACK, &[]);
        self.segment(device, port, isn + 1, 5001, ACK, &[]);
        assert_eq!(self.gateway.accepted(self.key(device, port), isn), Some(flow));
        self.kernel.clear();
        self.devices[device].inbox.clear();
        flow
    }

    /// The only packet a device got, as a segment.
    pub(crate) fn received(&mut self, device: usize) -> Option<Tcp> {
        let packets = std::mem::take(&mut self.devices[device].inbox);
        assert!(packets.len() <= 1, "{packets:?}");
        let ip = Ip::parse(packets.first()?).unwrap();
        assert_eq!(ip.protocol, TCP);
        Some(Tcp::parse(ip.payload).unwrap())
    }

    pub(crate) fn count(&self, what: Count) -> u64 {
        self.gateway.counters().get(what)
    }
}

pub(crate) fn gateway_addr() -> SocketAddr {
    ([192, 0, 2, 1], 51820).into()
}

pub(crate) fn gateway(boring: bool, epoch: Instant, limits: &Limits, shard: Shard) -> Tunnel {
    let config = Config {
        private_key: PrivateKey::new([200; 32]),
        cookies: CookieSecret::new([9; 32], epoch),
        gateway_addrs: vec![[100, 64, 0, 1].into(), "fd00::1".parse().unwrap()],
        limits: limits.clone(),
        seed: 7,
        mtu: 1420,
        shard,
    };
    if boring {
        Tunnel::new(config)
    } else {
        let model = Model::new(WgKey([200; 32]), epoch, &config.cookies, limits.handshakes);
        Tunnel::with_noise(config, Box::new(model))
    }
}

/// Device `n`: 100.64.0.(n + 1), at 198.51.100.n.
pub(crate) fn device(n: u8, boring: bool, now: Instant) -> Device {
    let private_key = PrivateKey::new([n; 32]);
    let key = if boring { private_key.public() } else { WgKey([n; 32]) };
    let gateway = PrivateKey::new([200; 32]).public();
    let client = if boring {
        let (endpoint, seed) = (gateway_addr(), u64::from(n));
        Client::new(
            ClientConfig { private_key, gateway, endpoint, keepalive: None, preshared: None, seed },
            now,
        )
    } else {
        let noise = ModelPeer::new(key, WgKey([200; 32]), u32::from(n), now);
        Client::with_noise(Box::new(noise), gateway_addr(), false, now)
    };
    let spec = PeerSpec {
        device: format!("d{n}").parse().unwrap(),
        keys: vec![key],
        v4: [100, 64, 0, n + 1].into(),
        v6: [0xfd00, 0, 0, 1, 0, 0, 0, u16::from(n) + 1].into(),
    };
    Device { client, addr: ([198, 51, 100, n], 40_000).into(), spec, inbox: Vec::new() }
}
