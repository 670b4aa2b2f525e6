//! `admin key`: the keys that seal the store's secrets, listed and rotated while running.
//! It shows no key. Always true: a key goes only when the store has nothing that it seals; interrupted
//! anywhere, rotating again finishes.

use std::{collections::BTreeMap, sync::Arc};

use control::{
    admin::Answer,
    object::{Authority, Body, Kind, Session, User},
    seal::{Keyring, Place, key_of},
    store::{Commit, CommitError, Expect, Loaded, Object, Op, StoreError},
};
use policy::facts::{AdminKind, Operator};
use serde_json::{Value, json};

use super::{Admin, TRIES, random_id};
use crate::books::{place_of, place_of_authority, place_of_refresh};

/// Secrets that are sealed anew in one commit.
const TOGETHER: usize = 200;

impl Admin {
    /// Which keys there are, and how much each still seals.
    pub(super) async fn keys(&self, operator: &Operator) -> Result<Answer, String> {
        self.permits(operator, AdminKind::Key, false, "list").await?;
        let counts = sealed_by(&self.loaded().await?);
        let ring = self.0.keys.load_full();
        let missing = counts.keys().filter(|id| !ring.ids().any(|here| here == id.as_str()));
        let ids: Vec<&str> = ring.ids().chain(missing.map(String::as_str)).collect();
        let row = |id: &str| {
            let is = |held: bool| if held { "yes" } else { "no" };
            let here = ring.ids().any(|here| here == id);
            json!({ "id": id, "seals": is(id == ring.sealing()), "secrets": counts.get(id).unwrap_or(&0), "here": is(here) })
        };
        let columns = ["id", "seals", "secrets", "here"].map(str::to_owned).to_vec();
        Ok(Answer { data: ids.into_iter().map(row).collect(), columns, ..Answer::default() })
    }

    /// Seals everything with a new key, or finishes what was begun, and lets the old keys go.
    pub(super) async fn rotate(&self, operator: &Operator) -> Result<Answer, String> {
        let _alone = self.alone()?;
        let policies = self.permits(operator, AdminKind::Key, true, "rotate").await?;
        let begun =
            self.renew(|ring| ring.ids().count() == 1, |file, _| Keyring::add(file).map(drop)).await?;
        let ring = self.0.keys.load_full();
        let details = json!({ "sealing": ring.sealing(), "added": begun });
        let entry = self.deed(random_id(), operator, (AdminKind::Key, "rotate"), &policies, details);
        self.0.books.log().write(vec![entry]).await.map_err(|error| error.to_string())?;
        let sealed = self.seal_all(&ring).await?;
        self.0.books.forget();
        let counts = sealed_by(&self.loaded().await?);
        let shared = self.0.store.engine().is_shared() && (begun || sealed > 0);
        let old = |id: &&str| *id != ring.sealing();
        let idle: Vec<String> =
            ring.ids().filter(old).filter(|id| !counts.contains_key(*id)).map(str::to_owned).collect();
        if !shared && !idle.is_empty() {
            let gone = idle.clone();
            let remove = move |file: &std::path::Path, _: &Keyring| {
                gone.iter().try_for_each(|id| Keyring::remove(file, id))
            };
            self.renew(|_| true, remove).await?;
        }
        Ok(told(&ring, sealed, if shared { &[] } else { &idle }, shared, &counts))
    }

    /// Reads the file, changes it if that is `due`, and goes by it from now on. Whether it was changed.
    async fn renew(
        &self,
        due: impl FnOnce(&Keyring) -> bool + Send + 'static,
        change: impl FnOnce(&std::path::Path, &Keyring) -> Result<(), control::seal::KeyringError>
        + Send
        + 'static,
    ) -> Result<bool, String> {
        let file = self.0.keys.load().file().to_owned();
        let changing = tokio::task::spawn_blocking(move || {
            let ring = Keyring::read(&file)?;
            let due = due(&ring);
            if due {
                change(&file, &ring)?;
            }
            Ok::<_, control::seal::KeyringError>((Keyring::read(&file)?, due))
        });
        let changed = changing.await.map_err(|error| error.to_string())?;
        let (ring, due) = changed.map_err(|error| error.to_string())?;
        self.0.keys.store(Arc::new(ring));
        Ok(due)
    }

    /// Until nothing is left that another key has sealed and that opens. How many there were.
    async fn seal_all(&self, ring: &Keyring) -> Result<usize, String> {
        let mut sealed = 0;
        for _ in 0..TRIES {
            let commits = commits(&self.loaded().await?, ring);
            if commits.is_empty() {
                self.0.reloader.catch_up().await.map_err(|error| error.to_string())?;
                return Ok(sealed);
            }
            for commit in commits {
                let count = commit.ops.len();
                match self.0.store.commit(commit).await {
                    Ok(_) => sealed += count,
                    // Somebody changed one of them meanwhile: the next look finds what is left.
                    Err(CommitError::Refused(_)) => {}
                    Err(CommitError::Store(error)) => return Err(interrupted(&error)),
                }
            }
        }
        Err("others change the same secrets all the time: rotate again to finish".to_owned())
    }

    async fn loaded(&self) -> Result<Loaded, String> {
        self.0.store.engine().load().await.map_err(|error| error.to_string())
    }
}

fn interrupted(error: &StoreError) -> String {
    format!("{error}. Nothing is lost: both keys stand in the file; rotate again to finish")
}

/// What is sealed in an object.
fn sealed(object: &Object) -> Option<Arc<str>> {
    match object.id.kind {
        Kind::User => serde_json::from_str::<User>(&object.body).ok().map(|user| user.key),
        Kind::Secret => serde_json::from_str::<String>(&object.body).ok().map(Into::into),
        Kind::Session => serde_json::from_str::<Session>(&object.body).ok()?.refresh,
        Kind::Authority => serde_json::from_str::<Authority>(&object.body).ok().map(|it| it.key),
        Kind::Group
        | Kind::Device
        | Kind::Connector
        | Kind::Token
        | Kind::Address
        | Kind::Revocation
        | Kind::Logout => None,
    }
}

fn sealed_by(loaded: &Loaded) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for sealed in loaded.objects.iter().filter_map(sealed) {
        let id = key_of(&sealed);
        if !id.is_empty() {
            *counts.entry(id.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// What seals anew with the ring's first key whatever another of its keys has sealed.
fn commits(loaded: &Loaded, ring: &Keyring) -> Vec<Commit> {
    let store = &*loaded.meta.store;
    let anew = loaded.objects.iter().filter_map(|object| {
        let op = match object.id.kind {
            Kind::User => user(object, store, ring)?,
            Kind::Secret => proof(object, store, ring)?,
            Kind::Session => session(object, store, ring)?,
            Kind::Authority => authority(object, store, ring)?,
            Kind::Group
            | Kind::Device
            | Kind::Connector
            | Kind::Token
            | Kind::Address
            | Kind::Revocation
            | Kind::Logout => return None,
        };
        Some(((object.id.clone(), Expect::At(object.revision)), op))
    });
    let anew: Vec<_> = anew.collect();
    let commit = |part: &[_]| {
        let (expects, ops) = part.iter().cloned().unzip();
        Commit { expects, ops, records: Vec::new() }
    };
    anew.chunks(TOGETHER).map(commit).collect()
}

fn user(object: &Object, store: &str, ring: &Keyring) -> Option<Op> {
    let mut user: User = serde_json::from_str(&object.body).ok()?;
    user.key = anew(&user.key, &place_of(store, &user.id), ring)?;
    Some(user.put())
}

fn session(object: &Object, store: &str, ring: &Keyring) -> Option<Op> {
    let mut session: Session = serde_json::from_str(&object.body).ok()?;
    let sealed = session.refresh.take()?;
    session.refresh = Some(anew(&sealed, &place_of_refresh(store, &session.id), ring)?);
    Some(session.put())
}

fn authority(object: &Object, store: &str, ring: &Keyring) -> Option<Op> {
    let mut authority: Authority = serde_json::from_str(&object.body).ok()?;
    authority.key = anew(&authority.key, &place_of_authority(store), ring)?;
    Some(authority.put())
}

/// The same secret under the ring's first key; `None` if it is sealed by that, or does not open.
fn anew(sealed: &str, place: &Place<'_>, ring: &Keyring) -> Option<Arc<str>> {
    if key_of(sealed) == ring.sealing() {
        return None;
    }
    let secret = ring.open(place, sealed).ok()?;
    Some(ring.seal(place, secret.expose()).into())
}

fn proof(object: &Object, store: &str, ring: &Keyring) -> Option<Op> {
    let sealed: String = serde_json::from_str(&object.body).ok()?;
    if key_of(&sealed) == ring.sealing() {
        return None;
    }
    ring.proves(store, &sealed).ok()?;
    let body = Value::String(ring.proof(store)).to_string().into();
    Some(Op::Put { id: object.id.clone(), body, uniques: Vec::new() })
}

fn told(
    ring: &Keyring,
    sealed: usize,
    removed: &[String],
    shared: bool,
    counts: &BTreeMap<String, usize>,
) -> Answer {
    let mut notes = Vec::new();
    if shared {
        notes.push(format!(
            "the old keys stay, since other gateways may share the store: copy {} to them, then rotate again to remove these keys",
            ring.file().display()
        ));
    }
    if !removed.is_empty() {
        notes.push(format!("key {} is gone; backups made before open with it only", removed.join(", ")));
    }
    let left: Vec<_> = counts.iter().filter(|(id, _)| *id != ring.sealing()).collect();
    for (id, count) in left {
        notes.push(format!("{count} secrets sealed with key {id} do not open: they stay as they are"));
    }
    let text = format!("key {} seals; {sealed} secrets sealed anew", ring.sealing());
    let data = json!({ "sealing": ring.sealing(), "sealed": sealed, "removed": removed });
    Answer { data, notes, text: Some(text), ..Answer::default() }
}
