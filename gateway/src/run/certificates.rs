//! What of the start concerns TLS: the built-in authority, the front that shows its certificates and those
//! of files, and who looks at the files. It does no handshake.

use std::time::SystemTime;

use anyhow::Context;
use protocol::time::Timestamp;

use crate::{
    config::Config,
    health::Health,
    tls::{self, Authority, Certificates, Names, TlsFront},
};

/// The front for the apps of `config`.
pub(super) fn front(config: &Config, health: &Health) -> anyhow::Result<TlsFront> {
    let authority = if config.tls.built_in { Some(authority(config)?) } else { None };
    let certificates = Certificates::new(Names::default(), authority);
    certificates.put(config);
    tokio::spawn(tls::watch(certificates.clone(), health.clone()));
    TlsFront::new(certificates).context("the TLS front")
}

fn authority(config: &Config) -> anyhow::Result<Authority> {
    let now = Timestamp::from_system(SystemTime::now());
    let (pem, key) = Authority::create(&config.dns.zones, now).context("the built-in authority")?;
    Authority::load(&pem, &key).context("the built-in authority")
}
