//! Both engines, made ready for a test; and SQL behind their backs.
//! It asserts nothing.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use control::store::{Batch, BatchId, Commit, Engine, postgres::Postgres, sqlite::Sqlite};
use protocol::config::Secret;
use tokio_postgres::NoTls;

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A database under test.
pub enum Place {
    File(Folder),
    Server(Box<tests::postgres::Postgres>),
}

impl Place {
    pub fn file() -> Self {
        Self::File(Folder::new())
    }

    pub fn server() -> Self {
        Self::Server(Box::new(tests::postgres::Postgres::start().unwrap()))
    }

    /// An engine on it.
    pub async fn open(&self) -> Arc<dyn Engine> {
        match self {
            Self::File(folder) => Arc::new(Sqlite::open(&folder.file()).unwrap()),
            Self::Server(server) => Arc::new(connect(&server.url()).await),
        }
    }

    /// Does `sql` without any engine; those of a file must be closed.
    pub async fn sql(&self, sql: &str) {
        match self {
            Self::File(folder) => {
                rusqlite::Connection::open(folder.file()).unwrap().execute_batch(sql).unwrap();
            }
            Self::Server(server) => postgres(&server.url(), sql).await,
        }
    }
}

/// An engine with a generous deadline.
pub async fn connect(url: &str) -> Postgres {
    Postgres::connect(Secret::new(url.into()), None, Duration::from_secs(20)).await.unwrap()
}

/// Does `sql` on a connection of its own.
pub async fn postgres(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
}

/// A batch with a name of its own.
pub fn batch(commits: Vec<Commit>) -> Batch {
    static NAMED: AtomicU64 = AtomicU64::new(0);
    let name = format!("{}-{}", std::process::id(), NAMED.fetch_add(1, Ordering::Relaxed));
    Batch { id: BatchId(name.into()), commits }
}

/// The same test for both engines.
#[macro_export]
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name($crate::fixture::Place::file()).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name($crate::fixture::Place::server()).await; })*
        }
    };
}
