//! Events on their way to the shell. New flows, datagrams and DNS queries wait per device and are served
//! in turn; the rest in order. Always true: a flow's end is told only if its opening was, and after it.

use std::{collections::VecDeque, net::SocketAddr};

use crate::{
    budget::Budget,
    config::Limits,
    event::{Event, FlowId},
    flow::FairQueue,
};

/// A DNS query that waits.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: Vec<u8>,
}

/// All that waits.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) opened: FairQueue<FlowId>,
    pub(super) datagram_flows: FairQueue<FlowId>,
    pub(super) datagrams: FairQueue<(FlowId, Vec<u8>)>,
    pub(super) queries: FairQueue<Query>,
    pub(super) unknown_keys: Budget,
    others: VecDeque<Event>,
    limit: usize,
}

impl Events {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            opened: FairQueue::new(limits.held_per_device),
            datagram_flows: FairQueue::new(limits.held_per_device),
            datagrams: FairQueue::new(limits.datagrams_per_device),
            queries: FairQueue::new(limits.dns_per_device),
            unknown_keys: Budget::default(),
            others: VecDeque::new(),
            limit: limits.events,
        }
    }

    /// Too much waits already; no flow may open, for its end would have to be told.
    pub(super) fn full(&self) -> bool {
        self.others.len() >= self.limit
    }

    /// Queues what the shell must learn: at most one for each flow that opened while there was room.
    pub(super) fn push(&mut self, event: Event) {
        self.others.push_back(event);
    }

    /// Queues what is only good to know; false if there is no room.
    pub(super) fn offer(&mut self, event: Event) -> bool {
        let room = !self.full();
        if room {
            self.others.push_back(event);
        }
        room
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.others.pop_front()
    }
}
