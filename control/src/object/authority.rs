//! The certificate authority of the gateways that share a store: one key for all, sealed.
//! What it may sign is its certificate's business. Always true: there is one at most.

use std::sync::Arc;

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Body, Kind, Rest};

/// Its name: there is one.
pub const ACCESS: &str = "access";

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// [`ACCESS`].
    pub id: Arc<str>,
    /// Its own certificate, in PEM.
    pub certificate: String,
    /// Sealed: its private key.
    pub key: Arc<str>,
    /// When it was made.
    pub at: Timestamp,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for Authority {
    const KIND: Kind = Kind::Authority;

    fn name(&self) -> String {
        self.id.as_ref().to_owned()
    }
}
