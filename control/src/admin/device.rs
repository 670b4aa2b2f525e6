//! What can be done about devices and their keys. Always true: a device has an owner, a tunnel address
//! of its own and at most two keys; a key that was taken away does not come back unless somebody says so.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use policy::facts::{Fact, Platform, Posture, Source};
use protocol::{
    id::{DeviceGroupId, DeviceId, UserId},
    key::WgKey,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AdminError, Context, Edit, Noun, Plan, Scope,
    draft::Draft,
    noun::{self, Shown, exists, list, named, show, unknown},
};
use crate::{
    addresses::{self, AddressError},
    directory::View,
    object::{Device, DeviceKey, Part, Revocation, User, device::MOST_KEYS, text},
    revoked::Revoked,
    session,
};

/// What is asked about devices. A device is called by its name or its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceRequest {
    /// Which there are.
    List,
    /// One of them.
    Show {
        /// Which.
        device: DeviceId,
    },
    /// A new one.
    Add {
        /// Its name, and its id for ever.
        device: DeviceId,
        /// Whose.
        owner: UserId,
        /// Its key.
        #[serde(with = "text")]
        key: WgKey,
        /// Kind of operating system.
        platform: Option<Platform>,
        /// Sets it is in.
        groups: BTreeSet<DeviceGroupId>,
        /// A tunnel address of the operator's choice.
        address: Option<Ipv4Addr>,
        /// Also if the key was taken from a device before.
        again: bool,
    },
    /// Other facts of one.
    Set {
        /// Which.
        device: DeviceId,
        /// Kind of operating system.
        platform: Edit<Platform>,
        /// All sets it is in from now on; `None`: as before.
        groups: Option<BTreeSet<DeviceGroupId>>,
        /// Another tunnel address.
        address: Option<Ipv4Addr>,
    },
    /// Shut one.
    Disable {
        /// Which.
        device: DeviceId,
        /// The reason.
        why: Option<String>,
    },
    /// Open one again, with its keys.
    Enable {
        /// Which.
        device: DeviceId,
    },
    /// Forget one; its keys do not come back.
    Remove {
        /// Which.
        device: DeviceId,
    },
    /// Call it something else; its id stays.
    Rename {
        /// Which.
        device: DeviceId,
        /// Its new name.
        name: DeviceId,
    },
    /// A second key, to change over to.
    KeyAdd {
        /// Whose.
        device: DeviceId,
        /// The key.
        #[serde(with = "text")]
        key: WgKey,
        /// Also if it was taken from a device before.
        again: bool,
    },
    /// Take a key away for good.
    KeyRemove {
        /// Whose.
        device: DeviceId,
        /// The key.
        #[serde(with = "text")]
        key: WgKey,
    },
    /// What is known of its state.
    Posture {
        /// Whose.
        device: DeviceId,
        /// What is known now.
        change: PostureChange,
        /// From whom.
        source: Source,
    },
}

/// New facts about the state of a device; those that go are absent from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the facts of a posture, which says what each means")]
pub struct PostureChange {
    pub os_version: Edit<i64>,
    pub managed: Edit<bool>,
    pub disk_encrypted: Edit<bool>,
    pub firewall: Edit<bool>,
    pub screen_lock: Edit<bool>,
    pub secure_boot: Edit<bool>,
    pub edr_healthy: Edit<bool>,
}

impl PostureChange {
    fn apply(&self, to: &mut Posture, source: Source, at: Timestamp) {
        fn fact<T: Copy>(to: &mut Option<Fact<T>>, edit: &Edit<T>, source: Source, at: Timestamp) {
            match edit {
                Edit::Keep => {}
                Edit::Clear => *to = None,
                Edit::To(value) => *to = Some(Fact { value: *value, source, at }),
            }
        }
        fact(&mut to.os_version, &self.os_version, source, at);
        fact(&mut to.managed, &self.managed, source, at);
        fact(&mut to.disk_encrypted, &self.disk_encrypted, source, at);
        fact(&mut to.firewall, &self.firewall, source, at);
        fact(&mut to.screen_lock, &self.screen_lock, source, at);
        fact(&mut to.secure_boot, &self.secure_boot, source, at);
        fact(&mut to.edr_healthy, &self.edr_healthy, source, at);
    }
}

impl Shown for Device {
    const NOUN: Noun = Noun::Device;
    const COLUMNS: &'static [&'static str] = &["name", "owner", "platform", "groups", "keys", "disabled"];

    fn within(&self, scope: Scope) -> Scope {
        scope.of(&self.id).owner(Some(&self.owner))
    }

    fn shown(&self, view: &View) -> Value {
        let index = view.directory().device(&self.id).and_then(|device| device.index);
        let since: Vec<String> = self.keys.iter().map(|key| key.since.to_string()).collect();
        json!({
            "id": self.id, "name": self.name, "owner": self.owner, "index": index,
            "keys": self.keys.iter().map(|key| key.key.to_string()).collect::<Vec<_>>(), "keys_since": since,
            "groups": self.groups, "platform": self.platform, "posture": self.posture,
            "disabled": noun::disabled(self.disabled.as_ref()),
        })
    }
}

pub(super) fn scope(view: &View, request: &DeviceRequest) -> Scope {
    let found = |scope: Scope, device: &DeviceId| match find(view, device) {
        Some(device) => device.within(scope),
        None => scope.of(device),
    };
    let write = |verb, device: &DeviceId| found(Scope::write(Noun::Device, verb), device);
    match request {
        DeviceRequest::List => Scope::read(Noun::Device, "list"),
        DeviceRequest::Show { device } => found(Scope::read(Noun::Device, "show"), device),
        DeviceRequest::Add { device, owner, .. } => {
            Scope::write(Noun::Device, "add").of(device).owner(Some(owner))
        }
        DeviceRequest::Set { device, .. } => write("set", device),
        DeviceRequest::Disable { device, .. } => write("disable", device),
        DeviceRequest::Enable { device } => write("enable", device),
        DeviceRequest::Remove { device } => write("remove", device),
        DeviceRequest::Rename { device, .. } => write("rename", device),
        DeviceRequest::KeyAdd { device, .. } => write("key-add", device),
        DeviceRequest::KeyRemove { device, .. } => write("key-remove", device),
        DeviceRequest::Posture { device, .. } => write("posture", device),
    }
}

pub(super) fn plan(
    request: &DeviceRequest,
    draft: Draft<'_>,
    context: &Context<'_>,
) -> Result<Plan, AdminError> {
    match request {
        DeviceRequest::List => Ok(list::<Device>(draft.view, context)),
        DeviceRequest::Show { device } => {
            show(draft.view, context, find(draft.view, device).map(|found| &**found), device)
        }
        DeviceRequest::Add { device, owner, key, platform, groups, address, again } => {
            let new = Device {
                id: device.clone(),
                name: device.clone(),
                owner: owner.clone(),
                keys: vec![DeviceKey { key: *key, since: context.now }],
                groups: groups.clone(),
                platform: *platform,
                posture: Posture::default(),
                disabled: None,
                rest: Default::default(),
            };
            add(draft, context, new, *address, *again)
        }
        DeviceRequest::Set { device, platform, groups, address } => set(
            draft,
            context,
            device,
            |device| {
                platform.apply(&mut device.platform);
                groups.iter().for_each(|groups| device.groups.clone_from(groups));
            },
            *address,
        ),
        DeviceRequest::Disable { device, why } => disable(draft, device, why.as_ref()),
        DeviceRequest::Enable { device } => enable(draft, device),
        DeviceRequest::Remove { device } => remove(draft, context, device),
        DeviceRequest::Rename { device, name } => rename(draft, device, name),
        DeviceRequest::KeyAdd { device, key, again } => key_add(draft, context, device, *key, *again),
        DeviceRequest::KeyRemove { device, key } => key_remove(draft, device, *key),
        DeviceRequest::Posture { device, change, source } => {
            let at = context.now;
            set(draft, context, device, |device| change.apply(&mut device.posture, *source, at), None)
        }
    }
}

/// By its id, or by the name it goes by now: no two devices share any of these.
pub(super) fn find<'v>(view: &'v View, called: &DeviceId) -> Option<&'v Arc<Device>> {
    let objects = view.objects();
    let by_name = || objects.all::<Device>().find(|device| device.name == *called);
    objects.get::<Device>(called.as_str()).or_else(by_name)
}

fn known(draft: &mut Draft<'_>, called: &DeviceId) -> Result<Device, AdminError> {
    let id = find(draft.view, called).map(|device| device.id.clone());
    let found = id.and_then(|id| draft.get::<Device>(id.as_str()));
    found.map(|device| (*device).clone()).ok_or_else(|| unknown(Noun::Device, called))
}

/// That a key may become a device's.
fn admit(draft: &mut Draft<'_>, context: &Context<'_>, key: WgKey, again: bool) -> Result<(), AdminError> {
    let mut devices = draft.view.objects().all::<Device>();
    if let Some(holder) = devices.find(|device| device.keys.iter().any(|held| held.key == key)) {
        return Err(AdminError::KeyTaken { key: key.to_string(), holder: named(context, &**holder) });
    }
    match draft.get::<Revocation>(&key.to_string()) {
        Some(taken) if !again => Err(barred(draft, context, &taken)),
        Some(_) => {
            draft.delete::<Revocation>(&key.to_string());
            Ok(())
        }
        None => Ok(()),
    }
}

pub(super) fn barred(draft: &Draft<'_>, context: &Context<'_>, taken: &Revocation) -> AdminError {
    let device = draft.view.objects().get::<Device>(taken.device.as_str());
    let holder =
        device.map_or_else(|| format!("device {}", taken.device), |device| named(context, &**device));
    AdminError::KeyRevoked { key: taken.key, holder, at: taken.at }
}

/// Gives devices tunnel addresses, and lets those of others rest.
pub(super) fn give(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    wanted: &addresses::Wanted<'_>,
    gone: &BTreeSet<&str>,
) -> Result<(), AddressError> {
    let objects = draft.view.objects();
    let kept = addresses::Kept { objects, part: Part::Device, pool: context.devices.clone(), now: draft.now };
    let change = kept.change(wanted, |owner| gone.contains(owner)).map_err(|error| match error {
        AddressError::Taken { part, owner, index, holder } => {
            let held = objects.get::<Device>(&holder).map(|device| named(context, &**device));
            AddressError::Taken { part, owner, index, holder: held.unwrap_or(holder) }
        }
        AddressError::OutOfRange { .. } | AddressError::Full { .. } => error,
    })?;
    draft.join(change);
    Ok(())
}

pub(super) fn index(context: &Context<'_>, address: Option<Ipv4Addr>) -> Result<Option<u32>, AdminError> {
    let index = |address| {
        let index = (context.index_of)(address).filter(|index| context.devices.contains(index));
        index.ok_or(AdminError::NoAddress(address))
    };
    address.map(index).transpose()
}

fn add(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    device: Device,
    address: Option<Ipv4Addr>,
    again: bool,
) -> Result<Plan, AdminError> {
    draft.get::<Device>(device.id.as_str());
    if find(draft.view, &device.id).is_some() {
        return Err(exists(Noun::Device, &device.id));
    }
    let owner = &device.owner;
    draft.refer::<User>(owner.as_str()).ok_or_else(|| unknown(Noun::User, owner))?;
    device.keys.iter().try_for_each(|key| admit(&mut draft, context, key.key, again))?;
    let index = index(context, address)?;
    give(&mut draft, context, &[(device.id.as_str(), index)].into(), &BTreeSet::new())?;
    draft.put(&device);
    let data = device.shown(draft.view);
    Ok(draft.done(data, format!("device {} added for {owner}", device.id)))
}

fn set(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    called: &DeviceId,
    change: impl FnOnce(&mut Device),
    address: Option<Ipv4Addr>,
) -> Result<Plan, AdminError> {
    let before = known(&mut draft, called)?;
    let mut device = before.clone();
    change(&mut device);
    if device != before {
        draft.put(&device);
    }
    if let Some(index) = index(context, address)? {
        // Who removes it meanwhile is refused, or its address would go to nobody.
        draft.refer::<Device>(device.id.as_str());
        give(&mut draft, context, &[(device.id.as_str(), Some(index))].into(), &BTreeSet::new())?;
        draft.note("the device needs its new configuration: `doorward admin device config` prints it");
    }
    let data = device.shown(draft.view);
    Ok(draft.done(data, format!("device {called} changed")))
}

fn disable(mut draft: Draft<'_>, called: &DeviceId, why: Option<&String>) -> Result<Plan, AdminError> {
    let mut device = known(&mut draft, called)?;
    draft.takes_away(Revoked::Device { device: device.id.clone() });
    end_session(&mut draft, &device.id);
    if device.disabled.is_none() {
        device.disabled = Some(draft.disabled(why));
        draft.put(&device);
    }
    let data = device.shown(draft.view);
    Ok(draft.done(data, format!("device {called} disabled")))
}

fn enable(mut draft: Draft<'_>, called: &DeviceId) -> Result<Plan, AdminError> {
    let mut device = known(&mut draft, called)?;
    if device.keys.is_empty() {
        return Err(AdminError::NoKey(device.id));
    }
    if device.disabled.take().is_some() {
        draft.put(&device);
    }
    let data = device.shown(draft.view);
    Ok(draft.done(data, format!("device {called} enabled")))
}

fn remove(mut draft: Draft<'_>, context: &Context<'_>, called: &DeviceId) -> Result<Plan, AdminError> {
    let device = Arc::new(known(&mut draft, called)?);
    let data = device.shown(draft.view);
    delete(&mut draft, context, &[device])?;
    Ok(draft.done(data, format!("device {called} removed; its tunnel address rests for 30 days")))
}

/// Removes devices: their keys are barred, their addresses rest.
pub(super) fn delete(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    devices: &[Arc<Device>],
) -> Result<(), AddressError> {
    for device in devices {
        draft.delete::<Device>(device.id.as_str());
        draft.bar(device, &device.keys);
        draft.takes_away(Revoked::Device { device: device.id.clone() });
        end_session(draft, &device.id);
    }
    let gone = devices.iter().map(|device| device.id.as_str()).collect();
    give(draft, context, &addresses::Wanted::new(), &gone)
}

/// A device that comes back needs its person to sign in again.
fn end_session(draft: &mut Draft<'_>, device: &DeviceId) {
    if let Some(session) = draft.view.directory().session(device).cloned() {
        session::end(draft, &session);
    }
}

fn rename(mut draft: Draft<'_>, called: &DeviceId, name: &DeviceId) -> Result<Plan, AdminError> {
    let mut device = known(&mut draft, called)?;
    if find(draft.view, name).is_some_and(|other| other.id != device.id) {
        return Err(exists(Noun::Device, name));
    }
    device.name = name.clone();
    draft.put(&device);
    let data = device.shown(draft.view);
    Ok(draft.done(data, format!("device {called} is called {name}; its id stays {}", device.id)))
}

fn key_add(
    mut draft: Draft<'_>,
    context: &Context<'_>,
    called: &DeviceId,
    key: WgKey,
    again: bool,
) -> Result<Plan, AdminError> {
    let mut device = known(&mut draft, called)?;
    if device.keys.len() >= MOST_KEYS
        && let Some(old) = device.keys.first()
    {
        return Err(AdminError::TwoKeys { device: device.name, old: old.key });
    }
    admit(&mut draft, context, key, again)?;
    device.keys.push(DeviceKey { key, since: context.now });
    draft.put(&device);
    if let [old, _] = device.keys.as_slice() {
        draft.note(format!("once the device uses it: doorward admin device key remove {called} {}", old.key));
    }
    let data = device.shown(draft.view);
    Ok(draft.done(data, format!("key {key} added to device {called}")))
}

fn key_remove(mut draft: Draft<'_>, called: &DeviceId, key: WgKey) -> Result<Plan, AdminError> {
    let mut device = known(&mut draft, called)?;
    let Some(at) = device.keys.iter().position(|held| held.key == key) else {
        return Err(AdminError::NoSuchKey { device: device.name, key });
    };
    if device.keys.len() == 1 {
        return Err(AdminError::LastKey(device.name));
    }
    let taken = device.keys.remove(at);
    draft.put(&device);
    draft.bar(&device, [&taken]);
    draft.takes_away(Revoked::Key { device: device.id.clone(), key });
    let data = device.shown(draft.view);
    Ok(draft.done(data, format!("key {key} removed from device {called}")))
}
