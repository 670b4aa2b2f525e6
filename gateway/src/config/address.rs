//! Who has which tunnel address: explicit ones, and the rest allocated once and kept in
//! `addresses.json` of the state folder. It does not route them.
//! Always true: one owner per index; an address stays with its name over restarts and reorderings;
//! one that was given up goes to another name by itself only after 30 days.

mod book;
mod ledger;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use protocol::{
    id::{AppId, DeviceId},
    time::Timestamp,
};

use self::{book::Book, ledger::Wanted};
use super::{Config, Directory, Part, Tunnel};

/// One index in both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// A /32.
    pub v4: Ipv4Addr,
    /// A /128.
    pub v6: Ipv6Addr,
}

/// The addresses of every device and every app.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every device of the directory, also of disabled people.
    pub devices: HashMap<DeviceId, Addresses>,
    /// Every app.
    pub apps: HashMap<AppId, Addresses>,
}

/// Why addresses cannot be given out; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The file or its folder cannot be read or written.
    #[error("cannot {action} {}: {source}", file.display())]
    File {
        /// `read`, `write`…
        action: &'static str,
        /// Which.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file was damaged.
    #[error(
        "{} is damaged ({reason}): restore it from a backup, or move it away and hand every device a new configuration",
        file.display()
    )]
    Damaged {
        /// Which.
        file: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// An explicit address is another's, by allocation.
    #[error("{} {name} is to have {address}, but {owner} has had it since before: give {name} another address, or {owner} an explicit one of its own", part.as_str())]
    Taken {
        /// Devices or apps.
        part: Part,
        /// Who wants it.
        name: String,
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        owner: String,
    },
    /// The prefix became smaller.
    #[error("{} {name} has index {index}, but tunnel.v4 has room up to {last}: make tunnel.v4 larger again, or give {name} an explicit address", part.as_str())]
    OutOfRange {
        /// Devices or apps.
        part: Part,
        /// Whose.
        name: String,
        /// Its index.
        index: u32,
        /// The last index there is.
        last: u32,
    },
    /// No index is left.
    #[error("no address is left for {} {name}: tunnel.v4 has room for {room}, those given up in the last 30 days included", part.as_str())]
    Full {
        /// Devices or apps.
        part: Part,
        /// Who gets none.
        name: String,
        /// How many there are.
        room: u32,
    },
}

/// The plan for a configuration and a directory, made with the addresses kept in the state folder,
/// and kept there.
pub fn plan(config: &Config, directory: &Directory, now: Timestamp) -> Result<Plan, AddressError> {
    let wanted = Wants::of(config, directory);
    let kept = Book::new(&config.gateway.state).assign(&config.tunnel, &wanted.devices, &wanted.apps, now)?;
    let address = |part, name: &str| kept.index(part, name).map(|n| addresses(&config.tunnel, part, n));
    let devices = directory.devices.keys();
    let apps = config.apps.iter().map(|app| &app.facts.id);
    Ok(Plan {
        devices: devices.filter_map(|id| Some((id.clone(), address(Part::Devices, id.as_str())?))).collect(),
        apps: apps.filter_map(|id| Some((id.clone(), address(Part::Apps, id.as_str())?))).collect(),
    })
}

/// Whether [`plan`] would succeed; nothing is kept.
pub fn preview(config: &Config, directory: &Directory, now: Timestamp) -> Result<(), AddressError> {
    let wanted = Wants::of(config, directory);
    Book::new(&config.gateway.state).preview(&config.tunnel, &wanted.devices, &wanted.apps, now)
}

/// The addresses of one device, kept like those of a [`plan`]; it need not be in the directory yet.
pub fn of_device(
    config: &Config,
    directory: &Directory,
    device: &DeviceId,
    now: Timestamp,
) -> Result<Addresses, AddressError> {
    let mut wanted = Wants::of(config, directory);
    if !directory.devices.contains_key(device) {
        wanted.devices.push((device.as_str(), None));
    }
    let kept = Book::new(&config.gateway.state).assign(&config.tunnel, &wanted.devices, &wanted.apps, now)?;
    let index = kept.index(Part::Devices, device.as_str()).expect("everything wanted has an index");
    Ok(addresses(&config.tunnel, Part::Devices, index))
}

/// Every name that wants an address.
struct Wants<'a> {
    devices: Vec<Wanted<'a>>,
    apps: Vec<Wanted<'a>>,
}

impl<'a> Wants<'a> {
    fn of(config: &'a Config, directory: &'a Directory) -> Self {
        let index = |part, address: Option<Ipv4Addr>| address.and_then(|a| config.tunnel.index(part, a));
        let devices = directory.devices.iter();
        let apps = config.apps.iter();
        Self {
            devices: devices.map(|(id, d)| (id.as_str(), index(Part::Devices, d.address))).collect(),
            apps: apps.map(|app| (app.facts.id.as_str(), index(Part::Apps, app.address))).collect(),
        }
    }
}

fn addresses(tunnel: &Tunnel, part: Part, n: u32) -> Addresses {
    let (v4, v6) = tunnel.addresses(part, n);
    Addresses { v4, v6 }
}
