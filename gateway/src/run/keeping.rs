//! What of the start concerns the store and the audit log: opened, proven, followed, looked after.
//! It serves nobody. Always true: no flow is accepted before the store was read and the audit log goes on.

use std::{sync::Arc, time::SystemTime};

use anyhow::{Context, anyhow};
use control::{
    audit::{AuditKey, Collector, Export, Head, Log, Options, PublicKey, Retention},
    store::follow,
};
use protocol::time::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::sync::{Semaphore, watch};

use crate::{
    admin::{self, Admin, Durable},
    authority::{Keeper, Roots},
    books::Books,
    carry::Carrier,
    config::{Config, Otlp},
    connectors::Registry,
    health::Health,
    join::Redeemer,
    live::Live,
    sessions::{Idle, Providers, Refresh, Sessions, Turns},
    snapshot::Snapshot,
    steward::Steward,
    tls::TlsFront,
    truth::{Files, Held, Kept, Reloader},
};

/// Opens the store and gives every app its address.
pub(super) async fn keep(config: &Config) -> anyhow::Result<Kept> {
    let mut kept = Kept::open(config).await.context("the store")?;
    let now = Timestamp::from_system(SystemTime::now());
    kept.give_addresses(config, now).await.map_err(|error| anyhow!(error))?;
    Ok(kept)
}

/// What is in force first.
pub(super) fn first_snapshot(files: &Files, kept: &Kept) -> Snapshot {
    let engine = files.policies.engine().clone();
    Snapshot::new(1, files.config.clone(), engine, kept.view().directory().clone(), kept.lease.clone())
}

/// The audit log, and what follows its chain.
pub(super) struct Audit {
    pub books: Books,
    public: PublicKey,
    heads: watch::Receiver<Option<Head>>,
}

/// Goes on with this gateway's chain. A gateway that cannot say what it does, does nothing.
pub(super) async fn open_audit(config: &Config, kept: &Kept) -> anyhow::Result<Audit> {
    let (state, name) = (config.gateway.state.clone(), config.gateway.name.clone());
    let retention = Retention { age: config.audit.keep_for, ..Retention::default() };
    let opened = tokio::task::spawn_blocking(move || {
        let key = AuditKey::read_or_create(&state.join("audit.key"))?;
        let public = key.public();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let options = Options { version, retention, ..Options::default() };
        let (log, heads) = Log::open(&state.join(admin::FOLDER), name.as_str(), key, options)?;
        anyhow::Ok((log, heads, public))
    });
    let (log, heads, public) = opened.await?.context("the audit log")?;
    if let Some(otlp) = &config.audit.otlp {
        let collector = Collector { endpoint: otlp.endpoint.clone(), tls: trust(otlp)? };
        tokio::spawn(Export::new(collector, config.gateway.name.as_str(), heads.clone())?.run());
    }
    let books = Books::new(log, kept.keys.clone(), config.gateway.name.as_str().into());
    Ok(Audit { books, public, heads })
}

/// Trusts who signed the collector's certificate, and nobody else.
fn trust(otlp: &Otlp) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &otlp.ca {
        for certificate in CertificateDer::pem_file_iter(file).context("audit.otlp_ca")? {
            roots.add(certificate.context("audit.otlp_ca")?)?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(tls.with_root_certificates(roots).with_no_client_auth()))
}

/// What those who look after the store act on.
pub(super) struct Around<'a> {
    pub live: &'a Live,
    pub reloader: &'a Reloader,
    pub health: &'a Health,
    pub registry: Option<&'a Registry>,
    pub config: &'a Config,
    pub tls: &'a TlsFront,
}

/// What administers, what signs people in, and what their devices may have to trust.
pub(super) struct LookedAfter {
    pub admin: Admin,
    pub sessions: Sessions,
    pub refresh: Refresh,
    pub roots: Roots,
}

/// Starts what follows the store and keeps an eye on it, what administers, and what signs people in.
pub(super) async fn look_after(held: Held, audit: Audit, around: &Around<'_>) -> anyhow::Result<LookedAfter> {
    let Held { store, lease, keys, journal, known } = held;
    let (reloader, live, health) = (around.reloader.clone(), around.live.clone(), around.health.clone());
    let (follower, followed) = (reloader.clone(), store.clone());
    let confirmed = lease.clone();
    tokio::spawn(async move {
        let take = async move |news| {
            follower.news(news).await;
        };
        follow(followed, confirmed, known, take).await;
    });
    if let Some(registry) = around.registry {
        let (store, reloader, books) = (store.clone(), reloader.clone(), audit.books.clone());
        registry.redeem_with(Arc::new(Redeemer { store, reloader, books }));
    }
    let durable = Durable::new(store.clone(), reloader.clone(), health.clone(), journal)?;
    tokio::spawn(durable.clone().run());
    let gateway: Arc<str> = around.config.gateway.name.as_str().into();
    let log = audit.books.log().clone();
    let (store_too, reloader_too, live_too) = (store.clone(), reloader.clone(), live.clone());
    let steward = Steward {
        gateway: gateway.clone(),
        store: store_too,
        lease,
        keys: keys.clone(),
        log,
        reloader: reloader_too,
        live: live_too,
        health,
    };
    tokio::spawn(steward.clone().keep_heads(audit.heads));
    tokio::spawn(steward.clone().rounds());
    tokio::spawn(steward.clone().probe());
    tokio::spawn(steward.watch());
    let carrier = Carrier {
        store: store.clone(),
        reloader: reloader.clone(),
        durable: durable.clone(),
        books: audit.books.clone(),
    };
    let sessions = Sessions {
        carrier,
        live: live.clone(),
        keys: keys.clone(),
        providers: Providers::default(),
        gateway: gateway.clone(),
        turns: Turns::default(),
    };
    let refresh = Refresh::new(sessions.clone(), around.health.clone());
    tokio::spawn(refresh.clone().run());
    let leader = refresh.clone();
    tokio::spawn(Idle::new(sessions.clone()).run(move || leader.leads()));
    let roots = Roots::default();
    let keeper = Keeper {
        store: store.clone(),
        reloader: reloader.clone(),
        keys: keys.clone(),
        certificates: around.tls.certificates().clone(),
        roots: roots.clone(),
        live: live.clone(),
        health: around.health.clone(),
    };
    if around.config.tls.built_in {
        keeper.start().await.map_err(|why| anyhow!("the built-in certificate authority: {why}"))?;
    }
    let (books, audit_key, state) = (audit.books, audit.public, around.config.gateway.state.clone());
    let parts = admin::Parts {
        gateway,
        state,
        store,
        keys,
        reloader,
        live,
        books,
        audit_key,
        durable,
        providers: sessions.providers.clone(),
        alone: Semaphore::new(1),
    };
    Ok(LookedAfter { admin: Admin::new(parts), sessions, refresh, roots })
}
