//! Devices of an import. Always true: keys that leave their device are barred, unless another device
//! of the list has them; every device has a tunnel address in the end.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use protocol::{
    id::{DeviceId, UserId},
    key::WgKey,
    time::Timestamp,
};
use serde_json::json;

use super::{Import, ListedDevice, diff::Field, once};
use crate::{
    addresses::Wanted,
    admin::{
        AdminError, Noun, device,
        noun::{named, unknown},
    },
    object::{Device, DeviceKey, Revocation, User, device::MOST_KEYS},
};

/// What the list and the store say of the same device.
struct Pair<'a, 'v> {
    listed: &'a ListedDevice,
    before: Option<&'v Arc<Device>>,
    id: DeviceId,
    /// Of an address that was chosen.
    index: Option<u32>,
}

/// Keys as they are held before and after.
struct Keys {
    before: HashSet<WgKey>,
    after: HashSet<WgKey>,
}

impl<'a, 'v> Import<'a, 'v> {
    pub(super) fn devices(&mut self) -> Result<(), AdminError> {
        let request = self.request;
        let pairs = self.pairs()?;
        let ids = once(Noun::Device, pairs.iter().map(|pair| &pair.id))?;
        let keys = self.keys(&pairs, &ids)?;
        let owners: BTreeSet<_> = request.listed.users.iter().map(|user| &user.id).collect();
        for pair in &pairs {
            self.owner(pair, &owners)?;
            self.device(pair, &keys)?;
        }
        let all = self.draft.view.objects().all::<Device>();
        let gone: Vec<_> = all.filter(|device| request.prune && !ids.contains(&device.id)).collect();
        for device in &gone {
            self.goes(&***device);
            self.bar(device, device.keys.iter(), &keys);
        }
        let wanted: Wanted<'_> = pairs.iter().map(|pair| (pair.id.as_str(), pair.index)).collect();
        let gone = gone.into_iter().map(|device| device.id.as_str()).collect();
        Ok(device::give(&mut self.draft, self.context, &wanted, &gone)?)
    }

    /// Every listed device with the one it means: by its id, or by what one is called now.
    fn pairs(&self) -> Result<Vec<Pair<'a, 'v>>, AdminError> {
        let (request, objects) = (self.request, self.draft.view.objects());
        let names: HashMap<&DeviceId, &'v Arc<Device>> =
            objects.all::<Device>().map(|device| (&device.name, device)).collect();
        let pair = |listed: &'a ListedDevice| {
            if listed.keys.is_empty() || listed.keys.len() > MOST_KEYS {
                return Err(AdminError::List(format!("device {} needs one key, or two", listed.name)));
            }
            let before = objects.get::<Device>(listed.name.as_str());
            let before = before.or_else(|| names.get(&listed.name).copied());
            let id = before.map_or(&listed.name, |before| &before.id).clone();
            Ok(Pair { listed, before, id, index: device::index(self.context, listed.address)? })
        };
        request.listed.devices.iter().map(pair).collect()
    }

    /// Who has a key in the end has it alone.
    fn keys(&self, pairs: &[Pair<'a, 'v>], ids: &BTreeSet<&DeviceId>) -> Result<Keys, AdminError> {
        let objects = self.draft.view.objects();
        let mut keys = Keys { before: HashSet::new(), after: HashSet::new() };
        let mut others: HashMap<WgKey, &Arc<Device>> = HashMap::new();
        for device in objects.all::<Device>() {
            let held = device.keys.iter().map(|key| key.key);
            keys.before.extend(held.clone());
            if !self.request.prune && !ids.contains(&device.id) {
                others.extend(held.map(|key| (key, device)));
            }
        }
        for key in pairs.iter().flat_map(|pair| &pair.listed.keys).map(|key| key.key) {
            if let Some(holder) = others.get(&key) {
                let holder = named(self.context, &***holder);
                return Err(AdminError::KeyTaken { key: key.to_string(), holder });
            }
            if !keys.after.insert(key) {
                return Err(AdminError::List(format!("key {key} stands in it twice")));
            }
        }
        keys.after.extend(others.into_keys());
        Ok(keys)
    }

    fn owner(&mut self, pair: &Pair<'a, 'v>, listed: &BTreeSet<&UserId>) -> Result<(), AdminError> {
        let owner = &pair.listed.owner;
        let is_listed = listed.contains(owner);
        if pair.before.is_none_or(|before| before.owner != *owner) {
            return self.needs::<User>(Noun::User, owner.as_str(), is_listed);
        }
        if self.request.prune && !is_listed { Err(unknown(Noun::User, owner)) } else { Ok(()) }
    }

    fn device(&mut self, pair: &Pair<'a, 'v>, keys: &Keys) -> Result<(), AdminError> {
        let Pair { listed, before, .. } = *pair;
        let held = before.map(|before| before.keys.as_slice()).unwrap_or_default();
        for key in listed.keys.iter().filter(|key| !keys.before.contains(&key.key)) {
            self.admit(key.key)?;
        }
        let after = Device {
            id: pair.id.clone(),
            name: before.map_or(&listed.name, |before| &before.name).clone(),
            owner: listed.owner.clone(),
            keys: listed.keys.iter().map(|key| aged(key, held)).collect(),
            groups: listed.groups.clone(),
            platform: listed.platform,
            posture: listed.posture.clone(),
            disabled: before.and_then(|before| before.disabled.clone()),
            rest: before.map(|before| before.rest.clone()).unwrap_or_default(),
        };
        match (before, self.moves(pair)) {
            (Some(before), Some(moves)) => {
                self.diff.changed(self.draft.view, &**before, &after, Some(moves));
                self.draft.put(&after);
            }
            (before, _) => self.becomes(before, &after),
        }
        if let Some(before) = before {
            let left = held.iter().filter(|key| !listed.keys.iter().any(|kept| kept.key == key.key));
            self.bar(before, left, keys);
        }
        Ok(())
    }

    /// Another tunnel address than before.
    fn moves(&self, pair: &Pair<'a, 'v>) -> Option<Field> {
        let new = pair.index?;
        let old = self.draft.view.directory().device(&pair.id)?.index;
        (old != Some(new)).then(|| Field { field: "index".to_owned(), old: json!(old), new: json!(new) })
    }

    fn admit(&mut self, key: WgKey) -> Result<(), AdminError> {
        let Some(taken) = self.draft.get::<Revocation>(&key.to_string()) else { return Ok(()) };
        if !self.request.again {
            return Err(device::barred(&self.draft, self.context, &taken));
        }
        self.draft.delete::<Revocation>(&key.to_string());
        Ok(())
    }

    fn bar<'k>(&mut self, device: &Device, left: impl Iterator<Item = &'k DeviceKey>, keys: &Keys) {
        self.draft.bar(device, left.filter(|key| !keys.after.contains(&key.key)));
    }
}

/// A key whose age the list does not tell keeps the one it has.
fn aged(listed: &DeviceKey, held: &[DeviceKey]) -> DeviceKey {
    let before = held.iter().find(|key| key.key == listed.key && listed.since == Timestamp::MIN);
    before.unwrap_or(listed).clone()
}
