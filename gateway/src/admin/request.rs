//! What `doorward admin` asks the running gateway, as the control socket carries it.
//! It carries nothing out. Always true: no request holds a secret.

use std::path::PathBuf;

use protocol::id::{DeviceId, ProviderId, UserId};
use serde::{Deserialize, Serialize};

/// What an administrator asks for; the answer is a [`control::admin::Answer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminRequest {
    /// What the store alone answers. `device add` is answered with the device's configuration as well.
    Control(control::admin::Request),
    /// The configuration of a device, with a placeholder for its private key.
    DeviceConfig {
        /// Which.
        device: DeviceId,
    },
    /// About the audit log.
    Audit(AuditRequest),
    /// About who signs people in.
    Provider(ProviderRequest),
    /// Keep everything in a file, while running.
    Backup {
        /// Which; absolute, and not there yet.
        file: PathBuf,
    },
    /// About going back to a backup.
    Restore(RestoreRequest),
    /// About the keys that seal the store's secrets.
    Key(KeyRequest),
    /// Make what a file lists exist as it is listed.
    Import {
        /// What stands in it.
        text: String,
        /// What it is called, for mistakes.
        file: PathBuf,
        /// Remove what is not listed.
        prune: bool,
        /// Also keys that were taken away, and people who are disabled, if it enables them.
        again: bool,
        /// Only tell what would change.
        dry_run: bool,
    },
}

/// About the audit log of this gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AuditRequest {
    /// Whether its chain and checkpoints hold.
    Verify,
    /// The latest records.
    Tail {
        /// How many.
        lines: usize,
        /// And those that come, until the caller leaves.
        follow: bool,
    },
    /// Records that match, oldest first.
    Grep {
        /// In the record, as it is.
        text: Option<String>,
        /// About this person.
        user: Option<UserId>,
        /// About this device.
        device: Option<DeviceId>,
        /// At most as many, the latest.
        most: usize,
    },
    /// Why a request was decided as it was.
    Explain {
        /// The id on the page, or in the log.
        id: String,
    },
}

/// About who signs people in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProviderRequest {
    /// Which there are, and what is wrong with them.
    List,
    /// Look one over.
    Check {
        /// The name or the issuer of one of the configuration, or the issuer of one that is none yet.
        provider: String,
        /// What one that is none yet is to be called.
        name: Option<ProviderId>,
    },
}

/// About going back to a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RestoreRequest {
    /// Put a backup in the place of everything.
    From {
        /// Which; absolute.
        file: PathBuf,
        /// Do it, rather than tell what would be done.
        yes: bool,
    },
    /// Open the store although some revocations could not be applied again.
    Confirm,
}

/// About the keys that seal the store's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyRequest {
    /// Which there are, and what each still seals.
    List,
    /// Seal everything with the newest.
    Rotate,
}
