//! What lists and shows have in common. Always true: what somebody may not read is not listed, and
//! showing it says the same as of what is not there.

use serde_json::Value;

use super::{AdminError, Answer, Context, Noun, Plan, Scope};
use crate::{
    directory::{Kept, View},
    object::Disabled,
};

/// An object that administrators see.
pub(super) trait Shown: Kept {
    /// What they call it.
    const NOUN: Noun;
    /// What of it stands in a list.
    const COLUMNS: &'static [&'static str];

    /// It, in the scope of one who reads.
    fn within(&self, scope: Scope) -> Scope;

    /// What they see of it; no secret.
    fn shown(&self, view: &View) -> Value;
}

pub(super) fn list<T: Shown>(view: &View, context: &Context<'_>) -> Plan {
    let seen = view.objects().all::<T>().filter(|body| {
        let scope = body.within(Scope::read(T::NOUN, "list"));
        (context.may_see)(&scope)
    });
    let data = Value::Array(seen.map(|body| body.shown(view)).collect());
    Plan::read(Answer::new(data).columns(T::COLUMNS))
}

pub(super) fn show<T: Shown>(
    view: &View,
    context: &Context<'_>,
    found: Option<&T>,
    name: impl ToString,
) -> Result<Plan, AdminError> {
    let visible = found.filter(|body| (context.may_see)(&body.within(Scope::read(T::NOUN, "show"))));
    let body = visible.ok_or_else(|| unknown(T::NOUN, name))?;
    Ok(Plan::read(Answer::new(body.shown(view))))
}

pub(super) fn unknown(noun: Noun, name: impl ToString) -> AdminError {
    AdminError::Unknown { noun, name: name.to_string() }
}

pub(super) fn exists(noun: Noun, name: impl ToString) -> AdminError {
    AdminError::Exists { noun, name: name.to_string() }
}

/// Its name, for an error that concerns it, if who asks may know of it.
pub(super) fn named<T: Shown>(context: &Context<'_>, body: &T) -> String {
    let visible = (context.may_see)(&body.within(Scope::read(T::NOUN, "show")));
    if visible { format!("{} {}", T::NOUN, body.name()) } else { format!("another {}", T::NOUN) }
}

/// The first few of many names.
pub(super) fn some(names: impl IntoIterator<Item = impl ToString>) -> String {
    const MOST: usize = 5;
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    let more = names.len().saturating_sub(MOST);
    let first = names.into_iter().take(MOST).collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// How it stands in a list: since when, by whom and why.
pub(super) fn disabled(disabled: Option<&Disabled>) -> Option<String> {
    disabled.map(|Disabled { at, by, why }| {
        let why = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        format!("{at} by {by}{why}")
    })
}
