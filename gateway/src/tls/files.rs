//! Certificates that others issue, in files: read, checked, and read again when they change.
//! It chooses none of them. Always true: a key is its certificate's and nobody else can read it; a file
//! that is broken takes nothing out of force.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::time::Timestamp;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::{
    authority::expiry,
    resolver::{Certificates, Files, plain},
};
use crate::{
    config::{KeyFileError, read_tls_key},
    health::{Degraded, Health},
};

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How long before its end a certificate is called due; certbot renews 30 days before.
const DUE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Longer than any chain in use.
const LARGEST: u64 = 256 << 10;

/// The degraded states.
const BROKEN: &str = "tls_certificate";
const EXPIRES: &str = "tls_certificate_expires";

/// What is wrong with a certificate's files, and whose it is to mend.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The chain cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The chain is none.
    #[error("{} does not hold a certificate chain in PEM, the server's own first", file.display())]
    Chain {
        /// Which.
        file: PathBuf,
    },
    /// The certificate is for no host.
    #[error("the certificate in {} names no host (subjectAltName)", file.display())]
    NoName {
        /// Which.
        file: PathBuf,
    },
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The key is of another certificate, or none.
    #[error("{} does not hold the private key of the certificate in {}, in PEM", key.display(), chain.display())]
    OtherKey {
        /// The key.
        key: PathBuf,
        /// The chain.
        chain: PathBuf,
    },
}

impl FileError {
    /// Whether it is the key's file that has to be mended, not the chain's.
    pub fn is_of_key(&self) -> bool {
        match self {
            Self::Key(_) | Self::OtherKey { .. } => true,
            Self::Read { .. } | Self::Chain { .. } | Self::NoName { .. } => false,
        }
    }
}

/// A certificate from files.
#[derive(Debug)]
pub struct FileCertificate {
    chain: PathBuf,
    key: PathBuf,
    names: Vec<String>,
    until: Timestamp,
    certified: Arc<CertifiedKey>,
    stamps: [Stamp; 2],
}

/// By what a file that was replaced is told.
type Stamp = Option<(i64, i64, u64, u64)>;

impl FileCertificate {
    /// Reads a chain and its key.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, FileError> {
        // Before reading: what is replaced meanwhile differs at the next look.
        let stamps = [stamp(chain), stamp(key)];
        let certificates = read_chain(chain)?;
        let no_chain = || FileError::Chain { file: chain.to_owned() };
        let (names, until) = {
            let first = certificates.first().ok_or_else(no_chain)?;
            let (_, parsed) = parse_x509_certificate(first).map_err(|_| no_chain())?;
            let names = parsed.subject_alternative_name().map_err(|_| no_chain())?;
            let names = names.iter().flat_map(|names| &names.value.general_names);
            let names = names.filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(plain(name)),
                _ => None,
            });
            (names.collect::<Vec<_>>(), expiry(&parsed))
        };
        if names.is_empty() {
            return Err(FileError::NoName { file: chain.to_owned() });
        }
        let certified = certified(certificates, chain, key)?;
        let (chain, key) = (chain.to_owned(), key.to_owned());
        Ok(Self { chain, key, names, until, certified, stamps })
    }

    /// Where the chain is.
    pub fn chain(&self) -> &Path {
        &self.chain
    }

    /// Where the key is.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// What it is for, in lower case; some may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is for `name`, in lower case.
    pub fn covers(&self, name: &str) -> bool {
        let zone = name.split_once('.').map(|(_, zone)| zone);
        self.names
            .iter()
            .any(|own| own == name || own.strip_prefix("*.").is_some_and(|own| zone == Some(own)))
    }

    /// When it expires.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Chain and key as they are shown.
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The same files read again, if one of them was replaced.
    fn again(&self) -> Option<Result<Self, FileError>> {
        let changed = self.stamps != [stamp(&self.chain), stamp(&self.key)];
        changed.then(|| Self::read(&self.chain, &self.key))
    }
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    use io::Read;
    let mut text = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(LARGEST).read_to_end(&mut text))
        .map_err(|source| FileError::Read { file: file.to_owned(), source })?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| FileError::Chain { file: file.to_owned() })
}

fn certified(
    certificates: Vec<CertificateDer<'static>>,
    chain: &Path,
    key: &Path,
) -> Result<Arc<CertifiedKey>, FileError> {
    let text = read_tls_key(key)?;
    let other = || FileError::OtherKey { key: key.to_owned(), chain: chain.to_owned() };
    let private = PrivateKeyDer::from_pem_slice(text.expose().as_bytes()).map_err(|_| other())?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(certificates, private, &provider).map(Arc::new).map_err(|_| other())
}

fn stamp(file: &Path) -> Stamp {
    let seen = std::fs::metadata(file).ok()?;
    Some((seen.mtime(), seen.mtime_nsec(), seen.ino(), seen.size()))
}

/// Looks at the files of `certificates` for ever: takes over what was replaced, and says in `health`
/// what is broken or will soon have expired.
pub async fn watch(certificates: Certificates, health: Health) {
    loop {
        look(&certificates, &health).await;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = certificates.changed() => {}
        }
    }
}

/// One look.
pub(super) async fn look(certificates: &Certificates, health: &Health) {
    let before = certificates.files();
    let files = before.clone();
    let Ok((all, broken)) = tokio::task::spawn_blocking(move || read_again(&files.all)).await else { return };
    let expiring = expiring(&all, Timestamp::from_system(SystemTime::now()));
    if !before.all.iter().zip(&all).all(|(before, now)| Arc::ptr_eq(before, now)) {
        tracing::info!(target: "tls", "a certificate was replaced");
        certificates.replace_files(&before, Files::new(all));
    }
    let remedy = "mend the files: they are read again every minute";
    tell(health, BROKEN, broken, "the old certificate is shown on", remedy);
    let remedy = "replace the files: what stands there is taken over within a minute";
    tell(health, EXPIRES, expiring, "browsers refuse it from then on", remedy);
}

/// What is in force after another look, and what is wrong with what is not.
fn read_again(all: &[Arc<FileCertificate>]) -> (Vec<Arc<FileCertificate>>, Vec<String>) {
    let mut broken = Vec::new();
    let again = all.iter().map(|old| match old.again() {
        None => old.clone(),
        Some(Ok(new)) => Arc::new(new),
        Some(Err(error)) => {
            broken.push(error.to_string());
            old.clone()
        }
    });
    (again.collect(), broken)
}

fn expiring(all: &[Arc<FileCertificate>], now: Timestamp) -> Vec<String> {
    let due = all.iter().filter(|certificate| now.plus(DUE) >= certificate.until);
    due.map(|certificate| {
        format!("the certificate in {} expires at {}", certificate.chain.display(), certificate.until)
    })
    .collect()
}

fn tell(health: &Health, name: &'static str, causes: Vec<String>, so: &str, remedy: &str) {
    if causes.is_empty() {
        health.clear(name);
    } else {
        health.set(Degraded::new(name, format!("{}: {so}", causes.join("; ")), remedy));
    }
}
