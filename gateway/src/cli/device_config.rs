//! `doorward device config`: what a person pastes or scans into the WireGuard app.
//! It knows no device's private key, unless it has just made one; that one is printed and not kept.

use std::{fmt, path::Path};

use protocol::{
    id::{DeviceId, IdError},
    key::WgKey,
};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::{
    new_key::{self, NoKey},
    now,
};
use crate::config::{
    self, Config, Directory, LoadError,
    address::{self, AddressError, Addresses},
};

/// Stands where the device's owner puts the private key.
const PLACEHOLDER: &str = "<paste the device's private key here>";

/// How it is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Make a key pair for the device.
    pub new_key: bool,
    /// As a code to scan.
    pub qr: bool,
}

/// What to print where; it may hold a private key, so that its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Printed {
    /// The configuration or its code: for standard output.
    pub out: String,
    /// What the operator has to know or do: for standard error.
    pub notes: String,
}

impl fmt::Debug for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Why there is no configuration; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum DeviceConfigError {
    /// A file says something wrong.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Not a device's name.
    #[error("{0:?}: {1}")]
    Name(String, IdError),
    /// No such device.
    #[error("there is no [[device]] named {name:?} in {directory}; to begin with a new one, add --new-key")]
    Unknown {
        /// The name.
        name: String,
        /// Where it was looked for.
        directory: String,
    },
    /// No address for it.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No key for it.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// Too many routes.
    #[error("this configuration is too long for a code: leave --qr out, or devices.routes shorter")]
    TooLong,
}

/// Makes the WireGuard configuration of the device called `name`.
pub fn run(file: &Path, name: &str, options: Options) -> Result<Printed, DeviceConfigError> {
    let id: DeviceId = name.parse().map_err(|error| DeviceConfigError::Name(name.to_owned(), error))?;
    let config = config::load(file)?;
    let directory = config::load_directory(&config.gateway.directory, &config.tunnel)?;
    let known = directory.devices.contains_key(&id);
    if !known && !options.new_key {
        let directory = config.gateway.directory.display().to_string();
        return Err(DeviceConfigError::Unknown { name: name.to_owned(), directory });
    }
    let addresses = address::of_device(&config, &directory, &id, now())?;
    let new = options.new_key.then(new_key::wireguard).transpose()?;
    let private_key = new.as_ref().map_or(PLACEHOLDER, |(private, _)| private.expose());
    let text = text(&config, addresses, private_key);
    let mut notes = String::new();
    match &new {
        Some((_, public)) => notes += &key_note(&config, &directory, &id, *public),
        None if options.qr => notes += QR_WITHOUT_KEY,
        None => notes += WITHOUT_KEY,
    }
    let out = if options.qr { qr(&text)? } else { text };
    Ok(Printed { out, notes })
}

const WITHOUT_KEY: &str =
    "Put the device's private key into the PrivateKey line: it never leaves the device.\n";

const QR_WITHOUT_KEY: &str = "\
This code holds no private key: it still has to be filled in by hand, and the phone apps refuse to
scan a code without one. Use --new-key --qr, or enter these lines in the app, which makes a key there.
";

fn text(config: &Config, own: Addresses, private_key: &str) -> String {
    let Config { gateway, tunnel, dns, devices, .. } = config;
    let allowed: Vec<String> = tunnel.nets().iter().chain(&devices.routes).map(ToString::to_string).collect();
    let search = dns.zones.first().map_or(String::new(), |zone| format!(", {zone}"));
    let mtu = devices.mtu.map_or(String::new(), |mtu| format!("MTU = {mtu}\n"));
    format!(
        "\
[Interface]
PrivateKey = {private_key}
Address = {}/32, {}/128
DNS = {}, {}{search}
{mtu}
[Peer]
PublicKey = {}
AllowedIPs = {}
Endpoint = {}
PersistentKeepalive = 25
",
        own.v4,
        own.v6,
        tunnel.gateway_v4(),
        tunnel.gateway_v6(),
        gateway.public_key(),
        allowed.join(", "),
        gateway.endpoint,
    )
}

/// What has to be in directory.toml for a new key to be let in.
fn key_note(config: &Config, directory: &Directory, id: &DeviceId, new: WgKey) -> String {
    let file = config.gateway.directory.display();
    let body = match directory.devices.get(id).map(|device| device.keys.as_slice()) {
        None => format!(
            "Add this to {file}:\n\n[[device]]\nname = \"{id}\"\nowner = \"<provider>/<name>\"\nkeys = [\"{new}\"]\nkey_since = {}\n",
            now()
        ),
        Some([old, ..]) => format!(
            "In {file}, give device \"{id}\" both keys until it uses the new one, and then the new one alone:\n\nkeys = [\"{old}\", \"{new}\"]\n"
        ),
        Some([]) => format!("In {file}, give device \"{id}\" this key:\n\nkeys = [\"{new}\"]\n"),
    };
    format!(
        "{body}\nThis is a private key: whoever has it is this device. It is kept nowhere and cannot be shown again.\n"
    )
}

/// Drawn dark on light for the usual light-on-dark terminal.
fn qr(text: &str) -> Result<String, DeviceConfigError> {
    let code =
        QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| DeviceConfigError::TooLong)?;
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Ok(image + "\n")
}
