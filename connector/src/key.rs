//! The key of one end of a link: a self-signed Ed25519 key, known to the other end by its pin.
//! It does not judge pins; who is expected is the business of each end.
//! Always true: a key file that others than its owner may read is refused, and none is overwritten.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use protocol::key::LinkPin;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use ring::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ParsedCertificate,
};

/// Longer than any PEM file of one Ed25519 key.
const MAX_FILE: u64 = 4096;

/// Why there is no key; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key file: {0}")]
    File(#[from] io::Error),
    /// The file's mode lets others in.
    #[error("the key file has mode {0:03o}: others can use it; run chmod 600 on it")]
    Exposed(u32),
    /// The text is not a key of ours.
    #[error("not a PEM file of an Ed25519 private key (PKCS #8); `keygen` makes one")]
    NotAKey,
}

/// A private key of the link.
pub struct LinkKey(KeyPair);

impl LinkKey {
    /// A new key, as the PEM text that [`from_pem`](Self::from_pem) reads.
    pub fn generate() -> String {
        KeyPair::generate_for(&PKCS_ED25519).expect("the system gives randomness").serialize_pem()
    }

    /// Reads a PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, LinkKeyError> {
        let pair = KeyPair::from_pem(pem).map_err(|_| LinkKeyError::NotAKey)?;
        if pair.algorithm() == &PKCS_ED25519 { Ok(Self(pair)) } else { Err(LinkKeyError::NotAKey) }
    }

    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self, LinkKeyError> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(LinkKeyError::Exposed(mode));
        }
        let mut pem = String::new();
        file.take(MAX_FILE).read_to_string(&mut pem)?;
        Self::from_pem(&pem)
    }

    /// Makes a key file for its owner alone; an existing file is an error.
    pub fn create(path: &Path) -> Result<Self, LinkKeyError> {
        let pem = Self::generate();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        Self::from_pem(&pem)
    }

    /// What the other end knows this key by.
    pub fn pin(&self) -> LinkPin {
        pin_of_spki(&self.0.subject_public_key_info())
    }

    /// A secret for another purpose, the same after every start.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(HMAC_SHA256, self.0.serialized_der());
        hmac::sign(&key, purpose.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// The certificate to show and the key to prove it with. Names and dates in it mean nothing:
    /// the other end looks at the key alone.
    pub fn certified(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let certificate = CertificateParams::default().self_signed(&self.0).expect("the key can sign");
        let key = PrivatePkcs8KeyDer::from(self.0.serialize_der());
        (certificate.der().clone(), key.into())
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkKey({})", self.pin())
    }
}

/// The pin of the key in a certificate; `None` if the certificate is malformed.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Option<LinkPin> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(pin_of_spki(&parsed.subject_public_key_info()))
}

fn pin_of_spki(spki: &[u8]) -> LinkPin {
    LinkPin(digest(&SHA256, spki).as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    #[test]
    fn a_key_and_its_certificate_have_one_pin() {
        let key = LinkKey::from_pem(&LinkKey::generate()).unwrap();
        let (certificate, _) = key.certified();
        assert_eq!(pin_of(&certificate), Some(key.pin()));
        assert_eq!(format!("{key:?}"), format!("LinkKey({})", key.pin()));
    }

    #[test]
    fn other_keys_are_refused() {
        let ecdsa = KeyPair::generate().unwrap().serialize_pem();
        for pem in ["", "no key", &ecdsa] {
            assert!(matches!(LinkKey::from_pem(pem), Err(LinkKeyError::NotAKey)));
        }
        assert_eq!(pin_of(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    #[test]
    fn key_files_are_private_and_never_overwritten() {
        let path = env::temp_dir().join(format!("doorward-link-key-{}", std::process::id()));
        let made = LinkKey::create(&path).unwrap();
        assert_eq!(LinkKey::read(&path).unwrap().pin(), made.pin());
        assert!(matches!(LinkKey::create(&path), Err(LinkKeyError::File(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(LinkKey::read(&path), Err(LinkKeyError::Exposed(0o640))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(LinkKey::read(&path), Err(LinkKeyError::File(_))));
    }
}
