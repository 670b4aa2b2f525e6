//! Groups and people of an import. Always true: every group that is named is there in the end, and
//! nobody who was disabled comes back by the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol::id::GroupId;

use super::{Import, ListedUser, once};
use crate::{
    admin::{
        AdminError, Noun,
        group::round_of,
        noun::{Shown, some, unknown},
        user,
    },
    directory::Kept,
    object::{Group, User},
};

impl Import<'_, '_> {
    /// Writes what differs, and tells it.
    pub(super) fn becomes<T: Shown + PartialEq>(&mut self, before: Option<&Arc<T>>, after: &T) {
        match before {
            // What is so already was not decided by, so that it may change meanwhile.
            Some(before) if **before == *after => {}
            Some(before) => {
                self.diff.changed(self.draft.view, &**before, after, None);
                self.draft.put(after);
            }
            None => {
                self.diff.added(after);
                self.draft.put(after);
            }
        }
    }

    pub(super) fn goes<T: Shown>(&mut self, body: &T) {
        self.diff.removed(body);
        self.draft.delete::<T>(&body.name());
    }

    /// That `name` is there in the end; what was there before must not go meanwhile.
    pub(super) fn needs<T: Kept>(
        &mut self,
        noun: Noun,
        name: &str,
        is_listed: bool,
    ) -> Result<(), AdminError> {
        let stands = self.draft.view.objects().get::<T>(name).is_some();
        if !(is_listed || stands && !self.request.prune) {
            return Err(unknown(noun, name));
        }
        if stands {
            self.draft.refer::<T>(name);
        }
        Ok(())
    }

    pub(super) fn groups(&mut self) -> Result<(), AdminError> {
        let request = self.request;
        let listed = once(Noun::Group, request.listed.groups.iter().map(|group| &group.id))?;
        let objects = self.draft.view.objects();
        let mut next: BTreeMap<GroupId, BTreeSet<GroupId>> = BTreeMap::new();
        for group in objects.all::<Group>().filter(|group| !listed.contains(&group.id)) {
            if request.prune {
                self.goes(&**group);
            } else {
                next.insert(group.id.clone(), group.within.clone());
            }
        }
        for group in &request.listed.groups {
            next.insert(group.id.clone(), group.within.clone());
            let before = objects.get::<Group>(group.id.as_str());
            let rest = before.map(|before| before.rest.clone()).unwrap_or_default();
            self.becomes(before, &Group { id: group.id.clone(), within: group.within.clone(), rest });
        }
        for parent in request.listed.groups.iter().flat_map(|group| &group.within) {
            if !next.contains_key(parent) {
                return Err(unknown(Noun::Group, parent));
            }
        }
        round_of(&next)?;
        if !self.diff.is_empty() {
            // Together they decide whether some lie in one another.
            objects.all::<Group>().for_each(|group| drop(self.draft.get::<Group>(group.id.as_str())));
        }
        Ok(())
    }

    pub(super) fn users(&mut self) -> Result<(), AdminError> {
        let request = self.request;
        let groups: BTreeSet<_> = request.listed.groups.iter().map(|group| &group.id).collect();
        let listed = once(Noun::User, request.listed.users.iter().map(|user| &user.id))?;
        let objects = self.draft.view.objects();
        let mut stay = Vec::new();
        for user in &request.listed.users {
            let before = objects.get::<User>(user.id.as_str());
            let after = self.user(user, before.map(|before| &**before), &mut stay);
            if before.is_none_or(|before| before.groups != user.groups) {
                for group in &user.groups {
                    self.needs::<Group>(Noun::Group, group.as_str(), groups.contains(group))?;
                }
            }
            self.becomes(before, &after);
        }
        if request.prune {
            let gone = objects.all::<User>().filter(|user| !listed.contains(&user.id));
            gone.for_each(|user| self.goes(&**user));
        }
        if !stay.is_empty() {
            self.draft.note(format!("disabled before, and still: {}; --again enables them", some(stay)));
        }
        Ok(())
    }

    fn user<'l>(&self, listed: &'l ListedUser, before: Option<&User>, stay: &mut Vec<&'l str>) -> User {
        let mut next = before.cloned().unwrap_or_else(|| user::new(&listed.id, self.context));
        next.email.clone_from(&listed.email);
        next.groups.clone_from(&listed.groups);
        next.contract_end = listed.contract_end;
        if listed.disabled {
            next.disabled.get_or_insert_with(|| self.draft.disabled(None));
        } else if self.request.again {
            next.disabled = None;
        } else if next.disabled.is_some() {
            stay.push(listed.id.as_str());
        }
        next
    }
}
