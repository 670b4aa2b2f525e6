//! `doorward admin device`: what is typed, and a new key pair where one is asked for. It renders no
//! configuration. Always true: of a key pair made here only the public half travels.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use control::admin::{Answer, DeviceRequest, Edit, PostureChange, Request};
use policy::facts::{Platform, Source};
use protocol::{
    config::Secret,
    id::{DeviceGroupId, DeviceId, UserId},
    key::WgKey,
};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::{Asked, edit, word};
use crate::{
    admin::request::AdminRequest, cli::new_key, config::directory::Version, device_config::PLACEHOLDER,
};

const EXAMPLES: &str = "\
A device is called by its name or its id, which is the name it had first.

Examples:
  doorward admin device add laptop --owner corp/alice --public-key \"$(wg pubkey < laptop.key)\"
  doorward admin device add phone --owner corp/alice --new-key --qr
  doorward admin device key add laptop NEW-KEY, and when it is in use
  doorward admin device key remove laptop OLD-KEY
  doorward admin device posture laptop disk_encrypted=true os_version=14.5.1 --source mdm
  doorward admin device disable laptop --why \"lost in a train\"";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum DeviceCommand {
    /// List devices
    List,
    /// Show one device
    Show {
        /// Which
        device: DeviceId,
    },
    /// Add a device, and print its WireGuard configuration
    Add(Add),
    /// Print a device's WireGuard configuration again; its private key stays a placeholder
    Config {
        /// Which
        device: DeviceId,
        /// As a code to scan
        #[arg(long)]
        qr: bool,
    },
    /// Change what is known of a device
    Set {
        /// Which
        device: DeviceId,
        /// linux, macos, windows, ios, android or other
        #[arg(long, value_parser = word::<Platform>, conflicts_with = "no_platform")]
        platform: Option<Platform>,
        /// Forget its platform
        #[arg(long)]
        no_platform: bool,
        /// A set it is in from now on, and in no others; may be repeated
        #[arg(long = "group", value_name = "GROUP", conflicts_with = "no_group")]
        groups: Vec<DeviceGroupId>,
        /// It is in no set
        #[arg(long)]
        no_group: bool,
        /// Another tunnel address
        #[arg(long, value_name = "IPV4")]
        address: Option<Ipv4Addr>,
    },
    /// Shut a device: everything of it is cut at once
    Disable {
        /// Which
        device: DeviceId,
        /// The reason, for the log
        #[arg(long)]
        why: Option<String>,
    },
    /// Open a device again, with the keys it had
    Enable {
        /// Which
        device: DeviceId,
    },
    /// Forget a device: its keys do not come back, its address rests for 30 days
    Remove {
        /// Which
        device: DeviceId,
    },
    /// Call a device something else; its id stays
    Rename {
        /// Which
        device: DeviceId,
        /// Its new name
        name: DeviceId,
    },
    /// Change over from one key to the next
    #[command(subcommand)]
    Key(KeyCommand),
    /// Say what is known of a device's state
    Posture {
        /// Which
        device: DeviceId,
        /// managed, disk_encrypted, firewall, screen_lock, secure_boot or edr_healthy=true|false|absent;
        /// os_version=14.5.1|absent
        #[arg(required = true, value_name = "FACT=VALUE")]
        facts: Vec<String>,
        /// attested, mdm, agent or self
        #[arg(long, default_value = "self", value_parser = word::<Source>)]
        source: Source,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its name, and its id for ever
    device: DeviceId,
    /// Whose it is
    #[arg(long, value_name = "USER")]
    owner: UserId,
    /// Its public key, as `wg pubkey` prints it
    #[arg(long, value_name = "KEY", required_unless_present = "new_key")]
    public_key: Option<WgKey>,
    /// Make a new key pair for it, here
    #[arg(long, conflicts_with = "public_key")]
    new_key: bool,
    /// linux, macos, windows, ios, android or other
    #[arg(long, value_parser = word::<Platform>)]
    platform: Option<Platform>,
    /// A set it is in; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<DeviceGroupId>,
    /// A tunnel address of your choice
    #[arg(long, value_name = "IPV4")]
    address: Option<Ipv4Addr>,
    /// Also if the key was taken from a device before
    #[arg(long)]
    again: bool,
    /// Print a code to scan with the phone's app
    #[arg(long)]
    qr: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Add a second key
    Add {
        /// To which device
        device: DeviceId,
        /// As `wg pubkey` prints it
        key: WgKey,
        /// Also if it was taken from a device before
        #[arg(long)]
        again: bool,
    },
    /// Take a key away for good: what it carries is cut at once
    Remove {
        /// From which device
        device: DeviceId,
        /// As `wg pubkey` prints it
        key: WgKey,
    },
}

impl DeviceCommand {
    pub fn asked(self) -> Result<Asked, String> {
        let request = match self {
            Self::List => DeviceRequest::List,
            Self::Show { device } => DeviceRequest::Show { device },
            Self::Add(add) => return add.asked(),
            Self::Config { device, qr } => {
                let finish = Finish { config: true, qr, private_key: None };
                return Ok(Asked { request: AdminRequest::DeviceConfig { device }, finish });
            }
            Self::Set { device, platform, no_platform, groups, no_group, address } => {
                let groups = (no_group || !groups.is_empty()).then(|| groups.into_iter().collect());
                DeviceRequest::Set { device, platform: edit(platform, no_platform), groups, address }
            }
            Self::Disable { device, why } => DeviceRequest::Disable { device, why },
            Self::Enable { device } => DeviceRequest::Enable { device },
            Self::Remove { device } => DeviceRequest::Remove { device },
            Self::Rename { device, name } => DeviceRequest::Rename { device, name },
            Self::Key(KeyCommand::Add { device, key, again }) => DeviceRequest::KeyAdd { device, key, again },
            Self::Key(KeyCommand::Remove { device, key }) => DeviceRequest::KeyRemove { device, key },
            Self::Posture { device, facts, source } => {
                DeviceRequest::Posture { device, change: posture(&facts)?, source }
            }
        };
        Ok(Request::Device(request).into())
    }
}

impl Add {
    fn asked(self) -> Result<Asked, String> {
        let Self { device, owner, public_key, new_key: _, platform, groups, address, again, qr } = self;
        let (private_key, key) = match public_key {
            Some(key) => (None, key),
            None => {
                let (private, public) = new_key::wireguard().map_err(|error| error.to_string())?;
                (Some(private), public)
            }
        };
        let groups = groups.into_iter().collect();
        let add = DeviceRequest::Add { device, owner, key, platform, groups, address, again };
        let request = AdminRequest::Control(Request::Device(add));
        Ok(Asked { request, finish: Finish { config: true, qr, private_key } })
    }
}

/// The facts, each once.
fn posture(facts: &[String]) -> Result<PostureChange, String> {
    let mut change = PostureChange::default();
    for fact in facts {
        let (name, value) = fact.split_once('=').ok_or_else(|| format!("{fact}: write it as fact=value"))?;
        let said = match name {
            "managed" => flag(&mut change.managed, value),
            "disk_encrypted" => flag(&mut change.disk_encrypted, value),
            "firewall" => flag(&mut change.firewall, value),
            "screen_lock" => flag(&mut change.screen_lock, value),
            "secure_boot" => flag(&mut change.secure_boot, value),
            "edr_healthy" => flag(&mut change.edr_healthy, value),
            "os_version" => say(&mut change.os_version, value, |value| Ok(value.parse::<Version>()?.0)),
            _ => Err("no such fact; `doorward admin device posture --help` lists them"),
        };
        said.map_err(|why| format!("{fact}: {why}"))?;
    }
    Ok(change)
}

fn flag(to: &mut Edit<bool>, value: &str) -> Result<(), &'static str> {
    say(to, value, |value| value.parse().map_err(|_| "it is true, false or absent"))
}

fn say<T: PartialEq>(
    to: &mut Edit<T>,
    value: &str,
    read: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<(), &'static str> {
    if *to != Edit::Keep {
        return Err("it is said twice");
    }
    *to = if value == "absent" { Edit::Clear } else { Edit::To(read(value)?) };
    Ok(())
}

/// What is done here with an answer that holds a device's configuration.
#[derive(Debug, Default)]
pub(super) struct Finish {
    pub config: bool,
    pub qr: bool,
    pub private_key: Option<Secret<String>>,
}

impl Finish {
    /// Puts the private key in its place, and draws the code.
    pub fn apply(self, answer: &mut Answer) -> Result<(), String> {
        if !self.config {
            return Ok(());
        }
        let text = answer.text.take().ok_or("the gateway sent no configuration: update it")?;
        let text = match &self.private_key {
            Some(_) if !text.contains(PLACEHOLDER) => {
                return Err(
                    "the gateway's configuration has no place for a private key: update it".to_owned()
                );
            }
            Some(key) => {
                answer.notes.push(PRIVATE.to_owned());
                text.replace(PLACEHOLDER, key.expose())
            }
            None => {
                answer.notes.push(if self.qr { CODE_WITHOUT_KEY } else { WITHOUT_KEY }.to_owned());
                text
            }
        };
        if let Some(data) = answer.data.as_object_mut() {
            data.insert("config".to_owned(), text.clone().into());
        }
        answer.text = Some(if self.qr { qr(&text)? } else { text });
        Ok(())
    }
}

/// Said with every new key.
const PRIVATE: &str =
    "This is a private key: whoever has it is this device. It is kept nowhere and cannot be shown again.";

const WITHOUT_KEY: &str =
    "Put the device's private key into the PrivateKey line: it never leaves the device.";

const CODE_WITHOUT_KEY: &str = "\
This code holds no private key: it still has to be filled in by hand, and the phone apps refuse to
scan a code without one. Use --new-key --qr, or enter these lines in the app, which makes a key there.";

/// Drawn dark on light for the usual light-on-dark terminal.
fn qr(text: &str) -> Result<String, String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| {
        "this configuration is too long for a code: leave --qr out, or devices.routes shorter".to_owned()
    })?;
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Ok(image + "\n")
}
