//! The copy between two TCP connections.

use std::sync::atomic::AtomicU64;

use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{Side, Traffic, add, buffer::Buffer, finish};

/// Copies until both sides have ended, or one was reset.
pub async fn run(near: &mut TcpStream, far: &mut TcpStream, traffic: &Traffic) -> Result<(), Side> {
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.split(), far.split());
    let forth = pump(&mut from_near, &mut to_far, &traffic.forth);
    let back = pump(&mut from_far, &mut to_near, &traffic.back);
    tokio::try_join!(async { forth.await.map_err(|end| end.of(Side::Near, Side::Far)) }, async {
        back.await.map_err(|end| end.of(Side::Far, Side::Near))
    },)?;
    Ok(())
}

enum Failed {
    Reader,
    Writer,
}

impl Failed {
    fn of(self, reader: Side, writer: Side) -> Side {
        match self {
            Self::Reader => reader,
            Self::Writer => writer,
        }
    }
}

async fn pump(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, count: &AtomicU64) -> Result<(), Failed> {
    loop {
        let buffer = Buffer::fill(from).await.map_err(|_| Failed::Reader)?;
        if buffer.is_empty() {
            return finish(to).await.map_err(|_| Failed::Writer);
        }
        tokio::select! {
            biased;
            written = to.write_all(&buffer) => written.map_err(|_| Failed::Writer)?,
            _ = from.ready(Interest::ERROR) => return Err(Failed::Reader),
        }
        add(count, buffer.len());
    }
}
