//! The payloads of the datagram flows of one connection, beside its streams: each in a QUIC datagram
//! (RFC 9221) or, too large for one, alone in a unidirectional stream.
//! It opens no flow. Always true: what waits is bounded, in each direction, in payloads and in bytes;
//! nothing here waits for a flow that does not read; what is dropped is counted.

use std::{
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use protocol::link::Label;
use quinn::{Connection, ConnectionError, ReadToEndError, RecvStream, StreamId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};

use crate::quic::LARGE_STREAMS;

/// The largest payload of UDP, over IPv6 (RFC 768; RFC 8200 section 3 without jumbograms).
pub const LARGEST: usize = 65_527;
/// A label takes at most this.
const LABEL: usize = 8;
/// Payloads that wait for one flow to read them.
const PER_FLOW: usize = 128;
/// Bytes that wait for all flows of the connection.
const WAITING: usize = 16 << 20;
/// A stream with a large payload takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The payloads of one connection, in and out.
pub struct Datagrams {
    connection: Connection,
    lanes: Mutex<HashMap<Label, mpsc::Sender<Payload>>>,
    waiting: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// Held from a look at the send buffer to its use.
    sending: Mutex<()>,
    taken: AtomicU64,
    dropped: AtomicU64,
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// A payload that arrived; it counts as waiting until it is dropped.
#[derive(Debug)]
pub struct Payload {
    bytes: Bytes,
    _waiting: OwnedSemaphorePermit,
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// One flow's payloads; dropping it makes what still arrives nobody's.
#[derive(Debug)]
pub struct Lane {
    datagrams: Arc<Datagrams>,
    label: Label,
    arrived: mpsc::Receiver<Payload>,
}

impl Datagrams {
    /// Those of `connection`; nothing arrives unless it [runs](Self::run).
    pub fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self {
            connection,
            lanes: Mutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            large: Arc::new(Semaphore::new(LARGE_STREAMS as usize)),
            sending: Mutex::new(()),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// The payloads of the flow of `stream`. Both ends call this before they say so on the stream.
    pub fn lane(self: &Arc<Self>, stream: StreamId) -> Lane {
        let (sender, arrived) = mpsc::channel(PER_FLOW);
        let label = Label(stream.index());
        self.lanes().insert(label, sender);
        Lane { datagrams: self.clone(), label, arrived }
    }

    /// Hands out what arrives, until the connection ends.
    pub async fn run(&self) -> ConnectionError {
        let error = tokio::select! {
            error = self.small() => error,
            error = self.large() => error,
        };
        self.lanes().clear();
        error
    }

    /// What was dropped on this side so far. Those quinn had no room for show when nothing else waits to
    /// be looked at.
    pub fn dropped(&self) -> u64 {
        let arrived = self.connection.stats().frame_rx.datagram;
        let unread = arrived.saturating_sub(self.taken.load(Ordering::Relaxed));
        self.dropped.load(Ordering::Relaxed) + unread
    }

    async fn small(&self) -> ConnectionError {
        loop {
            match self.connection.read_datagram().await {
                Ok(bytes) => {
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    self.deliver(bytes);
                }
                Err(error) => return error,
            }
        }
    }

    /// As many at a time as the transport lets the other end open.
    async fn large(&self) -> ConnectionError {
        let mut reading = JoinSet::new();
        loop {
            tokio::select! {
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => drop(reading.spawn(read(stream))),
                    Err(error) => return error,
                },
                Some(read) = reading.join_next() => match read {
                    Ok(Some(bytes)) => self.deliver(bytes),
                    Ok(None) | Err(_) => self.drop_one(),
                },
            }
        }
    }

    fn deliver(&self, bytes: Bytes) {
        let delivered = Label::read(&bytes).is_some_and(|(label, length)| {
            let bytes = bytes.slice(length..);
            let size = u32::try_from(bytes.len().max(1)).unwrap_or(u32::MAX);
            let Ok(waiting) = self.waiting.clone().try_acquire_many_owned(size) else { return false };
            let payload = Payload { bytes, _waiting: waiting };
            self.lanes().get(&label).is_some_and(|lane| lane.try_send(payload).is_ok())
        });
        if !delivered {
            self.drop_one();
        }
    }

    fn send(self: &Arc<Self>, label: Label, payload: &[u8]) {
        if payload.len() > LARGEST {
            return self.drop_one();
        }
        let bytes = Bytes::from(label.before(payload));
        if self.connection.max_datagram_size().is_some_and(|most| bytes.len() <= most) {
            self.send_small(bytes);
        } else {
            self.send_large(bytes);
        }
    }

    /// The newest is dropped when the buffer is full: quinn itself would drop the oldest without a word.
    fn send_small(&self, bytes: Bytes) {
        let _one = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.connection.datagram_send_buffer_space() >= bytes.len();
        if !room || self.connection.send_datagram(bytes).is_err() {
            self.drop_one();
        }
    }

    fn send_large(self: &Arc<Self>, bytes: Bytes) {
        let Ok(place) = self.large.clone().try_acquire_owned() else { return self.drop_one() };
        let datagrams = self.clone();
        // It ends by itself in time, and with the connection at the latest.
        tokio::spawn(async move {
            if !matches!(timeout(PATIENCE, write(&datagrams.connection, bytes)).await, Ok(Some(()))) {
                datagrams.drop_one();
            }
            drop(place);
        });
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Label, mpsc::Sender<Payload>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(mut stream: RecvStream) -> Option<Bytes> {
    let read: Result<Vec<u8>, ReadToEndError> =
        timeout(PATIENCE, stream.read_to_end(LABEL + LARGEST)).await.ok()?;
    read.ok().map(Bytes::from)
}

/// Done when the other end has all of it.
async fn write(connection: &Connection, bytes: Bytes) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_chunk(bytes).await.ok()?;
    stream.finish().ok()?;
    stream.stopped().await.ok()?.is_none().then_some(())
}

impl Lane {
    /// The next payload; none when the connection has ended.
    pub async fn recv(&mut self) -> Option<Payload> {
        self.arrived.recv().await
    }

    /// Sends a payload, or drops and counts it.
    pub fn send(&self, payload: &[u8]) {
        self.datagrams.send(self.label, payload);
    }

    /// Counts a payload that the reader could not pass on.
    pub fn drop_one(&self) {
        self.datagrams.drop_one();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.datagrams.lanes().remove(&self.label);
    }
}
