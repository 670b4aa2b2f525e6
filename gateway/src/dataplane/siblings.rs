//! The way from one data-plane thread to the others, for what arrived at the wrong one: datagrams of
//! another's sessions and peers, packets of the kernel for another's devices.
//! Always true: a queue is bounded, what finds it full is dropped and counted, and nobody waits.

use std::net::SocketAddr;

use netio::poll::Waker;
use tokio::sync::mpsc;
use tunnel::{Handover, Offload};

use super::shards::Shards;

/// What may wait for a thread; each is up to 64 KiB long.
const HANDED: usize = 256;

/// A bounded queue into a thread, and what wakes it.
#[derive(Debug)]
pub(super) struct Way<T> {
    pub(super) queue: mpsc::Sender<T>,
    pub(super) waker: Waker,
}

/// What another thread received, or read.
#[derive(Debug)]
pub(super) enum Handed {
    Datagrams { socket: usize, from: SocketAddr, segment: usize, bytes: Box<[u8]> },
    Packet { offload: Offload, bytes: Box<[u8]> },
}

/// A thread's view of all threads.
#[derive(Debug)]
pub(super) struct Siblings {
    number: usize,
    shards: Shards,
    ways: Vec<Way<Handed>>,
    inbox: mpsc::Receiver<Handed>,
    /// Packets of the kernel handed over.
    pub(super) packets: u64,
    /// Datagrams and packets that found a queue full.
    pub(super) full: u64,
}

impl Siblings {
    /// One for each waker's thread, in their order.
    pub(super) fn all(shards: Shards, wakers: &[Waker]) -> Vec<Self> {
        let (queues, inboxes): (Vec<_>, Vec<_>) = wakers.iter().map(|_| mpsc::channel(HANDED)).unzip();
        let ways = || {
            queues.iter().zip(wakers).map(|(queue, waker)| Way { queue: queue.clone(), waker: waker.clone() })
        };
        let one =
            |(number, inbox)| Self { number, shards, ways: ways().collect(), inbox, packets: 0, full: 0 };
        inboxes.into_iter().enumerate().map(one).collect()
    }

    /// The thread that a packet of the kernel is for, if it is another.
    pub(super) fn other(&self, packet: &[u8]) -> Option<usize> {
        self.shards.of_packet(packet).filter(|&number| number != self.number)
    }

    /// Hands over a packet of the kernel.
    pub(super) fn hand_packet(&mut self, number: usize, offload: Offload, packet: &[u8]) {
        self.packets += 1;
        self.hand(number, 1, Handed::Packet { offload, bytes: packet.into() });
    }

    /// Hands over datagrams.
    pub(super) fn hand_datagrams(&mut self, handover: Handover<'_>) {
        let Handover { shard, socket, from, bytes, segment } = handover;
        let datagrams = bytes.len().div_ceil(segment.max(1)) as u64;
        self.hand(shard.into(), datagrams, Handed::Datagrams { socket, from, segment, bytes: bytes.into() });
    }

    fn hand(&mut self, number: usize, count: u64, handed: Handed) {
        match self.ways.get(number).map(|way| (way, way.queue.try_send(handed))) {
            Some((way, Ok(()))) => way.waker.wake(),
            Some((_, Err(_))) | None => self.full += count,
        }
    }

    /// Whether anything waits to be taken over.
    pub(super) fn waiting(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The next of it.
    pub(super) fn take(&mut self) -> Option<Handed> {
        self.inbox.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, num::NonZeroU8};

    use netio::poll::Poller;

    use super::*;

    const OFFLOAD: Offload = Offload::NOTHING;

    fn pair() -> (Siblings, Siblings, [Poller; 2]) {
        let pollers = [Poller::new().unwrap(), Poller::new().unwrap()];
        let shards = Shards::new(NonZeroU8::new(2).unwrap(), Ipv4Addr::new(100, 64, 0, 0));
        let all = Siblings::all(shards, &pollers.each_ref().map(Poller::waker));
        let [zero, one] = <[_; 2]>::try_from(all).unwrap();
        (zero, one, pollers)
    }

    fn packet_to(n: u8) -> Vec<u8> {
        [&[0x45; 16][..], &[100, 64, 0, n]].concat()
    }

    #[test]
    fn what_is_anothers_is_handed_over_and_wakes() {
        let (mut zero, mut one, mut pollers) = pair();
        assert_eq!([2, 3].map(|n| zero.other(&packet_to(n))), [None, Some(1)]);
        assert_eq!([2, 3].map(|n| one.other(&packet_to(n))), [Some(0), None]);
        zero.hand_packet(1, OFFLOAD, &packet_to(3));
        let from = ([192, 0, 2, 1], 5).into();
        zero.hand_datagrams(Handover { shard: 1, socket: 2, from, bytes: &[7; 5], segment: 2 });
        // It ends only because the waker rang.
        assert_eq!(pollers[1].wait(None).unwrap().count(), 0);
        assert!(one.waiting() && !zero.waiting());
        assert!(matches!(one.take(), Some(Handed::Packet { bytes, .. }) if *bytes == *packet_to(3)));
        let Some(Handed::Datagrams { socket: 2, segment: 2, bytes, .. }) = one.take() else {
            panic!("datagrams")
        };
        assert_eq!((bytes.len(), one.take().is_none(), zero.packets, zero.full), (5, true, 1, 0));
    }

    #[test]
    fn a_full_queue_counts_and_recovers() {
        let (mut zero, mut one, _pollers) = pair();
        for _ in 0..HANDED {
            zero.hand_packet(1, OFFLOAD, &packet_to(3));
        }
        assert_eq!(zero.full, 0);
        let from = ([192, 0, 2, 1], 5).into();
        zero.hand_datagrams(Handover { shard: 1, socket: 0, from, bytes: &[7; 5], segment: 2 });
        assert_eq!(zero.full, 3, "each datagram counts");
        assert!(one.take().is_some());
        zero.hand_packet(1, OFFLOAD, &packet_to(3));
        assert_eq!(zero.full, 3);
        drop(one);
        zero.hand_packet(1, OFFLOAD, &packet_to(3));
        assert_eq!(zero.full, 4, "nor is a thread that ended waited for");
    }
}
