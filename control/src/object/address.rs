//! A tunnel address: the index in its part of the tunnel prefix that a device or an app has.
//! What an index means as an address is the gateway's business. Always true: an index has one owner,
//! also while it rests after it was given up.

use std::fmt;

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Body, Kind, Rest};
use crate::store::Unique;

/// The set of values that are given indices.
pub const INDICES: &str = "tunnel address";

/// Which part of the tunnel prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Devices' own.
    Device,
    /// What apps are reached by.
    App,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::App => "app",
        })
    }
}

/// Who has which index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// In which part.
    pub part: Part,
    /// The device's id or the app's name.
    pub owner: String,
    /// Its place in the part.
    pub index: u32,
    /// Since when it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<Timestamp>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for Address {
    const KIND: Kind = Kind::Address;

    fn name(&self) -> String {
        format!("{}/{}", self.part, self.owner)
    }

    fn uniques(&self) -> Vec<Unique> {
        vec![Unique::new(INDICES, format!("{}/{}", self.part, self.index))]
    }
}
