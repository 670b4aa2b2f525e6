//! Opens one flow: tries the connectors of a site until one has an answer that counts.
//! It ranks nobody; the table does.
//! Always true: a connector that does not take the flow at once is passed over, and its stream reset;
//! the whole ends in time; what a failure says about a connector is told to the table.

use std::{
    fmt,
    time::{Duration, Instant},
};

use connector::{
    datagrams::Lane,
    wire::{self, FlowStream, FrameReader, WireError},
};
use protocol::{
    id::{ConnectorId, SiteId},
    link::{Frame, Open, Outcome, StreamEnd},
    target::{Proto, Target},
};
use quinn::ConnectionError;
use tokio::time::timeout;

use super::{
    Inner, LinkDatagrams, LinkStream,
    stream::Counted,
    table::{Candidate, Link},
};

/// For everything together.
const LIMIT: Duration = Duration::from_secs(10);
/// A connector says that it has the flow within this, or twice the round trip if that is longer.
const ACCEPT: Duration = Duration::from_millis(250);
/// The same for the last one there is: waiting beats failing.
const ACCEPT_LAST: Duration = Duration::from_secs(3);
/// A connector gives a dial five seconds; it has failed if it says nothing by then.
const DIAL: Duration = Duration::from_secs(6);
/// Links that one flow may try.
const MAX_TRIES: usize = 6;

/// Why a flow was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No connector of the site took the flow.
    #[error("no connector of the site answers")]
    NoConnector,
    /// The target refused the connection.
    #[error("the target refused the connection")]
    Refused,
    /// The site's network cannot reach the target.
    #[error("the target cannot be reached")]
    Unreachable,
    /// The target did not answer in time.
    #[error("the target did not answer in time")]
    Timeout,
    /// The site's own rules forbid the target.
    #[error("the site does not allow the target: {0}")]
    NotAllowed(String),
    /// The target's name does not resolve at the site.
    #[error("the target's name does not resolve at the site")]
    NameNotFound,
    /// Every connector carries as many flows as it may.
    #[error("the site's connectors carry as many flows as they may")]
    Overloaded,
    /// The connector cannot carry datagrams, and no other took the flow.
    #[error("connector {0} is too old for UDP and ICMP: upgrade it")]
    TooOld(ConnectorId),
}

/// How an attempt failed, and what follows from it.
enum Failure {
    /// The connector does not forward.
    Silent(String),
    /// It takes no flow now, which is no fault.
    Busy,
    /// It takes no such flow ever.
    TooOld,
    /// It says that the target is not to be had; another one may know better.
    Elsewhere(OpenError),
    /// The answer that counts.
    Final(OpenError),
}

/// Opens a TCP connection to `target` through one of the site's connectors.
pub(super) async fn open(
    inner: &Inner,
    site: &SiteId,
    target: &Target,
    flow: u64,
) -> Result<LinkStream, OpenError> {
    let open = Open { flow, proto: Proto::Tcp, target: target.clone() };
    let Opened { stream, id, link, .. } = open_any(inner, site, open).await?;
    Ok(LinkStream::new(stream, id, Counted::new(&link.flows), &inner.flows))
}

/// Opens a flow of datagrams to `target` through one of the site's connectors.
pub(super) async fn open_datagrams(
    inner: &Inner,
    site: &SiteId,
    (proto, target): (Proto, &Target),
    flow: u64,
) -> Result<LinkDatagrams, OpenError> {
    let open = Open { flow, proto, target: target.clone() };
    let Opened { stream, lane, id, link } = open_any(inner, site, open).await?;
    let lane = lane.ok_or_else(|| OpenError::TooOld(id.clone()))?;
    Ok(LinkDatagrams::new(stream, lane, id, Counted::new(&link.flows), inner.flows.token()))
}

/// A flow that a connector has.
struct Opened {
    stream: FlowStream,
    /// The payloads of datagrams.
    lane: Option<Lane>,
    id: ConnectorId,
    link: Link,
}

async fn open_any(inner: &Inner, site: &SiteId, open: Open) -> Result<Opened, OpenError> {
    let ranked = inner.table().ranked(site, Instant::now());
    match timeout(LIMIT, try_each(inner, tries(ranked, open.flow), &open)).await {
        Ok(result) => result,
        Err(_) => Err(OpenError::Timeout),
    }
}

/// First one link of each connector, spread by flow; then, should all fail, the other links.
fn tries(ranked: Vec<Candidate>, flow: u64) -> Vec<(ConnectorId, Link)> {
    // Multiplying by 2^64 / the golden ratio spreads neighbours (Knuth, TAOCP 3, section 6.4).
    let hash = usize::try_from(flow.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).unwrap_or_default();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for Candidate { id, mut links } in ranked {
        let turn = hash.checked_rem(links.len()).unwrap_or_default();
        links.rotate_left(turn);
        let mut links = links.into_iter().map(|link| (id.clone(), link));
        first.extend(links.next());
        rest.extend(links);
    }
    first.extend(rest);
    first.truncate(MAX_TRIES);
    first
}

async fn try_each(inner: &Inner, tries: Vec<(ConnectorId, Link)>, open: &Open) -> Result<Opened, OpenError> {
    let mut answer = None;
    let mut missed: Vec<(ConnectorId, OpenError)> = Vec::new();
    let mut tries = tries.into_iter().peekable();
    while let Some((id, link)) = tries.next() {
        if missed.iter().any(|(other, _)| *other == id) {
            continue;
        }
        let patience =
            if tries.peek().is_none() { ACCEPT_LAST } else { ACCEPT.max(2 * link.connection.rtt()) };
        match attempt(&link, open, patience).await {
            Ok((stream, lane)) => {
                learn(inner, &id, missed, &open.target);
                return Ok(Opened { stream, lane, id, link });
            }
            Err(Failure::Final(error)) => {
                learn(inner, &id, Vec::new(), &open.target);
                return Err(error);
            }
            Err(Failure::Silent(why)) => inner.table().failed(&id, why, Instant::now()),
            Err(Failure::Busy) => answer = answer.or(Some(OpenError::Overloaded)),
            Err(Failure::TooOld) => answer = answer.or(Some(OpenError::TooOld(id))),
            Err(Failure::Elsewhere(error)) => missed.push((id, error)),
        }
    }
    Err(missed.into_iter().map(|(_, error)| error).next().or(answer).unwrap_or(OpenError::NoConnector))
}

/// `winner` forwards; who said that the same target is not to be had does not forward well.
fn learn(inner: &Inner, winner: &ConnectorId, missed: Vec<(ConnectorId, OpenError)>, target: &Target) {
    let (mut table, now) = (inner.table(), Instant::now());
    table.succeeded(winner, now);
    for (id, error) in missed {
        table.failed(&id, format!("{winner} reached {target}, but here {error}"), now);
    }
}

async fn attempt(
    link: &Link,
    open: &Open,
    patience: Duration,
) -> Result<(FlowStream, Option<Lane>), Failure> {
    if open.proto != Proto::Tcp && !link.carries_datagrams {
        return Err(Failure::TooOld);
    }
    let began = tokio::time::Instant::now();
    // Waits while the connector carries as many streams as it may.
    let opened = timeout(patience, link.connection.open_bi()).await.map_err(|_| Failure::Busy)?;
    let mut stream = FlowStream::new(opened.map_err(|error| lost(&error))?);
    let mut frames = FrameReader::default();
    let lane = (open.proto != Proto::Tcp).then(|| link.datagrams.lane(stream.send.id()));
    let open = Frame::Open(open.clone());
    let accepted = async {
        wire::write(&mut stream.send, &open).await?;
        frames.next(&mut stream.recv).await
    };
    match tokio::time::timeout_at(began + patience, accepted).await {
        Ok(Ok(Frame::Accepted)) => {}
        Ok(Ok(Frame::Outcome(Outcome::Overloaded))) => return Err(Failure::Busy),
        Ok(Ok(frame)) => return Err(unexpected(&frame)),
        Ok(Err(error)) => return Err(broken(&error)),
        Err(_) => {
            stream.abort(StreamEnd::GivenUp);
            return Err(Failure::Silent(format!("it did not take a flow within {patience:?}")));
        }
    }
    match timeout(DIAL, frames.next(&mut stream.recv)).await {
        Ok(Ok(Frame::Outcome(outcome))) => judge(outcome).map(|()| (stream, lane)),
        Ok(Ok(frame)) => Err(unexpected(&frame)),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => {
            stream.abort(StreamEnd::GivenUp);
            Err(Failure::Silent(format!("it did not say how a dial ended within {DIAL:?}")))
        }
    }
}

fn judge(outcome: Outcome) -> Result<(), Failure> {
    Err(match outcome {
        Outcome::Connected => return Ok(()),
        Outcome::Refused => Failure::Final(OpenError::Refused),
        Outcome::NotAllowed(why) => Failure::Final(OpenError::NotAllowed(why)),
        Outcome::Timeout => Failure::Elsewhere(OpenError::Timeout),
        Outcome::Unreachable => Failure::Elsewhere(OpenError::Unreachable),
        Outcome::NameNotFound => Failure::Elsewhere(OpenError::NameNotFound),
        Outcome::Overloaded => Failure::Busy,
    })
}

fn lost(error: &ConnectionError) -> Failure {
    Failure::Silent(connector::quic::explain(error))
}

fn unexpected(frame: &impl fmt::Debug) -> Failure {
    Failure::Silent(format!("it broke the protocol with {frame:?}"))
}

/// A stream that is reset before it is a flow: by a connector that leaves, or one that is broken.
fn broken(error: &WireError) -> Failure {
    match error {
        WireError::Read(quinn::ReadError::Reset(code))
        | WireError::Write(quinn::WriteError::Stopped(code))
            if StreamEnd::from_code(code.into_inner()) == Some(StreamEnd::Leaving) =>
        {
            Failure::Busy
        }
        WireError::Read(quinn::ReadError::ConnectionLost(error))
        | WireError::Write(quinn::WriteError::ConnectionLost(error)) => lost(error),
        WireError::Read(_)
        | WireError::Write(_)
        | WireError::Frame(_)
        | WireError::Ended
        | WireError::OnlySkipped
        | WireError::Unexpected(_) => Failure::Silent(error.to_string()),
    }
}
