//! The store as the gateway holds it: opened and proven, and the view that follows from it.
//! It puts nothing in force. Always true: a gateway whose keys do not open the store's secrets does not
//! start, nor does one that cannot read it.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use control::{
    addresses,
    directory::{Touched, View},
    journal::Journal,
    object::Kind,
    revoked::Revoked,
    seal::Keyring,
    store::{
        self, Boot, Commit, CommitError, Engine, Expect, Lease, Loaded, Meta, News, ObjectId, Op, Store,
        StoreError, postgres::Postgres, sqlite::Sqlite,
    },
};
use protocol::{id::AppId, time::Timestamp};

use crate::{
    books::Keys,
    config::{Config, Database, Part, Tunnel},
};

/// How long one call to a shared database may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Another gateway may give out addresses at the same time: so often is it tried again.
pub(super) const TRIES: usize = 8;
/// The name of the object that proves the keys.
pub const PROOF: &str = "proof";

/// The store and what follows from it.
#[derive(Debug)]
pub struct Kept {
    /// The way to it.
    pub store: Store,
    /// For how long the view may be gone by.
    pub lease: Lease,
    view: View,
    /// What differs from what is in force.
    touched: Touched,
    /// What opens its secrets.
    pub keys: Keys,
    /// Revocations that are not durable in it yet.
    pub journal: Journal,
}

/// What of the store is not its owner's alone.
#[derive(Debug)]
pub struct Held {
    /// The way to it.
    pub store: Store,
    /// For how long the view may be gone by.
    pub lease: Lease,
    /// What opens its secrets.
    pub keys: Keys,
    /// Revocations that are not durable in it yet.
    pub journal: Journal,
    /// What was taken over of it so far.
    pub known: Meta,
}

/// Why the store is not there; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file of keys.
    #[error(transparent)]
    Keys(#[from] control::seal::KeyringError),
    /// The keys are not the store's.
    #[error(
        "the keys in {file} do not open this store's secrets ({why}): put the file back that belongs to it"
    )]
    OtherKeys {
        /// Which file.
        file: String,
        /// What was tried.
        why: String,
    },
    /// The journal.
    #[error("the revocations that wait for the store cannot be read: {0}")]
    Journal(#[from] std::io::Error),
    /// The first commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Kept {
    /// Opens the store of a configuration. Revocations a former run could not make durable hold at once.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let began = Boot::now();
        let (engine, lease): (Arc<dyn Engine>, _) = match &config.store.database {
            Database::Own(file) => {
                let file = file.clone();
                let opened = tokio::task::spawn_blocking(move || Sqlite::open(&file)).await;
                let opened = opened.map_err(|error| StoreError::Damaged { why: error.to_string() })?;
                (Arc::new(opened?), Lease::alone())
            }
            Database::Shared(shared) => {
                let engine = Postgres::connect(shared.url.clone(), shared.ca.as_deref(), DEADLINE).await?;
                (Arc::new(engine), Lease::shared(shared.lease, began))
            }
        };
        Self::over(engine, lease, config).await
    }

    /// The same, over an open database.
    pub(crate) async fn over(
        engine: Arc<dyn Engine>,
        lease: Lease,
        config: &Config,
    ) -> Result<Self, OpenError> {
        let keys = Keyring::read(&config.store.key)?;
        let journal = Journal::new(&config.gateway.state);
        let pending = journal.read()?;
        let store = Store::new(engine);
        let loaded = store.engine().load().await?;
        let view = View::new(&loaded, pending.into_iter().map(|entry| entry.revoked));
        let touched = Touched::default();
        let mut kept =
            Self { store, lease, view, touched, keys: Arc::new(ArcSwap::from_pointee(keys)), journal };
        kept.prove(&loaded, config).await?;
        Ok(kept)
    }

    /// A store that has no proof yet gets one by the keys there are.
    async fn prove(&mut self, loaded: &Loaded, config: &Config) -> Result<(), OpenError> {
        let id = ObjectId::new(Kind::Secret, PROOF);
        let store = &loaded.meta.store;
        if let Some(proof) = loaded.objects.iter().find(|object| object.id == id) {
            let text: String = serde_json::from_str(&proof.body).unwrap_or_default();
            let file = || config.store.key.display().to_string();
            let other =
                |why: control::seal::SealError| OpenError::OtherKeys { file: file(), why: why.to_string() };
            return self.keys.load().proves(store, &text).map_err(other);
        }
        let body = serde_json::Value::String(self.keys.load().proof(store)).to_string();
        let op = Op::Put { id: id.clone(), body: body.into(), uniques: Vec::new() };
        let commit = Commit { expects: vec![(id, Expect::Absent)], ops: vec![op], records: Vec::new() };
        self.store.commit(commit).await?;
        let news = store::news(self.store.engine(), &loaded.meta).await?.0;
        self.take(news);
        Ok(())
    }

    /// What others than its owner need of it.
    pub fn held(&self) -> Held {
        Held {
            store: self.store.clone(),
            lease: self.lease.clone(),
            keys: self.keys.clone(),
            journal: self.journal.clone(),
            known: self.view.directory().meta().clone(),
        }
    }

    /// What was read.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What the view says differently since the last call.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    fn touch(&mut self, touched: Touched) {
        self.touched = std::mem::take(&mut self.touched).and(touched);
    }

    /// Takes news over.
    pub fn take(&mut self, news: News) {
        let touched = match news {
            News::Changes(meta, changes) => self.view.apply(meta, &changes),
            News::Loaded(loaded) => self.view.replace(&loaded),
        };
        self.touch(touched);
    }

    /// Lets this count for nothing, ahead of the store.
    pub fn revoke(&mut self, revoked: &[Revoked]) {
        for one in revoked {
            let touched = self.view.revoke(one);
            self.touch(touched);
        }
    }

    /// Lets the store speak of it again.
    pub fn give_back(&mut self, revoked: &[Revoked]) {
        for one in revoked {
            let touched = self.view.give_back(one);
            self.touch(touched);
        }
    }

    /// What gives every app of `config` its tunnel address, and lets those of apps that are gone rest; none
    /// if that is so.
    pub fn addresses(&self, config: &Config, now: Timestamp) -> Result<Option<Commit>, String> {
        let wanted = config.apps.iter().map(|app| {
            let chosen = app.address.and_then(|address| config.tunnel.index(Part::Apps, address));
            (app.facts.id.clone(), chosen)
        });
        let wanted: Vec<(AppId, Option<u32>)> = wanted.collect();
        let pool = Tunnel::FIRST..=config.tunnel.last();
        addresses::apps(&self.view, &wanted, pool, now).map_err(|error| error.to_string())
    }

    /// Gives the apps of `config` their addresses before anything is in force.
    pub async fn give_addresses(&mut self, config: &Config, now: Timestamp) -> Result<(), String> {
        for _ in 0..TRIES {
            let Some(commit) = self.addresses(config, now)? else { return Ok(()) };
            let known = self.view.directory().meta().clone();
            let news = give(&self.store, &known, commit).await?;
            self.take(news);
        }
        Err(CONTENDED.to_owned())
    }
}

/// What is said when addresses of apps are never as this gateway wants them.
pub(super) const CONTENDED: &str =
    "other gateways change the tunnel addresses of apps all the time: do their files list the same apps?";

/// Commits addresses, and reads what came of it; who was slower than another reads what that one did.
pub(super) async fn give(store: &Store, known: &Meta, commit: Commit) -> Result<News, String> {
    match store.commit(commit).await {
        Ok(_) | Err(CommitError::Refused(_)) => {}
        Err(CommitError::Store(error)) => {
            return Err(format!(
                "apps were added or removed, and their tunnel addresses cannot be kept: {error}"
            ));
        }
    }
    Ok(store::news(store.engine(), known).await.map_err(|error| error.to_string())?.0)
}
