//! Makes a private certificate authority and one server certificate, so that a demo needs nothing else.
//! The authority's key is thrown away at once: it never signs anything again, and only for these names.
//! Always true: no file is overwritten; the private key is its owner's alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};

const DAY: Duration = Duration::from_secs(86_400);
/// Browsers accept no more than 825 days, even of a private authority.
const DAYS: u32 = 365;

/// Why there is no certificate; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name is no name.
    #[error("cannot make a certificate for these names: {0}")]
    Names(#[from] rcgen::Error),
    /// A file cannot be written, or is there already.
    #[error("cannot write {0}: {1}")]
    File(String, io::Error),
}

/// Writes `ca.pem`, `server.pem` and `server.key` into `folder`.
pub fn make(names: &[String], folder: &Path) -> Result<(), CertificateError> {
    let (ca_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let ca = authority(names)?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let certificate = server(names)?.signed_by(&key, &Issuer::new(ca, ca_key))?;
    fs::create_dir_all(folder)
        .map_err(|error| CertificateError::File(folder.display().to_string(), error))?;
    write(folder, "server.key", 0o600, &key.serialize_pem())?;
    write(folder, "server.pem", 0o644, &certificate.pem())?;
    write(folder, "ca.pem", 0o644, &ca_pem)
}

fn write(folder: &Path, name: &str, mode: u32, text: &str) -> Result<(), CertificateError> {
    let path = folder.join(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| CertificateError::File(path.display().to_string(), error))
}

fn authority(names: &[String]) -> Result<CertificateParams, CertificateError> {
    let mut ca = dated(CertificateParams::default(), "Doorward development CA: trust it nowhere else");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let permitted_subtrees = names.iter().map(|name| match name.parse::<IpAddr>() {
        Ok(ip) => {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, bits))
        }
        Err(_) => GeneralSubtree::DnsName(name.trim_start_matches("*.").to_owned()),
    });
    ca.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted_subtrees.collect(),
        excluded_subtrees: Vec::new(),
    });
    Ok(ca)
}

fn server(names: &[String]) -> Result<CertificateParams, CertificateError> {
    let mut server = dated(CertificateParams::new(names)?, "Doorward development");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.use_authority_key_identifier_extension = true;
    Ok(server)
}

/// Valid from a day ago, so that a clock a little behind is no trouble.
fn dated(mut params: CertificateParams, name: &str) -> CertificateParams {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
    params.not_after = params.not_before + DAY * DAYS;
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
