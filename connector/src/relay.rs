//! Copies one flow between the link and the target, both ways, each with its own end.
//! It opens and closes nothing: the caller ends both sides by what comes out.
//! Always true: an end (FIN) is passed on as an end; a reset of either side is noticed while waiting
//! for the other, and is never passed on as an end.

use std::{
    future::pending,
    sync::atomic::{AtomicU64, Ordering},
};

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
    loop {
        let chunk = tokio::select! {
            chunk = link.read_chunk(CHUNK, true) => chunk.map_err(|_| StreamEnd::Cut)?,
            _ = target.ready(Interest::ERROR) => return Err(StreamEnd::TargetReset),
        };
        let Some(chunk) = chunk else {
            return target.shutdown().await.map_err(|_| StreamEnd::TargetReset);
        };
        tokio::select! {
            biased;
            () = link_reset(link) => return Err(StreamEnd::Cut),
            written = target.write_all(&chunk.bytes) => written.map_err(|_| StreamEnd::TargetReset)?,
        }
        count.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
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

/// Waits for a reset by the link's other end; for ever if it has ended cleanly.
async fn link_reset(link: &mut RecvStream) {
    match link.received_reset().await {
        Ok(Some(_)) | Err(_) => (),
        Ok(None) => pending().await,
    }
}
