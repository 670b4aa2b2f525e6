//! Everything that is read from files, and what a load of it did.
//! It starts nothing and puts nothing in force. Always true: what is read together belongs together.

use std::{io, path::Path, sync::Arc};

use connector::dial::Site;
use serde::{Deserialize, Serialize};

use crate::{
    config::{self, Config},
    policies::Policies,
};

/// What a load did, for the one who asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loaded {
    /// The policies' fingerprint.
    pub policies: String,
    /// How many policies are in force.
    pub count: usize,
    /// Forbids that are not there any more.
    pub forbids_removed: Vec<String>,
    /// Open connections that were cut because of it.
    pub cut: usize,
    /// Warnings of the configuration and lints of the policies.
    pub warnings: Vec<String>,
}

/// What to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every file.
    All,
    /// The policies, because a person said so.
    Policies,
    /// The policies, because the folder changed: refused if a forbid would go.
    WatchedPolicies,
    /// Nothing: what is in force is put in force again, so that everything open is asked again.
    Again,
}

/// Everything that is read from files.
#[derive(Debug, Clone)]
pub struct Files {
    /// doorward.toml.
    pub config: Arc<Config>,
    /// The policy folder.
    pub policies: Policies,
}

impl Files {
    /// Reads everything the configuration at `path` names; what did not change of the policies
    /// `in_force` serves again. The error lists every mistake.
    pub fn read(path: &Path, in_force: Option<&Policies>) -> Result<Self, String> {
        let config = config::load(path).map_err(|error| error.to_string())?;
        let policies = Policies::load(&config, in_force)?;
        Ok(Self { config: Arc::new(config), policies })
    }

    /// The same with the policies read again.
    pub(super) fn with_policies(&self) -> Result<Self, String> {
        Ok(Self { policies: Policies::load(&self.config, Some(&self.policies))?, ..self.clone() })
    }

    /// What the gateway itself may dial, on this machine.
    pub fn local(&self) -> io::Result<Site> {
        Site::here(self.config.sites.local.clone().unwrap_or_default())
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let lints = self.policies.engine().lints().iter().map(ToString::to_string);
        self.config.warnings.iter().cloned().chain(lints).collect()
    }

    /// The first thing that differs and is fixed while the gateway runs: it is bound or handed out.
    pub(super) fn fixed_difference(&self, new: &Self) -> Option<&'static str> {
        let (old, new) = (&*self.config, &*new.config);
        let links = |config: &Config| config.links.as_ref().map(|link| (link.listen.clone(), link.pin));
        let fixed = [
            ("gateway.listen", old.gateway.listen != new.gateway.listen),
            ("gateway.private_key", old.gateway.public_key() != new.gateway.public_key()),
            ("gateway.name", old.gateway.name != new.gateway.name),
            ("gateway.state", old.gateway.state != new.gateway.state),
            ("gateway.admins", old.gateway.admins != new.gateway.admins),
            ("gateway.namespace", old.gateway.namespace != new.gateway.namespace),
            ("health.listen", old.health.listen != new.health.listen),
            ("gateway.shards", old.gateway.shards != new.gateway.shards),
            ("store", !old.store.is_same(&new.store)),
            ("audit", (old.audit.keep_for, &old.audit.otlp) != (new.audit.keep_for, &new.audit.otlp)),
            ("tunnel", old.tunnel.nets() != new.tunnel.nets()),
            ("devices.mtu", old.devices.mtu != new.devices.mtu),
            ("connectors", links(old) != links(new)),
            ("join", old.join != new.join),
            ("tls.built_in", old.tls.built_in != new.tls.built_in),
        ];
        fixed.into_iter().find_map(|(name, differs)| differs.then_some(name))
    }
}
