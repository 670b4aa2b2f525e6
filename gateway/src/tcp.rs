//! Copies between a device's connection and its upstream, both ways, with half-close.
//! It does not decide or dial; it obeys the cut.
//! Always true: whatever ends otherwise than by both sides' own close ends in a reset on both.

use std::{io, os::fd::AsFd, time::Duration};

use netio::tcp::Liveness;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::{dial::Upstream, live::Cut};

/// Where a copy buffer starts and how far it grows: 64 KiB costs least per byte, 8 KiB least per
/// connection (measured: 2.0 against 3.0 CPU-s/GB, 236 against 201 µs a connection).
const BUFFER_MIN: usize = 8 * 1024;
const BUFFER_MAX: usize = 64 * 1024;

/// When a peer that has gone without a word is given up, on both sides of a flow.
const LIVENESS: Liveness = Liveness {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(15),
    probes: 4,
    user_timeout: Duration::from_secs(120),
};

/// How a relayed connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides closed.
    Closed,
    /// Access ended.
    Cut,
    /// The device reset it or vanished.
    DeviceReset,
    /// The upstream reset it or vanished.
    UpstreamReset,
}

impl End {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::DeviceReset => "device_reset",
            Self::UpstreamReset => "upstream_reset",
        }
    }
}

/// What a relayed connection carried.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// How it ended.
    pub how: End,
    /// Bytes from the device.
    pub up: u64,
    /// Bytes to the device.
    pub down: u64,
}

/// Copies until both sides have closed, one fails, or `cut` comes. A cut discards what is queued.
pub async fn relay(mut device: TcpStream, mut upstream: Upstream, cut: &Cut) -> Ended {
    let (mut up, mut down) = (0, 0);
    let how = {
        let (device_read, device_write) = device.split();
        let (upstream_read, upstream_write) = tokio::io::split(&mut upstream);
        let forth = async {
            pump(device_read, upstream_write, &mut up)
                .await
                .map_err(|side| side.of(End::DeviceReset, End::UpstreamReset))
        };
        let back = async {
            pump(upstream_read, device_write, &mut down)
                .await
                .map_err(|side| side.of(End::UpstreamReset, End::DeviceReset))
        };
        tokio::select! {
            biased;
            () = cut.token().cancelled() => End::Cut,
            ended = async { tokio::try_join!(forth, back) } => ended.err().unwrap_or(End::Closed),
        }
    };
    if how != End::Closed {
        reset(device);
        upstream.abort();
    }
    Ended { how, up, down }
}

/// Closes `stream`, given by value, with a reset: the peer sees an error, and nothing queued is delivered.
pub fn reset(stream: impl AsFd) {
    // A socket that is already gone cannot be told to linger; dropping it is all that is left.
    let _ = netio::tcp::set_linger_zero(&stream);
}

/// Sends small writes at once and notices a peer that is gone. A flow works without either.
pub fn tune(stream: impl AsFd) {
    let _ = netio::tcp::set_nodelay(&stream);
    let _ = netio::tcp::set_liveness(&stream, LIVENESS);
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Reader,
    Writer,
}

impl Side {
    fn of(self, reader: End, writer: End) -> End {
        match self {
            Self::Reader => reader,
            Self::Writer => writer,
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    copied: &mut u64,
) -> Result<(), Side> {
    let mut buffer = vec![0; BUFFER_MIN];
    loop {
        let n = from.read(&mut buffer).await.map_err(|_| Side::Reader)?;
        if n == 0 {
            return finish(&mut to).await.map_err(|_| Side::Writer);
        }
        to.write_all(buffer.get(..n).unwrap_or_default()).await.map_err(|_| Side::Writer)?;
        *copied += n as u64;
        if n == buffer.len() && n < BUFFER_MAX {
            buffer.resize(BUFFER_MAX, 0);
        }
    }
}

/// Half-closes; a peer that has gone meanwhile already knows.
async fn finish(to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    match to.shutdown().await {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
