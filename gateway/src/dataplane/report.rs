//! How the packet path is, of one thread and of all together. It is told, not gathered, here.
//! Always true: what is told of all is the sum of what each told.

use std::{collections::BTreeMap, net::SocketAddr};

use protocol::id::DeviceId;
use serde::{Deserialize, Serialize};

/// How the packet path is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Every enrolled key, by device.
    pub peers: Vec<Peer>,
    /// Packets, handshakes and limits by what became of them, since the start.
    pub counters: BTreeMap<String, u64>,
    /// Flows the core knows, held, live and ending.
    pub flows: usize,
    /// What each data-plane thread has to do with that; each has sockets and a TUN queue of its own.
    pub shards: Vec<Load>,
    /// Whether the kernel brings datagrams to the thread of their session; otherwise any thread gets
    /// them, and hands them over.
    pub steered: bool,
}

/// One enrolled key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Whose.
    pub device: DeviceId,
    /// The key.
    pub key: String,
    /// Where it was last proven to be.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since its last handshake.
    pub handshake_s: Option<u64>,
    /// Bytes received from it, inside the tunnel.
    pub received: u64,
    /// Bytes sent to it, inside the tunnel.
    pub sent: u64,
}

/// One thread's part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Its enrolled keys.
    pub peers: usize,
    /// Those of them that hold cipher state.
    pub awake: usize,
    /// Its flows.
    pub flows: usize,
    /// Bytes received from its peers, inside the tunnel.
    pub received: u64,
    /// Bytes sent to its peers, inside the tunnel.
    pub sent: u64,
    /// Datagrams and packets it got that were other threads'.
    pub handed_over: u64,
    /// Those of them that were dropped, because too many waited for that thread.
    pub handover_full: u64,
}

impl Report {
    /// All threads', in order.
    pub(super) fn of_all(parts: Vec<Self>, steered: bool) -> Self {
        let mut all = Self { steered, ..Self::default() };
        for part in parts {
            all.peers.extend(part.peers);
            all.flows += part.flows;
            all.shards.extend(part.shards);
            for (name, count) in part.counters {
                *all.counters.entry(name).or_default() += count;
            }
        }
        all.peers.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_the_sum_of_the_parts() {
        let part = |device: &str, n: u64| Report {
            peers: vec![Peer {
                device: device.parse().unwrap(),
                key: String::new(),
                endpoint: None,
                handshake_s: None,
                received: n,
                sent: 0,
            }],
            counters: [("a".to_owned(), n), (format!("only {n}"), 1)].into(),
            flows: 2,
            shards: vec![Load { received: n, ..Load::default() }],
            steered: false,
        };
        let all = Report::of_all(vec![part("z", 1), part("b", 2)], true);
        assert_eq!(all.peers.iter().map(|peer| peer.device.as_str()).collect::<Vec<_>>(), ["b", "z"]);
        let counters = [("a", 3), ("only 1", 1), ("only 2", 1)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(all.counters, counters.into());
        assert_eq!((all.flows, all.steered), (4, true));
        assert_eq!(all.shards.iter().map(|load| load.received).collect::<Vec<_>>(), [1, 2]);
    }
}
