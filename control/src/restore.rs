//! What a backup becomes before it is put in the place of everything: what has ended since stays ended.
//! Pure: it reads no file and replaces no store. Always true: nobody gets by a restore what the store it
//! replaces, or the audit log, says they have no more; what cannot be known is named and keeps it closed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use protocol::{id::UserId, time::Timestamp};

use crate::{
    admin::revoke_commit,
    backup::Backup,
    directory::View,
    object::{Body, Connector, Device, Group, Kind, Revocation, Token, User},
    revoked::Revoked,
    store::{Change, Loaded, Meta, Object, ObjectId, Op, Revision},
};

/// What is known of the time after the backup.
#[derive(Debug, Default)]
pub struct Since<'a> {
    /// The store that is replaced; `None` if there is nothing in it to go by.
    pub store: Option<&'a View>,
    /// Revocations as audit logs say them: [`Revoked::audited`].
    pub audited: Vec<String>,
    /// Revocations that are not durable anywhere yet.
    pub revoked: Vec<Revoked>,
    /// The audit ids of people whose keys were destroyed.
    pub erased: BTreeSet<Arc<str>>,
    /// What is not known, in plain words.
    pub closed: Vec<String>,
}

/// Something that was taken away again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// For the one who restores.
    pub said: String,
    /// For the audit log: it names nobody.
    pub audited: String,
}

/// What the store becomes.
#[derive(Debug)]
pub struct Restored {
    /// Every object.
    pub objects: BTreeMap<ObjectId, Arc<str>>,
    /// What was taken away again.
    pub again: Vec<Again>,
    /// Unused tokens that are void.
    pub voided: usize,
    /// Sessions that have ended.
    pub sessions: usize,
    /// People who must get another audit id and key: theirs were destroyed.
    pub erased: BTreeSet<UserId>,
    /// What could not be known, in plain words that name nobody.
    pub closed: Vec<String>,
}

/// Whether an object outlives a restore. Whatever is somebody's way in for now, and not for good, ends.
fn survives(id: &ObjectId, body: &str) -> bool {
    match id.kind {
        Kind::Token => Token::read(id, body).is_ok_and(|token| token.used.is_some()),
        Kind::Session | Kind::Logout => false,
        Kind::User
        | Kind::Group
        | Kind::Device
        | Kind::Connector
        | Kind::Address
        | Kind::Revocation
        | Kind::Authority
        | Kind::Secret => true,
    }
}

/// What `backup` becomes, restored at `now` by `actor`.
pub fn restored(backup: &Backup, since: &Since<'_>, now: Timestamp, actor: &str) -> Restored {
    let mut draft = Draft::new(backup, now, actor);
    draft.closed.extend(since.closed.iter().cloned());
    let audit_ids = audit_ids(&draft.view, since.store);
    let mut revoked = since.revoked.clone();
    for what in &since.audited {
        match Revoked::of_audited(what, |id| audit_ids.get(id).cloned()) {
            Some(one) => revoked.push(one),
            None => draft.closed.push(format!(
                "the audit log says that \"{what}\" was revoked, which neither the backup nor the store can tell"
            )),
        }
    }
    draft.erase(since);
    if let Some(store) = since.store {
        draft.damaged(store);
        draft.bar(store);
        revoked.extend(ended(&draft.view, store));
        draft.narrow(store);
    }
    for one in &revoked {
        draft.revoke(one);
    }
    draft.closed.sort();
    draft.closed.dedup();
    let Draft { objects, again, voided, sessions, erased, closed, .. } = draft;
    Restored { objects, again, voided, sessions, erased, closed }
}

/// Whose an audit id is, or was when the backup was made.
fn audit_ids(backup: &View, store: Option<&View>) -> HashMap<Arc<str>, UserId> {
    let views = std::iter::once(backup).chain(store);
    let people = views.flat_map(|view| view.objects().all::<User>());
    people.map(|user| (user.audit.clone(), user.id.clone())).collect()
}

/// What is in the backup, and in `store` not, or not any more in force.
fn ended(backup: &View, store: &View) -> Vec<Revoked> {
    let (then, now) = (backup.objects(), store.objects());
    let mut ended = Vec::new();
    for user in then.all::<User>() {
        match now.get::<User>(user.id.as_str()) {
            Some(stands) => {
                if stands.disabled.is_some() {
                    ended.push(Revoked::User { user: user.id.clone() });
                }
                let left = user.groups.difference(&stands.groups).cloned();
                ended.extend(left.map(|group| Revoked::Membership { user: user.id.clone(), group }));
            }
            None => ended.push(Revoked::User { user: user.id.clone() }),
        }
    }
    for device in then.all::<Device>() {
        let stands = now.get::<Device>(device.id.as_str());
        if stands.is_none_or(|stands| stands.disabled.is_some() || stands.owner != device.owner) {
            ended.push(Revoked::Device { device: device.id.clone() });
        }
        let held = |key| stands.is_some_and(|stands| stands.keys.iter().any(|held| held.key == key));
        let gone = device.keys.iter().map(|key| key.key).filter(|key| !held(*key));
        ended.extend(gone.map(|key| Revoked::Key { device: device.id.clone(), key }));
    }
    for connector in then.all::<Connector>() {
        let stands = now.get::<Connector>(connector.id.as_str());
        if stands.is_none_or(|stands| {
            stands.disabled.is_some() || stands.pin != connector.pin || stands.site != connector.site
        }) {
            ended.push(Revoked::Connector { connector: connector.id.clone() });
        }
    }
    ended
}

/// A store in the making.
struct Draft<'a> {
    objects: BTreeMap<ObjectId, Arc<str>>,
    view: View,
    now: Timestamp,
    actor: &'a str,
    again: Vec<Again>,
    voided: usize,
    sessions: usize,
    erased: BTreeSet<UserId>,
    closed: Vec<String>,
}

impl<'a> Draft<'a> {
    fn new(backup: &Backup, now: Timestamp, actor: &'a str) -> Self {
        let mut objects = backup.objects.clone();
        objects.retain(|id, body| survives(id, body));
        let gone =
            |kind| backup.objects.keys().filter(|id| id.kind == kind && !objects.contains_key(*id)).count();
        let (voided, sessions) = (gone(Kind::Token), gone(Kind::Session));
        let revision = Revision(0);
        let object =
            |(id, body): (&ObjectId, &Arc<str>)| Object { id: id.clone(), revision, body: body.clone() };
        let meta = Meta { store: "".into(), epoch: 0, revision, closed: Vec::new() };
        let view = View::new(&Loaded { meta, objects: objects.iter().map(object).collect() }, []);
        let (again, erased, closed) = (Vec::new(), BTreeSet::new(), Vec::new());
        Self { objects, view, now, actor, again, voided, sessions, erased, closed }
    }

    fn carry_out(&mut self, ops: Vec<Op>) {
        let mut meta = self.view.directory().meta().clone();
        meta.revision = Revision(meta.revision.0 + 1);
        let mut changes = Vec::new();
        for op in ops {
            let (id, body) = match op {
                Op::Put { id, body, .. } => (id, Some(body)),
                Op::Delete { id } => (id, None),
            };
            match &body {
                Some(body) => self.objects.insert(id.clone(), body.clone()),
                None => self.objects.remove(&id),
            };
            changes.push(Change { revision: meta.revision, id, body });
        }
        self.view.apply(meta, &changes);
    }

    fn told(&mut self, said: impl fmt::Display, audited: impl fmt::Display) {
        self.again.push(Again { said: said.to_string(), audited: audited.to_string() });
    }

    /// By their audit id as of the backup.
    fn audit_id(&self, user: &UserId) -> Option<Arc<str>> {
        self.view.objects().get::<User>(user.as_str()).map(|user| user.audit.clone())
    }

    /// A second time it changes nothing.
    fn revoke(&mut self, revoked: &Revoked) {
        let audited = revoked.audited(|user| self.audit_id(user));
        if let Some(commit) = revoke_commit(&self.view, revoked, self.now, self.actor) {
            self.carry_out(commit.ops);
            self.told(revoked, audited);
        }
    }

    /// Of what makes no sense there nobody knows what it says; it may have said no.
    fn damaged(&mut self, store: &View) {
        for id in store.objects().damaged().keys().filter(|id| self.objects.contains_key(id)) {
            let name = match id.kind {
                Kind::User => self
                    .view
                    .objects()
                    .get::<User>(&id.id)
                    .map_or_else(|| id.id.clone(), |it| it.audit.clone()),
                Kind::Group
                | Kind::Device
                | Kind::Connector
                | Kind::Token
                | Kind::Address
                | Kind::Revocation
                | Kind::Session
                | Kind::Logout
                | Kind::Authority
                | Kind::Secret => id.id.clone(),
            };
            let why =
                "makes no sense in the store that is replaced: whether it was revoked there cannot be told";
            self.closed.push(format!("{} {name} {why}", id.kind));
        }
    }

    /// Keys that were taken away stay barred, also those the backup does not know.
    fn bar(&mut self, store: &View) {
        let barred =
            store.objects().all::<Revocation>().filter(|it| !self.objects.contains_key(&it.object()));
        let ops: Vec<Op> = barred.map(|it| it.put()).collect();
        self.carry_out(ops);
    }

    /// Whose key was destroyed is not to be read by the one in the backup.
    fn erase(&mut self, since: &Since<'_>) {
        let users: Vec<_> = self.view.objects().all::<User>().cloned().collect();
        let mut ops = Vec::new();
        for user in users {
            let stands = since.store.map(|store| store.objects().get::<User>(user.id.as_str()));
            let elsewhere =
                stands.is_some_and(|stands| stands.is_none_or(|stands| stands.audit != user.audit));
            if !elsewhere && !since.erased.contains(&user.audit) {
                continue;
            }
            self.erased.insert(user.id.clone());
            if let Some(Some(stands)) = stands {
                let (email, name) = (stands.email.clone(), stands.name.clone());
                ops.push(User { email, name, ..(*user).clone() }.put());
            }
            self.told(
                format_args!("what the audit log says of {}", user.id),
                format_args!("erased {}", user.audit),
            );
        }
        self.carry_out(ops);
    }

    /// What is less in `store` than in the backup, and no revocation has a name for.
    fn narrow(&mut self, store: &View) {
        let then = self.view.objects().clone();
        let now = store.objects();
        let mut ops = Vec::new();
        for user in then.all::<User>() {
            let Some(stands) = now.get::<User>(user.id.as_str()) else { continue };
            let contract_end = user.contract_end.into_iter().chain(stands.contract_end).min();
            if contract_end != user.contract_end {
                ops.push(User { contract_end, ..(**user).clone() }.put());
                self.told(
                    format_args!("the end of {}'s contract", user.id),
                    format_args!("contract {}", user.audit),
                );
            }
        }
        for group in then.all::<Group>() {
            let stands = now.get::<Group>(group.id.as_str());
            let stays = |parent: &&_| stands.is_some_and(|stands| stands.within.contains(*parent));
            let within: BTreeSet<_> = group.within.iter().filter(stays).cloned().collect();
            if within != group.within {
                ops.push(Group { within, ..(**group).clone() }.put());
                let what = format!("what group {} lay in", group.id);
                self.told(&what, &what);
            }
        }
        for device in then.all::<Device>() {
            let Some(stands) = now.get::<Device>(device.id.as_str()) else { continue };
            let groups = device.groups.intersection(&stands.groups).cloned().collect();
            let posture = stands.posture.clone();
            let narrowed = Device { groups, posture, ..(**device).clone() };
            if narrowed != **device {
                ops.push(narrowed.put());
                let what = format!("groups and posture of device {}", device.id);
                self.told(&what, &what);
            }
        }
        self.carry_out(ops);
    }
}

#[cfg(test)]
mod tests;
