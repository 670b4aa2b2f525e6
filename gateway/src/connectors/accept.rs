//! Takes connections of connectors: handshake, greeting, admission, and then the control stream.
//! It opens no flow; who joins is handed on.
//! Always true: before admission a connection costs one of a bounded number of places for a bounded
//! time; a key that is in use by a process that answers is not given to another.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use connector::{
    datagrams::Datagrams,
    quic::explain,
    wire::{self, FrameReader, WireError},
};
use protocol::{
    id::ConnectorId,
    join,
    link::{self, DATAGRAMS, Frame, Hello, LinkEnd},
    time::Timestamp,
};
use quinn::{Connection, ConnectionError, Endpoint, Incoming, ReadError, RecvStream, SendStream};
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::TrySendError},
    },
    time::timeout,
};

use super::{
    Inner,
    server::{self, pin_of_peer},
    table::{Denied, Link},
};

/// Connections on their way to admission, of one endpoint.
const MAX_ARRIVING: usize = 64;
/// With fewer places left, a sender must first prove its address.
const RETRY_BELOW: usize = 48;
/// For handshake and greeting together.
const SET_UP: Duration = Duration::from_secs(5);
/// A process that holds a key has this long to show that it lives.
const PROOF_OF_LIFE: Duration = Duration::from_millis(500);
/// Rivals may come and go while a link waits for admission, but not for ever.
const MAX_ROUNDS: usize = 3;
/// Pings that wait for their answer, of one link.
const MAX_PINGS: usize = 8;
/// What a link's task may still have to do.
const MAX_ASKS: usize = 8;

/// What others want of the task that has a link's control stream.
#[derive(Debug)]
pub(super) enum Ask {
    /// Say so when the other end answers.
    Ping(mpsc::Sender<()>),
    /// Tell the other end that we are leaving.
    Goaway,
}

/// Takes connections until the registry stops.
pub(super) async fn run(inner: Arc<Inner>, endpoint: Endpoint) {
    let places = Arc::new(Semaphore::new(MAX_ARRIVING));
    while let Some(Some(incoming)) = inner.stopped.run_until_cancelled(endpoint.accept()).await {
        if !incoming.remote_address_validated() && places.available_permits() < RETRY_BELOW {
            // It fails only for who has proven its address.
            let _ = incoming.retry();
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            turned_away(&inner, &incoming, "too many connections at once");
            incoming.refuse();
            continue;
        };
        let inner = inner.clone();
        inner.clone().tasks.spawn(async move {
            let stopped = inner.stopped.clone();
            stopped.run_until_cancelled(serve(&inner, incoming, place)).await;
        });
    }
}

fn turned_away(inner: &Inner, incoming: &Incoming, reason: &str) {
    let remote = incoming.remote_address();
    inner.table().strangers.turned_away(None, remote, reason.to_owned(), Instant::now());
}

/// An admitted link and its control stream.
struct Arrived {
    id: ConnectorId,
    link: Link,
    control: Control,
    asked: mpsc::Receiver<Ask>,
}

struct Control {
    send: SendStream,
    recv: RecvStream,
    frames: FrameReader,
}

/// Brings a connection to admission and to its end, or turns it away. Who joins keeps the place.
async fn serve(inner: &Inner, incoming: Incoming, place: OwnedSemaphorePermit) {
    let remote = incoming.remote_address();
    let turned_away = |key, reason| {
        inner.table().strangers.turned_away(key, remote, reason, Instant::now());
    };
    let connection = match handshake(inner, incoming).await {
        Ok(connection) => connection,
        Err(reason) => return turned_away(None, reason),
    };
    let arrived = match server::words(&connection).as_deref() {
        Some(link::ALPN) => greet(inner, &connection).await,
        Some(join::ALPN) => return super::join::serve(inner, &connection).await,
        _ => Err((LinkEnd::Protocol, "it wants to speak other words".to_owned())),
    };
    match arrived {
        Ok(arrived) => {
            drop(place);
            attend(inner, arrived).await;
        }
        Err((end, reason)) => {
            connection.close(end.code().into(), b"");
            turned_away(pin_of_peer(&connection), reason);
        }
    }
}

async fn handshake(inner: &Inner, incoming: Incoming) -> Result<Connection, String> {
    let connecting = server::accept(incoming, &inner.server).map_err(|error| explain(&error))?;
    match timeout(SET_UP, connecting).await {
        Ok(connected) => connected.map_err(|error| format!("handshake: {}", explain(&error))),
        Err(_) => Err("handshake: no answer".to_owned()),
    }
}

/// Hears the connector's Hello, admits it and answers.
async fn greet(inner: &Inner, connection: &Connection) -> Result<Arrived, (LinkEnd, String)> {
    let broken = |error: WireError| (LinkEnd::Protocol, error.to_string());
    let silent = |_| (LinkEnd::Protocol, "no greeting".to_owned());
    let pin = pin_of_peer(connection).ok_or((LinkEnd::UnknownKey, "no key".to_owned()))?;
    let (mut control, hello) = timeout(SET_UP, hear(connection)).await.map_err(silent)?.map_err(broken)?;
    if hello.agreed().is_none() {
        return Err((LinkEnd::Version, LinkEnd::Version.to_string()));
    }
    let (asks, asked) = mpsc::channel(MAX_ASKS);
    let carries_datagrams = hello.can(DATAGRAMS);
    let link = Link {
        pin,
        instance: hello.instance,
        software: hello.software,
        since: Timestamp::from_system(SystemTime::now()),
        connection: connection.clone(),
        asks,
        leaving: false,
        flows: Arc::new(AtomicUsize::new(0)),
        carries_datagrams,
        datagrams: Datagrams::new(connection.clone()),
        dropped_there: Arc::new(AtomicU64::new(0)),
    };
    let id = admit(inner, &link).await.map_err(|end| (end, end.to_string()))?;
    let answer = Frame::Hello(Hello::new(env!("CARGO_PKG_VERSION"), inner.instance));
    let answered = timeout(SET_UP, wire::write(&mut control.send, &answer)).await.map_err(silent);
    match answered.and_then(|written| written.map_err(broken)) {
        Ok(()) => Ok(Arrived { id, link, control, asked }),
        Err(error) => {
            inner.table().remove(connection, Some(error.1.clone()));
            Err(error)
        }
    }
}

async fn hear(connection: &Connection) -> Result<(Control, Hello), WireError> {
    let (send, mut recv) = connection.accept_bi().await.map_err(ReadError::ConnectionLost)?;
    let mut frames = FrameReader::default();
    match frames.next(&mut recv).await? {
        Frame::Hello(hello) => Ok((Control { send, recv, frames }, hello)),
        Frame::Goaway
        | Frame::Ping(_)
        | Frame::Pong(_)
        | Frame::Open(_)
        | Frame::Accepted
        | Frame::Outcome(_)
        | Frame::Dropped(_)
        | Frame::Skipped(_) => Err(WireError::Unexpected("first frame")),
    }
}

/// Takes the link in. If another process holds its key, that one keeps it if it answers.
async fn admit(inner: &Inner, link: &Link) -> Result<ConnectorId, LinkEnd> {
    for _ in 0..MAX_ROUNDS {
        let verdict = inner.table().admit(link);
        let rivals = match verdict {
            Ok(id) => return Ok(id),
            Err(Denied::End(end)) => return Err(end),
            Err(Denied::Rivals(rivals)) => rivals,
        };
        if one_lives(&rivals).await {
            break;
        }
        for rival in rivals {
            rival.close(LinkEnd::Replaced);
            inner
                .table()
                .remove(&rival.connection, Some("it did not answer when a new process came".to_owned()));
        }
    }
    inner.table().second_instance(&link.pin, link.connection.remote_address());
    Err(LinkEnd::SecondInstance)
}

async fn one_lives(links: &[Link]) -> bool {
    let (answer, mut answers) = mpsc::channel(1);
    for link in links {
        if let Err(TrySendError::Full(_)) = link.asks.try_send(Ask::Ping(answer.clone())) {
            // It cannot be asked now: who holds the key keeps it.
            return true;
        }
    }
    drop(answer);
    matches!(timeout(PROOF_OF_LIFE, answers.recv()).await, Ok(Some(())))
}

/// Serves an admitted link's control stream until it ends.
async fn attend(inner: &Inner, arrived: Arrived) {
    let Arrived { id, link, control, asked } = arrived;
    let connection = &link.connection;
    let remote = connection.remote_address();
    tracing::info!(connector = %id, %remote, version = link.software, "connector linked");
    let error = tokio::select! {
        error = converse(inner, &link, control, asked) => error,
        error = link.datagrams.run() => ReadError::ConnectionLost(error).into(),
    };
    let reason = connection.close_reason();
    link.close(LinkEnd::Protocol);
    let why = reason.as_ref().map_or_else(|| error.to_string(), explain);
    tracing::info!(connector = %id, %remote, why, "connector link ended");
    let fault = !is_farewell(reason.as_ref());
    inner.table().remove(connection, fault.then_some(why));
}

fn is_farewell(reason: Option<&ConnectionError>) -> bool {
    matches!(reason, Some(ConnectionError::ApplicationClosed(close))
        if close.error_code == LinkEnd::Shutdown.code().into())
}

async fn converse(
    inner: &Inner,
    link: &Link,
    mut control: Control,
    mut asked: mpsc::Receiver<Ask>,
) -> WireError {
    let mut pings = Pings::default();
    loop {
        let done = tokio::select! {
            frame = control.frames.next(&mut control.recv) => match frame {
                Ok(Frame::Pong(number)) => { pings.answered(number); Ok(()) }
                Ok(Frame::Goaway) => { inner.table().leave(&link.connection); Ok(()) }
                Ok(Frame::Dropped(count)) => { link.dropped_there.store(count, Ordering::Relaxed); Ok(()) }
                Ok(Frame::Ping(number)) => wire::write(&mut control.send, &Frame::Pong(number)).await,
                Ok(Frame::Hello(_) | Frame::Open(_) | Frame::Accepted | Frame::Outcome(_) | Frame::Skipped(_)) => {
                    Err(WireError::Unexpected("frame on the control stream"))
                }
                Err(error) => Err(error),
            },
            Some(ask) = asked.recv() => match ask {
                Ask::Ping(answer) => wire::write(&mut control.send, &pings.ask(answer)).await,
                Ask::Goaway => wire::write(&mut control.send, &Frame::Goaway).await,
            },
        };
        if let Err(error) = done {
            return error;
        }
    }
}

/// Pings that wait for their answer.
#[derive(Debug, Default)]
struct Pings {
    last: u64,
    waiting: VecDeque<(u64, mpsc::Sender<()>)>,
}

impl Pings {
    fn ask(&mut self, answer: mpsc::Sender<()>) -> Frame {
        self.last += 1;
        self.waiting.push_back((self.last, answer));
        if self.waiting.len() > MAX_PINGS {
            self.waiting.pop_front();
        }
        Frame::Ping(self.last)
    }

    fn answered(&mut self, number: u64) {
        let Some(index) = self.waiting.iter().position(|(asked, _)| *asked == number) else { return };
        if let Some((_, answer)) = self.waiting.remove(index) {
            // One answer is enough: a full channel has one.
            let _ = answer.try_send(());
        }
    }
}
