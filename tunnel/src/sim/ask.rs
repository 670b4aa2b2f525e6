//! What devices say in datagrams: questions by UDP and by ping, each with a number and its device's name.
//! Always true: what comes back to an honest device is what it said, or begins with it.

use std::net::{IpAddr, SocketAddr};

use super::{device::Device, dice::Dice, gate::VIP, wire::Inner};
use crate::{
    FlowKey,
    packet::{Ends, icmp::tests::message, udp},
};

/// An echo to the last is answered by the core itself.
const TARGETS: [&str; 4] = ["10.1.0.9", "10.1.0.10", "fd50::9", VIP];
const PORTS: [u16; 2] = [53, 443];
/// Few, so that flows end and begin anew.
const OWN_PORTS: std::ops::Range<usize> = 4000..4006;
/// Where questions that must be answered come from.
const PROOF: u16 = 4100;

/// The questions of a device.
#[derive(Debug, Default)]
pub(super) struct Asker {
    asked: u32,
    /// Answers count from this number on.
    count_from: Option<u32>,
    /// Whether UDP and echo were answered.
    answered: [bool; 2],
}

impl Asker {
    /// Both ways of asking came through.
    pub(super) fn proven(&self) -> bool {
        self.answered == [true; 2]
    }
}

impl Device {
    /// A question from one of its ports to anywhere, or a few.
    pub(super) fn ask(&mut self, dice: &mut Dice) -> Vec<Vec<u8>> {
        let target: IpAddr = dice.pick(&TARGETS).unwrap().parse().unwrap();
        let (echo, times) = (dice.chance(300), if dice.chance(300) { dice.of(1..7) } else { 1 });
        let target = SocketAddr::new(target, if echo { 0 } else { *dice.pick(&PORTS).unwrap() });
        let length = if dice.chance(100) { dice.of(0..1200) } else { 0 };
        let own = u16::try_from(dice.of(OWN_PORTS)).unwrap();
        (0..times).map(|_| self.question(echo, own, target, length)).collect()
    }

    /// The questions that must be answered, until they are.
    pub(super) fn insist(&mut self) -> Vec<Vec<u8>> {
        let target: IpAddr = TARGETS[0].parse().unwrap();
        self.asker.count_from.get_or_insert(self.asker.asked + 1);
        let open = [false, true].into_iter().filter(|&echo| !self.asker.answered[usize::from(echo)]);
        let open: Vec<_> = open.collect();
        let port = |echo| if echo { 0 } else { PORTS[1] };
        open.into_iter().map(|echo| self.question(echo, PROOF, (target, port(echo)).into(), 0)).collect()
    }

    fn question(&mut self, echo: bool, port: u16, target: SocketAddr, length: usize) -> Vec<u8> {
        self.asker.asked += 1;
        let mut text = format!("{} {} ", self.spec.device, self.asker.asked).into_bytes();
        text.resize(text.len().max(length), b'.');
        let own = if target.is_ipv4() { self.spec.v4.into() } else { self.spec.v6.into() };
        if echo {
            let body = [&port.to_be_bytes(), &[0, 7], &text[..]].concat();
            message(Ends::new(own, target.ip()).unwrap(), 8, 128, &body)
        } else {
            udp::datagram((own, port).into(), target, &text).unwrap()
        }
    }

    /// A datagram from the tunnel.
    pub(super) fn hear_answer(&mut self, inner: &Inner<'_>) {
        let Some(((echo, FlowKey { device: to, .. }), said)) = inner.answers().filter(|_| !self.hostile)
        else {
            return;
        };
        let text = if echo { said.get(2..) } else { Some(said) };
        let words = text.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("");
        let mut words = words.split(' ');
        let name = words.next();
        assert_eq!(name, Some(self.spec.device.as_str()), "an answer to {to} for another device");
        let number: u32 = words.next().and_then(|word| word.parse().ok()).expect("a number");
        assert!(number <= self.asker.asked, "an answer to what was never asked");
        self.asker.answered[usize::from(echo)] |= self.asker.count_from.is_some_and(|from| number >= from);
    }
}
