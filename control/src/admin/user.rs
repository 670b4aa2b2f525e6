//! What can be done about people. Always true: a person who goes takes nothing of anybody else along,
//! and leaves no device without an owner.

use std::collections::BTreeSet;

use protocol::{
    id::{GroupId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AdminError, Context, Edit, Noun, Plan, Scope, device,
    draft::Draft,
    noun::{Shown, exists, list, named, show, some, unknown},
};
use crate::{
    directory::View,
    object::{Device, Group, User},
    revoked::Revoked,
    session::{self, Sessions},
};

/// What is asked about people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum UserRequest {
    /// Who there is.
    List,
    /// One of them.
    Show {
        /// Whom.
        user: UserId,
    },
    /// A new one.
    Add {
        /// Whom.
        user: UserId,
        /// Their e-mail.
        email: Option<String>,
        /// What people call them.
        name: Option<String>,
        /// Groups they are in directly.
        groups: BTreeSet<GroupId>,
        /// When their contract ends.
        contract_end: Option<Timestamp>,
    },
    /// Other facts of one.
    Set {
        /// Whom.
        user: UserId,
        /// Their e-mail.
        email: Edit<String>,
        /// What people call them.
        name: Edit<String>,
        /// When their contract ends.
        contract_end: Edit<Timestamp>,
    },
    /// Shut one out.
    Disable {
        /// Whom.
        user: UserId,
        /// The reason.
        why: Option<String>,
    },
    /// Let one in again, as before.
    Enable {
        /// Whom.
        user: UserId,
    },
    /// Forget one.
    Remove {
        /// Whom.
        user: UserId,
        /// And their devices.
        with_devices: bool,
    },
    /// Make unreadable what the audit log says of one so far.
    Erase {
        /// Whom.
        user: UserId,
    },
}

impl Shown for User {
    const NOUN: Noun = Noun::User;
    const COLUMNS: &'static [&'static str] = &["id", "name", "email", "groups", "devices", "disabled"];

    fn within(&self, scope: Scope) -> Scope {
        scope.of(&self.id).owner(Some(&self.id))
    }

    fn shown(&self, view: &View) -> Value {
        let devices: Vec<_> = view.directory().owned(&self.id).collect();
        json!({
            "id": self.id, "name": self.name, "email": self.email, "groups": self.groups,
            "contract_end": self.contract_end.map(|end| end.to_string()), "audit": self.audit,
            "devices": devices, "disabled": super::noun::disabled(self.disabled.as_ref()),
        })
    }
}

pub(super) fn scope(request: &UserRequest) -> Scope {
    let write = |verb, user: &UserId| Scope::write(Noun::User, verb).of(user).owner(Some(user));
    match request {
        UserRequest::List => Scope::read(Noun::User, "list"),
        UserRequest::Show { user } => Scope::read(Noun::User, "show").of(user).owner(Some(user)),
        UserRequest::Add { user, groups, .. } => write("add", user).groups(groups),
        UserRequest::Set { user, .. } => write("set", user),
        UserRequest::Disable { user, .. } => write("disable", user),
        UserRequest::Enable { user } => write("enable", user),
        UserRequest::Remove { user, .. } => write("remove", user),
        UserRequest::Erase { user } => write("erase", user),
    }
}

pub(super) fn plan(
    request: &UserRequest,
    draft: Draft<'_>,
    context: &Context<'_>,
) -> Result<Plan, AdminError> {
    match request {
        UserRequest::List => Ok(list::<User>(draft.view, context)),
        UserRequest::Show { user } => {
            let found = draft.view.objects().get::<User>(user.as_str());
            show(draft.view, context, found.map(|found| &**found), user)
        }
        UserRequest::Add { user, email, name, groups, contract_end } => {
            let mut new = new(user, context);
            new.email.clone_from(email);
            new.name.clone_from(name);
            new.groups.clone_from(groups);
            new.contract_end = *contract_end;
            add(draft, new)
        }
        UserRequest::Set { user, email, name, contract_end } => set(draft, user, |user| {
            email.apply(&mut user.email);
            name.apply(&mut user.name);
            contract_end.apply(&mut user.contract_end);
        }),
        UserRequest::Disable { user, why } => disable(draft, user, why.as_ref()),
        UserRequest::Enable { user } => set(draft, user, |user| user.disabled = None),
        UserRequest::Remove { user, with_devices } => remove(draft, context, user, *with_devices),
        UserRequest::Erase { user } => erase(draft, context, user),
    }
}

/// A person of whom nothing is known yet.
pub(super) fn new(id: &UserId, context: &Context<'_>) -> User {
    User {
        id: id.clone(),
        audit: format!("u-{}", context.hex(8)).into(),
        key: (context.seal)(id, &(context.random)()).into(),
        email: None,
        name: None,
        groups: BTreeSet::new(),
        contract_end: None,
        disabled: None,
        rest: Default::default(),
    }
}

fn add(mut draft: Draft<'_>, user: User) -> Result<Plan, AdminError> {
    if draft.get::<User>(user.id.as_str()).is_some() {
        return Err(exists(Noun::User, &user.id));
    }
    for group in &user.groups {
        draft.refer::<Group>(group.as_str()).ok_or_else(|| unknown(Noun::Group, group))?;
    }
    draft.put(&user);
    let data = user.shown(draft.view);
    Ok(draft.done(data, format!("user {} added", user.id)))
}

fn set(mut draft: Draft<'_>, id: &UserId, change: impl FnOnce(&mut User)) -> Result<Plan, AdminError> {
    let before = draft.get::<User>(id.as_str()).ok_or_else(|| unknown(Noun::User, id))?;
    let mut user = (*before).clone();
    change(&mut user);
    let data = user.shown(draft.view);
    if user == *before {
        return Ok(draft.done(data, format!("user {id} is so already")));
    }
    draft.put(&user);
    let said = if user.disabled == before.disabled { "changed" } else { "enabled" };
    Ok(draft.done(data, format!("user {id} {said}")))
}

fn disable(mut draft: Draft<'_>, id: &UserId, why: Option<&String>) -> Result<Plan, AdminError> {
    let mut user = (*draft.get::<User>(id.as_str()).ok_or_else(|| unknown(Noun::User, id))?).clone();
    draft.takes_away(Revoked::User { user: id.clone() });
    end_sessions(&mut draft, id);
    if user.disabled.is_none() {
        user.disabled = Some(draft.disabled(why));
        draft.put(&user);
    }
    let data = user.shown(draft.view);
    Ok(draft.done(data, format!("user {id} disabled")))
}

fn remove(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    id: &UserId,
    with_devices: bool,
) -> Result<Plan, AdminError> {
    let user = draft.get::<User>(id.as_str()).ok_or_else(|| unknown(Noun::User, id))?;
    let objects = draft.view.objects();
    let devices: Vec<_> = objects.all::<Device>().filter(|device| device.owner == *id).cloned().collect();
    if !devices.is_empty() && !with_devices {
        let devices = some(devices.iter().map(|device| named(context, &**device)));
        return Err(AdminError::HasDevices { user: id.clone(), devices });
    }
    end_sessions(&mut draft, id);
    device::delete(&mut draft, context, &devices)?;
    draft.delete::<User>(id.as_str());
    draft.takes_away(Revoked::User { user: id.clone() });
    draft.note("their personal data in the audit log cannot be read any more: its key went with them");
    let data = user.shown(draft.view);
    let count = devices.len();
    Ok(draft.done(data, format!("user {id} removed, with {count} devices")))
}

/// Who is let in again signs in anew.
fn end_sessions(draft: &mut Draft<'_>, id: &UserId) {
    let sessions = Sessions::Of(id.clone()).found(draft.view);
    sessions.iter().for_each(|session| session::end(draft, session));
}

/// They go on under another name in the log, or what stands there could still be told to be theirs.
fn erase(mut draft: Draft<'_>, context: &Context<'_>, id: &UserId) -> Result<Plan, AdminError> {
    let before = draft.get::<User>(id.as_str()).ok_or_else(|| unknown(Noun::User, id))?;
    let User { audit, key, .. } = new(id, context);
    let user = User { audit, key, email: None, name: None, ..(*before).clone() };
    draft.put(&user);
    draft.note("backups made before still hold the key: they need to go as well");
    let data = user.shown(draft.view);
    Ok(draft.done(data, format!("what the audit log says of {id} so far cannot be read any more")))
}
