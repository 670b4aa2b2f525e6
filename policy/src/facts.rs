//! What a decision may look at: plain data, made by whoever knows it.
//! An absent fact is `None`, never a guess; a decision needs only the user or operator, the device or
//! its owner, the resource and their ancestors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use protocol::{
    id::{AppGroupId, AppId, DeviceGroupId, DeviceId, GroupId, SiteId, SubnetId, UserId},
    time::Timestamp,
};

/// What a connection speaks.
pub use protocol::target::Proto;

/// A person, with every group that holds, directly or through nesting (closed by the caller).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `<provider>/<sub>`.
    pub id: UserId,
    /// Every group the user is in, ancestors included.
    pub groups: BTreeSet<GroupId>,
    /// Verified, in a domain the provider may speak for.
    pub email: Option<String>,
    /// When the contract ends, for those who have one.
    pub contract_end: Option<Timestamp>,
}

/// Where a posture fact comes from, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Proven by hardware.
    Attested,
    /// Said by the device management.
    Mdm,
    /// Said by an agent of ours on the device.
    Agent,
    /// Said by the device or typed by a person.
    #[serde(rename = "self")]
    Own,
}

/// The kind of operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Linux of any distribution.
    Linux,
    /// macOS.
    Macos,
    /// Windows.
    Windows,
    /// iOS and iPadOS.
    Ios,
    /// Android.
    Android,
    /// Anything else.
    Other,
}

/// A fact with its origin and its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fact<T> {
    /// What was said.
    pub value: T,
    /// Who said it.
    pub source: Source,
    /// When it was true.
    pub at: Timestamp,
}

/// What is known of a device's state; absent never passes.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Posture {
    /// `major*1_000_000 + minor*1_000 + patch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<Fact<i64>>,
    /// Under the company's device management.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<Fact<bool>>,
    /// Storage is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_encrypted: Option<Fact<bool>>,
    /// A firewall is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Fact<bool>>,
    /// The screen locks by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen_lock: Option<Fact<bool>>,
    /// Booted with verified boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<Fact<bool>>,
    /// Endpoint protection runs and is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edr_healthy: Option<Fact<bool>>,
}

/// A device; its WireGuard keys are the gateway's business, not a policy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Stable over key changes.
    pub id: DeviceId,
    /// The one person it belongs to.
    pub owner: UserId,
    /// When its oldest valid key was added.
    pub key_since: Timestamp,
    /// Sets it is in, ancestors included.
    pub groups: BTreeSet<DeviceGroupId>,
    /// Kind of operating system.
    pub platform: Option<Platform>,
    /// Its state.
    pub posture: Posture,
}

/// A user signed in on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// When it began at the gateway, or was last renewed there.
    pub at: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When the person proved who they are, as far as the provider says; never "now" in its place.
    pub auth_time: Option<Timestamp>,
    /// How they did, in the provider's words (RFC 8176).
    pub amr: BTreeSet<String>,
    /// How strong that was, in the provider's words.
    pub acr: Option<String>,
}

/// A protected service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub id: AppId,
    /// Where it stands.
    pub site: SiteId,
    /// Sets it is in, ancestors included.
    pub groups: BTreeSet<AppGroupId>,
    /// 1 public … 4 secret.
    pub sensitivity: u8,
    /// The group that owns it.
    pub owners: Option<GroupId>,
    /// Free labels policies may read with `getTag`.
    pub tags: BTreeMap<String, BTreeSet<String>>,
}

/// A network reachable as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its name.
    pub id: SubnetId,
    /// Where it stands.
    pub site: SiteId,
    /// Sets it is in, ancestors included.
    pub groups: BTreeSet<AppGroupId>,
    /// The addresses.
    pub cidr: IpNet,
    /// 1 public … 4 secret.
    pub sensitivity: u8,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// A service.
    App(&'a App),
    /// A network, as the broad route of migration step 1.
    Subnet(&'a Subnet),
}

/// What the user does with the resource.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// One transport connection.
    Connect {
        /// Destination port; 0 for ICMP.
        port: u16,
        /// Its transport.
        proto: Proto,
    },
    /// One HTTP request that cannot change anything: GET, HEAD, OPTIONS without upgrade.
    HttpRead(HttpFacts<'a>),
    /// Any other HTTP request.
    HttpWrite(HttpFacts<'a>),
}

/// The parts of an HTTP request a policy may read, already canonical.
#[derive(Debug, Clone, Copy)]
pub struct HttpFacts<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Lower case, without port.
    pub host: &'a str,
    /// Without query; every reading of an ambiguous path. Never empty; the first is the path as forwarded.
    pub paths: &'a [String],
}

/// One question to the policies.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who.
    pub user: &'a User,
    /// On which device.
    pub device: Option<&'a Device>,
    /// Signed in how; none if not at all.
    pub session: Option<&'a Session>,
    /// What to.
    pub resource: Resource<'a>,
    /// Doing what.
    pub action: Action<'a>,
    /// The tunnel address it comes from.
    pub source: IpAddr,
}

/// Someone at the gateway's machine: a Unix account, as the kernel proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The account's name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The Unix groups it is in.
    pub groups: BTreeSet<String>,
    /// Whether it is uid 0 or the account the gateway runs as.
    pub root: bool,
}

/// What is administered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminKind {
    /// People.
    User,
    /// Sets of people.
    Group,
    /// Devices, with their keys.
    Device,
    /// Connectors.
    Connector,
    /// One-time credentials by which connectors join.
    Token,
    /// The record of what happened.
    Audit,
    /// Copies of the store, made and put back.
    Backup,
    /// The keys that seal secrets.
    Key,
    /// The store itself.
    Store,
    /// Who is signed in where.
    Session,
    /// Who says who people are.
    Provider,
}

impl AdminKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::User,
        Self::Group,
        Self::Device,
        Self::Connector,
        Self::Token,
        Self::Audit,
        Self::Backup,
        Self::Key,
        Self::Store,
        Self::Session,
        Self::Provider,
    ];

    /// As policies write it: `Admin::"device"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Device => "device",
            Self::Connector => "connector",
            Self::Token => "token",
            Self::Audit => "audit",
            Self::Backup => "backup",
            Self::Key => "key",
            Self::Store => "store",
            Self::Session => "session",
            Self::Provider => "provider",
        }
    }
}

impl fmt::Display for AdminKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One administrative command.
#[derive(Debug, Clone, Copy)]
pub struct Administration<'a> {
    /// Who.
    pub operator: &'a Operator,
    /// Whether it can change anything.
    pub write: bool,
    /// What kind of thing it is about.
    pub on: AdminKind,
    /// What is done, as typed: `add`, `disable`, `list`.
    pub verb: &'a str,
    /// The name of what it is done to.
    pub object: Option<&'a str>,
    /// Whose that is, as it stands before the command; for a user, that person.
    pub owner: Option<&'a User>,
    /// Where that stands.
    pub site: Option<&'a SiteId>,
}

/// Whatever the policies are asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Matter<'a> {
    Access(Request<'a>),
    Administration(Administration<'a>),
}

impl<'a> Matter<'a> {
    /// How many readings it has; each must be allowed if a policy reads the path.
    pub(crate) fn readings(&self) -> usize {
        match self {
            Self::Access(request) => match request.action {
                Action::Connect { .. } => 1,
                Action::HttpRead(http) | Action::HttpWrite(http) => http.paths.len(),
            },
            Self::Administration(_) => 1,
        }
    }

    /// The device whose tiers count.
    pub(crate) fn device(&self) -> Option<&'a Device> {
        match self {
            Self::Access(request) => request.device,
            Self::Administration(_) => None,
        }
    }
}
