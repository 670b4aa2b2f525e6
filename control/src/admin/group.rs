//! What can be done about sets of people. Always true: groups never lie in one another, and who gets
//! into a group, or out of it, is written with the person.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::id::{GroupId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AdminError, Context, Noun, Plan, Scope,
    draft::Draft,
    noun::{Shown, exists, list, named, show, some, unknown},
};
use crate::{
    directory::View,
    object::{Group, User},
    revoked::Revoked,
};

/// What is asked about sets of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GroupRequest {
    /// Which there are.
    List,
    /// One of them.
    Show {
        /// Which.
        group: GroupId,
    },
    /// A new one.
    Add {
        /// Which.
        group: GroupId,
        /// The groups it lies in.
        within: BTreeSet<GroupId>,
    },
    /// Let one lie in other groups than before.
    Set {
        /// Which.
        group: GroupId,
        /// The groups it lies in from now on.
        within: BTreeSet<GroupId>,
    },
    /// Forget one.
    Remove {
        /// Which.
        group: GroupId,
        /// And who is in it is not any more.
        with_members: bool,
    },
    /// Put a person in.
    AddMember {
        /// Into which.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
    /// Take a person out.
    RemoveMember {
        /// Out of which.
        group: GroupId,
        /// Whom.
        user: UserId,
    },
}

impl Shown for Group {
    const NOUN: Noun = Noun::Group;
    const COLUMNS: &'static [&'static str] = &["id", "in"];

    fn within(&self, scope: Scope) -> Scope {
        scope.of(&self.id)
    }

    fn shown(&self, _: &View) -> Value {
        json!({ "id": self.id, "in": self.within })
    }
}

pub(super) fn scope(request: &GroupRequest) -> Scope {
    let write = |verb, group: &GroupId| Scope::write(Noun::Group, verb).of(group);
    match request {
        GroupRequest::List => Scope::read(Noun::Group, "list"),
        GroupRequest::Show { group } => Scope::read(Noun::Group, "show").of(group),
        GroupRequest::Add { group, within } => write("add", group).groups(within),
        GroupRequest::Set { group, within } => write("set", group).groups(within),
        GroupRequest::Remove { group, .. } => write("remove", group).groups([group]),
        GroupRequest::AddMember { group, user } => {
            write("add-member", group).groups([group]).owner(Some(user))
        }
        GroupRequest::RemoveMember { group, user } => {
            write("remove-member", group).groups([group]).owner(Some(user))
        }
    }
}

pub(super) fn plan(
    request: &GroupRequest,
    mut draft: Draft<'_>,
    context: &Context<'_>,
) -> Result<Plan, AdminError> {
    match request {
        GroupRequest::List => Ok(list::<Group>(draft.view, context)),
        GroupRequest::Show { group } => one(&draft, context, group),
        GroupRequest::Add { group, within } => {
            if draft.get::<Group>(group.as_str()).is_some() {
                return Err(exists(Noun::Group, group));
            }
            let new = Group { id: group.clone(), within: BTreeSet::new(), rest: Default::default() };
            lay(draft, new, within, "added")
        }
        GroupRequest::Set { group, within } => {
            let before = known(&mut draft, group)?;
            lay(draft, (*before).clone(), within, "changed")
        }
        GroupRequest::Remove { group, with_members } => remove(draft, context, group, *with_members),
        GroupRequest::AddMember { group, user } => join(draft, group, user),
        GroupRequest::RemoveMember { group, user } => leave(draft, group, user),
    }
}

fn known(draft: &mut Draft<'_>, group: &GroupId) -> Result<Arc<Group>, AdminError> {
    draft.get::<Group>(group.as_str()).ok_or_else(|| unknown(Noun::Group, group))
}

/// A group together with those in it whom the asker may see.
fn one(draft: &Draft<'_>, context: &Context<'_>, id: &GroupId) -> Result<Plan, AdminError> {
    let objects = draft.view.objects();
    let mut plan = show(draft.view, context, objects.get::<Group>(id.as_str()).map(|group| &**group), id)?;
    let members = objects.all::<User>().filter(|user| {
        let scope = Shown::within(&***user, Scope::read(Noun::User, "list"));
        user.groups.contains(id) && (context.may_see)(&scope)
    });
    let groups = objects.all::<Group>().filter(|group| {
        let scope = Shown::within(&***group, Scope::read(Noun::Group, "list"));
        group.within.contains(id) && (context.may_see)(&scope)
    });
    plan.answer.data["members"] = members.map(|user| user.id.as_str()).collect();
    plan.answer.data["groups"] = groups.map(|group| group.id.as_str()).collect();
    Ok(plan)
}

/// Lays a group into others.
fn lay(
    mut draft: Draft<'_>,
    mut group: Group,
    within: &BTreeSet<GroupId>,
    said: &str,
) -> Result<Plan, AdminError> {
    for parent in within {
        draft.refer::<Group>(parent.as_str()).ok_or_else(|| unknown(Noun::Group, parent))?;
    }
    group.within.clone_from(within);
    no_round(&mut draft, &group)?;
    let data = group.shown(draft.view);
    draft.put(&group);
    Ok(draft.done(data, format!("group {} {said}", group.id)))
}

/// Follows the groups it lies in upwards; all of them decide whether it may.
fn no_round(draft: &mut Draft<'_>, group: &Group) -> Result<(), AdminError> {
    let mut paths: Vec<Vec<GroupId>> =
        group.within.iter().map(|parent| vec![group.id.clone(), parent.clone()]).collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop() {
        let Some(last) = path.last() else { continue };
        if *last == group.id {
            return Err(round(&path));
        }
        if !seen.insert(last.clone()) {
            continue;
        }
        let parents = draft.get::<Group>(last.as_str()).map(|above| above.within.clone()).unwrap_or_default();
        paths.extend(parents.into_iter().map(|parent| path.iter().cloned().chain([parent]).collect()));
    }
    Ok(())
}

fn round(path: &[GroupId]) -> AdminError {
    AdminError::Round(path.iter().map(GroupId::as_str).collect::<Vec<_>>().join(" in "))
}

/// A round among all groups as they would be, if there is one.
pub(super) fn round_of(groups: &BTreeMap<GroupId, BTreeSet<GroupId>>) -> Result<(), AdminError> {
    let mut done: BTreeSet<&GroupId> = BTreeSet::new();
    for start in groups.keys() {
        // Each with those above it that are still to be followed.
        let mut path: Vec<(&GroupId, Vec<&GroupId>)> = Vec::new();
        let mut next = Some(start);
        while let Some(id) = next {
            if path.iter().any(|(above, _)| *above == id) {
                let ids: Vec<GroupId> = path.iter().map(|(above, _)| (*above).clone()).collect();
                let from = ids.iter().position(|above| above == id).unwrap_or(0);
                return Err(round(&ids.into_iter().skip(from).chain([id.clone()]).collect::<Vec<_>>()));
            }
            if !done.contains(id) {
                path.push((id, groups.get(id).into_iter().flatten().collect()));
            }
            next = loop {
                let Some((top, open)) = path.last_mut() else { break None };
                if let Some(parent) = open.pop() {
                    break Some(parent);
                }
                done.insert(top);
                path.pop();
            };
        }
    }
    Ok(())
}

fn join(mut draft: Draft<'_>, group: &GroupId, id: &UserId) -> Result<Plan, AdminError> {
    draft.refer::<Group>(group.as_str()).ok_or_else(|| unknown(Noun::Group, group))?;
    let mut user = (*draft.get::<User>(id.as_str()).ok_or_else(|| unknown(Noun::User, id))?).clone();
    if user.groups.insert(group.clone()) {
        draft.put(&user);
    }
    let data = user.shown(draft.view);
    Ok(draft.done(data, format!("{id} is in group {group}")))
}

fn leave(mut draft: Draft<'_>, group: &GroupId, id: &UserId) -> Result<Plan, AdminError> {
    known(&mut draft, group)?;
    let mut user = (*draft.get::<User>(id.as_str()).ok_or_else(|| unknown(Noun::User, id))?).clone();
    if !user.groups.remove(group) {
        return Err(AdminError::NoMember { user: id.clone(), group: group.clone() });
    }
    draft.put(&user);
    draft.takes_away(Revoked::Membership { user: id.clone(), group: group.clone() });
    let data = user.shown(draft.view);
    Ok(draft.done(data, format!("{id} is not in group {group}")))
}

fn remove(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    id: &GroupId,
    with_members: bool,
) -> Result<Plan, AdminError> {
    let group = known(&mut draft, id)?;
    let objects = draft.view.objects();
    let users: Vec<_> = objects.all::<User>().filter(|user| user.groups.contains(id)).cloned().collect();
    let groups: Vec<_> = objects.all::<Group>().filter(|group| group.within.contains(id)).cloned().collect();
    if !(with_members || users.is_empty() && groups.is_empty()) {
        let users = users.iter().map(|user| named(context, &**user));
        let names = users.chain(groups.iter().map(|group| named(context, &**group)));
        return Err(AdminError::HasMembers { group: id.clone(), members: some(names) });
    }
    for user in users {
        let mut user = (*user).clone();
        user.groups.remove(id);
        draft.put(&user);
        draft.takes_away(Revoked::Membership { user: user.id, group: id.clone() });
    }
    for below in groups {
        let mut below = (*below).clone();
        below.within.remove(id);
        draft.put(&below);
    }
    draft.delete::<Group>(id.as_str());
    let data = group.shown(draft.view);
    Ok(draft.done(data, format!("group {id} removed")))
}
