//! Makes private keys: for the gateway, and for a device when its owner asks for one.

use base64::{Engine, engine::general_purpose::STANDARD};
use connector::key::{LinkKey, LinkKeyError};
use protocol::{
    config::Secret,
    key::{LinkPin, WgKey},
};
use ring::rand::{SecureRandom, SystemRandom};
use x25519_dalek::{PublicKey, StaticSecret};

/// The system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random numbers: no key was made")]
pub struct NoKey;

/// A WireGuard key pair; the private key in base64, as files and configurations hold it.
pub(super) fn wireguard() -> Result<(Secret<String>, WgKey), NoKey> {
    let mut key = random::<32>()?;
    // RFC 7748 §5, as `wg genkey` does, so that every tool derives the same public key.
    key[0] &= 248;
    key[31] = key[31] & 127 | 64;
    let public = PublicKey::from(&StaticSecret::from(key));
    Ok((Secret::new(STANDARD.encode(key)), WgKey(public.to_bytes())))
}

/// A link key in PEM, and what the other end pins.
pub(super) fn link() -> Result<(Secret<String>, LinkPin), LinkKeyError> {
    let pem = LinkKey::generate();
    let pin = LinkKey::from_pem(&pem)?.pin();
    Ok((Secret::new(pem), pin))
}

/// Bytes nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NoKey> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoKey)?;
    Ok(bytes)
}
