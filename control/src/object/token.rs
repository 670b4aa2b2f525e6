//! A one-time credential. Its secret was shown once, to the one who asked for it; here is its hash.
//! Always true: a token that was used names what used it, and opens nothing else ever after.

use std::sync::Arc;

use protocol::{
    id::{ConnectorId, SiteId},
    key::LinkPin,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{Body, Kind, Rest};

/// A one-time credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Random; no secret.
    pub id: Arc<str>,
    /// SHA-256 of the secret, which has 256 random bits of its own: no salt is needed.
    pub hash: Arc<str>,
    /// The site a connector joins with it.
    pub site: SiteId,
    /// The name the connector gets.
    pub connector: ConnectorId,
    /// Who asked for it: an account of the gateway's machine.
    pub by: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// From when on it opens nothing.
    pub expires: Timestamp,
    /// The key that joined with it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::optional_text")]
    pub used: Option<LinkPin>,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for Token {
    const KIND: Kind = Kind::Token;

    fn name(&self) -> String {
        self.id.as_ref().to_owned()
    }
}
