//! Administration over a real store and a real audit log in a folder of the test's own.
//! Nothing is dialled. Always true: what a test asks goes through the door everybody uses.

mod key;
mod provider;
mod restore;
mod session;

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use control::{
    audit::{AuditKey, Log},
    seal::Keyring,
    store::Store,
};
use serde_json::Value;

use super::*;
use crate::{
    dataplane::DataPlane,
    dial::Dialer,
    health::Health,
    testing::{Company, DIRECTORY},
    tls::{Certificates, Names},
    truth::{self, Kept, Loader},
};

/// A gateway without any network.
pub(super) struct World {
    pub company: Company,
    pub admin: Admin,
}

impl World {
    /// With an empty store.
    pub async fn new() -> Self {
        Self::of(Company::new("", "")).await
    }

    /// With an empty store, and the keys of another's.
    pub async fn with_key(key: Option<PathBuf>) -> Self {
        let company = Company::new("", "");
        if let Some(key) = key {
            std::fs::copy(key, company.folder().join("store.key")).expect("copied");
        }
        Self::of(company).await
    }

    /// With an empty store, and the files of `company`.
    pub async fn of(company: Company) -> Self {
        let files = company.files();
        let kept = Kept::open(&files.config).await.unwrap_or_else(|error| panic!("{error}"));
        let (engine, directory) = (files.policies.engine().clone(), kept.view().directory().clone());
        let snapshot = Snapshot::new(1, files.config.clone(), engine, directory, kept.lease.clone());
        let live = Live::new(Arc::new(snapshot));
        let in_force = truth::Parts {
            live: live.clone(),
            data_plane: DataPlane::ended(),
            dialer: Dialer::new(None, files.local().expect("this machine")),
            registry: None,
            certificates: Certificates::new(Names::default(), None),
            shadow: crate::shadow::new().0,
        };
        let held = kept.held();
        let (loader, reloader) = Loader::new(company.folder().join("doorward.toml"), files, kept, in_force);
        tokio::spawn(loader.run());
        let state = company.folder().join("state");
        let key = AuditKey::read_or_create(&state.join("audit.key")).expect("a key");
        let audit_key = key.public();
        let (log, _) = Log::open(&state.join(FOLDER), "gw", key, Default::default()).expect("a log");
        let durable = Durable::new(held.store.clone(), reloader.clone(), Health::default(), held.journal);
        let admin = Admin::new(Parts {
            gateway: "gw".into(),
            state,
            store: held.store,
            keys: held.keys.clone(),
            reloader,
            live,
            books: Books::new(log, held.keys, "gw".into()),
            audit_key,
            durable: durable.expect("a journal"),
            providers: Providers::default(),
            alone: Semaphore::new(1),
        });
        Self { company, admin }
    }

    /// The same with what a killed process would read anew: its keys.
    pub fn restarted(self) -> Self {
        let Self { company, admin } = self;
        let keys = Keyring::read(&company.folder().join("store.key")).expect("keys");
        let keys: Keys = Arc::new(ArcSwap::from_pointee(keys));
        let old = &admin.0;
        let books = Books::new(old.books.log().clone(), keys.clone(), old.gateway.clone());
        let admin = Admin::new(Parts {
            gateway: old.gateway.clone(),
            state: old.state.clone(),
            store: old.store.clone(),
            keys,
            reloader: old.reloader.clone(),
            live: old.live.clone(),
            books,
            audit_key: old.audit_key,
            durable: old.durable.clone(),
            providers: old.providers.clone(),
            alone: Semaphore::new(1),
        });
        Self { company, admin }
    }

    /// Alice, her laptop and her groups.
    pub async fn fill(&self) {
        self.import(DIRECTORY.to_owned()).await;
    }

    pub async fn import(&self, text: String) {
        let file = "directory.toml".into();
        self.ask(AdminRequest::Import { text, file, prune: false, again: false, dry_run: false }).await;
    }

    /// As root.
    pub async fn try_ask(&self, request: AdminRequest) -> Result<Answer, String> {
        self.admin.serve(Admin::operator(0, 0), request).await
    }

    /// The same; it must work.
    pub async fn ask(&self, request: AdminRequest) -> Answer {
        self.try_ask(request).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub async fn device(&self, request: DeviceRequest) -> Answer {
        self.ask(AdminRequest::Control(Request::Device(request))).await
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.company.folder().join(name)
    }

    pub async fn backup(&self) -> PathBuf {
        let file = self.file("backup.jsonl");
        self.ask(AdminRequest::Backup { file: file.clone() }).await;
        file
    }

    pub async fn restore(&self, file: &std::path::Path) -> Answer {
        self.ask(AdminRequest::Restore(RestoreRequest::From { file: file.to_owned(), yes: true })).await
    }

    pub fn store(&self) -> &Store {
        &self.admin.0.store
    }

    /// Whether the laptop may do anything at all; none if it is not there.
    pub fn laptop(&self) -> Option<bool> {
        let snapshot = self.admin.0.live.snapshot();
        snapshot.device(&"laptop".parse().expect("a name")).map(|device| device.enabled)
    }

    /// The lines of the audit log of one kind.
    pub async fn audited(&self, text: &str) -> Value {
        let (user, device) = (None, None);
        let grep = request::AuditRequest::Grep { text: Some(text.to_owned()), user, device, most: 99 };
        self.ask(AdminRequest::Audit(grep)).await.data
    }
}
