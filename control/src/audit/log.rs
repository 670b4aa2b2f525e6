//! The way into the audit log: entries that nobody awaits, and entries that are durable when awaited.
//! The writing is its thread's. Always true: `note` never blocks; what is not written for want of room
//! or disk is counted, and the chain says so.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{AuditKey, Entry, Head, chain::LONGEST, writer::Writer};

/// Entries that may wait and that nobody awaits.
const NOTES: usize = 16_384;
/// Callers that may wait; more wait for their place.
const WRITES: usize = 1024;

/// What the operator chooses.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of this program, for the `start` line.
    pub version: String,
    /// A file of this many bytes is followed by another.
    pub file: u64,
    /// What is deleted in time.
    pub retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        Self { version: String::new(), file: 64 << 20, retention: Retention::default() }
    }
}

/// When whole old files are deleted; never, by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// All of whose lines are older.
    pub age: Option<Duration>,
    /// As long as the files before the current one are more than so many bytes.
    pub bytes: Option<u64>,
}

/// Why an entry is not durable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The disk would not.
    #[error("the audit log cannot be written ({why}): make room or mend the disk; it goes on by itself")]
    Disk {
        /// The system's words.
        why: String,
    },
    /// Another process writes it.
    #[error("another process writes the audit log in {folder}: each gateway has a folder of its own")]
    Locked {
        /// Which folder.
        folder: String,
    },
    /// An entry is longer than a line may be.
    #[error(
        "an audit entry of {bytes} bytes is too long (at most {LONGEST}): our own mistake, please report it"
    )]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// It was closed.
    #[error("the audit log is closed: the gateway is stopping")]
    Closed,
}

impl From<io::Error> for AuditError {
    fn from(error: io::Error) -> Self {
        Self::Disk { why: error.to_string() }
    }
}

/// How the log is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Lines written since the start.
    pub lines: u64,
    /// Entries lost since the start: the queue was full, or the disk failed.
    pub lost: u64,
    /// Why it cannot be written now.
    pub failing: Option<String>,
}

/// What goes to the writer's thread; a permit is its place in the queue.
pub(super) enum Job {
    /// Nobody awaits it.
    Note(Box<Entry>, OwnedSemaphorePermit),
    /// Somebody does.
    Write(Vec<Entry>, oneshot::Sender<Result<(), AuditError>>, OwnedSemaphorePermit),
    /// The last.
    Close(oneshot::Sender<Result<(), AuditError>>),
}

/// What the log and its thread both see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Entries lost, of all time.
    pub lost: AtomicU64,
    /// Lines written.
    pub lines: AtomicU64,
    /// Why it cannot be written now.
    pub failing: Mutex<Option<String>>,
}

/// The audit log of this gateway.
#[derive(Debug, Clone)]
pub struct Log {
    jobs: mpsc::Sender<Job>,
    notes: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Log {
    /// Goes on with the chain in `folder`, or begins it: a `start` line is durable when this returns.
    /// Blocks while it reads what is there. The latest head is always in what else is returned.
    pub fn open(
        folder: &Path,
        gateway: &str,
        key: AuditKey,
        options: Options,
    ) -> Result<(Self, watch::Receiver<Option<Head>>), AuditError> {
        let shared = Arc::new(Shared::default());
        let (heads, latest) = watch::channel(None);
        let writer = Writer::open(folder, gateway, key, options, shared.clone(), heads)?;
        let (jobs, queue) = mpsc::channel();
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&queue))?;
        let (notes, writes) = (Arc::new(Semaphore::new(NOTES)), Arc::new(Semaphore::new(WRITES)));
        Ok((Self { jobs, notes, writes, shared }, latest))
    }

    /// Writes `entry` within 100 ms or so, if the disk keeps up; else it is counted as lost.
    pub fn note(&self, entry: Entry) {
        let sent = self
            .notes
            .clone()
            .try_acquire_owned()
            .is_ok_and(|place| self.jobs.send(Job::Note(Box::new(entry), place)).is_ok());
        if !sent {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes `entries`, one after the other; durable on return. One whose id was written is left out.
    pub async fn write(&self, entries: Vec<Entry>) -> Result<(), AuditError> {
        for entry in &entries {
            let bytes = serde_json::to_vec(entry).map_or(usize::MAX, |bytes| bytes.len());
            // A line's own frame needs less than this.
            if bytes > LONGEST - 1024 {
                return Err(AuditError::TooLong { bytes });
            }
        }
        let place = self.writes.clone().acquire_owned().await.map_err(|_| AuditError::Closed)?;
        let (answer, done) = oneshot::channel();
        self.jobs.send(Job::Write(entries, answer, place)).map_err(|_| AuditError::Closed)?;
        done.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Writes what waits, `stop` and a checkpoint; later entries are refused.
    pub async fn close(self) -> Result<(), AuditError> {
        let (answer, done) = oneshot::channel();
        self.jobs.send(Job::Close(answer)).map_err(|_| AuditError::Closed)?;
        done.await.unwrap_or(Err(AuditError::Closed))
    }

    /// How it is.
    pub fn status(&self) -> Status {
        Status {
            lines: self.shared.lines.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            failing: self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_counted_and_nobody_waits() {
        let (jobs, queue) = mpsc::channel();
        let (notes, writes) = (Arc::new(Semaphore::new(NOTES)), Arc::new(Semaphore::new(WRITES)));
        let log = Log { jobs, notes, writes, shared: Arc::default() };
        (0..NOTES + 3).for_each(|_| log.note(Entry::Stop));
        assert_eq!(log.status().lost, 3);
        drop(queue.try_recv().unwrap());
        log.note(Entry::Stop);
        assert_eq!(log.status().lost, 3, "there is room again");
        drop(queue);
        log.note(Entry::Stop);
        assert_eq!(log.status().lost, 4, "and none after the end");
    }
}
