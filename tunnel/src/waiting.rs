//! Packets that wait for a session. The cipher is never given one before: what it would keep, nobody
//! could take back.
//! Always true: at most [`MOST`] wait for a peer, in order; what is withdrawn is not sent.

use std::collections::VecDeque;

use crate::event::FlowId;

/// As many as boringtun itself would keep.
const MOST: usize = 256;

/// What waits for one peer: packets, each with the flow that it dies with.
#[derive(Debug, Default)]
pub(crate) struct Waiting(VecDeque<(Option<FlowId>, Vec<u8>)>);

impl Waiting {
    /// Whether there was room.
    pub(crate) fn push(&mut self, of: Option<FlowId>, packet: &[u8]) -> bool {
        let room = self.0.len() < MOST;
        if room {
            self.0.push_back((of, packet.to_vec()));
        }
        room
    }

    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.0.front().map(|(_, packet)| packet.as_slice())
    }

    /// The first is on its way.
    pub(crate) fn sent(&mut self) {
        self.0.pop_front();
    }

    pub(crate) fn withdraw(&mut self, flow: FlowId) {
        self.0.retain(|(of, _)| *of != Some(flow));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_order_and_can_be_withdrawn() {
        let mut waiting = Waiting::default();
        let flow = |n: usize| n.is_multiple_of(2).then_some(FlowId(1));
        let taken = (0..2 * MOST).filter(|&n| waiting.push(flow(n), &[u8::try_from(n % 256).unwrap()]));
        assert_eq!(taken.count(), MOST);
        waiting.withdraw(FlowId(2));
        assert_eq!(waiting.first(), Some(&[0][..]), "another flow's");
        waiting.withdraw(FlowId(1));
        for odd in (1..=255).step_by(2) {
            assert_eq!(waiting.first(), Some(&[odd][..]));
            waiting.sent();
        }
        assert_eq!(waiting.first(), None);
    }
}
