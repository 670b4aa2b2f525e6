//! Everything that may go wrong in a world, and how often; each world draws its own mixture.

use std::time::Duration;

use super::{
    device::{gateway_key, key},
    dice::Dice,
    gate::{self, Gate},
    hostile,
    kernel::Kernel,
    net::Weather,
    world::World,
};
use crate::{HandshakeLimits, Limits};

/// One world's mixture; chances in a thousand per beat.
pub(super) struct Plan {
    pub(super) seconds: u64,
    pub(super) devices: u8,
    pub(super) hostile_devices: usize,
    pub(super) limits: Limits,
    pub(super) stormy: bool,
    pub(super) dials: usize,
    pub(super) asks: usize,
    /// That the core is told the time late.
    pub(super) lateness: usize,
    /// See [`World::disturb`].
    mischief: [usize; 9],
}

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let devices = 2 + dice.of(0..4);
        let per_device = dice.of(32..64);
        let mut up_to = |most| if dice.chance(400) { 0 } else { dice.of(0..most) };
        let small = |number: usize| u32::try_from(number).unwrap();
        let mischief = [60, 20, 15, 40, 20, 60, 60, 400, 500].map(&mut up_to);
        Self {
            seconds: 5 + up_to(60) as u64,
            devices: u8::try_from(devices).unwrap(),
            hostile_devices: usize::from(mischief[7] > 0),
            limits: Limits {
                flows: devices * per_device,
                flows_per_device: per_device,
                held_per_device: 2 + up_to(8),
                admitted_per_device: 2 + up_to(8),
                dns_per_device: 1 + up_to(4),
                events: 4 + up_to(60),
                handshakes: HandshakeLimits {
                    unverified_per_second: 1 + small(up_to(20)),
                    verified_per_second: 20,
                    source_per_second: 5,
                    cookies_per_second: 20,
                },
                queue_bytes: 4000 + up_to(60_000),
                rehandshakes_per_second: 5,
                opens_per_second: 20,
                resets_per_second: 20,
                icmp_per_second: 5,
                unknown_keys_per_second: 2,
                datagram_flows: 4 * devices + up_to(100),
                datagram_flows_per_device: 4 + up_to(40),
                held_bytes: 200 + up_to(10_000),
                datagrams_per_device: 1 + up_to(8),
            },
            stormy: true,
            dials: 20 + up_to(200),
            asks: up_to(600),
            lateness: up_to(500),
            mischief,
        }
    }
}

impl World {
    /// A quarter of a second's worth of trouble.
    pub(super) fn disturb(&mut self) {
        let acts: [fn(&mut Self); 9] = [
            Self::roam,
            Self::restart_device,
            Self::restart_gateway,
            Self::change_devices,
            Self::freeze,
            Self::cut_something,
            Self::odd_kernel,
            Self::misbehave,
            Self::intrude,
        ];
        for (at, act) in acts.into_iter().enumerate() {
            if self.dice.chance(self.plan.mischief[at]) {
                act(self);
            }
        }
        if self.dice.chance(30) {
            self.net.weather = Weather::draw(&mut self.dice);
        }
        if self.dice.chance(100) {
            self.shell.endpoints = self.gate.tunnel.endpoints();
            self.shell.stamps = self.gate.tunnel.stamps();
        }
    }

    fn any_device(&mut self) -> usize {
        self.dice.of(0..self.devices.len())
    }

    /// Another address, another port, or the address of another device.
    fn roam(&mut self) {
        let (at, other) = (self.any_device(), self.any_device());
        let port = u16::try_from(self.dice.of(40_000..40_004)).unwrap();
        let host = u8::try_from(self.dice.of(1..8)).unwrap();
        let addr = self.devices[at].addr;
        let next = match self.dice.of(0..3) {
            0 => (addr.ip(), port).into(),
            1 => ([198, 51, 100, host], port).into(),
            _ => self.devices[other].addr,
        };
        // Nobody shares an address: who had it gets ours.
        for device in self.devices.iter_mut().filter(|device| device.addr == next) {
            device.addr = addr;
        }
        self.devices[at].addr = next;
    }

    fn restart_device(&mut self) {
        let at = self.any_device();
        let device = &mut self.devices[at];
        let key = *self.dice.pick(&device.spec.keys).unwrap();
        device.restart(key, self.now, self.epoch, &mut self.dice);
    }

    /// What it remembers over the restart is up to date, a while old, or nothing.
    fn restart_gateway(&mut self) {
        let (endpoints, stamps) = match self.dice.of(0..3) {
            0 => (self.gate.tunnel.endpoints(), self.gate.tunnel.stamps()),
            1 => (self.shell.endpoints.clone(), self.shell.stamps.clone()),
            _ => (Vec::new(), Vec::new()),
        };
        self.trace.note(self.now, "restart", &[], || format!("with {} labels", stamps.len()));
        self.gate = Gate::new(gateway_key(), self.plan.limits.clone(), self.dice.draw(), self.epoch);
        self.kernel = Kernel::default();
        self.shell.restart();
        self.rules.restart();
        self.change_peers();
        self.gate.tunnel.restore_endpoints(&endpoints);
        self.gate.tunnel.restore_stamps(&stamps);
        self.rules.restore(&endpoints, &stamps);
        self.check_memory();
    }

    /// Someone leaves, comes back, moves, or takes a new key.
    fn change_devices(&mut self) {
        let at = self.any_device();
        let fresh = key(u32::try_from(self.dice.of(1000..1_000_000)).unwrap());
        let host = self.dice.of(10..250);
        let device = &mut self.devices[at];
        match self.dice.of(0..4) {
            0 => device.enrolled = !device.enrolled,
            1 if device.spec.keys.len() == 1 => {
                device.spec.keys.push(fresh);
                device.remember();
            }
            1 => drop(device.spec.keys.remove(0)),
            2 => {
                let taken: Vec<_> = self.devices.iter().map(|other| other.spec.v4.octets()[3]).collect();
                if !taken.contains(&u8::try_from(host).unwrap()) {
                    self.devices[at].renumber(u8::try_from(host).unwrap());
                }
            }
            _ => {
                let enrolled = std::mem::replace(&mut device.enrolled, false);
                self.change_peers();
                self.devices[at].enrolled = enrolled;
            }
        }
        self.change_peers();
        if self.dice.chance(500) {
            let stamps = self.shell.stamps.clone();
            self.gate.tunnel.restore_stamps(&stamps);
            self.rules.restore(&[], &stamps);
        }
        self.settle();
    }

    fn freeze(&mut self) {
        let longest = if self.dice.chance(200) { 50_000 } else { 20_000 };
        self.shell.frozen_until = self.now + Duration::from_millis(self.dice.of(500..longest) as u64);
    }

    /// One flow, or all of a device; the shell need not have been told of them.
    fn cut_something(&mut self) {
        if self.now < self.shell.frozen_until {
            return;
        }
        let flows = self.gate.tunnel.flows();
        let Some(chosen) = self.dice.pick(&flows) else { return };
        let whole = self.dice.chance(200);
        for info in
            flows.iter().filter(|info| info.flow == chosen.flow || whole && info.device == chosen.device)
        {
            self.cut(info.flow);
        }
    }

    /// The kernel sends what belongs to no flow.
    fn odd_kernel(&mut self) {
        let at = self.any_device();
        let sight = hostile::Sight::of(&self.devices, at);
        for packet in hostile::packets(&sight, &mut self.dice) {
            self.kernel.out.push(hostile::turned(packet));
        }
        self.settle();
    }

    fn misbehave(&mut self) {
        for at in 0..self.devices.len() {
            if !self.devices[at].hostile {
                continue;
            }
            let sight = hostile::Sight::of(&self.devices, at);
            let now = self.gate.at(self.now);
            for _ in 0..self.dice.of(1..6) {
                for packet in hostile::packets(&sight, &mut self.dice) {
                    gate::client_sends(&mut self.devices[at].client, &packet, now);
                }
            }
            self.flush_device(at);
        }
    }

    fn intrude(&mut self) {
        for _ in 0..self.dice.of(1..5) {
            if let Some(flight) = hostile::datagram(&self.net, &self.devices, &mut self.dice) {
                self.net.carry(flight, &mut self.dice, self.now);
            }
        }
    }
}
