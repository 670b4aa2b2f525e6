//! Every `[[user]]`.

use std::str::FromStr;

use protocol::{
    config::Section,
    id::{GroupId, UserId},
    time::Timestamp,
};

use super::group::Groups;
use crate::config::unique::Unique;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `<provider>/<sub>`.
    pub id: UserId,
    /// An address.
    pub email: Option<String>,
    /// The groups the person is in directly.
    pub groups: Vec<GroupId>,
    /// When the contract ends.
    pub contract_end: Option<Timestamp>,
    /// Whether the person may do anything at all.
    pub disabled: bool,
}

pub(super) fn read(s: &mut Section<'_>, groups: &Groups) -> Vec<User> {
    let mut seen = Unique::default();
    s.sections("user", |s| {
        let id: Option<UserId> = s.text("id");
        if let Some(id) = &id {
            seen.claim(s, "id", id.clone());
        }
        let email = s.optional_text::<Email>("email").map(|email| email.0);
        let groups = groups.take(s, "groups");
        let contract_end = s.optional_time("contract_end");
        let disabled = s.flag_or("disabled", false);
        Some(User { id: id?, email, groups, contract_end, disabled })
    })
}

/// An address that is safe in a header and a log; whether mail arrives is another question.
#[derive(Debug, Clone)]
pub struct Email(pub String);

impl FromStr for Email {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',');
        match text.rsplit_once('@') {
            Some((name, domain))
                if plain && text.len() <= 254 && !name.is_empty() && domain.contains('.') =>
            {
                Ok(Self(text.to_owned()))
            }
            Some(_) | None => Err("this is no e-mail address"),
        }
    }
}
