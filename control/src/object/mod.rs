//! What the store keeps, one file per noun: what is in it, what no other may have. Bodies are JSON.
//! It reads and writes no database. Always true: a field this version does not know is kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The version of the bodies this program writes and can read.
pub const READER: u32 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// What an object is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Kind { $($(#[$doc])* $name),* }

        impl Kind {
            /// Every kind this version knows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

kinds! {
    /// A person.
    User = "user",
    /// A set of people.
    Group = "group",
    /// A device with its keys and posture.
    Device = "device",
    /// An agent at a site.
    Connector = "connector",
    /// A one-time credential, hashed.
    Token = "token",
    /// A tunnel address given to a device or an app, or resting after one.
    Address = "address",
    /// A key or device that must never come back, also not out of a backup.
    Revocation = "revocation",
    /// Something sealed.
    Secret = "secret",
}

/// A kind this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this version knows no such kind of object")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

impl TryFrom<String> for Kind {
    type Error = UnknownKind;
    fn try_from(text: String) -> Result<Self, UnknownKind> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
