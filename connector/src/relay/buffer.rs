//! Buffers to read a socket into, used again by whoever comes next on the same thread.
//! Always true: nobody waits for bytes with a buffer in hand; a thread keeps at most [`SPARE`] that
//! nobody uses.

use std::{cell::RefCell, future::poll_fn, io, ops::Deref, pin::pin, task::Poll};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::tcp::ReadHalf, task::coop::consume_budget};

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

/// At most [`SIZE`] bytes; their room is given back when dropped.
pub(super) struct Buffer(BytesMut);

impl Buffer {
    /// What the socket has, once it has something; empty at its end.
    pub async fn fill(socket: &mut ReadHalf<'_>) -> io::Result<Self> {
        loop {
            socket.readable().await?;
            let mut buffer = Self::take();
            // Once, since readable was but a hint. (`try_read` would ask the kernel again after every
            // short read, to hear that nothing is left.)
            let read = {
                let mut read = pin!(socket.read_buf(&mut buffer.0));
                poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await
            };
            if let Poll::Ready(read) = read {
                return read.map(|_| buffer);
            }
            // Who has spent its turn is refused until it yields; to be readable costs nothing, so that this
            // loop would never end.
            consume_budget().await;
        }
    }

    fn take() -> Self {
        let spare = SPARES.with_borrow_mut(Vec::pop);
        Self(spare.unwrap_or_else(|| BytesMut::with_capacity(SIZE)))
    }

    /// What was read, to be kept.
    pub fn into_bytes(mut self) -> Bytes {
        if self.0.len() < WORTH { Bytes::copy_from_slice(&self.0) } else { self.0.split().freeze() }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
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
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
        sync::mpsc,
        task::coop::has_budget_remaining,
    };

    use super::*;

    fn filled(count: usize) -> Buffer {
        let mut buffer = Buffer::take();
        assert!(buffer.is_empty() && buffer.0.capacity() == SIZE);
        buffer.0.resize(count, b'x');
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

    /// As a flow does whose bytes never pause.
    #[tokio::test]
    async fn a_task_whose_turn_is_over_yields_and_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        far.write_all(b"here").await.unwrap();
        let (mut socket, _) = near.split();
        socket.readable().await.unwrap();
        let (sender, mut turn) = mpsc::unbounded_channel();
        while has_budget_remaining() {
            sender.send(()).unwrap();
            turn.recv().await.unwrap();
        }
        assert_eq!(&*Buffer::fill(&mut socket).await.unwrap(), b"here");
    }

    #[test]
    fn spares_are_bounded() {
        drop((0..2 * SPARE).map(|_| filled(1)).collect::<Vec<_>>());
        assert_eq!(spares(), SPARE);
    }
}
