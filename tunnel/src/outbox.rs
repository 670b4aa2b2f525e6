//! A queue of byte strings in one buffer, so that a packet costs no allocation and is encrypted
//! straight into its place. The buffer rewinds when the queue has been drained.
//! Always true: it holds at most `limit` bytes.

use std::{collections::VecDeque, ops::Range};

/// Byte strings on their way out, each with a tag.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    bytes: Vec<u8>,
    end: usize,
    items: VecDeque<(T, Range<usize>)>,
    limit: usize,
}

impl<T> Outbox<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), end: 0, items: VecDeque::new(), limit }
    }

    /// Room for `len` bytes, to be filled and then [`commit`](Self::commit)ted; none if full.
    pub(crate) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.items.is_empty() {
            self.end = 0;
        }
        let until = self.end.checked_add(len).filter(|&until| until <= self.limit)?;
        if self.bytes.len() < until {
            self.bytes.resize(until, 0);
        }
        self.bytes.get_mut(self.end..until)
    }

    /// Queues the first `len` bytes of the room given last.
    pub(crate) fn commit(&mut self, tag: T, len: usize) {
        let until = (self.end + len).min(self.bytes.len());
        self.items.push_back((tag, self.end..until));
        self.end = until;
    }

    /// Queues a copy; false if full.
    pub(crate) fn push(&mut self, tag: T, bytes: &[u8]) -> bool {
        let Some(room) = self.room(bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.commit(tag, bytes.len());
        true
    }

    /// Takes the oldest byte string.
    pub(crate) fn pop(&mut self) -> Option<(T, &[u8])> {
        let (tag, range) = self.items.pop_front()?;
        Some((tag, self.bytes.get(range)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_bounds_and_rewinds() {
        let mut outbox = Outbox::new(8);
        assert!(outbox.push(1, b"abc") && outbox.push(2, b"defg"));
        assert!(!outbox.push(3, b"hi"), "over the limit");
        assert_eq!(outbox.pop(), Some((1, &b"abc"[..])));
        assert!(!outbox.push(3, b"hi"), "rewinds only when drained");
        assert_eq!(outbox.pop(), Some((2, &b"defg"[..])));
        assert_eq!(outbox.pop(), None);
        assert!(outbox.push(4, b"12345678"));
        outbox.room(0).unwrap();
        assert!(outbox.room(1).is_none());
    }
}
