//! `[tls]`: certificates from files for apps' names, and whether the built-in authority vouches for the
//! others. Always true: every certificate was read, and its key is its own.

use std::sync::Arc;

use protocol::config::Section;

use crate::tls::FileCertificate;

/// `[tls]`.
#[derive(Debug)]
pub struct Tls {
    /// Every `[[tls.certificate]]`, in the order of the file.
    pub certificates: Vec<Arc<FileCertificate>>,
    /// Whether the gateway issues certificates for names that none of them is for.
    pub built_in: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificates: Vec::new(), built_in: true }
    }
}

impl Tls {
    /// Whether there is a certificate for `name`, in lower case.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.built_in || self.in_files(name)
    }

    /// Whether there is one in files.
    pub(super) fn in_files(&self, name: &str) -> bool {
        self.certificates.iter().any(|certificate| certificate.covers(name))
    }
}

pub(super) fn read(s: &mut Section<'_>) -> Tls {
    s.optional_section("tls", |s| {
        let built_in = s.flag_or("built_in", true);
        let certificates = s.sections("certificate", |s| read_certificate(s).map(Arc::new));
        Some(Tls { certificates, built_in })
    })
    .unwrap_or_default()
}

fn read_certificate(s: &mut Section<'_>) -> Option<FileCertificate> {
    let (chain, key) = (s.path("chain"), s.path("key"));
    let (chain, key) = (chain?, key?);
    FileCertificate::read(&chain, &key)
        .map_err(|error| s.mistake(if error.is_of_key() { "key" } else { "chain" }, error.to_string()))
        .ok()
}
