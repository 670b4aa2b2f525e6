//! A logout token that a provider sent: it ends sessions once. It holds no token.
//! Always true: it is kept for as long as the token could be shown again.

use std::sync::Arc;

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Body, Kind, Rest};

/// A logout token that was obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logout {
    /// The provider, and the hash of the token's own name.
    pub id: Arc<str>,
    /// When it was made.
    pub at: Timestamp,
    /// What a newer version wrote.
    #[serde(flatten)]
    pub rest: Rest,
}

impl Body for Logout {
    const KIND: Kind = Kind::Logout;

    fn name(&self) -> String {
        self.id.as_ref().to_owned()
    }
}
