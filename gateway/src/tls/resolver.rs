//! Which certificate is shown for a name: one from a file if there is one, else the built-in authority's.
//! It opens no file. Always true: for a name that is not ours there is none, whatever certificates there
//! are; a hello without a name gets none; what is shown is swapped as a whole.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use protocol::time::Timestamp;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::Notify;

use crate::config::Config;

use super::{
    authority::{Authority, BACKDATED, LEAF_LIFE},
    files::FileCertificate,
};

/// After so long an issued certificate is issued anew: a third of its life is left then.
const RENEW_AFTER: Duration = LEAF_LIFE.saturating_mul(2).checked_div(3).expect("three is not zero");

/// The names for which TLS is answered, in lower case. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<ArcSwap<HashSet<String>>>);

impl Names {
    /// From now on these, and no others.
    pub fn put(&self, names: HashSet<String>) {
        self.0.store(Arc::new(names));
    }

    /// Whether `name` is ours.
    pub fn contains(&self, name: &str) -> bool {
        self.0.load().contains(name)
    }
}

/// Certificates in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    names: Names,
    files: ArcSwap<Files>,
    authority: ArcSwapOption<Authority>,
    /// By name; no more than there are names of ours.
    issued: Mutex<HashMap<String, Issued>>,
    changed: Notify,
}

/// Certificates from files.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub all: Vec<Arc<FileCertificate>>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`.
    wildcards: HashMap<String, Arc<CertifiedKey>>,
}

impl Files {
    /// Where two are for one name, the first in the list is shown.
    pub fn new(all: Vec<Arc<FileCertificate>>) -> Self {
        let mut files = Self::default();
        for certificate in &all {
            for name in certificate.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(zone) => (&mut files.wildcards, zone),
                    None => (&mut files.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_insert_with(|| certificate.certified().clone());
            }
        }
        Self { all, ..files }
    }

    fn of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let wildcard = || self.wildcards.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard).cloned()
    }
}

#[derive(Debug)]
struct Issued {
    key: Arc<CertifiedKey>,
    at: Timestamp,
}

impl Issued {
    /// Also over if the clock was set back to before it is good.
    fn serves(&self, now: Timestamp) -> bool {
        now < self.at.plus(RENEW_AFTER) && self.at <= now.plus(BACKDATED)
    }
}

impl Certificates {
    /// For `names`; without an authority only what files hold is shown.
    pub fn new(names: Names, authority: Option<Authority>) -> Self {
        Self(Arc::new(Parts {
            names,
            files: ArcSwap::default(),
            authority: ArcSwapOption::new(authority.map(Arc::new)),
            issued: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// The names for which TLS is answered.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// From now on what `config` says of names and files.
    pub fn put(&self, config: &Config) {
        self.0.names.put(config.tls_names());
        self.put_files(config.tls.certificates.clone());
    }

    /// From now on these files' certificates.
    pub fn put_files(&self, all: Vec<Arc<FileCertificate>>) {
        self.0.files.store(Arc::new(Files::new(all)));
        self.0.changed.notify_one();
    }

    /// From now on this authority, or none.
    pub fn put_authority(&self, authority: Option<Authority>) {
        let mut issued = self.issued();
        self.0.authority.store(authority.map(Arc::new));
        issued.clear();
    }

    /// The files in force.
    pub(super) fn files(&self) -> Arc<Files> {
        self.0.files.load_full()
    }

    /// Puts `new` in place of `old`, unless something else is in force by now.
    pub(super) fn replace_files(&self, old: &Arc<Files>, new: Files) {
        self.0.files.compare_and_swap(old, Arc::new(new));
    }

    /// Resolves after [`put_files`](Self::put_files).
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// What is shown for `name`, in lower case.
    pub(super) fn of(&self, name: &str, now: Timestamp) -> Option<Arc<CertifiedKey>> {
        if !self.0.names.contains(name) {
            return None;
        }
        self.0.files.load().of(name).or_else(|| self.issue(name, now))
    }

    fn issue(&self, name: &str, now: Timestamp) -> Option<Arc<CertifiedKey>> {
        let mut issued = self.issued();
        if let Some(known) = issued.get(name).filter(|known| known.serves(now)) {
            return Some(known.key.clone());
        }
        let authority = self.0.authority.load_full()?;
        match authority.issue(&[name.to_owned()], now) {
            Ok(key) => {
                issued.retain(|name, _| self.0.names.contains(name));
                issued.insert(name.to_owned(), Issued { key: key.clone(), at: now });
                Some(key)
            }
            Err(error) => {
                tracing::warn!(target: "tls", name, %error, "the built-in authority gives no certificate");
                None
            }
        }
    }

    fn issued(&self) -> MutexGuard<'_, HashMap<String, Issued>> {
        self.0.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = plain(hello.server_name()?);
        self.of(&name, Timestamp::from_system(SystemTime::now()))
    }
}

/// The name in lower case, without a trailing dot.
pub(super) fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
