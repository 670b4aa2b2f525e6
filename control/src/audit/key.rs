//! The key that signs checkpoints, and what it signs: that a gateway's chain has this line before line n.
//! Always true: a head is good by itself, without the chain; the private key is in one file and in memory.

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use protocol::config::Secret;
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};

use super::Hash;
use crate::private::{self, FileError};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const END: &str = "-----END PRIVATE KEY-----\n";

/// An Ed25519 key pair.
pub struct AuditKey(Ed25519KeyPair);

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({})", self.public())
    }
}

/// What is wrong with the key's file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error(
        "{0} does not hold an Ed25519 key in PEM (PKCS #8): restore it, or move it away to have a new one made"
    )]
    Content(String),
}

impl AuditKey {
    /// Reads the key in `file`, which is made if it is not there.
    pub fn read_or_create(file: &Path) -> Result<Self, KeyError> {
        let text = match private::read(file) {
            Err(error) if error.is_missing() => {
                private::create(file, &generate())?;
                private::read(file)?
            }
            read => read?,
        };
        Self::from_pem(text.expose()).ok_or_else(|| KeyError::Content(file.display().to_string()))
    }

    fn from_pem(text: &str) -> Option<Self> {
        let body = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
        let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok().map(Self)
    }

    /// What others check signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("Ed25519 public keys have 32 bytes"))
    }

    /// Signs that `hash` comes before line `n` of the chain of `gateway`.
    pub(super) fn sign(&self, gateway: &Arc<str>, n: u64, hash: Hash, at: &str) -> Head {
        let signature = self.0.sign(&message(gateway, n, hash, at));
        Head {
            gateway: gateway.clone(),
            n,
            hash,
            at: at.to_owned(),
            signature: STANDARD.encode(signature.as_ref()),
            key: self.public().to_string(),
        }
    }
}

fn generate() -> Secret<String> {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the random source answers");
    Secret::new(format!("{BEGIN}{}\n{END}", STANDARD.encode(der.as_ref())))
}

/// The public half, written in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// Not 32 bytes in base64.
#[derive(Debug, thiserror::Error)]
#[error("an audit key is 32 bytes in base64")]
pub struct NoKey;

impl FromStr for PublicKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        STANDARD.decode(text).ok().and_then(|key| key.try_into().ok()).map(Self).ok_or(NoKey)
    }
}

/// A checkpoint's statement, good by itself: kept elsewhere, it shows later that the chain was not cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose chain.
    pub gateway: Arc<str>,
    /// The number of the checkpoint's line.
    pub n: u64,
    /// The hash of the line before it.
    pub hash: Hash,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Ed25519 over all of the above, in base64.
    pub signature: String,
    /// The public key, in base64.
    pub key: String,
}

impl Head {
    /// Whether one of `keys` has signed it.
    pub fn is_signed_by(&self, keys: &[PublicKey]) -> bool {
        let key = keys.iter().find(|key| key.to_string() == self.key);
        let signature = STANDARD.decode(&self.signature);
        let (Some(key), Ok(signature)) = (key, signature) else { return false };
        let message = message(&self.gateway, self.n, self.hash, &self.at);
        UnparsedPublicKey::new(&ED25519, key.0).verify(&message, &signature).is_ok()
    }
}

fn message(gateway: &str, n: u64, hash: Hash, at: &str) -> Vec<u8> {
    let mut out = b"doorward audit checkpoint 1".to_vec();
    out.extend((gateway.len() as u64).to_be_bytes());
    out.extend(gateway.as_bytes());
    out.extend(n.to_be_bytes());
    out.extend(hash.0);
    out.extend(at.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn a_key_is_made_once_and_signs_for_one_gateway() {
        let folder = Folder::new("auditkey");
        let file = folder.path().join("audit.key");
        let key = AuditKey::read_or_create(&file).unwrap();
        let again = AuditKey::read_or_create(&file).unwrap();
        assert_eq!(key.public(), again.public());
        let head = key.sign(&"fra".into(), 7, Hash::of(b"x"), "noon");
        assert!(head.is_signed_by(&[again.public()]));
        assert!(!head.is_signed_by(&[]));
        let mut changed = vec![head.clone(); 4];
        changed[0].gateway = "ber".into();
        changed[1].n = 8;
        changed[2].hash = Hash::NONE;
        changed[3].at = "dawn".into();
        assert!(changed.iter().all(|head| !head.is_signed_by(&[key.public()])));
        private::replace(&file, &Secret::new("nonsense".into())).unwrap();
        assert!(AuditKey::read_or_create(&file).unwrap_err().to_string().contains("Ed25519"));
    }
}
