//! What a person can take from another at once, in a form that can be written down, done again and
//! brought about in any store. Always true: doing one of these twice is doing it once, and none of
//! them ever gives anybody anything.

use std::{fmt, sync::Arc};

use protocol::{
    id::{ConnectorId, DeviceId, GroupId, UserId},
    key::WgKey,
};
use serde::{Deserialize, Serialize};

/// Something that no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Revoked {
    /// Everything of a person.
    User {
        /// Whom.
        user: UserId,
    },
    /// What a person had by being in a group directly.
    Membership {
        /// Whose.
        user: UserId,
        /// In which group.
        group: GroupId,
    },
    /// Everything of a device.
    Device {
        /// Which.
        device: DeviceId,
    },
    /// One key of a device.
    Key {
        /// Whose.
        device: DeviceId,
        /// Which.
        #[serde(with = "crate::object::text")]
        key: WgKey,
    },
    /// A connector's link.
    Connector {
        /// Whose.
        connector: ConnectorId,
    },
    /// A token that was not used yet.
    Token {
        /// Its id.
        token: Arc<str>,
    },
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { user } => write!(f, "user {user}"),
            Self::Membership { user, group } => write!(f, "{user} in group {group}"),
            Self::Device { device } => write!(f, "device {device}"),
            Self::Key { device, key } => write!(f, "key {key} of device {device}"),
            Self::Connector { connector } => write!(f, "connector {connector}"),
            Self::Token { token } => write!(f, "token {token}"),
        }
    }
}
