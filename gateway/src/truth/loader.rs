//! Puts snapshots in force: the one owner of files and view, one change at a time.
//! It does not parse or decide. Always true: a load that fails in any part changes nothing; news of the
//! store and revocations are asked about only where they touch something, and wait for no load.

use std::{
    collections::VecDeque,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use connector::dial::Site;
use control::{
    directory::{Touched, View},
    revoked::Revoked,
    store::{self, News, Store, StoreError},
};
use policy::{PolicyFile, Shadow};
use protocol::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{
    Files, Kept, Loaded, Scope,
    kept::{CONTENDED, TRIES, give},
};
use crate::{
    config::Config,
    connectors::{ConnectorSpec, Registry},
    dataplane::DataPlane,
    dial::Dialer,
    live::{Asked, Live},
    policies,
    snapshot::Snapshot,
    tls::Certificates,
};

/// Requests that may wait; a burst of signals collapses here.
const REQUESTS: usize = 64;
/// How often a watched policy folder is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// What the owner is asked to do.
#[derive(Debug)]
enum Request {
    /// Read files.
    Load(Scope, oneshot::Sender<Result<Loaded, String>>),
    /// Take over what the store says; how much was cut.
    News(News, oneshot::Sender<usize>),
    /// Let this count for nothing, ahead of the store; how much was cut.
    Revoke(Vec<Revoked>, oneshot::Sender<usize>),
    /// Let the store speak of this again.
    GiveBack(Vec<Revoked>, oneshot::Sender<()>),
}

/// The way to the owner. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
    store: Store,
    view: Arc<ArcSwap<View>>,
}

fn gone() -> String {
    "the gateway is shutting down".to_owned()
}

impl Reloader {
    /// Asks for a load and waits for what came of it.
    pub async fn load(&self, scope: Scope) -> Result<Loaded, String> {
        self.ask(|answer| Request::Load(scope, answer)).await.ok_or_else(gone)?
    }

    /// Has everything open asked again; blocks while the queue is full.
    pub fn ask_again(&self) {
        let (sender, _) = oneshot::channel();
        // A gateway that is shutting down closes everything anyway.
        let _ = self.requests.blocking_send(Request::Load(Scope::Again, sender));
    }

    /// Hands news of the store over; they are in force on return. How much was cut.
    pub async fn news(&self, news: News) -> usize {
        self.ask(|answer| Request::News(news, answer)).await.unwrap_or_default()
    }

    /// Takes over what was committed so far; in force on return. How many open connections were cut.
    pub async fn catch_up(&self) -> Result<usize, StoreError> {
        let mut cut = 0;
        loop {
            let known = self.view().directory().meta().clone();
            // Read here, so that a store that does not answer keeps nobody else waiting.
            let (news, whole) = store::news(self.store.engine(), &known).await?;
            cut += self.news(news).await;
            if whole {
                return Ok(cut);
            }
        }
    }

    /// Cuts what hangs on `revoked`, whatever the store says; in force on return. How much was cut.
    pub async fn revoke(&self, revoked: Vec<Revoked>) -> usize {
        self.ask(|answer| Request::Revoke(revoked, answer)).await.unwrap_or_default()
    }

    /// Lets the store speak again of what was revoked ahead of it.
    pub async fn give_back(&self, revoked: Vec<Revoked>) {
        self.ask(|answer| Request::GiveBack(revoked, answer)).await;
    }

    /// The store as it was read last.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.requests.send(request(sender)).await.ok()?;
        answer.await.ok()
    }
}

/// What follows the snapshots.
#[derive(Debug)]
pub struct Parts {
    /// What is open.
    pub live: Live,
    /// The packet path.
    pub data_plane: DataPlane,
    /// What dials.
    pub dialer: Dialer,
    /// The connectors, if any may link.
    pub registry: Option<Registry>,
    /// What TLS is answered with.
    pub certificates: Certificates,
    /// What compares decisions.
    pub shadow: Shadow,
}

/// A load, and who waits for it.
type Load = (Scope, oneshot::Sender<Result<Loaded, String>>);

/// The owner of what is in force.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    files: Files,
    kept: Kept,
    parts: Parts,
    published: Arc<ArcSwap<View>>,
    requests: mpsc::Receiver<Request>,
    /// Loads that wait for the one under way.
    loads: VecDeque<Load>,
}

impl Loader {
    /// Takes over `files` and `kept`, which are in force already, and the parts that follow them.
    pub fn new(path: PathBuf, files: Files, kept: Kept, parts: Parts) -> (Self, Reloader) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        files.policies.engine().watch(&parts.shadow);
        let published = Arc::new(ArcSwap::from_pointee(kept.view().clone()));
        let reloader = Reloader { requests: sender, store: kept.store.clone(), view: published.clone() };
        (Self { path, files, kept, parts, published, requests, loads: VecDeque::new() }, reloader)
    }

    /// Serves requests, and watches the policy folder if the configuration says so.
    pub async fn run(mut self) {
        let mut seen = self.files.policies.files().to_vec();
        loop {
            if let Some((scope, answer)) = self.loads.pop_front() {
                let loaded = self.load(scope).await;
                report(scope, &loaded);
                // Whoever asked may have gone; what was done stands either way.
                let _ = answer.send(loaded);
                continue;
            }
            let watch = self.files.config.policy.watch;
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(request) = request else { return };
                    self.serve(request).await;
                }
                () = tokio::time::sleep(LOOK), if watch => self.look(&mut seen).await,
            }
        }
    }

    /// Does at once what waits for nothing; loads come one after the other.
    async fn serve(&mut self, request: Request) {
        match request {
            Request::Load(_, answer) if self.loads.len() >= REQUESTS => {
                let _ = answer.send(Err("too many loads are waiting: look at the log".to_owned()));
            }
            Request::Load(scope, answer) => self.loads.push_back((scope, answer)),
            Request::News(news, answer) => {
                self.kept.take(news);
                let _ = answer.send(self.put().await);
            }
            Request::Revoke(revoked, answer) => {
                self.kept.revoke(&revoked);
                let _ = answer.send(self.put().await);
            }
            Request::GiveBack(revoked, answer) => {
                self.kept.give_back(&revoked);
                self.put().await;
                let _ = answer.send(());
            }
        }
    }

    /// Waits for `work`, serving others meanwhile: no revocation waits for a file, a policy or a disk.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(request) = self.requests.recv() => self.serve(request).await,
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
        let files = self.meanwhile(read).await.map_err(|error| format!("the load failed: {error}"))??;
        if let Some(fixed) = self.files.fixed_difference(&files) {
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
        if scope == Scope::All {
            self.give_addresses(&files.config).await?;
        }
        files.policies.engine().watch(&self.parts.shadow);
        let cut = self.put_files(files, local).await;
        // Reading took several times what is needed from now on. If this fails, it stays with us.
        let _ = tokio::task::spawn_blocking(netio::memory::give_back).await;
        let (engine, warnings) = (self.files.policies.engine(), self.files.warnings());
        Ok(Loaded { policies: engine.fingerprint(), count: engine.len(), forbids_removed, cut, warnings })
    }

    /// Gives every app its tunnel address; another gateway may do the same.
    async fn give_addresses(&mut self, config: &Config) -> Result<(), String> {
        for _ in 0..TRIES {
            let now = Timestamp::from_system(SystemTime::now());
            let Some(commit) = self.kept.addresses(config, now)? else { return Ok(()) };
            let (store, known) = (self.kept.store.clone(), self.kept.view().directory().meta().clone());
            let news = self.meanwhile(async move { give(&store, &known, commit).await }).await?;
            self.kept.take(news);
            self.put().await;
        }
        Err(CONTENDED.to_owned())
    }

    async fn put_files(&mut self, files: Files, local: Site) -> usize {
        self.files = files;
        self.parts.certificates.put(&self.files.config);
        self.kept.take_touched();
        let cut = self.put_touched(Touched::everything()).await;
        self.parts.dialer.set_local(local);
        cut
    }

    /// Puts in force what the view says differently. How much was cut.
    async fn put(&mut self) -> usize {
        let touched = self.kept.take_touched();
        // A revision that touches nothing is in force as well: who waits for it looks here.
        self.put_touched(touched).await
    }

    /// Puts files and view in force, asking again about what was touched. How much was cut.
    async fn put_touched(&mut self, touched: Touched) -> usize {
        let before = self.parts.live.snapshot();
        let whole = touched.everything || touched.apps;
        let snapshot = Arc::new(if whole {
            self.snapshot(before.epoch() + 1)
        } else {
            before.with(self.kept.view().directory().clone())
        });
        let asked = if whole { Asked::All } else { Asked::Of(touched.devices) };
        let cut = self.parts.live.put(snapshot.clone(), &asked);
        self.published.store(Arc::new(self.kept.view().clone()));
        let all = || (snapshot.peers(), snapshot.echo().collect());
        if whole {
            let (peers, echo) = all();
            self.parts.data_plane.set_peers(peers, echo).await;
        } else if !touched.peers.is_empty() {
            let records = touched.peers.iter().filter_map(|device| snapshot.device(device));
            let specs = records.filter_map(|record| snapshot.peer(record)).collect();
            self.parts.data_plane.change_peers(touched.peers, specs, all).await;
        }
        if let Some(registry) =
            self.parts.registry.as_ref().filter(|_| touched.everything || touched.connectors)
        {
            registry.configure(connector_specs(&snapshot));
        }
        cut
    }

    fn snapshot(&self, epoch: u64) -> Snapshot {
        let engine = self.files.policies.engine().clone();
        let directory = self.kept.view().directory().clone();
        Snapshot::new(epoch, self.files.config.clone(), engine, directory, self.kept.lease.clone())
    }
}

/// The connectors that may link, as the registry takes them: those at sites of the configuration.
pub fn connector_specs(snapshot: &Snapshot) -> Vec<ConnectorSpec> {
    let sites = &snapshot.config().sites.names;
    let known = snapshot.directory().connectors().filter(|connector| sites.contains(&connector.site));
    let spec = |connector: &Arc<control::object::Connector>| ConnectorSpec {
        id: connector.id.clone(),
        site: connector.site.clone(),
        pin: connector.pin,
    };
    known.map(spec).collect()
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
