//! Why a namespace could not be set up, in words for the operator: what failed, the exact cause,
//! and what to change. The helper finds these and sends them to its parent as JSON.
//! Always true: every error carries a remedy a person can carry out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was being done when the set-up failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Starting the helper process or hearing from it.
    Helper,
    /// Creating the private namespaces.
    Namespace,
    /// Opening /dev/net/tun and making the interface.
    Tun,
    /// Links, addresses, routes and rules.
    Network,
    /// Loading the nftables rule set.
    Ruleset,
    /// Binding the transparent listeners.
    Listener,
    /// Mounting what hides the host's resolver.
    Resolver,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Helper => "start the set-up helper",
            Self::Namespace => "create private namespaces",
            Self::Tun => "make the TUN interface",
            Self::Network => "configure the interface",
            Self::Ruleset => "load the nftables rule set",
            Self::Listener => "open the transparent listeners",
            Self::Resolver => "replace the name resolution settings",
        })
    }
}

/// A set-up that failed; nothing of it is left behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("cannot {step}: {cause}; {remedy}")]
pub struct SetUpError {
    /// What failed.
    pub step: Step,
    /// What the system said.
    pub cause: String,
    /// What the operator can change.
    pub remedy: String,
}

impl SetUpError {
    pub(crate) fn new(step: Step, cause: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self { step, cause: cause.to_string(), remedy: remedy.into() }
    }
}
