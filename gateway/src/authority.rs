//! The built-in certificate authority as the store keeps it: one for all gateways that share it, its key
//! sealed. It signs nothing itself. Always true: there is one, made once; another in the store, as after a
//! restore, is in force within seconds.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use control::{
    object::{self, Body, authority::ACCESS},
    store::{Commit, CommitError, Expect, Revision, Store},
};
use protocol::config::Secret;
use tokio::time::sleep;

use crate::{
    admin::now,
    books::{Keys, place_of_authority},
    health::{Degraded, Health},
    live::Live,
    tls::{Authority, Certificates},
    truth::Reloader,
};

/// How often it is looked for another.
const LOOK: Duration = Duration::from_secs(2);
/// What it is called in status.
const STATE: &str = "certificate_authority";

/// What devices have to trust, for whoever shows it.
#[derive(Debug, Clone)]
pub struct Root {
    /// As text.
    pub pem: String,
    /// As bytes.
    pub der: Vec<u8>,
    /// SHA-256 of the bytes, as people compare it.
    pub fingerprint: String,
}

/// The root in force; none if there is no built-in authority.
pub type Roots = Arc<ArcSwapOption<Root>>;

/// Keeps the authority in force that the store has.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// Where it is kept.
    pub store: Store,
    /// What was read of it.
    pub reloader: Reloader,
    /// What seals its key.
    pub keys: Keys,
    /// What it signs for.
    pub certificates: Certificates,
    /// Where its root is shown.
    pub roots: Roots,
    /// What is in force.
    pub live: Live,
    /// Where trouble is told.
    pub health: Health,
}

impl Keeper {
    /// Puts in force what the store has; if it has none, makes one first.
    ///
    /// # Errors
    /// It cannot be made, kept, or opened.
    pub async fn start(self) -> Result<(), String> {
        if self.revision().is_none() {
            self.make().await?;
        }
        self.put()?;
        tokio::spawn(self.follow());
        Ok(())
    }

    fn revision(&self) -> Option<Revision> {
        self.reloader.view().objects().revision::<object::Authority>(ACCESS)
    }

    async fn make(&self) -> Result<(), String> {
        let zones = self.live.snapshot().config().dns.zones.clone();
        let (certificate, key) = Authority::create(&zones, now()).map_err(|error| error.to_string())?;
        let store = self.reloader.view().directory().meta().store.clone();
        let key = self.keys.load().seal(&place_of_authority(&store), key.expose().as_bytes()).into();
        let made =
            object::Authority { id: ACCESS.into(), certificate, key, at: now(), rest: Default::default() };
        let expects = vec![(made.object(), Expect::Absent)];
        let commit = Commit { expects, ops: vec![made.put()], records: Vec::new() };
        match self.store.commit(commit).await {
            // Refused: another gateway was faster, and its is as good.
            Ok(_) | Err(CommitError::Refused(_)) => {}
            Err(CommitError::Store(error)) => return Err(error.to_string()),
        }
        self.reloader.catch_up().await.map(drop).map_err(|error| error.to_string())
    }

    fn put(&self) -> Result<(), String> {
        let view = self.reloader.view();
        let kept =
            view.objects().get::<object::Authority>(ACCESS).ok_or("it is not in the store any more")?;
        let place = place_of_authority(&view.directory().meta().store);
        let key = self.keys.load().open(&place, &kept.key).map_err(|error| error.to_string())?;
        let key = String::from_utf8(key.expose().clone()).map_err(|_| "its key is damaged".to_owned())?;
        let authority =
            Authority::load(&kept.certificate, &Secret::new(key)).map_err(|error| error.to_string())?;
        self.roots.store(Some(Arc::new(Root {
            pem: authority.root_pem().to_owned(),
            der: authority.root_der().to_vec(),
            fingerprint: authority.fingerprint(),
        })));
        self.tell(&authority);
        self.certificates.put_authority(Some(authority));
        Ok(())
    }

    /// What it cannot sign for has no certificate: the zones were others when it was made.
    fn tell(&self, authority: &Authority) {
        let zones = self.live.snapshot().config().dns.zones.clone();
        let outside: Vec<String> = zones.into_iter().filter(|zone| !authority.covers(zone)).collect();
        if outside.is_empty() {
            return self.health.clear(STATE);
        }
        let cause = format!(
            "the built-in certificate authority may not sign for {}, which dns.zones did not have when it was made: names there have no certificate",
            outside.join(", ")
        );
        let remedy = "name certificates for them in [tls], or write the zones as they were";
        self.health.set(Degraded::new(STATE, cause, remedy));
    }

    async fn follow(self) {
        let (mut seen, mut zones) = (self.revision(), self.live.snapshot().generation());
        loop {
            sleep(LOOK).await;
            let (revision, generation) = (self.revision(), self.live.snapshot().generation());
            if revision == seen && generation == zones {
                continue;
            }
            (seen, zones) = (revision, generation);
            if let Err(why) = self.put() {
                let remedy = "restore the store from a backup, or put its key back into store.key";
                let cause = format!("the built-in certificate authority cannot be used: {why}");
                self.health.set(Degraded::new(STATE, cause, remedy));
            }
        }
    }
}
