//! A device's connection and its upstream, copied both ways until they end or access does.
//! It does not decide or dial, and the copying is the connector's library's; it obeys the cut.
//! Always true: whatever ends otherwise than by both sides' own close ends in a reset on both.

use std::{os::fd::AsFd, time::Duration};

use connector::relay::{Places, Side, Traffic};
use netio::tcp::Liveness;
use tokio::net::TcpStream;

use crate::{dial::Upstream, live::Cut};

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
    /// The device does not read, and too many of its flows are like this one.
    Stuck,
}

impl End {
    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::DeviceReset => "device_reset",
            Self::UpstreamReset => "upstream_reset",
            Self::Stuck => "stuck",
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
pub async fn relay(mut device: TcpStream, mut upstream: Upstream, places: &Places, cut: &Cut) -> Ended {
    let traffic = Traffic::default();
    let how = tokio::select! {
        biased;
        () = cut.token().cancelled() => End::Cut,
        ended = upstream.relay(&mut device, &traffic, places) => match ended {
            Ok(()) => End::Closed,
            Err(Side::Near) => End::DeviceReset,
            Err(Side::Far) => End::UpstreamReset,
            Err(Side::Stuck) => End::Stuck,
        },
    };
    if how != End::Closed {
        reset(device);
        upstream.abort();
    }
    Ended { how, up: traffic.forth(), down: traffic.back() }
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

#[cfg(test)]
mod tests;
