//! Administration while running: each request is decided by the policies, planned over the store as it
//! was read, committed with its audit record, and in force when it is answered.
//! It renders nothing. Always true: what takes something away cuts first and is committed then; if the
//! store cannot keep it, the answer is an error that says so, and it holds all the same.

mod audit;
mod backup;
mod durable;
mod import;
mod key;
mod operator;
mod provider;
pub mod request;
mod restore;
mod rights;

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use control::{
    admin::{
        self as plans, Answer, ConnectorRequest, Context, DeviceRequest, Noun, Plan, Request, Scope,
        UserRequest,
    },
    audit::{self as log, PublicKey},
    journal,
    revoked::Revoked,
    store::{Commit, CommitError, Store, StoreError},
};
use policy::{
    decision::{Decision, PolicyId},
    facts::Operator,
};
use protocol::{id::UserId, target::Target, time::Timestamp};
use tokio::sync::Semaphore;

use self::{
    request::{AdminRequest, KeyRequest, RestoreRequest},
    rights::{Denial, decide, policies_of},
};
use crate::{
    books::{Books, Keys, place_of, random, random_id},
    config::{Part, Tunnel},
    device_config,
    live::Live,
    sessions::Providers,
    snapshot::Snapshot,
    truth::Reloader,
};

pub use self::{
    audit::{FOLDER, HEADS},
    durable::Durable,
};

/// Others may be faster, each of them once: so often is it looked at again.
const TRIES: usize = 64;

/// What administration needs.
#[derive(Debug)]
pub struct Parts {
    /// Of this gateway, in records.
    pub gateway: Arc<str>,
    /// Folder of the audit log.
    pub state: PathBuf,
    /// The store.
    pub store: Store,
    /// What seals its secrets.
    pub keys: Keys,
    /// Puts in force.
    pub reloader: Reloader,
    /// What is in force.
    pub live: Live,
    /// The audit log.
    pub books: Books,
    /// What signs it.
    pub audit_key: PublicKey,
    /// Revocations ahead of the store.
    pub durable: Durable,
    /// Who signs people in.
    pub providers: Providers,
    /// One backup, restore or rotation of keys at a time.
    pub alone: Semaphore,
}

/// Administration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin(Arc<Parts>);

/// Why a request was not carried out.
enum Failure {
    /// As the one who asked is told.
    Said(String),
    /// Somebody was faster.
    Again,
}

impl From<String> for Failure {
    fn from(said: String) -> Self {
        Self::Said(said)
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

impl Admin {
    /// Over these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The account at the other end of a socket.
    pub fn operator(uid: u32, gid: u32) -> Operator {
        operator::operator(uid, gid)
    }

    /// Ends the audit log: later actions are refused.
    pub async fn close(&self) {
        if let Err(error) = self.0.books.log().clone().close().await {
            tracing::warn!(%error, "the audit log did not end well");
        }
    }

    /// Carries a request out; the error is for the one who asked.
    pub async fn serve(&self, operator: Operator, request: AdminRequest) -> Result<Answer, String> {
        let operator = Arc::new(operator);
        match request {
            AdminRequest::Control(request) => self.control(&operator, request).await,
            AdminRequest::Import { text, file, prune, again, dry_run } => {
                let snapshot = self.0.live.snapshot();
                let asked = tokio::task::spawn_blocking(move || {
                    import::request(snapshot.config(), &file, &text, (prune, again, dry_run))
                });
                let request = asked.await.map_err(|error| error.to_string())??;
                self.control(&operator, request).await
            }
            AdminRequest::DeviceConfig { device } => {
                let request = Request::Device(DeviceRequest::Show { device });
                let answer = self.control(&operator, request).await?;
                self.with_config(answer)
            }
            AdminRequest::Audit(request) => self.audit(&operator, request).await,
            AdminRequest::Provider(request) => self.provider(&operator, request).await,
            AdminRequest::Backup { file } => self.backup(&operator, file).await,
            AdminRequest::Restore(RestoreRequest::From { file, yes }) => {
                self.restore(&operator, file, yes).await
            }
            AdminRequest::Restore(RestoreRequest::Confirm) => self.confirm(&operator).await,
            AdminRequest::Key(KeyRequest::List) => self.keys(&operator).await,
            AdminRequest::Key(KeyRequest::Rotate) => self.rotate(&operator).await,
        }
    }

    async fn control(&self, operator: &Arc<Operator>, request: Request) -> Result<Answer, String> {
        let request = Arc::new(request);
        for _ in 0..TRIES {
            match self.once(operator, &request).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Again) => {
                    self.0.reloader.catch_up().await.map_err(|error| error.to_string())?;
                }
                Err(Failure::Said(said)) => return Err(said),
            }
        }
        Err("others change the same all the time: try again".to_owned())
    }

    async fn once(&self, operator: &Arc<Operator>, request: &Arc<Request>) -> Result<Answer, Failure> {
        let keys = self.0.keys.load_full();
        let (parts, view, snapshot) = (self.0.clone(), self.0.reloader.view(), self.0.live.snapshot());
        let scope = plans::scope(&view, request);
        let erased_as =
            erased(request).and_then(|user| snapshot.user(user).map(|person| person.audit.clone()));
        let policies = match self.allows(&snapshot, operator, &scope) {
            Ok(policies) => policies,
            Err(why) => {
                self.tell_denied(operator, &scope, &why).await;
                return Err(Failure::Said(why.said));
            }
        };
        let (operator_too, request_too, known) =
            (operator.clone(), request.clone(), view.directory().revision());
        let planned =
            tokio::task::spawn_blocking(move || plan(&parts, &view, &snapshot, &operator_too, &request_too));
        let plan = planned.await.map_err(|error| error.to_string())??;
        if !Arc::ptr_eq(&keys, &self.0.keys.load()) {
            // What it sealed may be by a key that is about to go.
            return Err(Failure::Again);
        }
        if plan.commit.is_none() && scope.write {
            // There is nothing to do only if that is still so.
            self.0.reloader.catch_up().await.map_err(|error| error.to_string())?;
            if self.0.reloader.view().directory().revision() != known {
                return Err(Failure::Again);
            }
        }
        let adds = matches!(**request, Request::Device(DeviceRequest::Add { .. }));
        let invites = matches!(**request, Request::Connector(ConnectorRequest::Token { .. }));
        let answer = self.carry_out(operator, &scope, policies, plan).await?;
        if let Some(user) = erased_as {
            self.erase(user).await;
        }
        Ok(match (adds, invites) {
            (true, _) => self.with_config(answer)?,
            (_, true) => self.with_invitation(answer),
            (false, false) => answer,
        })
    }

    /// The key is gone; nothing sealed with it is used any more.
    async fn erase(&self, user: Arc<str>) {
        self.0.books.forget();
        if let Err(error) = self.0.books.log().write(vec![log::Entry::Erasure { user }]).await {
            tracing::warn!(%error, "an erasure could not be written down");
        }
    }

    /// Cuts, commits, and has it in force.
    async fn carry_out(
        &self,
        operator: &Operator,
        scope: &Scope,
        policies: Vec<PolicyId>,
        plan: Plan,
    ) -> Result<Answer, Failure> {
        let Plan { commit, revoked, mut answer } = plan;
        let Some(mut commit) = commit else { return Ok(answer) };
        if revoked.is_empty() && self.0.durable.settle().await.map_err(|error| error.to_string())? {
            // Or what was taken away before would be taken away after.
            return Err(Failure::Again);
        }
        let mut entries = vec![self.entry(operator, scope, policies, &commit)];
        entries.extend(revoked.iter().map(|one| self.revocation(operator, one)));
        commit.records = entries.iter().map(|entry| self.0.books.record(entry)).collect();
        let cut = if revoked.is_empty() { 0 } else { self.0.reloader.revoke(revoked.clone()).await };
        let committed = self.0.store.commit(commit).await;
        match committed {
            Ok(revision) => {
                let caught_up = self.0.reloader.catch_up().await;
                let cut =
                    cut + caught_up.map_err(|error| self.not_read(operator, revoked.clone(), &error))?;
                self.0.reloader.give_back(revoked).await;
                if cut > 0 {
                    answer.notes.push(cut_of(cut));
                }
                self.0.books.write_down(&self.0.store, entries, revision).await;
                Ok(answer)
            }
            Err(CommitError::Refused(_)) => {
                self.0.reloader.give_back(revoked).await;
                Err(Failure::Again)
            }
            Err(CommitError::Store(error)) if revoked.is_empty() => Err(Failure::Said(error.to_string())),
            Err(CommitError::Store(error)) => Err(self.not_durable(operator, revoked, cut, &error)),
        }
    }

    /// The store does not take it: it holds, is written down here, and becomes durable by itself.
    fn not_durable(
        &self,
        operator: &Operator,
        revoked: Vec<Revoked>,
        cut: usize,
        error: &StoreError,
    ) -> Failure {
        for one in &revoked {
            let mut entry = self.revocation(operator, one);
            if let log::Entry::Revocation { durable, .. } = &mut entry {
                *durable = false;
            }
            self.0.books.log().note(entry);
        }
        let kept = match self.await_store(operator, revoked) {
            Ok(()) => {
                "It is kept beside the store, also over a restart, and becomes durable by itself.".to_owned()
            }
            Err(error) => format!(
                "It could not be kept beside the store either ({error}): a restart before the store is mended brings it back."
            ),
        };
        Failure::Said(format!("{} here, but not durable: {error}. {kept}", cut_of(cut)))
    }

    /// It is kept, but not in force by what the store says: it holds here until it is.
    fn not_read(&self, operator: &Operator, revoked: Vec<Revoked>, error: &StoreError) -> Failure {
        if !revoked.is_empty()
            && let Err(error) = self.await_store(operator, revoked)
        {
            tracing::warn!(%error, "a revocation that is in the store could not be kept beside it as well");
        }
        Failure::Said(format!(
            "kept, but this gateway cannot read the store and goes by what it knew: {error}"
        ))
    }

    /// Lets it hold until the store is seen to say the same; whether that survives a restart.
    fn await_store(&self, operator: &Operator, revoked: Vec<Revoked>) -> std::io::Result<()> {
        let entry = |revoked| journal::Entry { revoked, at: now(), by: operator.name.clone() };
        self.0.durable.add(revoked.into_iter().map(entry).collect())
    }

    /// What the policies say to it; the policies that allow it, or why not.
    fn allows(
        &self,
        snapshot: &Snapshot,
        operator: &Operator,
        scope: &Scope,
    ) -> Result<Vec<PolicyId>, Denial> {
        let policies = match decide(snapshot, operator, scope) {
            Decision::Allow { policies, .. } => policies,
            Decision::Deny { reasons, .. } => return Err(Denial::new(snapshot, operator, scope, reasons)),
        };
        for joined in scope.joined() {
            if let Decision::Deny { reasons, .. } = decide(snapshot, operator, &joined) {
                return Err(Denial::new(snapshot, operator, &joined, reasons));
            }
        }
        Ok(policies)
    }

    async fn tell_denied(&self, operator: &Operator, scope: &Scope, denial: &Denial) {
        let entry = self.entry(operator, scope, denial.policies.clone(), &Commit::default());
        self.tell_refused(entry).await;
    }

    /// Writes down, as refused, what the entry says was to be done.
    async fn tell_refused(&self, mut entry: log::Entry) {
        if let log::Entry::Admin(admin) = &mut entry {
            admin.decision = log::Verdict::Deny;
        }
        if let Err(error) = self.0.books.log().write(vec![entry]).await {
            tracing::warn!(%error, "a refused administrative action could not be written down");
        }
    }

    fn entry(
        &self,
        operator: &Operator,
        scope: &Scope,
        policies: Vec<PolicyId>,
        commit: &Commit,
    ) -> log::Entry {
        let snapshot = self.0.live.snapshot();
        let person = scope.owner.as_ref().and_then(|user| self.person(&snapshot, user, commit));
        let device = scope.object.clone().filter(|_| scope.on == Noun::Device).unwrap_or_default();
        let sealed = person.as_ref().zip(scope.owner.as_ref()).map(|(person, user)| {
            let known = snapshot.user(user).map(|user| (user.facts.email.clone(), user.name.clone()));
            let (email, name) = known.unwrap_or_default();
            person.seal(&log::Identity {
                user: user.to_string(),
                email: email.unwrap_or_default(),
                name: name.unwrap_or_default(),
                device,
                address: String::new(),
            })
        });
        // A person is named by their random id alone, also where it is all their sessions that end.
        let is_owner = |object: &String| scope.owner.as_ref().is_some_and(|owner| owner.as_str() == object);
        let is_person =
            |object: &String| scope.on == Noun::User || (scope.on == Noun::Session && is_owner(object));
        let named = scope.object.clone().filter(|object| !is_person(object)).unwrap_or_default();
        log::Entry::Admin(Box::new(log::Admin {
            id: random_id(),
            actor: log::Operator { uid: operator.uid, name: operator.name.clone() },
            verb: format!("{} {}", scope.on, scope.verb),
            object: named,
            user: person.map(|person| person.id),
            sealed: sealed.unwrap_or_default(),
            revision: None,
            decision: log::Verdict::Allow,
            policies: policies.iter().map(ToString::to_string).collect(),
            details: serde_json::Value::Null,
        }))
    }

    /// A person of the directory, or one that this commit adds.
    fn person(&self, snapshot: &Snapshot, user: &UserId, commit: &Commit) -> Option<log::Person> {
        let store = &snapshot.directory().meta().store;
        if let Some(person) = snapshot.user(user) {
            return self.0.books.person(store, user, person);
        }
        let added = commit.ops.iter().find_map(|op| match op {
            control::store::Op::Put { id, body, .. } if *id.id == *user.as_str() => {
                serde_json::from_str::<control::object::User>(body).ok()
            }
            control::store::Op::Put { .. } | control::store::Op::Delete { .. } => None,
        })?;
        let key = self.0.keys.load().open(&place_of(store, user), &added.key).ok()?;
        let key: [u8; 32] = key.expose().as_slice().try_into().ok()?;
        Some(log::Person { id: added.audit, key: protocol::config::Secret::new(key) })
    }

    fn revocation(&self, operator: &Operator, revoked: &Revoked) -> log::Entry {
        let snapshot = self.0.live.snapshot();
        let what = revoked.audited(|user| snapshot.user(user).map(|person| person.audit.clone()));
        log::Entry::Revocation { id: random_id(), what, by: operator.name.clone(), durable: true }
    }

    /// With what to type where the connector is to stand.
    fn with_invitation(&self, mut answer: Answer) -> Answer {
        let snapshot = self.0.live.snapshot();
        let Some(links) = &snapshot.config().links else {
            answer
                .notes
                .push("this gateway has no [connectors] section: no connector can dial in".to_owned());
            return answer;
        };
        let ours = || {
            let port = links.listen.first().map_or(0, std::net::SocketAddr::port);
            Target { port, ..snapshot.config().gateway.endpoint.clone() }
        };
        let endpoint = links.endpoint.clone().unwrap_or_else(ours);
        answer.notes.push(format!(
            "where the connector is to stand, and give it the token when it asks:\n  doorward-connector join --gateway {endpoint} --gateway-key {}",
            links.pin
        ));
        answer
    }

    /// With the configuration of the device it is about.
    fn with_config(&self, mut answer: Answer) -> Result<Answer, String> {
        let snapshot = self.0.live.snapshot();
        let id = answer.data.get("id").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
        let device = id.and_then(|id| snapshot.device(&id).cloned());
        let addresses = device.and_then(|device| snapshot.addresses_of(&device));
        let (v4, v6) = addresses.ok_or("the device has no tunnel address: it was removed meanwhile")?;
        answer.text = Some(device_config::text(snapshot.config(), v4, v6));
        Ok(answer)
    }
}

fn cut_of(connections: usize) -> String {
    format!("{connections} open {} cut", if connections == 1 { "connection" } else { "connections" })
}

/// Whose key goes by it.
fn erased(request: &Request) -> Option<&UserId> {
    match request {
        Request::User(UserRequest::Erase { user } | UserRequest::Remove { user, .. }) => Some(user),
        Request::User(_)
        | Request::Group(_)
        | Request::Device(_)
        | Request::Connector(_)
        | Request::Token(_)
        | Request::Session(_)
        | Request::Import(_) => None,
    }
}

fn plan(
    parts: &Parts,
    view: &control::directory::View,
    snapshot: &Snapshot,
    operator: &Operator,
    request: &Request,
) -> Result<Plan, String> {
    let tunnel = snapshot.config().tunnel;
    let (store, keys) = (view.directory().meta().store.clone(), parts.keys.load());
    let context = Context {
        now: now(),
        actor: &operator.name,
        sites: &snapshot.config().sites.names,
        devices: Tunnel::FIRST..=tunnel.last(),
        index_of: &|address| tunnel.index(Part::Devices, address),
        random: &random,
        seal: &|user, key| keys.seal(&place_of(&store, user), key),
        may_see: &|scope| matches!(decide(snapshot, operator, scope), Decision::Allow { .. }),
    };
    plans::plan(view, request, &context).map_err(|error| error.to_string())
}

#[cfg(test)]
mod rights_tests;
#[cfg(test)]
mod tests;
