//! Which of the data plane's threads something belongs to. It keeps nothing: that is computed.
//! Always true: all that is a device's (keys, sessions, flows, packets) belongs to one thread, named by
//! the index of the device's tunnel addresses, which is the same in both families.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    sync::Arc,
};

use protocol::key::WgKey;
use tunnel::{Enrolled, FlowId, PeerSpec, Shard};

/// How many threads there are, and how devices are divided among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    count: NonZeroU8,
    base: Ipv4Addr,
}

/// The devices, divided.
#[derive(Debug)]
pub struct Divided {
    /// Those of each thread.
    pub peers: Vec<Vec<PeerSpec>>,
    /// All of them, for every thread to know; nobody if there is only one thread.
    pub enrolled: Arc<Enrolled>,
}

impl Shards {
    /// `count` threads; `base` is the tunnel's v4 network, where the indices of addresses begin.
    pub fn new(count: NonZeroU8, base: Ipv4Addr) -> Self {
        Self { count, base }
    }

    /// How many threads.
    pub fn count(self) -> NonZeroU8 {
        self.count
    }

    /// Each thread as its core knows it.
    pub fn all(self) -> impl Iterator<Item = Shard> {
        let count = u16::from(self.count.get());
        (0..count).filter_map(move |number| Shard::new(number, count))
    }

    /// The thread of the device with this tunnel address.
    pub fn of(self, addr: IpAddr) -> usize {
        match addr {
            IpAddr::V4(v4) => self.of_index(v4.to_bits().wrapping_sub(self.base.to_bits())),
            // The last word, as `config::Tunnel` lays addresses out.
            IpAddr::V6(v6) => {
                let [.., a, b, c, d] = v6.octets();
                self.of_index(u32::from_be_bytes([a, b, c, d]))
            }
        }
    }

    fn of_index(self, index: u32) -> usize {
        (index % u32::from(self.count.get())) as usize
    }

    /// The thread of a flow.
    pub fn of_flow(self, flow: FlowId) -> usize {
        flow.shard(self.count.into()).into()
    }

    /// The thread that a packet of the kernel is for; none if there is only one, or if it has no
    /// destination (RFC 791 §3.1, RFC 8200 §3).
    pub fn of_packet(self, packet: &[u8]) -> Option<usize> {
        if self.count == NonZeroU8::MIN {
            return None;
        }
        let to: IpAddr = match packet.first()? >> 4 {
            4 => <[u8; 4]>::try_from(packet.get(16..20)?).ok()?.into(),
            6 => <[u8; 16]>::try_from(packet.get(24..40)?).ok()?.into(),
            _ => return None,
        };
        Some(self.of(to))
    }

    /// Gives every device to its thread.
    pub fn divide(self, specs: Vec<PeerSpec>) -> Divided {
        if self.count == NonZeroU8::MIN {
            return Divided { peers: vec![specs], enrolled: Arc::default() };
        }
        let mut peers: Vec<_> = self.all().map(|_| Vec::new()).collect();
        for spec in specs {
            if let Some(part) = peers.get_mut(self.of(spec.v4.into())) {
                part.push(spec);
            }
        }
        let parts = (0..).zip(&peers);
        let all = parts.flat_map(|(number, part)| part.iter().map(move |spec: &PeerSpec| (spec, number)));
        let enrolled = Arc::new(Enrolled::new(all));
        Divided { peers, enrolled }
    }
}

impl Divided {
    /// The keys that were another thread's.
    pub fn moved_since(&self, before: &Enrolled) -> HashSet<WgKey> {
        let keys = self.peers.iter().flatten().flat_map(|spec| &spec.keys).copied();
        let moved =
            |key: &WgKey| before.shard_of(key).is_some_and(|was| self.enrolled.shard_of(key) != Some(was));
        keys.filter(moved).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ip;

    fn shards(count: u8) -> Shards {
        Shards::new(NonZeroU8::new(count).unwrap(), Ipv4Addr::new(100, 64, 0, 0))
    }

    fn spec(name: &str, n: u8, key: u8) -> PeerSpec {
        let v6 = format!("fd00:d00:d00:1::{n:x}").parse().unwrap();
        PeerSpec {
            device: name.parse().unwrap(),
            keys: vec![WgKey([key; 32])],
            v4: [100, 64, 0, n].into(),
            v6,
        }
    }

    #[test]
    fn both_addresses_and_a_packet_to_either_name_one_thread() {
        for count in [2, 3, 7, 16] {
            for n in 2..100 {
                let shards = shards(count);
                let PeerSpec { v4, v6, .. } = spec("a", n, 1);
                let thread = usize::from(n % count);
                assert_eq!((shards.of(v4.into()), shards.of(v6.into())), (thread, thread));
                let packet = [&[0x45; 16][..], &v4.octets()].concat();
                assert_eq!(shards.of_packet(&packet), Some(thread));
                let packet = [&[0x60; 24][..], &v6.octets()].concat();
                assert_eq!(shards.of_packet(&packet), Some(thread));
            }
        }
    }

    #[test]
    fn what_has_no_destination_stays() {
        for packet in [&[][..], &[0x45; 19], &[0x60; 39], &[0x50; 60]] {
            assert_eq!(shards(2).of_packet(packet), None);
        }
        assert_eq!(shards(1).of_packet(&[0x45; 20]), None, "and so does all, if there is one thread");
        // Devices only have addresses of the tunnel; any other must not trip it.
        assert!(shards(3).of(ip("1.2.3.4")) < 3 && shards(3).of(ip("ff02::1")) < 3);
    }

    #[test]
    fn devices_are_divided_and_known_to_all() {
        let specs = vec![spec("a", 4, 1), spec("b", 5, 2), spec("c", 6, 3)];
        let alone = shards(1).divide(specs.clone());
        assert_eq!((alone.peers.len(), alone.enrolled.shard_of(&WgKey([1; 32]))), (1, None));
        let divided = shards(2).divide(specs);
        let names =
            |part: &Vec<PeerSpec>| part.iter().map(|spec| spec.device.to_string()).collect::<String>();
        assert_eq!(divided.peers.iter().map(names).collect::<Vec<_>>(), ["ac", "b"]);
        let thread = |key| divided.enrolled.shard_of(&WgKey([key; 32]));
        assert_eq!([1, 2, 3, 4].map(thread), [Some(0), Some(1), Some(0), None]);
    }

    #[test]
    fn a_key_that_moves_is_noticed() {
        let before = shards(2).divide(vec![spec("a", 4, 1), spec("b", 5, 2), spec("c", 6, 3)]);
        let after = shards(2).divide(vec![spec("a", 5, 1), spec("b", 7, 2), spec("d", 6, 4)]);
        assert_eq!(after.moved_since(&before.enrolled), [WgKey([1; 32])].into());
        assert!(shards(1).divide(vec![spec("a", 4, 1)]).moved_since(&Enrolled::default()).is_empty());
    }
}
