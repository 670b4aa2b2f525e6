//! Carries the datagrams of one flow between the link and the target, both ways.
//! It opens and closes nothing: the caller ends both sides by what comes out.
//! Always true: it ends with the flow's stream, or when nothing passed for longer than the gateway waits.

use std::time::Duration;

use protocol::link::{Frame, Outcome, StreamEnd};
use tokio::time::{Instant, sleep_until};

use crate::{
    datagrams::Lane,
    relay::{self, Traffic},
    socket::{DatagramSocket, Heard},
    wire::{self, FlowStream},
};

/// The gateway ends a flow after two minutes of silence; a lost gateway ends with its link.
const IDLE: Duration = Duration::from_secs(180);

/// Carries until the gateway ends the flow.
pub(crate) async fn run(
    stream: &mut FlowStream,
    mut lane: Lane,
    target: &DatagramSocket,
    traffic: &Traffic,
) -> Result<(), StreamEnd> {
    let FlowStream { send, recv, .. } = stream;
    let mut until = Instant::now() + IDLE;
    loop {
        let said = tokio::select! {
            biased;
            // After its header the gateway sends nothing but the end.
            end = recv.read_chunk(1, true) => return match end {
                Ok(None) => Ok(()),
                Ok(Some(_)) => Err(StreamEnd::Protocol),
                Err(_) => Err(StreamEnd::Cut),
            },
            () = sleep_until(until) => return Ok(()),
            payload = lane.recv() => {
                let payload = payload.ok_or(StreamEnd::Cut)?;
                let (sent, said) = target.send(&payload);
                if sent {
                    relay::add(&traffic.back, payload.len());
                } else {
                    lane.drop_one();
                }
                said
            }
            heard = target.recv() => match heard {
                Heard::Payload(payload) => {
                    relay::add(&traffic.forth, payload.len());
                    lane.send(&payload);
                    None
                }
                Heard::Undelivered(outcome) => Some(outcome),
            },
        };
        until = Instant::now() + IDLE;
        if let Some(outcome) = said {
            tell(send, outcome).await?;
        }
    }
}

async fn tell(send: &mut quinn::SendStream, outcome: Outcome) -> Result<(), StreamEnd> {
    wire::write(send, &Frame::Outcome(outcome)).await.map_err(|_| StreamEnd::Cut)
}
