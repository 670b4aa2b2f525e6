//! Buffers to read a socket into, used again by whoever comes next on the same thread.
//! It reads nothing itself.
//! Always true: a buffer is empty when taken; a thread keeps at most [`SPARE`] that nobody uses.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

use bytes::{Bytes, BytesMut};

/// Read at a time: half of it costs a third more, twice as much saves a quarter and holds twice as much
/// for a peer that does not read (bench/README.md).
const SIZE: usize = 128 * 1024;
/// Less than this is copied out, lest a few bytes that wait for an acknowledgement hold a whole buffer.
const WORTH: usize = SIZE / 4;
/// More flows of one thread than this seldom have bytes in hand at one time.
const SPARE: usize = 8;

thread_local! {
    static SPARES: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with room for [`SIZE`] bytes; given back when dropped.
pub(super) struct Buffer(BytesMut);

impl Buffer {
    /// An empty one.
    pub fn take() -> Self {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| BytesMut::with_capacity(SIZE)))
    }

    /// What was read, to be kept.
    pub fn into_bytes(mut self) -> Bytes {
        if self.0.len() < WORTH { Bytes::copy_from_slice(&self.0) } else { self.0.split().freeze() }
    }
}

impl Deref for Buffer {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        SPARES.with_borrow_mut(|spares| {
            if buffer.capacity() == SIZE && spares.len() < SPARE {
                spares.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> Buffer {
        let mut buffer = Buffer::take();
        assert!(buffer.is_empty() && buffer.capacity() == SIZE);
        buffer.resize(count, b'x');
        buffer
    }

    fn spares() -> usize {
        SPARES.with_borrow(Vec::len)
    }

    #[test]
    fn a_buffer_comes_back_empty_unless_its_bytes_are_kept() {
        drop(filled(SIZE));
        assert_eq!(spares(), 1);
        assert_eq!(filled(WORTH - 1).into_bytes().len(), WORTH - 1);
        assert_eq!(spares(), 1, "a few bytes hold a whole buffer");
        assert_eq!(filled(WORTH).into_bytes().len(), WORTH);
        assert_eq!(spares(), 0, "two have one buffer");
    }

    #[test]
    fn spares_are_bounded() {
        drop((0..2 * SPARE).map(|_| filled(1)).collect::<Vec<_>>());
        assert_eq!(spares(), SPARE);
    }
}
