//! What the audit log says: one type of entry for each thing that happened, and the sealed person in it.
//! It writes nothing. Always true: an entry of a newer version reads as `Unknown`, never as another;
//! without the person's key an entry names nobody.

use std::{fmt, sync::Arc};

use protocol::config::Secret;
use serde::{Deserialize, Serialize};

use super::Hash;
use crate::{
    seal::{self, Key, Place},
    store::Revision,
};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A gateway began to write.
    Start {
        /// Of the program.
        version: String,
    },
    /// It ended in an orderly way.
    Stop,
    /// Somebody administered, or tried.
    Admin(Box<Admin>),
    /// Somebody signed in, or did not, or a session ended.
    Session(Box<Session>),
    /// Something was revoked.
    Revocation {
        /// Unique: of two with one id, one is written.
        id: Arc<str>,
        /// A device, a key, a session, by name.
        what: String,
        /// Who or what did it.
        by: String,
        /// Whether the store had it when this was written.
        durable: bool,
    },
    /// A flow or a request was decided.
    Decision(Box<Decided>),
    /// What was allowed has ended.
    Ended {
        /// The decision's.
        request_id: Arc<str>,
        /// Closed, cut, and why.
        why: String,
        /// Bytes from the device.
        sent: u64,
        /// Bytes to the device.
        received: u64,
    },
    /// The key of a person was destroyed.
    Erasure {
        /// The person's audit id.
        user: Arc<str>,
    },
    /// Entries that nobody awaited were not written: the disk failed or was too slow.
    Gap {
        /// How many.
        lost: u64,
    },
    /// The first line of a file after one that does not end well.
    Repair(Repair),
    /// Older files were, or are about to be, deleted by policy.
    Retired {
        /// The last line of them.
        through: u64,
        /// That line's hash.
        hash: Hash,
    },
    /// Signs everything before it.
    Checkpoint {
        /// Its own number.
        n: u64,
        /// The hash of the line before it.
        head: Hash,
        /// Ed25519 in base64; see [`super::Head`].
        signature: String,
        /// The public key, in base64.
        key: String,
    },
    /// Written by a newer version.
    #[serde(other)]
    Unknown,
}

/// An administrative action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Admin {
    /// Unique: of two with one id, one is written.
    pub id: Arc<str>,
    /// Who.
    pub actor: Operator,
    /// What was asked for: `device disable`.
    pub verb: String,
    /// Of which object; empty if that names a person: then it is sealed.
    pub object: String,
    /// The audit id of the person it concerns; absent if it concerns nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// Who that is, by [`Person::seal`]; empty if it concerns nobody.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub sealed: Arc<str>,
    /// The commit that did it; absent if nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Whether it was allowed.
    pub decision: Verdict,
    /// By which policies.
    pub policies: Vec<String>,
    /// Whatever else explains it; holds no secret and no person's name.
    #[serde(default)]
    pub details: serde_json::Value,
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Unique: of two with one id, one is written.
    pub id: Arc<str>,
    /// What.
    pub event: SessionEvent,
    /// Which; empty if there is none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub session: Arc<str>,
    /// The provider.
    pub provider: String,
    /// The audit id of the device's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// Who that is, by [`Person::seal`].
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub sealed: Arc<str>,
    /// The commit that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Why, or what else explains it; holds no secret and no person's name.
    pub why: String,
}

/// What can happen to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEvent {
    /// A person signed in.
    SignedIn,
    /// Somebody came back from the provider and was not signed in.
    Refused,
    /// It ended.
    Ended,
    /// It counts for nothing until the person signs in again.
    Suspended,
    /// The provider says something else of the person.
    Changed,
}

impl fmt::Display for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SignedIn => "signed in",
            Self::Refused => "not signed in",
            Self::Ended => "session ended",
            Self::Suspended => "session suspended",
            Self::Changed => "changed at the provider",
        })
    }
}

/// An account of the gateway's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Its number.
    pub uid: u32,
    /// Its name.
    pub name: String,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// A decision about a flow or a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The id that the person sees.
    pub request_id: Arc<str>,
    /// The person's audit id; absent if nobody was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// Who it was, by [`Person::seal`]; empty if nobody was known.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub sealed: Arc<str>,
    /// The app or subnet.
    pub resource: String,
    /// What was to be done with it.
    pub action: String,
    /// The host asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<BarePath>,
    /// What was decided.
    pub verdict: Verdict,
    /// The policies that matched.
    pub policies: Vec<String>,
    /// What stood in the way, most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Obstacle>,
    /// Until when it holds, RFC 3339 in UTC; absent if time alone never changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Of the facts it was decided from.
    pub store_revision: Revision,
    /// Of the policies.
    pub policy_fingerprint: String,
}

/// One thing that stood in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Which policy says so, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What is wrong, in words.
    pub why: Vec<String>,
    /// What would help, in the policy's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// A path without query and fragment, which may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct BarePath(String);

impl BarePath {
    /// `path` up to its query or fragment.
    pub fn of(path: &str) -> Self {
        Self(path.split(['?', '#']).next().unwrap_or_default().to_owned())
    }
}

impl From<String> for BarePath {
    fn from(path: String) -> Self {
        Self::of(&path)
    }
}

impl fmt::Display for BarePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was found when a file did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// What had happened.
    pub reason: String,
    /// The hash of the last good line.
    pub good: Hash,
    /// What was left as it is, and counts no more.
    pub torn: Vec<Torn>,
}

/// The end of a file that counts no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torn {
    /// Its name within the folder.
    pub file: String,
    /// How many of its bytes are good.
    pub after: u64,
    /// How many are behind them.
    pub bytes: u64,
    /// Their hash.
    pub hash: Hash,
}

impl Entry {
    /// By what a second writing of it is noticed.
    pub fn id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Admin(admin) => Some(&admin.id),
            Self::Session(session) => Some(&session.id),
            Self::Revocation { id, .. } => Some(id),
            Self::Start { .. }
            | Self::Stop
            | Self::Decision(_)
            | Self::Ended { .. }
            | Self::Erasure { .. }
            | Self::Gap { .. }
            | Self::Repair(_)
            | Self::Retired { .. }
            | Self::Checkpoint { .. }
            | Self::Unknown => None,
        }
    }

    /// As `kind` in the line.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Stop => "stop",
            Self::Admin(_) => "admin",
            Self::Session(_) => "session",
            Self::Revocation { .. } => "revocation",
            Self::Decision(_) => "decision",
            Self::Ended { .. } => "ended",
            Self::Erasure { .. } => "erasure",
            Self::Gap { .. } => "gap",
            Self::Repair(_) => "repair",
            Self::Retired { .. } => "retired",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Unknown => "unknown",
        }
    }
}

/// Who somebody is; in the log only sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's id: `<provider>/<sub>`.
    pub user: String,
    /// The e-mail address.
    pub email: String,
    /// The name.
    pub name: String,
    /// The device's id.
    pub device: String,
    /// The address the datagrams came from.
    pub address: String,
}

/// A person as the log knows one. Whoever destroys the key has erased the person from it.
#[derive(Debug, Clone)]
pub struct Person {
    /// Random: `u-` and 20 hexadecimal digits.
    pub id: Arc<str>,
    /// This person's alone.
    pub key: Key,
}

impl Person {
    /// A new one.
    pub fn random() -> Self {
        let id: String = seal::random::<10>().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { id: format!("u-{id}").into(), key: Secret::new(seal::random()) }
    }

    /// `identity`, which only this person's key opens. The same text serves every decision of a session.
    pub fn seal(&self, identity: &Identity) -> Arc<str> {
        let text = serde_json::to_vec(identity).expect("strings are JSON");
        seal::seal_under(&self.key, &Self::place(&self.id), &text).into()
    }

    /// What was sealed for the person `id` under `key`; `None` if it was not.
    pub fn open(id: &str, key: &Key, sealed: &str) -> Option<Identity> {
        let text = seal::open_under(key, &Self::place(id), sealed).ok()?;
        serde_json::from_slice(text.expose()).ok()
    }

    fn place(id: &str) -> Place<'_> {
        Place { store: "audit", kind: "user", id, field: "identity" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_version_writes_is_unknown_and_new_fields_are_passed_over() {
        let read = |text: &str| serde_json::from_str::<Entry>(text).unwrap();
        assert_eq!(read(r#"{"kind":"teleport","to":[1,2]}"#), Entry::Unknown);
        assert_eq!(read(r#"{"kind":"gap","lost":3,"since":"noon"}"#), Entry::Gap { lost: 3 });
    }

    #[test]
    fn only_the_persons_key_opens_the_person() {
        let (person, other) = (Person::random(), Person::random());
        let text = || "x".to_owned();
        let identity =
            Identity { user: text(), email: text(), name: text(), device: text(), address: text() };
        let sealed = person.seal(&identity);
        assert_eq!(Person::open(&person.id, &person.key, &sealed), Some(identity));
        assert_eq!(Person::open(&person.id, &other.key, &sealed), None);
        assert_eq!(Person::open(&other.id, &person.key, &sealed), None);
    }

    #[test]
    fn a_path_has_no_query() {
        for path in ["/a/b?token=hunter2", "/a/b#hunter2", "/a/b?x#y?z"] {
            assert_eq!(BarePath::of(path).to_string(), "/a/b");
        }
        assert_eq!(serde_json::from_str::<BarePath>("\"/a?b\"").unwrap(), BarePath::of("/a"));
    }
}
