//! A directory.toml as administration takes it over.
//! It plans nothing. Always true: what the file does not tell is not made up.

use std::path::Path;

use control::{
    admin::{
        ImportRequest, Request,
        import::{Listed, ListedConnector, ListedDevice, ListedGroup, ListedUser},
    },
    object::DeviceKey,
};
use protocol::time::Timestamp;

use crate::config::{self, Config, Directory};

/// What `text`, called `file`, asks for; the error lists every mistake in it.
pub(super) fn request(
    config: &Config,
    file: &Path,
    text: &str,
    flags: (bool, bool, bool),
) -> Result<Request, String> {
    let directory = config::read_directory(file, text, &config.tunnel, &config.sites);
    let listed = listed(directory.map_err(|mistakes| mistakes.to_string())?);
    let (prune, again, dry_run) = flags;
    Ok(Request::Import(Box::new(ImportRequest { listed, prune, again, dry_run })))
}

fn listed(directory: Directory) -> Listed {
    let Directory { groups, users, devices, connectors } = directory;
    let groups = groups
        .into_iter()
        .map(|group| ListedGroup { id: group.id, within: group.within.into_iter().collect() });
    let users = users.into_iter().map(|user| ListedUser {
        id: user.id,
        email: user.email,
        groups: user.groups.into_iter().collect(),
        contract_end: user.contract_end,
        disabled: user.disabled,
    });
    let devices = devices.into_iter().map(|device| {
        // An age the list does not tell.
        let since = device.key_since.unwrap_or(Timestamp::MIN);
        ListedDevice {
            name: device.id,
            owner: device.owner,
            keys: device.keys.into_iter().map(|key| DeviceKey { key, since }).collect(),
            groups: device.groups,
            platform: device.platform,
            posture: device.posture,
            address: device.address,
        }
    });
    let connectors = connectors.into_iter().map(|connector| ListedConnector {
        name: connector.id,
        site: connector.site,
        key: connector.pin,
    });
    let connectors: Vec<_> = connectors.collect();
    Listed {
        groups: groups.collect(),
        users: users.collect(),
        devices: devices.collect(),
        // A file without any says nothing of those that joined by token.
        connectors: (!connectors.is_empty()).then_some(connectors),
    }
}
