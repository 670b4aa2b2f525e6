//! The built-in certificate authority: a root for the configured zones, and short certificates under it.
//! It keeps nothing on disk and knows no app.
//! Always true: the root vouches for names under its zones only, never for an address nor for another
//! authority; what it may is read from the root itself, whatever the configuration says by now.

use std::{fmt, sync::Arc, time::Duration};

use protocol::{config::Secret, time::Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    PublicKeyData,
};
use rustls::{
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use crate::config::is_under;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_LIFE: Duration = DAY.saturating_mul(3652);
/// How long an issued certificate is good.
pub const LEAF_LIFE: Duration = DAY.saturating_mul(30);
/// For devices whose clocks are behind.
pub const BACKDATED: Duration = DAY;
/// How much of a zone's name goes into the root's: a common name has 64 characters at most (X.520).
const ZONE_CHARS: usize = 64 - "Doorward  access CA".len();

/// What is wrong with an authority, or with what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Without a zone it could vouch for nothing, or for everything.
    #[error("a certificate authority needs at least one zone: set dns.zones")]
    NoZones,
    /// Not a certificate.
    #[error("the authority's certificate cannot be read")]
    Unreadable,
    /// No authority, or one that could vouch for any name.
    #[error("the certificate is not that of an authority for named zones only")]
    Unlimited,
    /// Certificate and key are of different authorities.
    #[error("the key is not that of the authority's certificate")]
    OtherKey,
    /// Asked for a name of someone else.
    #[error("{0} is under none of the authority's zones")]
    Foreign(String),
    /// No name at all.
    #[error("a certificate needs a name")]
    NoName,
    /// The authority's time is over.
    #[error("the authority's certificate has expired")]
    Expired,
    /// No key, no randomness, or a name that cannot stand in a certificate.
    #[error("the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The same, by the TLS library's word.
    #[error("the certificate cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

/// An authority that can issue.
pub struct Authority {
    pem: String,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    zones: Vec<String>,
    until: Timestamp,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("zones", &self.zones)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a root for `zones`: its certificate and its key (PKCS #8), both in PEM.
    pub fn create(zones: &[String], now: Timestamp) -> Result<(String, Secret<String>), AuthorityError> {
        let first = zones.first().ok_or(AuthorityError::NoZones)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let zone: String = first.chars().take(ZONE_CHARS).collect();
        let mut root = params(&format!("Doorward {zone} access CA"), now, now.plus(ROOT_LIFE));
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        root.name_constraints = Some(NameConstraints {
            permitted_subtrees: zones.iter().cloned().map(GeneralSubtree::DnsName).collect(),
            // Names that are permitted say nothing of addresses (RFC 5280 §4.2.1.10).
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
        });
        Ok((root.self_signed(&key)?.pem(), Secret::new(key.serialize_pem())))
    }

    /// Takes over what [`Authority::create`] made.
    pub fn load(pem: &str, key: &Secret<String>) -> Result<Self, AuthorityError> {
        let root = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::Unreadable)?;
        let key = KeyPair::from_pem(key.expose())?;
        let (_, parsed) = parse_x509_certificate(&root).map_err(|_| AuthorityError::Unreadable)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::OtherKey);
        }
        let zones = zones_of(&parsed).ok_or(AuthorityError::Unlimited)?;
        let until = expiry(&parsed);
        let issuer = Issuer::from_ca_cert_der(&root, key)?;
        Ok(Self { pem: pem.to_owned(), root: root.clone(), issuer, zones, until })
    }

    /// A certificate with a fresh key for `names`, good for [`LEAF_LIFE`] from now.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<Arc<CertifiedKey>, AuthorityError> {
        if names.is_empty() {
            return Err(AuthorityError::NoName);
        }
        if let Some(foreign) = names.iter().find(|name| !self.covers(name)) {
            return Err(AuthorityError::Foreign(foreign.clone()));
        }
        if now >= self.until {
            return Err(AuthorityError::Expired);
        }
        self.sign(names, now)
    }

    /// Whether it may vouch for `name`, which is in lower case.
    pub fn covers(&self, name: &str) -> bool {
        self.zones.iter().any(|zone| is_under(name, zone))
    }

    /// The root, for people to install.
    pub fn root_pem(&self) -> &str {
        &self.pem
    }

    /// The same in DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root
    }

    /// The root's SHA-256, as browsers and openssl print it.
    pub fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.root);
        let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// When the root expires.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Signs whatever it is told.
    pub(super) fn sign(&self, names: &[String], now: Timestamp) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let until = now.plus(LEAF_LIFE).min(self.until);
        let mut leaf = params("Doorward gateway", now, until);
        leaf.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &self.issuer)?.der().clone();
        let key = any_ecdsa_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }
}

fn params(name: &str, now: Timestamp, until: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(now) - BACKDATED;
    params.not_after = date(until);
    params
}

fn date(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.millis() / 1000).expect("a Timestamp is between 1970 and 2200")
}

/// When a certificate expires.
pub fn expiry(certificate: &X509Certificate<'_>) -> Timestamp {
    Timestamp::from_millis(certificate.validity().not_after.timestamp().saturating_mul(1000))
}

/// The zones an authority is limited to; `None` if it is none, or not limited.
fn zones_of(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    if !certificate.is_ca() {
        return None;
    }
    let constraints = certificate.name_constraints().ok()??.value;
    let zones = constraints.permitted_subtrees.iter().flatten().filter_map(|subtree| match &subtree.base {
        GeneralName::DNSName(zone) => Some(zone.to_ascii_lowercase()),
        _ => None,
    });
    let zones: Vec<String> = zones.filter(|zone| !zone.is_empty()).collect();
    (!zones.is_empty()).then_some(zones)
}
