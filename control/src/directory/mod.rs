//! Who and what there is, as decisions read it: an immutable value, cheap to clone and to change in a
//! few places. It fetches nothing. Always true: groups are closed over nesting; what is disabled,
//! revoked or damaged is not enabled here; readers of one directory see one revision.

mod objects;
mod view;

use std::{collections::BTreeSet, sync::Arc};

use policy::facts;
use protocol::{
    id::{AppId, ConnectorId, DeviceId, UserId},
    key::WgKey,
};
use rpds::HashTrieMapSync;

pub use self::{
    objects::{Kept, Objects, Table},
    view::{Touched, View},
};
use crate::{
    object,
    store::{Meta, Revision},
};

/// A person.
#[derive(Debug, Clone)]
pub struct Person {
    /// What policies see.
    pub facts: Arc<facts::User>,
    /// What people call them.
    pub name: Option<String>,
    /// Whether they may do anything at all.
    pub enabled: bool,
    /// By this the audit log names them.
    pub audit: Arc<str>,
    /// Sealed: what seals their personal data in the audit log.
    pub key: Arc<str>,
}

/// A device, and what the gateway alone needs to know of it.
#[derive(Debug, Clone)]
pub struct DeviceRecord {
    /// What policies see.
    pub facts: Arc<facts::Device>,
    /// What people call it.
    pub name: DeviceId,
    /// One, or two while rotating; none if they were revoked.
    pub keys: Vec<WgKey>,
    /// Its tunnel address, by its place in the devices' part.
    pub index: Option<u32>,
    /// Whether it may do anything at all.
    pub enabled: bool,
}

/// Who and what there is.
#[derive(Debug, Clone)]
pub struct Directory {
    meta: Arc<Meta>,
    users: HashTrieMapSync<UserId, Arc<Person>>,
    devices: HashTrieMapSync<DeviceId, Arc<DeviceRecord>>,
    owned: HashTrieMapSync<UserId, Arc<BTreeSet<DeviceId>>>,
    sessions: HashTrieMapSync<DeviceId, (Arc<object::Session>, Arc<facts::Session>)>,
    connectors: HashTrieMapSync<ConnectorId, Arc<object::Connector>>,
    apps: HashTrieMapSync<AppId, u32>,
}

impl Directory {
    fn empty(meta: Meta) -> Self {
        Self {
            meta: Arc::new(meta),
            users: HashTrieMapSync::new_sync(),
            devices: HashTrieMapSync::new_sync(),
            owned: HashTrieMapSync::new_sync(),
            sessions: HashTrieMapSync::new_sync(),
            connectors: HashTrieMapSync::new_sync(),
            apps: HashTrieMapSync::new_sync(),
        }
    }

    /// What the store says of itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Of which revision this is.
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// A person.
    pub fn user(&self, id: &UserId) -> Option<&Arc<Person>> {
        self.users.get(id)
    }

    /// A device, whatever its state.
    pub fn device(&self, id: &DeviceId) -> Option<&Arc<DeviceRecord>> {
        self.devices.get(id)
    }

    /// Every device, in no order.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<DeviceRecord>> {
        self.devices.values()
    }

    /// The devices of a person.
    pub fn owned(&self, owner: &UserId) -> impl Iterator<Item = &DeviceId> {
        self.owned.get(owner).into_iter().flat_map(|devices| devices.iter())
    }

    /// Who is signed in on a device, whatever the clock says; none if that was revoked.
    pub fn session(&self, device: &DeviceId) -> Option<&Arc<object::Session>> {
        self.sessions.get(device).map(|(session, _)| session)
    }

    /// The same, as policies see it.
    pub fn session_facts(&self, device: &DeviceId) -> Option<&Arc<facts::Session>> {
        self.sessions.get(device).map(|(_, facts)| facts)
    }

    /// Every session, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<object::Session>> {
        self.sessions.values().map(|(session, _)| session)
    }

    /// The connectors that may link, in no order.
    pub fn connectors(&self) -> impl Iterator<Item = &Arc<object::Connector>> {
        self.connectors.values()
    }

    /// An app's tunnel address, by its place in the apps' part.
    pub fn app_index(&self, app: &AppId) -> Option<u32> {
        self.apps.get(app).copied()
    }

    /// How many people and devices there are.
    pub fn sizes(&self) -> (usize, usize) {
        (self.users.size(), self.devices.size())
    }
}

#[cfg(test)]
mod tests;
