//! directory.toml: people, their groups and their devices, until they come from a provider.
//! Always true: every group a person is in is there with its ancestors; every device has a known
//! owner and keys that no other device has.

mod device;
mod group;
mod user;

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
};

use policy::facts::{Device, User};
use protocol::{
    config::Section,
    id::{DeviceId, UserId},
    key::WgKey,
};

use super::{LoadError, Tunnel, read_text};

/// Everything directory.toml says.
#[derive(Debug)]
pub struct Directory {
    /// Those who may come in; groups closed over nesting.
    pub users: HashMap<UserId, Arc<User>>,
    /// Those who may not, kept so that a refusal can say so.
    pub disabled: BTreeSet<UserId>,
    /// Every device, also of disabled people.
    pub devices: HashMap<DeviceId, Arc<DeviceRecord>>,
}

/// A device and what the gateway alone needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// What policies see.
    pub facts: Arc<Device>,
    /// One, or two while rotating.
    pub keys: Vec<WgKey>,
    /// Its tunnel address, if the operator chose one.
    pub address: Option<Ipv4Addr>,
}

/// Reads directory.toml; `tunnel` is what explicit addresses must lie in.
pub fn load(file: &Path, tunnel: &Tunnel) -> Result<Directory, LoadError> {
    let text = read_text(file)?;
    Ok(protocol::config::read(file, &text, |s| Some(walk(s, tunnel)))?)
}

pub(super) fn walk(s: &mut Section<'_>, tunnel: &Tunnel) -> Directory {
    let groups = group::read(s);
    let (users, disabled) = user::read(s, &groups);
    let devices = device::read(s, tunnel, |owner| {
        let user = users.get_key_value(owner).map(|(id, _)| id);
        user.or_else(|| disabled.get(owner)).cloned()
    });
    Directory { users, disabled, devices }
}
