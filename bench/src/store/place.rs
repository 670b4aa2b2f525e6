//! Where a store under measurement is: a file, or a PostgreSQL of its own. It measures nothing.
//! Always true: it is on a disk, since memory flushes nothing, and goes when this is dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use control::store::{Engine, postgres::Postgres, sqlite::Sqlite};
use protocol::config::Secret;
// Without the colons it would be this file's own tests.
use ::tests::{company::write_secret, gateway::Gateway, postgres};

use crate::enrolled;

/// For every call, however large the store.
const DEADLINE: Duration = Duration::from_secs(60);

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In a file of one gateway.
    Sqlite,
    /// For several gateways.
    Postgres,
}

impl Kind {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// Everybody may write here, and it survives a restart (FHS 3.0 §5.15), so it is no memory.
const DISK: &str = "/var/tmp";

/// A folder on a disk, until it is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let folder = Path::new(DISK).join(format!("doorward-bench-{}", process::id()));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// A PostgreSQL on it, flushing what it commits.
    pub fn postgres(&self) -> Result<postgres::Postgres> {
        // It listens on loopback as well, which is down in a new sandbox.
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        ensure!(up.success(), "ip link set lo up: {up}");
        postgres::Postgres::start_in(&self.0, "")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A place for one store, and for the state of a gateway on it.
pub struct Place {
    // Dropped before the folder it is in.
    server: Option<postgres::Postgres>,
    disk: Disk,
}

impl Place {
    /// An empty one.
    pub fn new(kind: Kind) -> Result<Self> {
        let disk = Disk::new()?;
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(disk.postgres()?),
        };
        Ok(Self { server, disk })
    }

    /// A file, or a URL.
    pub fn address(&self) -> Result<String> {
        match &self.server {
            None => {
                Ok(self.disk.0.join("store.db").to_str().context("a folder with a plain name")?.to_owned())
            }
            Some(server) => Ok(server.socket_url()),
        }
    }

    /// An engine on it; of a file there can be one at a time.
    pub async fn open(&self) -> Result<Arc<dyn Engine>> {
        open(&self.address()?).await
    }

    /// Whether several may use it at a time.
    pub fn is_shared(&self) -> bool {
        self.server.is_some()
    }

    /// Lets a gateway that is not running keep its store there.
    pub fn configure(&self, gateway: &Gateway) -> Result<()> {
        let state = self.disk.0.to_str().context("a folder with a plain name")?;
        let more = match &self.server {
            None => "",
            Some(server) => {
                write_secret(&gateway.folder().join("postgres.url"), &server.socket_url())?;
                "[store.postgres]\nurl = \"postgres.url\"\n"
            }
        };
        enrolled::configure(gateway, state, more)
    }
}

/// An engine on the store at `address`, a file or a URL.
pub async fn open(address: &str) -> Result<Arc<dyn Engine>> {
    if address.starts_with("postgres://") {
        Ok(Arc::new(Postgres::connect(Secret::new(address.to_owned()), None, DEADLINE).await?))
    } else {
        Ok(Arc::new(Sqlite::open(address.as_ref())?))
    }
}
