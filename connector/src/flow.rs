//! One flow: reads its header, answers that it has it, dials, and carries it to its end.
//! It judges by the site's rules alone; whether the person may is the gateway's business.
//! Always true: a flow has a seat or is refused; a flow that did not end cleanly is reset on both
//! sides; a flow whose address the rules no longer permit is cut.

use std::{fmt, future::pending, net::SocketAddr, sync::Arc, time::Duration};

use protocol::{
    link::{Frame, Open, Outcome, StreamEnd},
    target::{Proto, Target},
};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    agent::Agent,
    datagrams::{Datagrams, Lane},
    dial::{self, Site},
    exchange,
    relay::{self, Side, Traffic},
    wire::{self, FlowStream, FrameReader, WireError},
};

/// A stream without a header ends after this long.
const HEADER: Duration = Duration::from_secs(5);

/// How a flow ended.
enum Ending {
    /// Both sides ended cleanly.
    Closed,
    /// The target was not reached.
    Refused(Outcome),
    /// One side was reset, or the flow cut.
    Reset(StreamEnd),
}

impl From<WireError> for Ending {
    fn from(_: WireError) -> Self {
        Self::Reset(StreamEnd::Cut)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Refused(outcome) => outcome.fmt(f),
            Self::Reset(end) => end.fmt(f),
        }
    }
}

/// What the log says of a flow.
#[derive(Default)]
struct Record {
    resolved: Option<SocketAddr>,
    traffic: Traffic,
}

/// Serves a stream that the gateway opened.
pub(crate) async fn serve(agent: Arc<Agent>, datagrams: Arc<Datagrams>, mut stream: FlowStream) {
    let header = timeout(HEADER, FrameReader::default().next(&mut stream.recv)).await;
    let Ok(Ok(Frame::Open(Open { flow, proto, target }))) = header else {
        tracing::warn!(?header, "a stream of the gateway begins with no flow's header");
        return stream.abort(StreamEnd::Protocol);
    };
    let began = Instant::now();
    let mut record = Record::default();
    let ending = match proto {
        Proto::Tcp => carry(&agent, &target, stream, &mut record).await,
        Proto::Udp | Proto::Icmp => {
            let lane = datagrams.lane(stream.send.id());
            exchange(&agent, (proto, &target), lane, stream, &mut record).await
        }
    }
    .unwrap_or_else(|ending| ending);
    tracing::info!(
        flow,
        %proto,
        %target,
        resolved = record.resolved.map(tracing::field::display),
        result = %ending,
        sent = record.traffic.back(),
        received = record.traffic.forth(),
        ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "flow"
    );
}

async fn carry(
    agent: &Agent,
    target: &Target,
    mut stream: FlowStream,
    record: &mut Record,
) -> Result<Ending, Ending> {
    let Some(_seat) = agent.seat() else { return refuse(stream, Outcome::Overloaded).await };
    wire::write(&mut stream.send, &Frame::Accepted).await?;
    let mut site = agent.site.subscribe();
    let now = site.borrow_and_update().clone();
    let dialled = unless_given_up(agent, &mut stream, dial::open(target, &now)).await?;
    let (mut socket, address) = match dialled {
        Ok(dialled) => dialled,
        Err(outcome) => return refuse(stream, outcome).await,
    };
    record.resolved = Some(address);
    wire::write(&mut stream.send, &Frame::Outcome(Outcome::Connected)).await?;
    let places = agent.stalls.of(&address.ip());
    let ended = tokio::select! {
        biased;
        () = forbidden(&mut site, address) => Err(StreamEnd::NotAllowed),
        () = agent.cut.cancelled() => Err(StreamEnd::Leaving),
        ended = relay::link(&mut socket, &mut stream, &record.traffic, &places) => ended.map_err(end_of),
    };
    Ok(conclude(stream, socket, ended))
}

async fn exchange(
    agent: &Agent,
    (proto, target): (Proto, &Target),
    lane: Lane,
    mut stream: FlowStream,
    record: &mut Record,
) -> Result<Ending, Ending> {
    let Some(_seat) = agent.seat() else { return refuse(stream, Outcome::Overloaded).await };
    wire::write(&mut stream.send, &Frame::Accepted).await?;
    let mut site = agent.site.subscribe();
    let now = site.borrow_and_update().clone();
    let dialled = unless_given_up(agent, &mut stream, dial::open_datagrams(proto, target, &now)).await?;
    let (socket, address) = match dialled {
        Ok(dialled) => dialled,
        Err(outcome) => return refuse(stream, outcome).await,
    };
    record.resolved = Some(address);
    wire::write(&mut stream.send, &Frame::Outcome(Outcome::Connected)).await?;
    let ended = tokio::select! {
        biased;
        () = forbidden(&mut site, address) => Err(StreamEnd::NotAllowed),
        () = agent.cut.cancelled() => Err(StreamEnd::Leaving),
        ended = exchange::run(&mut stream, lane, &socket, &record.traffic) => ended,
    };
    match ended {
        Ok(()) => {
            let _ = stream.send.finish();
            stream.conclude();
            Ok(Ending::Closed)
        }
        Err(end) => {
            stream.abort(end);
            Err(Ending::Reset(end))
        }
    }
}

/// Dials, unless the gateway gives up first; a connector that leaves reaches nothing any more.
async fn unless_given_up<T>(
    agent: &Agent,
    stream: &mut FlowStream,
    dial: impl Future<Output = Result<T, Outcome>>,
) -> Result<Result<T, Outcome>, Ending> {
    tokio::select! {
        biased;
        _ = stream.send.stopped() => Err(Ending::Reset(StreamEnd::GivenUp)),
        () = agent.cut.cancelled() => Ok(Err(Outcome::Unreachable)),
        dialled = dial => Ok(dialled),
    }
}

async fn refuse(mut stream: FlowStream, outcome: Outcome) -> Result<Ending, Ending> {
    wire::write(&mut stream.send, &Frame::Outcome(outcome.clone())).await?;
    // The outcome ends our direction, when it is acknowledged; after it the gateway sends nothing.
    let _ = stream.send.finish();
    let _ = stream.send.stopped().await;
    stream.conclude();
    Ok(Ending::Refused(outcome))
}

fn conclude(mut stream: FlowStream, socket: TcpStream, ended: Result<(), StreamEnd>) -> Ending {
    match ended {
        Ok(()) => {
            stream.conclude();
            Ending::Closed
        }
        Err(end) => {
            // Without this the kernel would deliver what is queued and end the connection cleanly.
            if let Err(error) = socket.set_zero_linger() {
                tracing::warn!(%error, "a cut connection may look complete to its target");
            }
            drop(socket);
            stream.abort(end);
            Ending::Reset(end)
        }
    }
}

fn end_of(side: Side) -> StreamEnd {
    match side {
        Side::Near => StreamEnd::TargetReset,
        Side::Far => StreamEnd::Cut,
        Side::Stuck => StreamEnd::Stuck,
    }
}

/// Waits until the site's rules no longer permit `address`.
async fn forbidden(site: &mut watch::Receiver<Arc<Site>>, address: SocketAddr) {
    while site.changed().await.is_ok() {
        if site.borrow_and_update().permits(address).is_err() {
            return;
        }
    }
    pending().await
}
