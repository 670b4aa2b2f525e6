//! The two kinds of public key that name a machine: a device's WireGuard key and the pin of a
//! connector link key. Private keys never appear in this crate.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};

/// Why a text is not a key; `Display` is written for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a WireGuard key.
    #[error("a WireGuard key is 44 characters of base64 (32 bytes), as `wg pubkey` prints it")]
    WireGuard,
    /// A key of small order, with which no secret can be agreed.
    #[error("this key is all zeroes: it is a placeholder, not a key")]
    Zero,
    /// Not a link pin.
    #[error("a link key is written sha256:<44 characters of base64>, as `keygen` prints it")]
    Pin,
}

fn decode(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A WireGuard (Curve25519) public key; base64 in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WgKey(pub [u8; 32]);

impl FromStr for WgKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = decode(text).ok_or(KeyError::WireGuard)?;
        if key == [0; 32] { Err(KeyError::Zero) } else { Ok(Self(key)) }
    }
}

impl fmt::Display for WgKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for WgKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// SHA-256 of a link key's SubjectPublicKeyInfo; `sha256:<base64>` in text (RFC 7469 §2.4's form).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkPin(pub [u8; 32]);

impl FromStr for LinkPin {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        text.strip_prefix("sha256:").and_then(decode).map(Self).ok_or(KeyError::Pin)
    }
}

impl fmt::Display for LinkPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for LinkPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_round_trip() {
        let key = WgKey([7; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        let pin = LinkPin([9; 32]);
        assert_eq!(pin.to_string().parse(), Ok(pin));
    }

    #[test]
    fn what_is_no_key_says_why() {
        assert_eq!("abc".parse::<WgKey>(), Err(KeyError::WireGuard));
        assert_eq!(STANDARD.encode([0; 32]).parse::<WgKey>(), Err(KeyError::Zero));
        assert_eq!(STANDARD.encode([1; 32]).parse::<LinkPin>(), Err(KeyError::Pin));
    }
}
