//! One of several tunnels that share the gateway's sockets, each with peers of its own: which numbers
//! name a shard, who belongs to the others, and what waits to be taken over by them. It carries nothing
//! over; the shell does. Always true: a receiver index and a flow id name the shard that drew them, and
//! what waits for a shard is bounded.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use protocol::key::WgKey;

use crate::{
    config::{HandshakeLimits, Limits, PeerSpec},
    event::{FlowId, Transmit},
    peers::Endpoint,
    trains::Trains,
};

/// Which part of the peers a tunnel is: the upper 24 bits of a receiver index, divided by the number of
/// shards, leave the number of the shard that drew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: u16,
    count: NonZeroU16,
}

impl Shard {
    /// Shard `number` of `count`, counted from zero; none if there is no such shard.
    pub fn new(number: u16, count: u16) -> Option<Self> {
        let count = NonZeroU16::new(count)?;
        (number < count.get()).then_some(Self { number, count })
    }

    pub(crate) fn number(self) -> u16 {
        self.number
    }

    pub(crate) fn count(self) -> u16 {
        self.count.get()
    }

    /// The shard that drew a receiver index, if it was another.
    pub(crate) fn other(self, index: u32) -> Option<u16> {
        if self.count == NonZeroU16::MIN {
            return None;
        }
        let drew = u16::try_from((index >> 8) % u32::from(self.count())).ok();
        drew.filter(|&drew| drew != self.number)
    }

    /// Its `nth` flow.
    pub(crate) fn flow(self, nth: u64) -> FlowId {
        FlowId(nth * u64::from(self.count()) + u64::from(self.number))
    }
}

impl Default for Shard {
    /// The only one.
    fn default() -> Self {
        Self { number: 0, count: NonZeroU16::MIN }
    }
}

impl FlowId {
    /// Of `shards`, the number of the one whose flow it is.
    pub fn shard(self, shards: NonZeroU16) -> u16 {
        u16::try_from(self.0 % u64::from(shards.get())).unwrap_or_default()
    }
}

impl Limits {
    /// One shard's part: what may happen in a second over all peers is divided, rounded up. What bounds a
    /// device stays, and so do the tables.
    pub fn of_one(self, shards: NonZeroU16) -> Self {
        let part = |rate: u32| rate.div_ceil(shards.get().into());
        let HandshakeLimits {
            unverified_per_second,
            verified_per_second,
            source_per_second,
            cookies_per_second,
        } = self.handshakes;
        Self {
            handshakes: HandshakeLimits {
                unverified_per_second: part(unverified_per_second),
                verified_per_second: part(verified_per_second),
                source_per_second: part(source_per_second),
                cookies_per_second: part(cookies_per_second),
            },
            rehandshakes_per_second: part(self.rehandshakes_per_second),
            unknown_keys_per_second: part(self.unknown_keys_per_second),
            ..self
        }
    }
}

/// The devices of all shards together, one value for all of them.
#[derive(Debug, Default)]
pub struct Enrolled {
    shards: HashMap<WgKey, u16>,
    addrs: HashSet<IpAddr>,
}

impl Enrolled {
    /// Each device with the number of its shard.
    pub fn new<'a>(devices: impl IntoIterator<Item = (&'a PeerSpec, u16)>) -> Self {
        let mut all = Self::default();
        for (PeerSpec { keys, v4, v6, .. }, shard) in devices {
            all.shards.extend(keys.iter().map(|&key| (key, shard)));
            all.addrs.extend([IpAddr::from(*v4), IpAddr::from(*v6)]);
        }
        all
    }

    /// The number of the shard whose peer has this key.
    pub fn shard_of(&self, key: &WgKey) -> Option<u16> {
        self.shards.get(key).copied()
    }

    pub(crate) fn has_addr(&self, addr: IpAddr) -> bool {
        self.addrs.contains(&addr)
    }
}

/// Datagrams that another shard must take over: one behind the other, all `segment` bytes long but the
/// last, which may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover<'a> {
    /// Which.
    pub shard: u16,
    /// The socket they arrived on.
    pub socket: usize,
    /// From whom.
    pub from: SocketAddr,
    /// All of them.
    pub bytes: &'a [u8],
    /// The length of one.
    pub segment: usize,
}

/// What waits to be taken over, by shard; nothing if there is only one.
#[derive(Debug)]
pub(crate) struct Handovers(Vec<Trains>);

impl Handovers {
    pub(crate) fn new(shard: Shard, limit: usize) -> Self {
        let others = shard.count() - 1;
        Self((0..=others).filter(|_| others > 0).map(|_| Trains::new(limit)).collect())
    }

    /// Queues a datagram; false if there is no room.
    pub(crate) fn push(&mut self, shard: u16, from: Endpoint, datagram: &[u8]) -> bool {
        let Some(trains) = self.0.get_mut(usize::from(shard)) else { return false };
        let Some(room) = trains.room(datagram.len()) else { return false };
        room.copy_from_slice(datagram);
        trains.commit(from, datagram.len());
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Handover<'_>> {
        (0..).zip(&self.0).flat_map(|(shard, trains)| {
            trains.iter().map(move |Transmit { socket, to: from, bytes, segment }| Handover {
                shard,
                socket,
                from,
                bytes,
                segment,
            })
        })
    }

    pub(crate) fn clear(&mut self) {
        self.0.iter_mut().for_each(Trains::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_and_a_flow_name_their_shard() {
        for count in [1, 2, 3, 4, 7, 16] {
            let shards = NonZeroU16::new(count).unwrap();
            for number in 0..count {
                let shard = Shard::new(number, count).unwrap();
                for nth in 1..50 {
                    assert_eq!(shard.flow(nth).shard(shards), number);
                    let index = (u32::try_from(nth).unwrap() * u32::from(count) + u32::from(number)) << 8;
                    assert_eq!(shard.other(index | 0xff), None);
                    let next = (number + 1) % count;
                    assert_eq!(shard.other(index + 0x100), (count > 1).then_some(next));
                }
            }
            assert_eq!(Shard::new(count, count), None);
        }
    }

    #[test]
    fn budgets_of_all_peers_are_divided_and_those_of_one_device_are_not() {
        let whole = Limits::default();
        let part = whole.clone().of_one(NonZeroU16::new(3).unwrap());
        assert_eq!(part.handshakes.unverified_per_second, 667);
        assert_eq!(part.handshakes.source_per_second, 7);
        assert_eq!((part.rehandshakes_per_second, part.unknown_keys_per_second), (334, 3));
        assert_eq!(
            (part.resets_per_second, part.icmp_per_second, part.flows_per_device),
            (whole.resets_per_second, whole.icmp_per_second, whole.flows_per_device)
        );
        assert_eq!(whole.clone().of_one(NonZeroU16::MIN), whole);
    }
}
