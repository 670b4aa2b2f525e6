//! The network outside the tunnel: it delays, loses, repeats, reorders and damages datagrams, and a
//! stranger on the path keeps copies. It knows who wrote each datagram, which no receiver knows.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use protocol::key::WgKey;

use super::dice::Dice;

/// How many copies a stranger keeps.
const COPIES: usize = 96;

/// Where the gateway's sockets are.
pub(super) fn gateway(socket: usize) -> SocketAddr {
    ([192, 0, 2, 1 + u8::try_from(socket).unwrap()], 51820).into()
}

/// A datagram under way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    /// The same for every copy.
    pub(super) id: u64,
    /// Whose key sealed it; none for what is forged or damaged.
    pub(super) author: Option<WgKey>,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// What happens on the way, each in a thousand; delays in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) loss: usize,
    pub(super) copies: usize,
    pub(super) damage: usize,
    pub(super) delay: usize,
}

impl Weather {
    pub(super) const FINE: Self = Self { loss: 0, copies: 0, damage: 0, delay: 1 };

    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut up_to = |most| if dice.chance(500) { 0 } else { dice.of(0..most) };
        Self { loss: up_to(300), copies: up_to(200), damage: up_to(100), delay: 1 + up_to(400) }
    }
}

/// All that is under way.
pub(super) struct Net {
    pub(super) weather: Weather,
    pub(super) copies: Vec<Flight>,
    flights: BTreeMap<(Duration, u64), Flight>,
    next: u64,
}

impl Net {
    pub(super) fn new(weather: Weather) -> Self {
        Self { weather, copies: Vec::new(), flights: BTreeMap::new(), next: 0 }
    }

    /// A new datagram, as its author sends it.
    pub(super) fn send(
        &mut self,
        (author, bytes): (Option<WgKey>, Vec<u8>),
        (from, to): (SocketAddr, SocketAddr),
        dice: &mut Dice,
        now: Duration,
    ) {
        self.next += 1;
        let flight = Flight { id: self.next, author, from, to, bytes };
        if author.is_some() {
            self.keep_copy(&flight, dice);
        }
        self.carry(flight, dice, now);
    }

    /// Carries a datagram as the weather permits; a copy keeps its id.
    pub(super) fn carry(&mut self, flight: Flight, dice: &mut Dice, now: Duration) {
        let Weather { loss, copies, damage, delay } = self.weather;
        let times = usize::from(!dice.chance(loss)) + usize::from(dice.chance(copies));
        for _ in 0..times {
            let mut flight = flight.clone();
            if dice.chance(damage) {
                self.damage(&mut flight, dice);
            }
            self.next += 1;
            let after = Duration::from_millis(5 * (1 + dice.of(0..delay) as u64 / 5));
            self.flights.insert((now + after, self.next), flight);
        }
    }

    /// When the next datagram arrives.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.flights.keys().next().map(|&(at, _)| at)
    }

    /// What has arrived, in order.
    pub(super) fn arrived(&mut self, now: Duration) -> Vec<Flight> {
        let rest = self.flights.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.flights, rest).into_values().collect()
    }

    fn keep_copy(&mut self, flight: &Flight, dice: &mut Dice) {
        if self.copies.len() < COPIES {
            self.copies.push(flight.clone());
        } else if dice.chance(200) {
            let at = dice.of(0..COPIES);
            self.copies[at] = flight.clone();
        }
    }

    /// Changes a byte the model cipher vouches for, or the length.
    fn damage(&mut self, flight: &mut Flight, dice: &mut Dice) {
        let sealed = match flight.bytes.len() {
            148 => 60,
            92 => 20,
            len => len.saturating_sub(8),
        };
        self.next += 1;
        (flight.id, flight.author) = (self.next, None);
        if dice.chance(200) {
            flight.bytes.truncate(dice.of(0..flight.bytes.len()));
        } else if sealed > 0 {
            flight.bytes[dice.of(0..sealed)] ^= 1 << dice.of(0..8);
        }
    }
}
