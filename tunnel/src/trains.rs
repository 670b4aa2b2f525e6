//! Datagrams on their way out, each encrypted straight into its place behind the one before, so that
//! neighbours of one size to one endpoint leave as a train with one system call and no copy.
//! Always true: it holds at most `limit` bytes; in a train all are equally long but the last.

use crate::{event::Transmit, peers::Endpoint};

/// The queue; the memory is kept.
#[derive(Debug)]
pub(crate) struct Trains {
    bytes: Vec<u8>,
    end: usize,
    trains: Vec<Train>,
    limit: usize,
}

#[derive(Debug)]
struct Train {
    to: Endpoint,
    begin: usize,
    end: usize,
    segment: usize,
}

impl Trains {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), end: 0, trains: Vec::new(), limit }
    }

    /// Room for `len` bytes, to be filled and then [`commit`](Self::commit)ted; none if full.
    pub(crate) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        room(&mut self.bytes, self.end, len, self.limit)
    }

    /// Queues the first `len` bytes of the room given last.
    pub(crate) fn commit(&mut self, to: Endpoint, len: usize) {
        let (begin, end) = (self.end, (self.end + len).min(self.bytes.len()));
        self.end = end;
        match self.trains.last_mut() {
            Some(train) if train.to == to && train.takes(len) => train.end = end,
            _ => self.trains.push(Train { to, begin, end, segment: len }),
        }
    }

    /// Everything, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.trains.iter().filter_map(|train| {
            let Train { to: Endpoint { socket, addr: to }, begin, end, segment } = *train;
            Some(Transmit { socket, to, bytes: self.bytes.get(begin..end)?, segment })
        })
    }

    pub(crate) fn clear(&mut self) {
        self.trains.clear();
        self.end = 0;
    }
}

impl Train {
    /// Whether a datagram of `len` bytes may follow.
    fn takes(&self, len: usize) -> bool {
        len <= self.segment && (self.end - self.begin).is_multiple_of(self.segment)
    }
}

/// Room for `len` bytes at `at` in a buffer that grows up to `limit`.
pub(crate) fn room(bytes: &mut Vec<u8>, at: usize, len: usize, limit: usize) -> Option<&mut [u8]> {
    let until = at.checked_add(len).filter(|&until| until <= limit)?;
    if bytes.len() < until {
        bytes.resize(until.next_power_of_two().min(limit), 0);
    }
    bytes.get_mut(at..until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Endpoint {
        Endpoint { socket: 0, addr: ([192, 0, 2, 1], port).into() }
    }

    fn push(trains: &mut Trains, port: u16, bytes: &[u8]) -> bool {
        let Some(room) = trains.room(bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        trains.commit(to(port), bytes.len());
        true
    }

    #[test]
    fn equal_neighbours_are_a_train_and_a_short_one_ends_it() {
        let mut trains = Trains::new(100);
        for (port, bytes) in [(1, "aaa"), (1, "bbb"), (1, "c"), (1, "d"), (1, "eee"), (2, "fff"), (1, "ggg")]
        {
            assert!(push(&mut trains, port, bytes.as_bytes()));
        }
        let sent: Vec<_> = trains.iter().map(|t| (t.to.port(), t.bytes.to_vec(), t.segment)).collect();
        let want = [(1, "aaabbbc", 3), (1, "d", 1), (1, "eee", 3), (2, "fff", 3), (1, "ggg", 3)];
        assert_eq!(sent, want.map(|(port, bytes, segment)| (port, bytes.as_bytes().to_vec(), segment)));
    }

    #[test]
    fn keeps_its_bound_until_cleared() {
        let mut trains = Trains::new(8);
        assert!(push(&mut trains, 1, b"abcd") && push(&mut trains, 1, b"efg"));
        assert!(!push(&mut trains, 1, b"hi"), "over the limit");
        trains.clear();
        assert!(push(&mut trains, 1, b"12345678") && trains.room(0).is_some() && trains.room(1).is_none());
    }
}
