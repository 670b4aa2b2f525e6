//! The copy between a TCP connection and a flow's stream on the link.
//! Bytes are handed on as they are: what was read from the socket goes into packets without another
//! copy, what came in packets goes to the socket in one vectored write.

use std::{array, collections::VecDeque, io::IoSlice, sync::atomic::AtomicU64};

use bytes::{Buf, Bytes};
use quinn::{RecvStream, SendStream};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{Places, Side, Traffic, add, buffer::Buffer, finish, stall::Stall};
use crate::wire::FlowStream;

/// Pieces taken from the link at a time, each as much as one packet carried.
const PIECES: usize = 64;
/// Held for a socket that takes nothing, beside what QUIC's own window holds.
const READ_AHEAD: usize = 256 * 1024;

/// Copies until both sides have ended, or one was reset; should `near` not take what comes, it goes on
/// only in one of `places`.
pub async fn run(
    near: &mut TcpStream,
    far: &mut FlowStream,
    traffic: &Traffic,
    places: &Places,
) -> Result<(), Side> {
    let (mut from_near, mut to_near) = near.split();
    tokio::try_join!(
        forth(&mut from_near, &mut far.send, &traffic.forth),
        back(&mut far.recv, &mut to_near, &traffic.back, places),
    )?;
    Ok(())
}

async fn forth(socket: &mut ReadHalf<'_>, link: &mut SendStream, count: &AtomicU64) -> Result<(), Side> {
    let mut stopped = std::pin::pin!(link.stopped());
    loop {
        let buffer = tokio::select! {
            biased;
            _ = &mut stopped => return Err(Side::Far),
            filled = Buffer::fill(socket) => filled.map_err(|_| Side::Near)?,
        };
        let read = buffer.len();
        if read == 0 {
            link.finish().map_err(|_| Side::Far)?;
            // The end has come through when it is acknowledged; a connection closed before would lose it.
            return match stopped.await {
                Ok(None) => Ok(()),
                Ok(Some(_)) | Err(_) => Err(Side::Far),
            };
        }
        tokio::select! {
            biased;
            written = link.write_chunk(buffer.into_bytes()) => written.map_err(|_| Side::Far)?,
            _ = socket.ready(Interest::ERROR) => return Err(Side::Near),
        }
        add(count, read);
    }
}

async fn back(
    link: &mut RecvStream,
    socket: &mut WriteHalf<'_>,
    count: &AtomicU64,
    places: &Places,
) -> Result<(), Side> {
    let mut stall = Stall::new(places);
    let (mut ahead, mut pieces) = (Ahead::default(), [const { Bytes::new() }; PIECES]);
    loop {
        if ahead.bytes > 0 {
            let written = write_watching(link, socket, (&mut ahead, &mut pieces), &mut stall).await?;
            stall.took(written, ahead.bytes);
            add(count, written);
        } else if ahead.ended {
            return finish(socket).await.map_err(|_| Side::Near);
        } else {
            tokio::select! {
                biased;
                read = link.read_chunks(&mut pieces) => ahead.push(read.map_err(|_| Side::Far)?, &mut pieces),
                _ = socket.ready(Interest::ERROR) => return Err(Side::Near),
            }
        }
    }
}

/// What came from the link and is not yet written.
#[derive(Default)]
struct Ahead {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

impl Ahead {
    /// Takes in as many pieces as were read, or the end.
    fn push(&mut self, read: Option<usize>, pieces: &mut [Bytes; PIECES]) {
        self.ended = read.is_none();
        for piece in pieces.iter_mut().take(read.unwrap_or_default()).map(std::mem::take) {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Forgets what has been written.
    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                return piece.advance(written);
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// Writes what the socket takes at once, reading ahead until it takes any: so a reset of the link shows
/// at once, although the socket takes nothing. (quinn's `received_reset` would leave a waker behind for
/// every flow that then ends cleanly.) With both full, the link's wish to stop the other direction
/// still shows.
async fn write_watching(
    link: &mut RecvStream,
    socket: &mut WriteHalf<'_>,
    (ahead, pieces): (&mut Ahead, &mut [Bytes; PIECES]),
    stall: &mut Stall<'_>,
) -> Result<usize, Side> {
    loop {
        let slices: [_; PIECES] =
            array::from_fn(|at| IoSlice::new(ahead.pieces.get(at).map_or(&[], |piece| piece)));
        let slices = &slices[..ahead.pieces.len().min(PIECES)];
        tokio::select! {
            biased;
            written = socket.write_vectored(slices) => {
                let written = written.map_err(|_| Side::Near)?;
                ahead.advance(written);
                return Ok(written);
            }
            () = stall.too_long() => return Err(Side::Stuck),
            read = link.read_chunks(pieces), if !ahead.ended && ahead.bytes < READ_AHEAD => {
                ahead.push(read.map_err(|_| Side::Far)?, pieces);
            }
        }
    }
}
