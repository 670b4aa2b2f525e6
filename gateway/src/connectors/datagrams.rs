//! A flow of datagrams through a connector.
//! It opens nothing. Always true: dropped before it was concluded, the flow is reset; a reset or lost
//! link ends it.

use std::fmt;

use connector::{
    datagrams::{Lane, Payload},
    wire::{FlowStream, FrameReader},
};
use protocol::{
    id::ConnectorId,
    link::{Frame, Outcome},
};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::stream::Counted;

/// An open flow of datagrams to a target.
pub struct LinkDatagrams {
    stream: FlowStream,
    frames: FrameReader,
    lane: Lane,
    connector: ConnectorId,
    _counted: Counted,
    _open: TaskTrackerToken,
}

/// What a connector has to tell.
#[derive(Debug)]
pub enum Told {
    /// The target answered.
    Payload(Payload),
    /// The network of the site says of an earlier datagram that it did not arrive.
    Undelivered(Outcome),
    /// The connector ended the flow, or is gone.
    Ended,
}

impl LinkDatagrams {
    /// `counted` by its link; `open` is what a drain waits for.
    pub(super) fn new(
        stream: FlowStream,
        lane: Lane,
        connector: ConnectorId,
        counted: Counted,
        open: TaskTrackerToken,
    ) -> Self {
        let frames = FrameReader::default();
        Self { stream, frames, lane, connector, _counted: counted, _open: open }
    }

    /// Who carries it.
    pub fn connector(&self) -> &ConnectorId {
        &self.connector
    }

    /// Sends a payload, or drops and counts it.
    pub fn send(&self, payload: &[u8]) {
        self.lane.send(payload);
    }

    /// Waits for what comes next; may be given up and called again.
    pub async fn recv(&mut self) -> Told {
        tokio::select! {
            payload = self.lane.recv() => payload.map_or(Told::Ended, Told::Payload),
            frame = self.frames.next(&mut self.stream.recv) => match frame {
                Ok(Frame::Outcome(outcome)) => Told::Undelivered(outcome),
                Ok(_) | Err(_) => Told::Ended,
            },
        }
    }

    /// Ends it in peace.
    pub fn conclude(mut self) {
        // An error says that the connector has ended it already.
        let _ = self.stream.send.finish();
        self.stream.conclude();
    }
}

impl fmt::Debug for LinkDatagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkDatagrams({}, {})", self.connector, self.stream.send.id())
    }
}
