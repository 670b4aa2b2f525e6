//! Copies one flow between the link and the target, both ways, each with its own end.
//! It opens and closes nothing: the caller ends both sides by what comes out.
//! Always true: an end (FIN) is passed on as an end; a reset of either side is noticed while waiting
//! for the other, and is never passed on as an end.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use protocol::link::StreamEnd;
use quinn::{RecvStream, SendStream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use crate::wire::FlowStream;

/// Copied at a time.
const CHUNK: usize = 32 * 1024;
/// Held for a target that takes nothing, beside what QUIC's own window holds.
const READ_AHEAD: usize = 256 * 1024;

/// Bytes carried so far.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// To the target.
    pub sent: AtomicU64,
    /// From the target.
    pub received: AtomicU64,
}

/// Copies until both sides have ended, or one was reset.
pub(crate) async fn run(
    stream: &mut FlowStream,
    target: &mut TcpStream,
    traffic: &Traffic,
) -> Result<(), StreamEnd> {
    let (mut from_target, mut to_target) = target.split();
    tokio::try_join!(
        outbound(&mut stream.recv, &mut to_target, &traffic.sent),
        inbound(&mut from_target, &mut stream.send, &traffic.received),
    )?;
    Ok(())
}

async fn outbound(
    link: &mut RecvStream,
    target: &mut WriteHalf<'_>,
    count: &AtomicU64,
) -> Result<(), StreamEnd> {
    let mut ahead = Ahead::default();
    loop {
        let chunk = match ahead.chunks.pop_front() {
            Some(chunk) => Some(chunk),
            None if ahead.ended => None,
            None => tokio::select! {
                chunk = link.read_chunk(CHUNK, true) => {
                    chunk.map_err(|_| StreamEnd::Cut)?.map(|chunk| chunk.bytes)
                }
                _ = target.ready(Interest::ERROR) => return Err(StreamEnd::TargetReset),
            },
        };
        let Some(chunk) = chunk else {
            return target.shutdown().await.map_err(|_| StreamEnd::TargetReset);
        };
        ahead.bytes = ahead.bytes.saturating_sub(chunk.len());
        write_watching(&chunk, target, link, &mut ahead).await?;
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
}

/// What came from the link while the target was slow.
#[derive(Default)]
struct Ahead {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

/// Writes to the target, reading ahead meanwhile: so a reset of the link shows at once, although the
/// target takes nothing. (quinn's `received_reset` would leave a waker behind for every flow that
/// then ends cleanly.) With both full, the link's wish to stop the other direction still shows.
async fn write_watching(
    chunk: &[u8],
    target: &mut WriteHalf<'_>,
    link: &mut RecvStream,
    ahead: &mut Ahead,
) -> Result<(), StreamEnd> {
    let mut write = std::pin::pin!(target.write_all(chunk));
    loop {
        tokio::select! {
            biased;
            written = &mut write => return written.map_err(|_| StreamEnd::TargetReset),
            next = link.read_chunk(CHUNK, true), if !ahead.ended && ahead.bytes < READ_AHEAD => {
                match next.map_err(|_| StreamEnd::Cut)? {
                    Some(next) => {
                        ahead.bytes += next.bytes.len();
                        ahead.chunks.push_back(next.bytes);
                    }
                    None => ahead.ended = true,
                }
            }
        }
    }
}

async fn inbound(
    target: &mut ReadHalf<'_>,
    link: &mut SendStream,
    count: &AtomicU64,
) -> Result<(), StreamEnd> {
    let mut buffer = vec![0; CHUNK];
    let mut stopped = std::pin::pin!(link.stopped());
    loop {
        let read = tokio::select! {
            biased;
            _ = &mut stopped => return Err(StreamEnd::Cut),
            read = target.read(&mut buffer) => read.map_err(|_| StreamEnd::TargetReset)?,
        };
        let (bytes, _) = buffer.split_at(read);
        if bytes.is_empty() {
            link.finish().map_err(|_| StreamEnd::Cut)?;
            // The end has come through when it is acknowledged; a connection closed before would lose it.
            return match stopped.await {
                Ok(None) => Ok(()),
                Ok(Some(_)) | Err(_) => Err(StreamEnd::Cut),
            };
        }
        tokio::select! {
            biased;
            _ = target.ready(Interest::ERROR) => return Err(StreamEnd::TargetReset),
            written = link.write_all(bytes) => written.map_err(|_| StreamEnd::Cut)?,
        }
        count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}
