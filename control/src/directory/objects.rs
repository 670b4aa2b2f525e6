//! The store's objects in memory, one table per kind, each object with the revision it stands at.
//! It gives them no meaning. Always true: what cannot be read stands nowhere, and is named.

use std::{collections::BTreeMap, sync::Arc};

use rpds::RedBlackTreeMapSync;

use crate::{
    object::{
        Address, Authority, Body, Connector, Device, Group, Kind, Logout, Revocation, Session, Token, User,
    },
    store::{ObjectId, Revision},
};

/// Objects of one kind by name.
pub type Table<T> = RedBlackTreeMapSync<Arc<str>, (Revision, Arc<T>)>;

/// Everything that is kept; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    users: Table<User>,
    groups: Table<Group>,
    devices: Table<Device>,
    connectors: Table<Connector>,
    tokens: Table<Token>,
    addresses: Table<Address>,
    revocations: Table<Revocation>,
    sessions: Table<Session>,
    logouts: Table<Logout>,
    authorities: Table<Authority>,
    damaged: BTreeMap<ObjectId, String>,
}

/// A body with a table of its own.
pub trait Kept: Body + 'static {
    /// Where it stands.
    fn of(objects: &Objects) -> &Table<Self>;
    /// The same, to be changed.
    fn of_mut(objects: &mut Objects) -> &mut Table<Self>;
    /// Their names, in order.
    fn names(objects: &Objects) -> impl Iterator<Item = &Arc<str>> {
        Self::of(objects).keys()
    }
}

macro_rules! kept {
    ($($body:ident in $table:ident),*) => {
        $(impl Kept for $body {
            fn of(objects: &Objects) -> &Table<Self> {
                &objects.$table
            }
            fn of_mut(objects: &mut Objects) -> &mut Table<Self> {
                &mut objects.$table
            }
        })*
    };
}

kept!(
    User in users, Group in groups, Device in devices, Connector in connectors, Token in tokens,
    Address in addresses, Revocation in revocations, Session in sessions, Logout in logouts,
    Authority in authorities
);

impl Objects {
    /// All of one kind, by name.
    pub fn all<T: Kept>(&self) -> impl Iterator<Item = &Arc<T>> {
        T::of(self).values().map(|(_, body)| body)
    }

    /// One of them.
    pub fn get<T: Kept>(&self, name: &str) -> Option<&Arc<T>> {
        T::of(self).get(name).map(|(_, body)| body)
    }

    /// At which revision it stands.
    pub fn revision<T: Kept>(&self, name: &str) -> Option<Revision> {
        T::of(self).get(name).map(|(revision, _)| *revision)
    }

    /// Objects that make no sense, with why; they count for nothing.
    pub fn damaged(&self) -> &BTreeMap<ObjectId, String> {
        &self.damaged
    }

    /// Takes over how an object stands; `None`: it went.
    pub(super) fn set(&mut self, id: &ObjectId, revision: Revision, body: Option<&str>) {
        match id.kind {
            Kind::User => self.set_in::<User>(id, revision, body),
            Kind::Group => self.set_in::<Group>(id, revision, body),
            Kind::Device => self.set_in::<Device>(id, revision, body),
            Kind::Connector => self.set_in::<Connector>(id, revision, body),
            Kind::Token => self.set_in::<Token>(id, revision, body),
            Kind::Address => self.set_in::<Address>(id, revision, body),
            Kind::Revocation => self.set_in::<Revocation>(id, revision, body),
            Kind::Session => self.set_in::<Session>(id, revision, body),
            Kind::Logout => self.set_in::<Logout>(id, revision, body),
            Kind::Authority => self.set_in::<Authority>(id, revision, body),
            // Of what is sealed the store's own keeper takes care.
            Kind::Secret => {}
        }
    }

    fn set_in<T: Kept>(&mut self, id: &ObjectId, revision: Revision, body: Option<&str>) {
        self.damaged.remove(id);
        T::of_mut(self).remove_mut(&id.id);
        match body.map(|body| T::read(id, body)) {
            Some(Ok(body)) => {
                T::of_mut(self).insert_mut(id.id.clone(), (revision, Arc::new(body)));
            }
            Some(Err(why)) => {
                self.damaged.insert(id.clone(), why);
            }
            None => {}
        }
    }
}
