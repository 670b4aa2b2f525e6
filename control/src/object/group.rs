//! A set of people. Who is in it stands with the person; which groups it lies in stands here.
//! It closes nothing over nesting: the view does. Always true: a group never names its members.

use std::collections::BTreeSet;

use protocol::id::GroupId;
use serde::{Deserialize, Serialize};

use super::{Body, Kind, Rest};

/// A set of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `<provider>/<name>`.
    pub id: GroupId,
    /// The groups it lies in directly.
    #[serde(default, rename = "in")]
    pub within: BTreeSet<GroupId>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for Group {
    const KIND: Kind = Kind::Group;

    fn name(&self) -> String {
        self.id.to_string()
    }
}
