//! What the store keeps, one file per noun: what is in it, what no other may have. Bodies are JSON.
//! It reads and writes no database. Always true: a field this version does not know is kept.

pub mod address;
pub mod authority;
pub mod connector;
pub mod device;
pub mod group;
mod json;
pub mod logout;
pub mod revocation;
pub mod session;
pub mod token;
pub mod user;

use std::{fmt, str::FromStr, sync::Arc};

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) use self::json::{optional_text, text};
pub use self::{
    address::{Address, Part},
    authority::Authority,
    connector::Connector,
    device::{Device, DeviceKey},
    group::Group,
    logout::Logout,
    revocation::Revocation,
    session::Session,
    token::Token,
    user::User,
};
use crate::store::{ObjectId, Op, Unique};

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
    /// A person signed in on a device.
    Session = "session",
    /// A logout token that was obeyed.
    Logout = "logout",
    /// What signs the certificates of our names.
    Authority = "authority",
    /// What the store says of its secrets.
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

/// Fields that this version does not know, kept for the one that does.
pub type Rest = serde_json::Map<String, serde_json::Value>;

/// That something was shut by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// When.
    pub at: Timestamp,
    /// By whom: an account of the gateway's machine.
    pub by: Arc<str>,
    /// What they gave as the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What stands in an object of one kind.
pub trait Body: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: Kind;

    /// Its name among its kind.
    fn name(&self) -> String;

    /// What no other object may have.
    fn uniques(&self) -> Vec<Unique> {
        Vec::new()
    }

    /// Its name in the store.
    fn object(&self) -> ObjectId {
        ObjectId::new(Self::KIND, self.name())
    }

    /// The change that writes it.
    fn put(&self) -> Op {
        let body = serde_json::to_string(self).expect("a body is JSON");
        Op::Put { id: self.object(), body: body.into(), uniques: self.uniques() }
    }

    /// Reads it; its name must be the one it is kept under.
    fn read(id: &ObjectId, body: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if id.kind == Self::KIND && *read.name() == *id.id {
            Ok(read)
        } else {
            Err(format!("it calls itself {}", read.name()))
        }
    }
}
