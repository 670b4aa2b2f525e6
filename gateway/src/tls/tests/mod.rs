//! Roots, certificates from files, and handshakes over real sockets.

mod authority;
mod files;
mod handshakes;
mod resolver;

use std::{sync::Arc, time::Duration};

use protocol::time::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, UnixTime},
    sign::CertifiedKey,
};

use super::Authority;

/// 2026-11-20.
fn now() -> Timestamp {
    Timestamp::from_millis(1_795_132_800_000)
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(at.millis().unsigned_abs()))
}

/// One for `corp.example`, made at `at`.
fn authority(at: Timestamp) -> Authority {
    let (pem, key) = Authority::create(&["corp.example".to_owned()], at).expect("made");
    Authority::load(&pem, &key).expect("loaded")
}

fn trusting(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.root_der().to_vec())).expect("a root");
    roots
}

fn client(roots: RootCertStore) -> ClientConfig {
    client_speaking(rustls::DEFAULT_VERSIONS, roots)
}

fn client_speaking(
    versions: &[&'static rustls::SupportedProtocolVersion],
    roots: RootCertStore,
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn leaf(key: &CertifiedKey) -> &CertificateDer<'static> {
    key.cert.first().expect("a leaf")
}
