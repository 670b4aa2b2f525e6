//! The lines of the chain: how they are written, hashed, and bound to the one before.
//! It knows no file. Always true: the hash of a line is that of its exact bytes without the line's end, so
//! `head -n 1 FILE | tr -d '\n' | sha256sum` shows it.

use std::{fmt, str::FromStr};

use protocol::time::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Entry;

/// A longer line is none of ours.
pub(super) const LONGEST: usize = 1 << 20;

/// SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub(super) [u8; 32]);

/// Not 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct NoHash;

impl Hash {
    /// What the first line of a chain has before it.
    pub const NONE: Self = Self([0; 32]);

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_digest(digest(&SHA256, bytes))
    }

    pub(super) fn from_digest(digest: ring::digest::Digest) -> Self {
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(NoHash),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NoHash) };
        let bytes = pairs.iter().map(|[high, low]| Ok(digit(*high)? << 4 | digit(*low)?));
        let bytes: Vec<u8> = bytes.collect::<Result<_, NoHash>>()?;
        bytes.try_into().map(Self).map_err(|_| NoHash)
    }
}

impl TryFrom<String> for Hash {
    type Error = NoHash;
    fn try_from(text: String) -> Result<Self, NoHash> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its number; the first of a chain is 1. This, not the clock, is the order.
    pub n: u64,
    /// The hash of the line before.
    pub prev: Hash,
    /// When it was written by the gateway's clock, RFC 3339 in UTC.
    pub at: String,
    /// What happened.
    pub entry: Entry,
}

impl Line {
    /// Its bytes, without the line's end.
    pub(super) fn encoded(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry is JSON")
    }
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// The last line's number.
    pub n: u64,
    /// The last line's hash.
    pub hash: Hash,
    /// Lines since the last checkpoint.
    pub unsigned: u64,
}

impl End {
    /// Of a chain that has not begun.
    pub(super) const NONE: Self = Self { n: 0, hash: Hash::NONE, unsigned: 0 };

    /// Appends the line that comes next to `out`, unless it would be too long.
    pub(super) fn push(&mut self, entry: Entry, at: Timestamp, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let line = Line { n: self.n + 1, prev: self.hash, at: at.to_string(), entry };
        let bytes = line.encoded();
        if bytes.len() > LONGEST {
            return Err(TooLong);
        }
        let is_checkpoint = matches!(line.entry, Entry::Checkpoint { .. });
        let unsigned = if is_checkpoint { 0 } else { self.unsigned + 1 };
        *self = Self { n: line.n, hash: Hash::of(&bytes), unsigned };
        out.extend(bytes);
        out.push(b'\n');
        Ok(())
    }
}

/// The line would be longer than a reader accepts.
#[derive(Debug)]
pub(super) struct TooLong;
