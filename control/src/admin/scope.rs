//! What an administrator's request is about: what Cedar is asked before anything is planned.
//! It decides nothing. Always true: whatever a write names stands in its scope.

use std::{collections::BTreeSet, fmt};

use protocol::id::{GroupId, SiteId, UserId};
use serde::{Deserialize, Serialize};

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noun {
    /// People.
    User,
    /// Sets of people.
    Group,
    /// Devices.
    Device,
    /// Connectors.
    Connector,
    /// One-time credentials.
    Token,
    /// People signed in.
    Session,
    /// Everything a file lists.
    Import,
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Device => "device",
            Self::Connector => "connector",
            Self::Token => "token",
            Self::Session => "session",
            Self::Import => "import",
        })
    }
}

/// What somebody wants to do to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Whether something may change.
    pub write: bool,
    /// What it is about.
    pub on: Noun,
    /// `list`, `show`, `add`…
    pub verb: &'static str,
    /// Which one; a device's id rather than its name.
    pub object: Option<String>,
    /// The person it concerns: a device's owner, old or new, a group's member, the user itself.
    pub owner: Option<UserId>,
    /// The site it concerns.
    pub site: Option<SiteId>,
    /// Groups that people get into, or out of, by it.
    pub groups: BTreeSet<GroupId>,
}

impl Scope {
    /// The same thing, only looked at.
    #[must_use]
    pub fn shown(&self) -> Self {
        Self { write: false, verb: "show", groups: BTreeSet::new(), ..self.clone() }
    }

    /// What else has to be allowed: that people get into, or out of, other groups than it is about.
    pub fn joined(&self) -> impl Iterator<Item = Self> {
        let itself = self.object.as_deref().filter(|_| self.on == Noun::Group);
        let others = self.groups.iter().filter(move |group| itself != Some(group.as_str()));
        others.map(|group| Self::write(Noun::Group, "add-member").of(group).owner(self.owner.as_ref()))
    }

    pub(super) fn read(on: Noun, verb: &'static str) -> Self {
        Self { write: false, on, verb, object: None, owner: None, site: None, groups: BTreeSet::new() }
    }

    pub(super) fn write(on: Noun, verb: &'static str) -> Self {
        Self { write: true, ..Self::read(on, verb) }
    }

    pub(super) fn of(self, object: impl ToString) -> Self {
        Self { object: Some(object.to_string()), ..self }
    }

    pub(super) fn owner(self, owner: Option<&UserId>) -> Self {
        Self { owner: owner.cloned(), ..self }
    }

    pub(super) fn site(self, site: Option<&SiteId>) -> Self {
        Self { site: site.cloned(), ..self }
    }

    pub(super) fn groups<'a>(self, groups: impl IntoIterator<Item = &'a GroupId>) -> Self {
        Self { groups: groups.into_iter().cloned().collect(), ..self }
    }
}
