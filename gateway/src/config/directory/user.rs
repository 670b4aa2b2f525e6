//! Every `[[user]]`.

use std::{
    collections::{BTreeSet, HashMap},
    str::FromStr,
    sync::Arc,
};

use policy::facts::User;
use protocol::{config::Section, id::UserId};

use super::group::Groups;
use crate::config::unique::Unique;

pub(super) fn read(s: &mut Section<'_>, groups: &Groups) -> (HashMap<UserId, Arc<User>>, BTreeSet<UserId>) {
    let mut seen = Unique::default();
    let mut disabled = BTreeSet::new();
    let users = s.sections("user", |s| {
        let id: Option<UserId> = s.text("id");
        if let Some(id) = &id {
            seen.claim(s, "id", id.clone());
        }
        let email = s.optional_text::<Email>("email").map(|email| email.0);
        let groups = groups.closed(groups.take(s, "groups"));
        let contract_end = s.optional_time("contract_end");
        let is_disabled = s.flag_or("disabled", false);
        let id = id?;
        if is_disabled {
            disabled.insert(id);
            return None;
        }
        Some((id.clone(), Arc::new(User { id, groups, email, contract_end })))
    });
    (users.into_iter().collect(), disabled)
}

/// An address that is safe in a header and a log; whether mail arrives is another question.
struct Email(String);

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
