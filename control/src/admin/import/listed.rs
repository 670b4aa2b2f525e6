//! What a file lists, as far as the store keeps it. It means nothing by itself.
//! Always true: a list that says nothing of connectors is not one without connectors.

use std::{collections::BTreeSet, net::Ipv4Addr};

use policy::facts::{Platform, Posture};
use protocol::{
    id::{ConnectorId, DeviceGroupId, DeviceId, GroupId, SiteId, UserId},
    key::LinkPin,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::object::{DeviceKey, text};

/// Everything a file lists.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Every `[[group]]`.
    pub groups: Vec<ListedGroup>,
    /// Every `[[user]]`.
    pub users: Vec<ListedUser>,
    /// Every `[[device]]`.
    pub devices: Vec<ListedDevice>,
    /// Every `[[connector]]`; `None`: the list says nothing of them, and prunes none.
    pub connectors: Option<Vec<ListedConnector>>,
}

/// `[[group]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedGroup {
    /// Which.
    pub id: GroupId,
    /// The groups it lies in directly.
    #[serde(rename = "in")]
    pub within: BTreeSet<GroupId>,
}

/// `[[user]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedUser {
    /// Whom.
    pub id: UserId,
    /// Their e-mail.
    pub email: Option<String>,
    /// The groups they are in directly.
    pub groups: BTreeSet<GroupId>,
    /// When their contract ends.
    pub contract_end: Option<Timestamp>,
    /// Whether they are shut out.
    pub disabled: bool,
}

/// `[[device]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedDevice {
    /// Its id, or what one that is there is called.
    pub name: DeviceId,
    /// Whose.
    pub owner: UserId,
    /// One or two, the oldest first; [`Timestamp::MIN`] for an age that the list does not tell.
    pub keys: Vec<DeviceKey>,
    /// Sets it is in.
    pub groups: BTreeSet<DeviceGroupId>,
    /// Kind of operating system.
    pub platform: Option<Platform>,
    /// What is known of its state.
    pub posture: Posture,
    /// A tunnel address of the operator's choice; `None`: the one it has, or a new one.
    pub address: Option<Ipv4Addr>,
}

/// `[[connector]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedConnector {
    /// Which.
    pub name: ConnectorId,
    /// Where it stands.
    pub site: SiteId,
    /// Its key.
    #[serde(with = "text")]
    pub key: LinkPin,
}
