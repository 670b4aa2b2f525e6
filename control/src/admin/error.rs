//! Why a request of an administrator is not carried out, each with what to do.
//! Always true: no text tells of an object whether it is there to one who may not see it.

use protocol::{
    id::{DeviceId, GroupId, SiteId, UserId},
    key::WgKey,
    time::Timestamp,
};

use super::Noun;
use crate::addresses::AddressError;

/// Why nothing is planned. The administrator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// What is named is not there, or not theirs to see.
    #[error("there is no {noun} {name}: `doorward admin {noun} list` shows those there are")]
    Unknown {
        /// What it would be.
        noun: Noun,
        /// How it was called.
        name: String,
    },
    /// What is to be added is there.
    #[error("{noun} {name} is there already, as a name or an id: choose another")]
    Exists {
        /// What.
        noun: Noun,
        /// Its name.
        name: String,
    },
    /// doorward.toml knows no such site.
    #[error("there is no site {0}: add a [[site]] of this name to doorward.toml and reload")]
    NoSite(SiteId),
    /// No connector stands at `local`.
    #[error("the gateway itself dials at \"local\": no connector stands there")]
    Local,
    /// A person with devices is not removed by the way.
    #[error("user {user} has devices ({devices}): remove them first, or together with --with-devices")]
    HasDevices {
        /// Whom.
        user: UserId,
        /// Some of them.
        devices: String,
    },
    /// A group that is in use is not removed by the way.
    #[error("group {group} is in use by {members}: take them out first, or together with --with-members")]
    HasMembers {
        /// Which.
        group: GroupId,
        /// Some of those in it.
        members: String,
    },
    /// A person is not in the group.
    #[error(
        "{user} is not in group {group} directly: `doorward admin user show {user}` tells where they are"
    )]
    NoMember {
        /// Whom.
        user: UserId,
        /// In which.
        group: GroupId,
    },
    /// Groups that lie in one another.
    #[error("these groups would lie in one another: {0}")]
    Round(String),
    /// A key of a device or connector that is another's.
    #[error("key {key} is {holder}'s already: every one needs a key of its own")]
    KeyTaken {
        /// As it is written.
        key: String,
        /// Whose.
        holder: String,
    },
    /// A key that was taken away.
    #[error(
        "key {key} was taken from {holder} at {at}, so it may be in wrong hands: use a new one, or say --again if it is not"
    )]
    KeyRevoked {
        /// The key.
        key: WgKey,
        /// Whose it was.
        holder: String,
        /// When.
        at: Timestamp,
    },
    /// No third key.
    #[error("device {device} has two keys, {old} since before: remove that one first")]
    TwoKeys {
        /// Which.
        device: DeviceId,
        /// The older one.
        old: WgKey,
    },
    /// The last key stays.
    #[error(
        "it is the last key of device {0}: disable or remove the device instead, or add its next key first"
    )]
    LastKey(DeviceId),
    /// Not a key of the device.
    #[error("device {device} has no key {key}: `doorward admin device show {device}` tells which it has")]
    NoSuchKey {
        /// Which device.
        device: DeviceId,
        /// The key.
        key: WgKey,
    },
    /// A device without a key cannot be enabled.
    #[error("device {0} has no key left: add one with `doorward admin device key add`")]
    NoKey(DeviceId),
    /// Not an address for devices.
    #[error("{0} is no address for devices: it has to lie in the devices' half of tunnel.v4")]
    NoAddress(std::net::Ipv4Addr),
    /// No index.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A lifetime that is no good.
    #[error("a token is good for between a second and seven days")]
    Lifetime,
    /// A list contradicts itself.
    #[error("the list contradicts itself: {0}")]
    List(String),
}
