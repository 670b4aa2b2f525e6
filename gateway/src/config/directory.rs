//! directory.toml: people, groups, devices and connectors as a file lists them, to be imported.
//! It imports nothing. Always true: every group a person is in is listed; every device has a listed
//! owner and keys that no other device has; every connector stands at a site of doorward.toml.

mod connector;
mod device;
mod group;
mod user;

use std::{collections::BTreeSet, path::Path};

use protocol::{
    config::{Mistakes, Section},
    id::UserId,
};

pub use self::{
    connector::Connector,
    device::{Device, Version},
    group::Group,
    user::{Email, User},
};
use super::{Sites, Tunnel};

/// Everything directory.toml lists, in the order of the file.
#[derive(Debug)]
pub struct Directory {
    /// Every `[[group]]`.
    pub groups: Vec<Group>,
    /// Every `[[user]]`.
    pub users: Vec<User>,
    /// Every `[[device]]`.
    pub devices: Vec<Device>,
    /// Every `[[connector]]`.
    pub connectors: Vec<Connector>,
}

/// Reads the text of a directory.toml, called `file` in mistakes; `tunnel` is what explicit addresses
/// must lie in, `sites` where connectors may stand.
pub fn read(file: &Path, text: &str, tunnel: &Tunnel, sites: &Sites) -> Result<Directory, Mistakes> {
    protocol::config::read(file, text, |s| Some(walk(s, tunnel, sites)))
}

pub(super) fn walk(s: &mut Section<'_>, tunnel: &Tunnel, sites: &Sites) -> Directory {
    let (known, groups) = group::read(s);
    let users = user::read(s, &known);
    let known: BTreeSet<&UserId> = users.iter().map(|user| &user.id).collect();
    let devices = device::read(s, tunnel, |owner| known.contains(owner));
    let connectors = connector::read(s, sites);
    Directory { groups, users, devices, connectors }
}
