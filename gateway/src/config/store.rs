//! `[store]`: where what happens is kept (people, devices, connectors, tokens), and by which key its
//! secrets are sealed. It opens nothing. Always true: a database that gateways share has a name for each.

use std::{path::PathBuf, time::Duration};

use protocol::config::{Secret, Section};

use super::{gateway::Gateway, key_file};

/// For how long a gateway goes by what it read from a shared store that it cannot reach.
const LEASE: Duration = Duration::from_secs(300);

/// `[store]`.
#[derive(Debug)]
pub struct Store {
    /// The keys that seal secrets in the store.
    pub key: PathBuf,
    /// Where it is.
    pub database: Database,
}

impl Store {
    /// Whether a gateway that runs with it can go on with `other`.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = match (&self.database, &other.database) {
            (Database::Own(file), Database::Own(other)) => file == other,
            (Database::Shared(shared), Database::Shared(other)) => {
                shared.url.expose() == other.url.expose()
                    && shared.ca == other.ca
                    && shared.lease == other.lease
            }
            (Database::Own(_), Database::Shared(_)) | (Database::Shared(_), Database::Own(_)) => false,
        };
        same && self.key == other.key
    }
}

/// Where the store is.
#[derive(Debug)]
pub enum Database {
    /// A SQLite file in the state folder.
    Own(PathBuf),
    /// A PostgreSQL that several gateways share.
    Shared(Shared),
}

/// A PostgreSQL that several gateways share.
#[derive(Debug)]
pub struct Shared {
    /// How to reach it.
    pub url: Secret<String>,
    /// Where that was read.
    pub url_file: PathBuf,
    /// Who signed its certificate, in PEM.
    pub ca: Option<PathBuf>,
    /// For how long what was read is gone by without it.
    pub lease: Duration,
}

pub(super) fn read(s: &mut Section<'_>, gateway: Option<&Gateway>, has_name: bool) -> Option<Store> {
    let key = s.path("key");
    let shared = s.optional_section("postgres", read_shared);
    if s.has("postgres") && !has_name {
        s.mistake("postgres", "gateways that share a store need a gateway.name each");
    }
    let database = match shared {
        Some(shared) => Database::Shared(shared),
        None if s.has("postgres") => return None,
        None => Database::Own(gateway?.state.join("store.db")),
    };
    Some(Store { key: key?, database })
}

fn read_shared(s: &mut Section<'_>) -> Option<Shared> {
    let url = s.path("url").and_then(|file| {
        let url = key_file::url(&file).map_err(|error| s.mistake("url", error.to_string())).ok()?;
        Some((file, url))
    });
    let ca = s.optional_path("ca");
    let lease = s.duration_or("lease", LEASE);
    if lease < Duration::from_secs(5) || lease > Duration::from_secs(3600) {
        s.mistake("lease", "between 5 seconds and an hour: below, a short pause of the database cuts everybody; above, so long is a removed person not removed where the database cannot be reached");
    }
    let (url_file, url) = url?;
    Some(Shared { url, url_file, ca, lease })
}
