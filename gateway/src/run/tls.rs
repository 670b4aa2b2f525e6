//! What of the start concerns TLS: the built-in authority, and the front that shows its certificates.
//! It does no handshake. Always true: TLS is answered for names of HTTP apps and for no other.

use std::{collections::HashSet, time::SystemTime};

use anyhow::Context;
use protocol::time::Timestamp;

use crate::{
    config::{AppKind, Config},
    tls::{Authority, Certificates, Names, TlsFront},
};

/// The front for the apps of `config`.
pub(super) fn tls_front(config: &Config) -> anyhow::Result<TlsFront> {
    let names = Names::default();
    names.put(hosts(config));
    let certificates = Certificates::new(names, Some(authority(config)?));
    TlsFront::new(certificates).context("the TLS front")
}

fn authority(config: &Config) -> anyhow::Result<Authority> {
    let now = Timestamp::from_system(SystemTime::now());
    let (pem, key) = Authority::create(&config.dns.zones, now).context("the built-in authority")?;
    Authority::load(&pem, &key).context("the built-in authority")
}

fn hosts(config: &Config) -> HashSet<String> {
    let http = config.apps.iter().filter(|app| matches!(app.kind, AppKind::Http(_)));
    http.flat_map(|app| app.hosts.iter().cloned()).collect()
}
