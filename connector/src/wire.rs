//! Frames over QUIC streams, and the stream of one flow.
//! It knows no order of frames; which may come when is the business of each end.
//! Always true: nothing is read beyond a frame's end; a flow's stream that did not end cleanly both
//! ways is reset both ways when dropped, never finished.

use protocol::link::{Decoded, Frame, FrameError, StreamEnd};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

/// Optional frames that may be skipped before one that is understood.
const MAX_SKIPPED: usize = 16;
/// Read at a time; most frames are shorter.
const PIECE: usize = 512;

/// Why no frame came or went.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer's bytes are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream or the connection ended with an error.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stream or the connection ended with an error.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The peer finished the stream.
    #[error("the stream ended where a frame was due")]
    Ended,
    /// The peer sent nothing that this version understands.
    #[error("more than {MAX_SKIPPED} unknown optional frames in a row")]
    OnlySkipped,
    /// A frame that is not due.
    #[error("an unexpected {0}")]
    Unexpected(&'static str),
}

/// Reads frames; holds what came of the next one, so that waiting for it may be given up and resumed.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
}

impl FrameReader {
    /// The next frame that this version understands.
    pub async fn next(&mut self, stream: &mut RecvStream) -> Result<Frame, WireError> {
        let mut skipped = 0;
        loop {
            match Frame::decode(&self.bytes)? {
                Decoded::Frame(Frame::Skipped(_), _) if skipped == MAX_SKIPPED => {
                    return Err(WireError::OnlySkipped);
                }
                Decoded::Frame(Frame::Skipped(_), _) => {
                    skipped += 1;
                    self.bytes.clear();
                }
                Decoded::Frame(frame, _) => {
                    self.bytes.clear();
                    return Ok(frame);
                }
                Decoded::Missing(count) => {
                    let mut piece = [0; PIECE];
                    let room = &mut piece[..count.min(PIECE)];
                    let read = stream.read(room).await?.ok_or(WireError::Ended)?;
                    self.bytes.extend(&room[..read]);
                }
            }
        }
    }
}

/// Writes one frame.
pub async fn write(stream: &mut SendStream, frame: &Frame) -> Result<(), WireError> {
    Ok(stream.write_all(&frame.encode()).await?)
}

/// The stream of one flow. Dropping it resets both directions unless it was
/// [`concluded`](Self::conclude): quinn by itself would finish the one we send, and a cut flow would
/// look complete to the other side.
#[derive(Debug)]
pub struct FlowStream {
    /// Towards the other side.
    pub send: SendStream,
    /// From the other side.
    pub recv: RecvStream,
    end: Option<StreamEnd>,
}

impl FlowStream {
    /// The flow of a stream just opened or accepted.
    pub fn new((send, recv): (SendStream, RecvStream)) -> Self {
        Self { send, recv, end: Some(StreamEnd::Cut) }
    }

    /// Both directions have ended cleanly, or end so by what is written: nothing to reset.
    pub fn conclude(&mut self) {
        self.end = None;
    }

    /// Resets both directions and says why.
    pub fn abort(mut self, why: StreamEnd) {
        self.end = Some(why);
    }
}

impl Drop for FlowStream {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            let code = VarInt::from_u32(end.code());
            // A direction that has ended already has nothing left to reset.
            let _ = self.send.reset(code);
            let _ = self.recv.stop(code);
        }
    }
}
