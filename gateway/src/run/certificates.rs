//! What of the start concerns TLS: the built-in authority, the front that shows its certificates and those
//! of files, and who looks at the files. It does no handshake.

use anyhow::Context;

use crate::{
    config::Config,
    health::Health,
    tls::{self, Certificates, Names, TlsFront},
};

/// The front for the apps of `config`.
pub(super) fn front(config: &Config, health: &Health) -> anyhow::Result<TlsFront> {
    // The built-in authority follows once the store can be asked for it.
    let certificates = Certificates::new(Names::default(), None);
    certificates.put(config);
    tokio::spawn(tls::watch(certificates.clone(), health.clone()));
    TlsFront::new(certificates).context("the TLS front")
}
