//! A certificate authority of a test's own, and the certificates it issues.
//! Nobody trusts it who is not told to, by its file.
//! Always true: what it issues is valid whatever a test sets a clock to, and for the names given alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::company::write_secret;

/// One that issues.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    pem: PathBuf,
}

/// A server's certificate and its key, both PEM.
pub struct Certificate {
    /// The certificate alone: its issuer is the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A fresh one that keeps its files in `folder`.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("making an authority's key")?;
        let pem = folder.join(format!("{name}.pem"));
        fs::write(&pem, params.self_signed(&key).context("signing an authority")?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), folder: folder.to_owned(), pem })
    }

    /// What others have to trust.
    pub fn pem(&self) -> &Path {
        &self.pem
    }

    /// A certificate for a server with these names or addresses; its files are called after the first.
    pub fn issue(&self, names: &[&str]) -> Result<Certificate> {
        let first = names.first().context("a certificate has a name")?;
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, *first);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("making a server's key")?;
        let signed = params.signed_by(&key, &self.issuer).context("signing a server's certificate")?;
        let file = |kind: &str| self.folder.join(format!("{first}.{kind}.pem"));
        let (certificate, key_file) = (file("certificate"), file("key"));
        fs::write(&certificate, signed.pem())?;
        write_secret(&key_file, &key.serialize_pem())?;
        Ok(Certificate { certificate, key: key_file })
    }
}
