//! The store in one SQLite file (write-ahead log, every commit flushed), for a gateway of its own.
//! It shares the file with nobody: another process is told `Locked` at once, and a killed one leaves no
//! lock behind. Always true: no call blocks a tokio worker; an error leaves the engine usable, and what it
//! could not do it can do as soon as the cause is gone.

mod act;
mod fault;
mod read;
mod schema;

use std::{
    fs::{File, OpenOptions},
    future, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};
use tokio::{sync::Mutex, task};

pub use self::schema::MIGRATIONS;
use super::{
    Batch, BatchId, Changes, Engine, Fence, Loaded, Meta, Observation, Outcome, Record, Replacement,
    Revision, StoreError, schema::damaged,
};

/// The log is written back into the file when it is longer, in bytes; it bounds what an opening reads.
const LOG: u64 = 4 << 20;

/// A store in a file.
#[derive(Debug)]
pub struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    log: Arc<Path>,
}

impl Sqlite {
    /// Opens the store in the file at `path`, makes it if there is none, checks it and brings it to the
    /// latest schema. It blocks.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if is_hollow(path) {
            return Err(damaged("its file is empty, the log beside it is not"));
        }
        create(path).map_err(|error| StoreError::ReadOnly { why: format!("{}: {error}", path.display()) })?;
        let mut connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(Duration::ZERO)?;
        // Exclusive before anything is read: the lock is the process's, and no index is shared in memory.
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // We write the log back ourselves and empty it with that: a log that outlives what it was
        // written back into could, torn, bring old pages back.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        schema::migrate(&mut connection)?;
        read::check(&connection)?;
        let log = beside(path, "-wal");
        // A new store's tables are in the file from now on: without its log it is old, but still itself.
        write_back(&connection, &log, true);
        Ok(Self { connection: Arc::new(Mutex::new(connection)), log: log.into() })
    }

    /// Does something with the database where it may block. It is done to its end even if nobody waits
    /// for it any more.
    async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut connection = Arc::clone(&self.connection).lock_owned().await;
        let log = Arc::clone(&self.log);
        let done = task::spawn_blocking(move || {
            let result = act(&mut connection);
            write_back(&connection, &log, matches!(result, Err(StoreError::Full { .. })));
            result
        });
        done.await.map_err(|why| StoreError::Unreachable { why: why.to_string() })?
    }
}

/// Makes the file if there is none, readable to its owner only; SQLite gives its log the same rights.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // SQLite says better what is wrong with a file that exists.
        Err(_) if path.is_file() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the file has lost what it had: SQLite would throw the log away and begin anew.
fn is_hollow(path: &Path) -> bool {
    let length = |path: &Path| path.metadata().map(|file| file.len()).ok();
    length(path) == Some(0) && length(&beside(path, "-wal")).is_some_and(|log| log > 0)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes a long log back and empties it; on a full disk any log, for what it may free. If that fails, the
/// log still holds everything, and the next act tries again.
fn write_back(connection: &Connection, log: &Path, full: bool) {
    let length = log.metadata().map_or(0, |log| log.len());
    if length <= LOG && !full {
        return;
    }
    let checkpoint = connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get::<_, bool>(0));
    if let Err(error) = checkpoint {
        tracing::warn!(%error, length, "the store's log cannot be written back");
    }
}

#[async_trait]
impl Engine for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        self.run(read::load).await
    }

    async fn changes(&self, store: &str, since: Revision, most: usize) -> Result<Changes, StoreError> {
        let store: Arc<str> = store.into();
        self.run(move |connection| read::changes(connection, &store, since, most)).await
    }

    async fn hint(&self) {
        future::pending().await
    }

    async fn commit(&self, batch: &Batch) -> Result<Vec<Outcome>, StoreError> {
        let batch = batch.clone();
        self.run(move |connection| act::commit(connection, &batch)).await
    }

    async fn outcome(&self, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError> {
        let batch = batch.clone();
        self.run(move |connection| read::outcome(connection, &batch)).await
    }

    async fn records(&self, gateway: &str) -> Result<Vec<Record>, StoreError> {
        let gateway: Arc<str> = gateway.into();
        self.run(move |connection| read::records(connection, &gateway)).await
    }

    async fn written(&self, records: &[Arc<str>]) -> Result<(), StoreError> {
        let records = records.to_vec();
        self.run(move |connection| act::written(connection, &records)).await
    }

    async fn observe(&self, seen: &[Observation]) -> Result<(), StoreError> {
        let seen = seen.to_vec();
        self.run(move |connection| act::observe(connection, &seen)).await
    }

    async fn observed(&self, kind: &str) -> Result<Vec<Observation>, StoreError> {
        let kind: Arc<str> = kind.into();
        self.run(move |connection| read::observed(connection, &kind)).await
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<Option<Fence>, StoreError> {
        let (name, holder): (Arc<str>, Arc<str>) = (name.into(), holder.into());
        self.run(move |connection| act::lease(connection, &name, &holder, time)).await
    }

    async fn release(&self, name: &str, holder: &str, fence: Fence) -> Result<(), StoreError> {
        let (name, holder): (Arc<str>, Arc<str>) = (name.into(), holder.into());
        self.run(move |connection| act::release(connection, &name, &holder, fence)).await
    }

    async fn prune(&self, horizon: Duration) -> Result<(), StoreError> {
        self.run(move |connection| act::prune(connection, horizon)).await
    }

    async fn replace(&self, with: Replacement) -> Result<Meta, StoreError> {
        self.run(move |connection| act::replace(connection, &with)).await
    }

    async fn confirm(&self, records: &[Record]) -> Result<Meta, StoreError> {
        let records = records.to_vec();
        self.run(move |connection| act::confirm(connection, &records)).await
    }
}
