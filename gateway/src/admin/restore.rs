//! `admin restore`: a backup in the place of everything, while running, and opening what it left closed.
//! It writes no file. Always true: the whole backup is checked and the policies asked before anything
//! changes; what was committed since it was planned makes it plan again.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use control::{
    admin::Answer,
    audit::{Chain, Entry, Filter, Head, Person, grep, verify},
    backup::{Backup, Header, uniques},
    directory::View,
    object::{Authority, Connector, Device, Kind, Revocation, User},
    restore::{Restored, Since, restored},
    seal::{Keyring, SealError},
    store::{Meta, ObjectId, Replacement, StoreError, Unique},
};
use policy::{
    decision::PolicyId,
    facts::{AdminKind, Operator},
};
use protocol::{config::Secret, id::UserId};
use serde_json::{Value, json};

use super::{Admin, TRIES, cut_of, now};
use crate::{
    books::{place_of, place_of_authority, random_id},
    truth::{PROOF, Scope},
};

/// What the audit log lists of what was taken away again; the rest is counted.
const LISTED: usize = 1000;

/// What was found out about the time after a backup.
#[derive(Debug, Default)]
struct Found {
    audited: Vec<String>,
    erased: BTreeSet<Arc<str>>,
    closed: Vec<String>,
}

/// What is to be put in the place of `over`.
struct Planned {
    over: Arc<View>,
    restored: Restored,
}

impl Admin {
    /// Puts the backup in `file` in the place of everything; without `yes` it only tells what that would do.
    pub(super) async fn restore(
        &self,
        operator: &Operator,
        file: PathBuf,
        yes: bool,
    ) -> Result<Answer, String> {
        let _alone = self.alone()?;
        let policies = self.permits(operator, AdminKind::Backup, true, "restore").await?;
        let keys = self.0.keys.load_full();
        let read = tokio::task::spawn_blocking(move || {
            let backup = Backup::read(&file).map_err(|error| error.to_string())?;
            opens(&backup, &keys)?;
            Ok::<_, String>(Arc::new(backup))
        });
        let backup = read.await.map_err(|error| error.to_string())??;
        for _ in 0..TRIES {
            let planned = self.plan_restore(operator, &backup).await?;
            if !yes {
                return Ok(proposal(&backup, &planned));
            }
            if let Some(answer) = self.put_back(operator, &policies, &backup, planned).await? {
                return Ok(answer);
            }
        }
        Err("others change the store all the time: try again".to_owned())
    }

    /// Opens a store that a restore left closed.
    pub(super) async fn confirm(&self, operator: &Operator) -> Result<Answer, String> {
        let _alone = self.alone()?;
        let policies = self.permits(operator, AdminKind::Backup, true, "confirm").await?;
        self.0.reloader.catch_up().await.map_err(|error| error.to_string())?;
        let closed = self.0.reloader.view().directory().meta().closed.clone();
        if closed.is_empty() {
            return Err("the store is open: there is nothing to confirm".to_owned());
        }
        let details = json!({ "closed": closed });
        let entry = self.deed(random_id(), operator, (AdminKind::Backup, "confirm"), &policies, details);
        let confirmed = self.0.store.engine().confirm(&[self.0.books.record(&entry)]).await;
        let meta = confirmed.map_err(|error| error.to_string())?;
        self.0.books.write_down(&self.0.store, vec![entry], meta.revision).await;
        self.0.reloader.catch_up().await.map_err(|error| error.to_string())?;
        let text = Some("the store is open".to_owned());
        Ok(Answer { data: json!({ "confirmed": closed }), notes: closed, text, ..Answer::default() })
    }

    async fn plan_restore(&self, operator: &Operator, backup: &Arc<Backup>) -> Result<Planned, String> {
        self.0.reloader.catch_up().await.map_err(|error| error.to_string())?;
        let over = self.0.reloader.view();
        let mut found = self.since(backup).await?;
        // What was not confirmed yet is not known by restoring again.
        found.closed.extend(over.directory().meta().closed.iter().cloned());
        let (backup, actor, view) = (backup.clone(), operator.name.clone(), over.clone());
        let making = tokio::task::spawn_blocking(move || {
            let Found { audited, erased, closed } = found;
            let revoked = view.revoked().cloned().collect();
            let store = is_filled(&view).then_some(&*view);
            restored(&backup, &Since { store, audited, revoked, erased, closed }, now(), &actor)
        });
        Ok(Planned { over, restored: making.await.map_err(|error| error.to_string())? })
    }

    /// What the store and the audit log here say of the time after the backup.
    async fn since(&self, backup: &Arc<Backup>) -> Result<Found, String> {
        let heads = self.heads().await?;
        // Before the log, since from here they go there.
        let records = self.0.store.engine().records(&self.0.gateway).await;
        let records = records.map_err(|error| error.to_string())?;
        let (admin, known) = (self.clone(), backup.clone());
        let mine: Vec<Head> = heads.iter().chain(&backup.heads).cloned().collect();
        let reading = tokio::task::spawn_blocking(move || admin.own_chain(&known.header, &mine));
        let read = reading.await.map_err(|error| error.to_string())?;
        let mut found = read.map_err(|error| format!("the audit log cannot be read: {error}"))?;
        for record in &records {
            match serde_json::from_str(&record.body) {
                Ok(entry) => found.hear(entry),
                Err(_) => found.closed.push(format!("record {} in the store makes no sense", record.id)),
            }
        }
        found.closed.extend(siblings(&self.0.gateway, &backup.heads, &heads));
        Ok(found)
    }

    /// What this gateway's chain says since the backup, and whether it says all.
    fn own_chain(&self, header: &Header, heads: &[Head]) -> std::io::Result<Found> {
        let (folder, gateway) = (self.folder(), &*self.0.gateway);
        let report = verify(&Chain { folder: &folder, gateway, keys: &[self.0.audit_key] }, heads)?;
        let mut found = Found::default();
        let at = header.at.to_string();
        let (mut covers, mut since) = (false, false);
        for line in grep(&folder, Filter::default(), &|_| None)? {
            let line = line?.line;
            if header.gateway == self.0.gateway && line.entry.id() == Some(&header.marker) {
                found = Found::default();
                (covers, since) = (true, true);
                continue;
            }
            covers |= line.at < at;
            since |= line.at >= at;
            if since {
                found.hear(line.entry);
            }
        }
        if !report.is_sound() {
            let problem = report.problems.iter().find(|it| !it.what.is_explained());
            let problem = problem.map_or_else(String::new, |problem| format!(" ({problem})"));
            found.closed.push(format!("the audit log of gateway {gateway} is not whole{problem}"));
        }
        if !covers {
            found.closed.push(format!("the audit log of gateway {gateway} begins after the backup"));
        }
        Ok(found)
    }

    /// `None` if the store was changed meanwhile.
    async fn put_back(
        &self,
        operator: &Operator,
        policies: &[PolicyId],
        backup: &Arc<Backup>,
        planned: Planned,
    ) -> Result<Option<Answer>, String> {
        let Planned { over, restored } = planned;
        let store = random_id();
        let entry = self.deed(
            random_id(),
            operator,
            (AdminKind::Backup, "restore"),
            policies,
            details(backup, &restored),
        );
        let (sealing, known) =
            (Sealing { keys: self.0.keys.load_full(), store: store.clone() }, backup.clone());
        let meta = over.directory().meta();
        let mut with = Replacement {
            over: Some((meta.store.clone(), meta.revision)),
            store: store.clone(),
            closed: restored.closed.clone(),
            records: vec![self.0.books.record(&entry)],
            objects: Vec::new(),
        };
        let seal = move || Ok::<_, String>((sealing.all(&known.header.store, &over, &restored)?, restored));
        let sealed = tokio::task::spawn_blocking(seal).await.map_err(|error| error.to_string())?;
        let (objects, restored) = sealed?;
        with.objects = objects;
        let meta = match self.0.store.engine().replace(with).await {
            Ok(meta) => meta,
            Err(StoreError::Moved) => return Ok(None),
            Err(error) => self.was_kept(&store, error).await?,
        };
        let mut answer = told(backup, &meta, &restored);
        self.put_in_force(&mut answer).await;
        self.0.books.write_down(&self.0.store, vec![entry], meta.revision).await;
        Ok(Some(answer))
    }

    /// Whether a replacement whose answer was lost was carried out.
    async fn was_kept(&self, store: &Arc<str>, error: StoreError) -> Result<Meta, String> {
        self.0.reloader.catch_up().await.map_err(|_| error.to_string())?;
        let meta = self.0.reloader.view().directory().meta().clone();
        if meta.store == *store { Ok(meta) } else { Err(error.to_string()) }
    }

    async fn put_in_force(&self, answer: &mut Answer) {
        self.0.books.forget();
        let cut = match self.0.reloader.catch_up().await {
            Ok(cut) => cut,
            Err(error) => {
                answer
                    .notes
                    .push(format!("it is not in force here yet, which it becomes by itself: {error}"));
                return;
            }
        };
        match self.0.reloader.load(Scope::All).await {
            Ok(loaded) if cut + loaded.cut > 0 => {
                answer.notes.push(cut_of(cut + loaded.cut));
            }
            Ok(_) => {}
            Err(why) => {
                answer.notes.push(format!("apps may lack an address until `doorward reload` works: {why}"))
            }
        }
    }
}

impl Found {
    fn hear(&mut self, entry: Entry) {
        match entry {
            Entry::Revocation { what, .. } => self.audited.push(what),
            Entry::Erasure { user } => {
                self.erased.insert(user);
            }
            Entry::Unknown => {
                self.closed.push("a newer version wrote into the audit log since the backup".to_owned());
            }
            Entry::Gap { lost } => {
                self.closed.push(format!("{lost} lines of the audit log were lost since the backup"));
            }
            Entry::Start { .. }
            | Entry::Stop
            | Entry::Admin(_)
            | Entry::Session(_)
            | Entry::Decision(_)
            | Entry::Ended { .. }
            | Entry::Repair(_)
            | Entry::Retired { .. }
            | Entry::Checkpoint { .. } => {}
        }
    }
}

/// Whether there is anything that says no by what is not in it.
fn is_filled(view: &View) -> bool {
    let objects = view.objects();
    objects.all::<User>().next().is_some()
        || objects.all::<Device>().next().is_some()
        || objects.all::<Connector>().next().is_some()
        || objects.all::<Revocation>().next().is_some()
}

/// The gateways whose chains went on since the backup, or may have.
fn siblings(gateway: &str, backup: &[Head], now: &[Head]) -> Vec<String> {
    let then: HashMap<_, _> = backup.iter().map(|head| (&head.gateway, head)).collect();
    let now: HashMap<_, _> = now.iter().map(|head| (&head.gateway, head)).collect();
    let names: BTreeSet<_> = then.keys().chain(now.keys()).filter(|name| ****name != *gateway).collect();
    let unknown = names.into_iter().filter(|name| match (then.get(*name), now.get(*name)) {
        (Some(then), Some(now)) => then.n != now.n || then.hash != now.hash,
        (Some(_), None) | (None, Some(_)) | (None, None) => true,
    });
    let said = unknown.map(|name| format!("the audit log of gateway {name} since the backup is not here"));
    said.collect()
}

/// That the ring opens everything that is sealed in the backup.
fn opens(backup: &Backup, keys: &Keyring) -> Result<(), String> {
    let store = &*backup.header.store;
    let said = |what: &str, why: SealError| format!("{what} in the backup does not open: {why}");
    let proof = backup.objects.get(&ObjectId::new(Kind::Secret, PROOF));
    let proof = proof.and_then(|body| serde_json::from_str::<String>(body).ok());
    let proof =
        proof.ok_or("the backup lacks the proof of its keys: it is not of a store that a gateway kept")?;
    keys.proves(store, &proof).map_err(|why| said("the proof of the keys", why))?;
    for (id, body) in backup.objects.iter().filter(|(id, _)| id.kind == Kind::User) {
        let user: User = serde_json::from_str(body).map_err(|error| format!("{id}: {error}"))?;
        keys.open(&place_of(store, &user.id), &user.key).map_err(|why| said(&id.to_string(), why))?;
    }
    for (id, body) in backup.objects.iter().filter(|(id, _)| id.kind == Kind::Authority) {
        let authority: Authority = serde_json::from_str(body).map_err(|error| format!("{id}: {error}"))?;
        let opened = keys.open(&place_of_authority(store), &authority.key);
        opened.map_err(|why| said(&id.to_string(), why))?;
    }
    Ok(())
}

type Sealed = Vec<(ObjectId, Arc<str>, Vec<Unique>)>;

/// Seals everything anew for the store that comes.
struct Sealing {
    keys: Arc<Keyring>,
    store: Arc<str>,
}

impl Sealing {
    /// `from` is the backup's store, `over` the one that goes.
    fn all(&self, from: &str, over: &View, restored: &Restored) -> Result<Sealed, String> {
        let anew = restored.objects.iter().map(|(id, body)| {
            let body = match id.kind {
                Kind::User => self.user(from, over, &restored.erased, body)?,
                Kind::Secret if *id.id == *PROOF => {
                    Value::String(self.keys.proof(&self.store)).to_string().into()
                }
                Kind::Authority => self.authority(from, body)?,
                Kind::Group
                | Kind::Device
                | Kind::Connector
                | Kind::Token
                | Kind::Address
                | Kind::Revocation
                | Kind::Session
                | Kind::Logout
                | Kind::Secret => body.clone(),
            };
            let uniques = uniques(id, &body)?;
            Ok((id.clone(), body, uniques))
        });
        anew.collect()
    }

    fn authority(&self, from: &str, body: &str) -> Result<Arc<str>, String> {
        let mut authority: Authority = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let key =
            self.keys.open(&place_of_authority(from), &authority.key).map_err(|error| error.to_string())?;
        authority.key = self.keys.seal(&place_of_authority(&self.store), key.expose()).into();
        serde_json::to_string(&authority).map(Into::into).map_err(|error| error.to_string())
    }

    /// Whose key was destroyed goes on under the one they have now, or a new one.
    fn user(
        &self,
        from: &str,
        over: &View,
        erased: &BTreeSet<UserId>,
        body: &str,
    ) -> Result<Arc<str>, String> {
        let mut user: User = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let opened = if erased.contains(&user.id) {
            let stands = over.objects().get::<User>(user.id.as_str());
            let current = stands.and_then(|stands| {
                let place = place_of(&over.directory().meta().store, &user.id);
                Some((stands.audit.clone(), self.keys.open(&place, &stands.key).ok()?))
            });
            let (audit, key) = current.unwrap_or_else(|| {
                let Person { id, key } = Person::random();
                (id, Secret::new(key.expose().to_vec()))
            });
            user.audit = audit;
            key
        } else {
            self.keys.open(&place_of(from, &user.id), &user.key).map_err(|error| error.to_string())?
        };
        user.key = self.keys.seal(&place_of(&self.store, &user.id), opened.expose()).into();
        serde_json::to_string(&user).map(Into::into).map_err(|error| error.to_string())
    }
}

/// What the audit log says: nobody by name.
fn details(backup: &Backup, restored: &Restored) -> Value {
    let again: Vec<_> = restored.again.iter().take(LISTED).map(|one| &one.audited).collect();
    let header = &backup.header;
    json!({
        "backup": { "store": header.store, "revision": header.revision, "at": header.at.to_string(), "gateway": header.gateway },
        "again": again, "again_in_all": restored.again.len(), "voided_tokens": restored.voided,
        "ended_sessions": restored.sessions, "closed": restored.closed,
    })
}

fn data(backup: &Backup, restored: &Restored) -> Value {
    let again: Vec<_> = restored.again.iter().map(|one| &one.said).collect();
    let header = &backup.header;
    json!({
        "backup_revision": header.revision, "backup_at": header.at.to_string(),
        "again": again, "voided_tokens": restored.voided, "ended_sessions": restored.sessions,
        "closed": restored.closed,
    })
}

fn notes(restored: &Restored) -> Vec<String> {
    let again = restored.again.iter().map(|one| format!("revoked again: {}", one.said));
    again.chain(restored.closed.iter().map(|why| format!("not known: {why}"))).collect()
}

fn proposal(backup: &Backup, planned: &Planned) -> Answer {
    let (header, restored) = (&backup.header, &planned.restored);
    let meta = planned.over.directory().meta();
    let end = if restored.closed.is_empty() {
        "It would be open at once."
    } else {
        "It would stay closed until you confirm."
    };
    let text = format!(
        "This would put {} objects of {} (revision {}) in the place of the store at revision {}, revoke {} again, void {} tokens and end {} sessions. {end} Say it again with --yes.",
        restored.objects.len(),
        header.at,
        header.revision,
        meta.revision,
        restored.again.len(),
        restored.voided,
        restored.sessions
    );
    Answer { data: data(backup, restored), notes: notes(restored), text: Some(text), ..Answer::default() }
}

fn told(backup: &Backup, meta: &Meta, restored: &Restored) -> Answer {
    let mut data = data(backup, restored);
    data["revision"] = json!(meta.revision);
    let end = if restored.closed.is_empty() {
        "The store is open."
    } else {
        "The store is CLOSED: see to what is not known, then say `doorward admin restore --confirm`."
    };
    let text = format!(
        "restored revision {} of {} as revision {}; {} revoked again, {} tokens void, {} sessions ended. {end}",
        backup.header.revision,
        backup.header.at,
        meta.revision,
        restored.again.len(),
        restored.voided,
        restored.sessions
    );
    Answer { data, notes: notes(restored), text: Some(text), ..Answer::default() }
}
