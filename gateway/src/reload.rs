//! Loads files into snapshots and puts them in force: one owner, one load at a time.
//! It does not parse or decide. Always true: a load that fails in any part changes nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use connector::dial::Site;
use policy::{PolicyFile, Shadow};
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::{
        self, Config, Connector, Directory,
        address::{self, Plan},
    },
    connectors::{ConnectorSpec, Registry},
    dataplane::DataPlane,
    dial::Dialer,
    live::{Asked, Live},
    policies::{self, Policies},
    snapshot::Snapshot,
};

/// Requests that may wait; a burst of signals collapses here.
const REQUESTS: usize = 16;
/// How often a watched policy folder is looked at.
const LOOK: Duration = Duration::from_millis(300);

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

type Request = (Scope, oneshot::Sender<Result<Loaded, String>>);

/// The way to the loader. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader(mpsc::Sender<Request>);

impl Reloader {
    /// Asks for a load and waits for what came of it.
    pub async fn load(&self, scope: Scope) -> Result<Loaded, String> {
        let (sender, answer) = oneshot::channel();
        let gone = |_| "the gateway is shutting down".to_owned();
        self.0.send((scope, sender)).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    /// Has everything open asked again; blocks while the queue is full.
    pub fn ask_again(&self) {
        let (sender, _) = oneshot::channel();
        // A gateway that is shutting down closes everything anyway.
        let _ = self.0.blocking_send((Scope::Again, sender));
    }
}

/// Everything that is read from files, before it becomes a snapshot.
#[derive(Debug, Clone)]
pub struct Files {
    /// doorward.toml.
    pub config: Arc<Config>,
    /// directory.toml.
    pub directory: Arc<Directory>,
    /// Tunnel addresses, allocated and kept.
    pub addresses: Arc<Plan>,
    /// The policy folder.
    pub policies: Policies,
}

impl Files {
    /// Reads everything the configuration at `path` names; what did not change of the policies
    /// `in_force` serves again. The error lists every mistake.
    pub fn read(path: &Path, in_force: Option<&Policies>) -> Result<Self, String> {
        let config = config::load(path).map_err(|error| error.to_string())?;
        let directory = config::load_directory(&config.gateway.directory, &config.tunnel);
        let (directory, policies) = match (directory, Policies::load(&config, in_force)) {
            (Ok(directory), Ok(policies)) => (directory, policies),
            (Ok(_), Err(policies)) => return Err(policies),
            (Err(directory), Ok(_)) => return Err(directory.to_string()),
            (Err(directory), Err(policies)) => return Err(format!("{directory}\n{policies}")),
        };
        let now = Timestamp::from_system(SystemTime::now());
        let addresses = address::plan(&config, &directory, now).map_err(|error| error.to_string())?;
        Ok(Self {
            config: Arc::new(config),
            directory: Arc::new(directory),
            addresses: Arc::new(addresses),
            policies,
        })
    }

    /// The same with the policies read again.
    fn with_policies(&self) -> Result<Self, String> {
        Ok(Self { policies: Policies::load(&self.config, Some(&self.policies))?, ..self.clone() })
    }

    /// The snapshot these files make.
    pub fn snapshot(&self, epoch: u64) -> Snapshot {
        Snapshot::new(
            epoch,
            self.config.clone(),
            self.directory.clone(),
            self.addresses.clone(),
            self.policies.engine().clone(),
        )
    }

    /// What the gateway itself may dial, on this machine.
    pub fn local(&self) -> io::Result<Site> {
        Site::here(self.config.sites.local.clone().unwrap_or_default())
    }

    fn warnings(&self) -> Vec<String> {
        let lints = self.policies.engine().lints().iter().map(ToString::to_string);
        self.config.warnings.iter().cloned().chain(lints).collect()
    }
}

/// The owner of what is loaded.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    files: Files,
    live: Live,
    data_plane: DataPlane,
    dialer: Dialer,
    registry: Option<Registry>,
    shadow: Shadow,
    requests: mpsc::Receiver<Request>,
}

impl Loader {
    /// Takes over `files`, which are in force already, and the parts that follow them.
    pub fn new(
        path: PathBuf,
        files: Files,
        live: Live,
        data_plane: DataPlane,
        dialer: Dialer,
        registry: Option<Registry>,
        shadow: Shadow,
    ) -> (Self, Reloader) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        files.policies.engine().watch(&shadow);
        (Self { path, files, live, data_plane, dialer, registry, shadow, requests }, Reloader(sender))
    }

    /// Serves requests, and watches the policy folder if the configuration says so.
    pub async fn run(mut self) {
        let mut seen = self.files.policies.files().to_vec();
        loop {
            let watch = self.files.config.policy.watch;
            tokio::select! {
                request = self.requests.recv() => {
                    let Some((scope, answer)) = request else { return };
                    let loaded = self.load(scope).await;
                    report(scope, &loaded);
                    // Whoever asked may have gone; the load stands either way.
                    let _ = answer.send(loaded);
                }
                () = tokio::time::sleep(LOOK), if watch => self.look(&mut seen).await,
            }
        }
    }

    /// Loads a changed policy folder once; a folder that was refused is not tried again until it
    /// changes again.
    async fn look(&mut self, seen: &mut Vec<PolicyFile>) {
        // A folder that cannot be read is not loaded; the next look may find it whole.
        let Ok(files) = policies::texts(&self.files.config) else { return };
        if files != *seen {
            let loaded = self.load(Scope::WatchedPolicies).await;
            report(Scope::WatchedPolicies, &loaded);
            *seen = files;
        }
    }

    async fn load(&mut self, scope: Scope) -> Result<Loaded, String> {
        let (path, files) = (self.path.clone(), self.files.clone());
        let read = tokio::task::spawn_blocking(move || match scope {
            Scope::All => Files::read(&path, Some(&files.policies)),
            Scope::Policies | Scope::WatchedPolicies => files.with_policies(),
            Scope::Again => Ok(files),
        });
        let files = read.await.map_err(|error| format!("the load failed: {error}"))??;
        if let Some(fixed) = fixed_difference(&self.files.config, &files.config) {
            return Err(format!(
                "{fixed} cannot change while the gateway runs: restart it. Nothing was loaded"
            ));
        }
        let removed = files.policies.engine().forbids_removed_since(self.files.policies.engine());
        let forbids_removed: Vec<_> = removed.iter().map(ToString::to_string).collect();
        if scope == Scope::WatchedPolicies && !forbids_removed.is_empty() {
            let names = forbids_removed.join(", ");
            return Err(format!(
                "the change removes forbid {names}: say `doorward policy load` if that is meant"
            ));
        }
        let local = files.local().map_err(|error| error.to_string())?;
        files.policies.engine().watch(&self.shadow);
        let cut = self.put(&files, local).await;
        let warnings = files.warnings();
        self.files = files;
        // Reading took several times what is needed from now on. If this fails, it stays with us.
        let _ = tokio::task::spawn_blocking(netio::memory::give_back).await;
        let engine = self.files.policies.engine();
        Ok(Loaded { policies: engine.fingerprint(), count: engine.len(), forbids_removed, cut, warnings })
    }

    async fn put(&self, files: &Files, local: Site) -> usize {
        let snapshot = Arc::new(files.snapshot(self.live.snapshot().epoch() + 1));
        let cut = self.live.put(snapshot.clone(), &Asked::All);
        self.data_plane.set_peers(snapshot.peers(), snapshot.echo().collect()).await;
        self.dialer.set_local(local);
        if let Some(registry) = &self.registry {
            registry.configure(connector_specs(&files.config));
        }
        cut
    }
}

/// The connectors that may link, as the registry takes them.
pub fn connector_specs(config: &Config) -> Vec<ConnectorSpec> {
    let spec = |connector: &Connector| ConnectorSpec {
        id: connector.id.clone(),
        site: connector.site.clone(),
        pin: connector.pin,
    };
    config.connectors.known.iter().map(spec).collect()
}

/// The first thing that differs and is fixed while the gateway runs: it is bound or handed out.
fn fixed_difference(old: &Config, new: &Config) -> Option<&'static str> {
    let links =
        |config: &Config| config.connectors.listener.as_ref().map(|link| (link.listen.clone(), link.pin));
    let fixed = [
        ("gateway.listen", old.gateway.listen != new.gateway.listen),
        ("gateway.private_key", old.gateway.public_key() != new.gateway.public_key()),
        ("gateway.state", old.gateway.state != new.gateway.state),
        ("gateway.namespace", old.gateway.namespace != new.gateway.namespace),
        ("gateway.shards", old.gateway.shards != new.gateway.shards),
        ("health.listen", old.health.listen != new.health.listen),
        ("tunnel", old.tunnel.nets() != new.tunnel.nets()),
        ("devices.mtu", old.devices.mtu != new.devices.mtu),
        ("connectors", links(old) != links(new)),
    ];
    fixed.into_iter().find_map(|(name, differs)| differs.then_some(name))
}

fn report(scope: Scope, loaded: &Result<Loaded, String>) {
    match loaded {
        Ok(loaded) => {
            let removed = loaded.forbids_removed.join(",");
            tracing::info!(
                ?scope,
                policies = loaded.count,
                fingerprint = loaded.policies,
                removed,
                cut = loaded.cut,
                "loaded"
            );
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
        }
        Err(mistakes) => {
            tracing::warn!(?scope, "nothing was loaded, the running configuration stays: {mistakes}")
        }
    }
}

#[cfg(test)]
mod tests;
