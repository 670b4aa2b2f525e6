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
    /// A person signed in on a device.
    Session {
        /// Which.
        session: Arc<str>,
        /// On which device.
        device: DeviceId,
    },
    /// A token that was not used yet.
    Token {
        /// Its id.
        token: Arc<str>,
    },
}

impl Revoked {
    /// As the audit log says it: a person by their audit id, which `id` knows.
    pub fn audited(&self, id: impl Fn(&UserId) -> Option<Arc<str>>) -> String {
        let name = |user: &UserId| id(user).unwrap_or_else(|| "u-unknown".into());
        match self {
            Self::User { user } => format!("user {}", name(user)),
            Self::Membership { user, group } => format!("member {} {group}", name(user)),
            Self::Device { device } => format!("device {device}"),
            Self::Key { device, key } => format!("key {device} {key}"),
            Self::Connector { connector } => format!("connector {connector}"),
            Self::Session { session, device } => format!("session {session} {device}"),
            Self::Token { token } => format!("token {token}"),
        }
    }

    /// Reads it back; `user` knows whose an audit id is.
    pub fn of_audited(text: &str, user: impl Fn(&str) -> Option<UserId>) -> Option<Self> {
        let mut words = text.split(' ');
        let mut next = || words.next();
        let read = match next()? {
            "user" => Self::User { user: user(next()?)? },
            "member" => Self::Membership { user: user(next()?)?, group: next()?.parse().ok()? },
            "device" => Self::Device { device: next()?.parse().ok()? },
            "key" => Self::Key { device: next()?.parse().ok()?, key: next()?.parse().ok()? },
            "connector" => Self::Connector { connector: next()?.parse().ok()? },
            "session" => Self::Session { session: next()?.into(), device: next()?.parse().ok()? },
            "token" => Self::Token { token: next()?.into() },
            _ => return None,
        };
        next().is_none().then_some(read)
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { user } => write!(f, "user {user}"),
            Self::Membership { user, group } => write!(f, "{user} in group {group}"),
            Self::Device { device } => write!(f, "device {device}"),
            Self::Key { device, key } => write!(f, "key {key} of device {device}"),
            Self::Connector { connector } => write!(f, "connector {connector}"),
            Self::Session { session, device } => write!(f, "session {session} on device {device}"),
            Self::Token { token } => write!(f, "token {token}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_log_names_nobody_and_reads_back() {
        let user: UserId = "corp/alice".parse().unwrap();
        let (device, key) = ("laptop".parse::<DeviceId>().unwrap(), WgKey([7; 32]));
        let all = [
            Revoked::User { user: user.clone() },
            Revoked::Membership { user: user.clone(), group: "corp/staff".parse().unwrap() },
            Revoked::Device { device: device.clone() },
            Revoked::Key { device, key },
            Revoked::Connector { connector: "fra-1".parse().unwrap() },
            Revoked::Session { session: "5e55".into(), device: "laptop".parse().unwrap() },
            Revoked::Token { token: "ab12".into() },
        ];
        for one in all {
            let text = one.audited(|_| Some("u-1".into()));
            assert!(!text.contains("alice"), "{text}");
            assert_eq!(
                Revoked::of_audited(&text, |id| (id == "u-1").then(|| user.clone())),
                Some(one),
                "{text}"
            );
        }
        for bad in ["", "user", "user u-2", "device a b", "house a", "key laptop"] {
            assert_eq!(Revoked::of_audited(bad, |id| (id == "u-1").then(|| user.clone())), None, "{bad}");
        }
    }
}
