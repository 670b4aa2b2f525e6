//! Keeps an eye on the store and the audit log: says what is degraded and what helps, has everything
//! asked again when the lease ends, carries records from the store into the chain, keeps the chain's heads
//! in the store, and compares this gateway with its siblings. It writes no fact.
//! Always true: whatever it cannot do now it tries again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use control::{
    audit::{Entry, Head, Log},
    directory::View,
    object::User,
    seal::{Keyring, key_of},
    store::{Boot, Lease, Observation, Revision, Store, StoreError},
};
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};

use crate::{
    admin::HEADS,
    books::Keys,
    health::{Degraded, Health},
    live::Live,
    truth::{Reloader, Scope},
};

/// How often lease and trouble are looked at: well inside the promised second.
const LOOK: Duration = Duration::from_millis(250);
/// How often siblings are compared and records are looked for.
const ROUND: Duration = Duration::from_secs(60);
/// A look at a shared store each second, and as long again for it to be answered.
const MISSED: Duration = Duration::from_secs(2);
/// How long the change log reaches back.
const HORIZON: Duration = Duration::from_secs(24 * 3600);
/// What gateways tell of themselves under.
const GATEWAYS: &str = "gateway";
/// A sibling that was not seen for so long is not compared with.
const GONE: Duration = Duration::from_secs(300);

/// What it looks after.
#[derive(Debug, Clone)]
pub struct Steward {
    /// Of this gateway.
    pub gateway: Arc<str>,
    /// The store.
    pub store: Store,
    /// For how long it may be gone by.
    pub lease: Lease,
    /// What opens its secrets.
    pub keys: Keys,
    /// The audit log.
    pub log: Log,
    /// Puts in force.
    pub reloader: Reloader,
    /// What is in force.
    pub live: Live,
    /// Where trouble is told.
    pub health: Health,
}

/// What a gateway tells its siblings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    version: String,
    policies: String,
    files: String,
}

impl Steward {
    /// Looks for ever.
    pub async fn watch(self) {
        let mut held = true;
        let mut opens = None;
        loop {
            let holds = self.lease.holds();
            if holds != held {
                held = holds;
                // What came of it is in the log: there is nobody to tell.
                let _ = self.reloader.load(Scope::Again).await;
            }
            self.tell_reading(holds);
            self.tell_writing();
            self.tell_log();
            self.tell_content();
            self.tell_keys(&mut opens);
            sleep(LOOK).await;
        }
    }

    /// While writing fails, writes something that nobody reads, to see whether it works again. Apart from
    /// `watch`: a store that hangs must not hold up the end of a lease.
    pub async fn probe(self) {
        loop {
            if self.store.not_writing().is_some() {
                // How it ended is noted where the next look sees it.
                let _ = self.observe("probe", "null".to_owned()).await;
                sleep(LOOK * 3).await;
            }
            sleep(LOOK).await;
        }
    }

    /// Makes its rounds for ever.
    pub async fn rounds(self) {
        loop {
            // What fails is told by `watch`, and done in the next round.
            let _ = self.round().await;
            sleep(ROUND).await;
        }
    }

    /// Keeps each new head in the store, where it shows later that the chain was not cut.
    pub async fn keep_heads(self, mut heads: watch::Receiver<Option<Head>>) {
        loop {
            let head = heads.borrow_and_update().clone();
            if let Some(head) = head {
                let body = serde_json::to_string(&head).expect("a head is JSON");
                if self.observe(HEADS, body).await.is_err() {
                    sleep(LOOK).await;
                    heads.mark_changed();
                }
            }
            if heads.changed().await.is_err() {
                return;
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        self.carry_records().await?;
        if self.store.engine().is_shared() {
            self.compare().await?;
        }
        self.store.engine().prune(HORIZON).await
    }

    /// Records of commits whose writing into the chain failed, or that a crash came before.
    async fn carry_records(&self) -> Result<(), StoreError> {
        let records = self.store.engine().records(&self.gateway).await?;
        if records.is_empty() {
            return Ok(());
        }
        let sound = records.iter().filter_map(|record| match serde_json::from_str::<Entry>(&record.body) {
            Ok(entry) => Some((record.id.clone(), entry)),
            Err(error) => {
                tracing::warn!(record = %record.id, %error, "a record in the store makes no sense and stays there");
                None
            }
        });
        let (ids, entries): (Vec<Arc<str>>, Vec<Entry>) = sound.unzip();
        if self.log.write(entries).await.is_ok() {
            self.store.engine().written(&ids).await?;
        }
        Ok(())
    }

    async fn observe(&self, kind: &str, body: String) -> Result<(), StoreError> {
        let at = Timestamp::from_system(std::time::SystemTime::now());
        let seen = Observation { kind: kind.into(), id: self.gateway.clone(), body: body.into(), at };
        self.store.wrote(self.store.engine().observe(&[seen]).await)
    }

    async fn compare(&self) -> Result<(), StoreError> {
        let snapshot = self.live.snapshot();
        let told = Told {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policies: snapshot.engine().fingerprint(),
            files: fingerprint(&snapshot.config().shared_part()),
        };
        self.observe(GATEWAYS, serde_json::to_string(&told).expect("it is JSON")).await?;
        let now = Timestamp::from_system(std::time::SystemTime::now());
        let mut differ = Vec::new();
        for sibling in self.store.engine().observed(GATEWAYS).await? {
            let fresh = sibling.at.until(now) < GONE && sibling.id != self.gateway;
            if let (true, Ok(theirs)) = (fresh, serde_json::from_str::<Told>(&sibling.body)) {
                differ.extend(told.differs(&theirs).map(|what| format!("{} has another {what}", sibling.id)));
            }
        }
        self.hold("drift", !differ.is_empty(), || {
            let remedy = "bring the same release, doorward.toml and policies to every gateway, and reload";
            Degraded::new("drift", differ.join("; "), remedy)
        });
        Ok(())
    }

    fn hold(&self, name: &'static str, holds: bool, state: impl FnOnce() -> Degraded) {
        if holds { self.health.set(state()) } else { self.health.clear(name) }
    }

    fn tell_reading(&self, holds: bool) {
        let error = self.store.not_reading();
        let shared = self.lease.term();
        let missed = shared.is_some() && self.lease.age(Boot::now()) > MISSED;
        let why = error.map_or_else(|| "the store does not answer".to_owned(), |error| error.to_string());
        self.hold("store_lost", !holds, || {
            let cause = format!("the lease has ended, everything is denied: {why}");
            Degraded::new("store_lost", cause, "bring the database back; nothing needs to be restarted")
                .refusing()
        });
        let minutes = shared.unwrap_or_default().as_secs() / 60;
        self.hold("store_not_read", holds && (missed || self.store.not_reading().is_some()), || {
            let cause = format!(
                "{why}; what was read last is gone by for {minutes} minutes since it was confirmed, and changes are not seen"
            );
            Degraded::new("store_not_read", cause, "bring the database back before the lease ends")
        });
    }

    fn tell_writing(&self) {
        let error = self.store.not_writing();
        self.hold("store_not_written", error.is_some(), || {
            let why = error.as_ref().map(ToString::to_string).unwrap_or_default();
            let cause = format!("{why}; nothing can be added or changed, revocations hold here at once");
            Degraded::new(
                "store_not_written",
                cause,
                "do what the cause says; it is tried again every second",
            )
        });
    }

    fn tell_log(&self) {
        let status = self.log.status();
        self.hold("audit_not_written", status.failing.is_some(), || {
            let why = status.failing.clone().unwrap_or_default();
            let cause =
                format!("{why}; decisions are counted as lost until it is over, {} so far", status.lost);
            Degraded::new("audit_not_written", cause, "make room, or mend the file system of gateway.state")
        });
    }

    fn tell_content(&self) {
        let view = self.reloader.view();
        let closed = &view.directory().meta().closed;
        self.hold("store_closed", !closed.is_empty(), || {
            let cause = format!(
                "the store was restored, everything is denied until a person has looked: {}",
                closed.join("; ")
            );
            let remedy =
                "see that these revocations are in it again, then say `doorward admin restore --confirm`";
            Degraded::new("store_closed", cause, remedy).refusing()
        });
        let damaged = view.objects().damaged();
        self.hold("store_damaged", !damaged.is_empty(), || {
            let names: Vec<String> =
                damaged.iter().take(10).map(|(id, why)| format!("{id} ({why})")).collect();
            let cause = format!(
                "{} objects make no sense and count for nothing: {}",
                damaged.len(),
                names.join(", ")
            );
            Degraded::new("store_damaged", cause, "remove and add them again, or restore a backup")
        });
    }

    /// `opens` is the revision all of whose secrets open. A key that another gateway has made may have been
    /// copied into the file since.
    fn tell_keys(&self, opens: &mut Option<Revision>) {
        let view = self.reloader.view();
        let revision = view.directory().revision();
        if *opens == Some(revision) {
            return;
        }
        let mut lacks = lacks(&view, &self.keys.load());
        if !lacks.is_empty() {
            let file = self.keys.load().file().to_owned();
            if let Ok(ring) = Keyring::read(&file) {
                lacks = self::lacks(&view, &ring);
                self.keys.store(Arc::new(ring));
            }
        }
        *opens = lacks.is_empty().then_some(revision);
        self.hold("store_key_missing", !lacks.is_empty(), || {
            let ids: Vec<String> = lacks.into_iter().collect();
            let (ids, file) = (ids.join(", "), self.keys.load().file().display().to_string());
            let cause = format!(
                "{file} lacks key {ids}, which seals secrets of the store: lines of the audit log do not say whom they are about"
            );
            let remedy = "copy the file from the gateway where `doorward admin key rotate` was said; it is read by itself";
            Degraded::new("store_key_missing", cause, remedy)
        });
    }
}

impl Told {
    fn differs(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let parts = [
            ("version", self.version != other.version),
            ("set of policies", self.policies != other.policies),
            ("set of apps, subnets or sites", self.files != other.files),
        ];
        parts.into_iter().filter_map(|(name, differs)| differs.then_some(name))
    }
}

/// The keys that seal somebody's secret and are not in the ring.
fn lacks(view: &View, ring: &Keyring) -> BTreeSet<String> {
    let sealed = view.objects().all::<User>().map(|user| key_of(&user.key));
    let has = |id: &str| id.is_empty() || ring.ids().any(|known| known == id);
    sealed.filter(|id| !has(id)).map(str::to_owned).collect()
}

fn fingerprint(text: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
