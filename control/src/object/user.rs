//! A person as the store keeps them. Groups are those they are in directly; the view closes them.
//! Always true: `audit` is random and says nothing of the person; `key` is sealed.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    id::{GroupId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Body, Disabled, Kind, Rest};

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `<provider>/<sub>`.
    pub id: UserId,
    /// By this the audit log names them: `u-` and random characters.
    pub audit: Arc<str>,
    /// Sealed: what seals their personal data in the audit log. Destroyed, that data is erased.
    pub key: Arc<str>,
    /// Verified, in a domain the provider may speak for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What people call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The groups they are in directly.
    #[serde(default)]
    pub groups: BTreeSet<GroupId>,
    /// When the contract ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_end: Option<Timestamp>,
    /// Shut, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for User {
    const KIND: Kind = Kind::User;

    fn name(&self) -> String {
        self.id.to_string()
    }
}
