//! What the gateway tells the audit log: decisions, how they ended, and who administered what.
//! It writes no line itself. Always true: a person stands in a line by their audit id, and whatever else
//! names them is sealed under their own key; no path has its query.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use control::{
    audit::{BarePath, Decided, Entry, Identity, Log, Obstacle, Person, Verdict},
    directory,
    object::authority::ACCESS,
    seal::{Keyring, Place},
    store::{Record, Revision, Store},
};
use moka::sync::Cache;
use policy::{decision::Reason, facts::Proto};
use protocol::id::{DeviceId, UserId};
use ring::rand::{SecureRandom, SystemRandom};
use tunnel::FlowId;

use crate::{
    access::{Allowed, Ask, Denied, DenyReason, Question},
    snapshot::Snapshot,
};

/// Identities sealed once for many decisions.
const SEALED: u64 = 10_000;
/// For so long: then a changed e-mail shows as well.
const FRESH: Duration = Duration::from_secs(600);

/// What seals and opens the store's secrets; another from one moment to the next when keys rotate.
pub type Keys = Arc<ArcSwap<Keyring>>;

/// The way to the audit log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Books {
    log: Log,
    keys: Keys,
    /// Whose chain it is.
    gateway: Arc<str>,
    /// Another in each run, since flows are counted from 1 in each.
    run: Arc<str>,
    sealed: Cache<(UserId, DeviceId, IpAddr), Arc<str>>,
}

/// Where the key of a person is sealed.
pub fn place_of<'a>(store: &'a str, user: &'a UserId) -> Place<'a> {
    Place { store, kind: "user", id: user.as_str(), field: "key" }
}

/// Where what asks the provider about a session is sealed.
pub fn place_of_refresh<'a>(store: &'a str, session: &'a str) -> Place<'a> {
    Place { store, kind: "session", id: session, field: "refresh" }
}

/// Where the key of the built-in authority is sealed.
pub fn place_of_authority(store: &str) -> Place<'_> {
    Place { store, kind: "authority", id: ACCESS, field: "key" }
}

impl Books {
    /// Over the open log of `gateway`; `keys` open what the store has sealed.
    pub fn new(log: Log, keys: Keys, gateway: Arc<str>) -> Self {
        let run = random_id().get(..8).unwrap_or_default().into();
        let sealed = Cache::builder().max_capacity(SEALED).time_to_live(FRESH).build();
        Self { log, keys, gateway, run, sealed }
    }

    /// The log itself.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What opens the store's secrets.
    pub fn keys(&self) -> Arc<Keyring> {
        self.keys.load_full()
    }

    /// A person as the log knows one; none if their key does not open.
    pub fn person(&self, store: &str, user: &UserId, person: &directory::Person) -> Option<Person> {
        let key = self.keys.load().open(&place_of(store, user), &person.key).ok()?;
        let key: [u8; 32] = key.expose().as_slice().try_into().ok()?;
        Some(Person { id: person.audit.clone(), key: protocol::config::Secret::new(key) })
    }

    /// The request id of a flow.
    pub fn id_of(&self, flow: FlowId) -> String {
        format!("f-{}-{}", self.run, flow.0)
    }

    /// Notes a decision.
    pub fn allowed(&self, snapshot: &Snapshot, question: &Question, request_id: &str, allowed: &Allowed) {
        let decided = self.decided(snapshot, question, request_id);
        let policies = allowed.policies.iter().map(ToString::to_string).collect();
        let until = allowed.until.map(|until| until.to_string());
        self.log.note(Entry::Decision(Box::new(Decided { policies, until, ..decided })));
    }

    /// Notes a denial.
    pub fn denied(&self, snapshot: &Snapshot, question: &Question, request_id: &str, denied: &Denied) {
        let decided = self.decided(snapshot, question, request_id);
        let policies = denied.reasons.iter().filter_map(DenyReason::policy).map(ToString::to_string);
        let decided = Decided {
            verdict: Verdict::Deny,
            policies: policies.collect(),
            reasons: denied.reasons.iter().map(obstacle).collect(),
            until: denied.until.map(|until| until.to_string()),
            ..decided
        };
        self.log.note(Entry::Decision(Box::new(decided)));
    }

    /// Notes how something that was allowed has ended.
    pub fn ended(&self, request_id: &str, why: &str, sent: u64, received: u64) {
        let (request_id, why) = (request_id.into(), why.to_owned());
        self.log.note(Entry::Ended { request_id, why, sent, received });
    }

    fn decided(&self, snapshot: &Snapshot, question: &Question, request_id: &str) -> Decided {
        let device = snapshot.device(&question.device);
        let owner = device.map(|device| &device.facts.owner);
        let person = owner.and_then(|owner| Some((owner, snapshot.user(owner)?)));
        let sealed = person.and_then(|(owner, person)| self.seal(snapshot, question, owner, person));
        let (action, host, path) = asked(&question.ask);
        Decided {
            request_id: request_id.into(),
            user: person.map(|(_, person)| person.audit.clone()),
            sealed: sealed.unwrap_or_default(),
            resource: question.resource.to_string(),
            action,
            host,
            path,
            verdict: Verdict::Allow,
            policies: Vec::new(),
            reasons: Vec::new(),
            until: None,
            store_revision: snapshot.directory().revision(),
            policy_fingerprint: snapshot.engine().fingerprint(),
        }
    }

    fn seal(
        &self,
        snapshot: &Snapshot,
        question: &Question,
        owner: &UserId,
        person: &directory::Person,
    ) -> Option<Arc<str>> {
        let key = (owner.clone(), question.device.clone(), question.source);
        if let Some(sealed) = self.sealed.get(&key) {
            return Some(sealed);
        }
        let known = self.person(&snapshot.directory().meta().store, owner, person)?;
        let sealed = known.seal(&Identity {
            user: owner.to_string(),
            email: person.facts.email.clone().unwrap_or_default(),
            name: person.name.clone().unwrap_or_default(),
            device: question.device.to_string(),
            address: question.source.to_string(),
        });
        self.sealed.insert(key, sealed.clone());
        Some(sealed)
    }

    /// What stands in the store until the entry is in the chain.
    pub fn record(&self, entry: &Entry) -> Record {
        let id = entry.id().cloned().unwrap_or_else(random_id);
        let body = serde_json::to_string(entry).expect("an entry is JSON");
        Record { id, gateway: self.gateway.clone(), body: body.into() }
    }

    /// Into the chain at once what `revision` of the store has committed; what fails waits there.
    pub async fn write_down(&self, store: &Store, mut entries: Vec<Entry>, revision: Revision) {
        for entry in &mut entries {
            match entry {
                Entry::Admin(admin) => admin.revision = Some(revision),
                Entry::Session(session) => session.revision = Some(revision),
                _ => {}
            }
        }
        let ids: Vec<Arc<str>> = entries.iter().filter_map(|entry| entry.id().cloned()).collect();
        if self.log.write(entries).await.is_ok() {
            // One that stays behind is written again, which the log notices.
            let _ = store.wrote(store.engine().written(&ids).await);
        }
    }

    /// Forgets what was sealed for a person: their key is gone, or another.
    pub fn forget(&self) {
        self.sealed.invalidate_all();
    }
}

/// Bytes nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // A system without chance makes no key and no token: nothing can be served.
    SystemRandom::new().fill(&mut bytes).expect("the system gives random numbers");
    bytes
}

/// A name that nothing else has.
pub fn random_id() -> Arc<str> {
    random::<12>().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn asked(ask: &Ask) -> (String, Option<String>, Option<BarePath>) {
    match ask {
        Ask::Connect { proto: Proto::Icmp, target } => (format!("ping {}", target.host), None, None),
        Ask::Connect { proto, target } => (format!("connect {proto} {target}"), None, None),
        Ask::Http { method, host, paths, .. } => {
            (method.to_string(), Some(host.to_string()), paths.first().map(|path| BarePath::of(path)))
        }
    }
}

fn obstacle(reason: &DenyReason) -> Obstacle {
    let policy = reason.policy().map(ToString::to_string);
    match reason {
        DenyReason::Policy(Reason::Forbidden { reason, advice, .. }) => {
            Obstacle { policy, why: vec![reason.clone()], advice: advice.clone() }
        }
        DenyReason::Policy(Reason::NotMet { conditions, advice, .. }) => {
            Obstacle { policy, why: conditions.clone(), advice: advice.clone() }
        }
        DenyReason::Policy(Reason::NoPolicy | Reason::Error { .. })
        | DenyReason::StoreLost
        | DenyReason::StoreClosed
        | DenyReason::UnknownDevice
        | DenyReason::DeviceDisabled
        | DenyReason::UnknownUser
        | DenyReason::UserDisabled
        | DenyReason::NotSignedIn
        | DenyReason::SessionOver
        | DenyReason::SessionSuspended
        | DenyReason::NoResource
        | DenyReason::NoSuchPort
        | DenyReason::SpeaksTcp
        | DenyReason::Abandoned
        | DenyReason::Idle
        | DenyReason::Draining
        | DenyReason::Exhausted => Obstacle { policy, why: vec![reason.to_string()], advice: None },
    }
}

#[cfg(test)]
mod tests {
    use control::audit::{AuditKey, Chain, Who, explain, verify};
    use policy::decision::PolicyId;

    use super::*;
    use crate::{
        access::{self, ResourceId},
        testing::{Company, connect, ip},
    };

    const DESK: &str = r#"
[[app]]
name = "desk"
site = "local"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [22]
target = "127.0.0.1"
"#;
    const PERMIT: &str = r#"@id("all") permit (principal, action, resource);"#;

    fn page() -> Question {
        let ask = Ask::Http {
            write: false,
            method: "GET".into(),
            host: "wiki.corp.example".into(),
            paths: ["/a?token=hunter2".to_owned()].into(),
        };
        let (device, source) = ("laptop".parse().unwrap(), ip("100.64.0.9"));
        Question { device, source, resource: ResourceId::App("wiki".parse().unwrap()), ask }
    }

    #[tokio::test]
    async fn what_is_written_names_nobody_and_is_explained_to_who_has_the_key() {
        let company = Company::new(DESK, PERMIT);
        let (books, snapshot) = (company.books(), company.snapshot(1));
        let question = connect("desk", "127.0.0.1:22");
        let access::Verdict::Allow(allowed) =
            access::check(&snapshot, &question, protocol::time::Timestamp::MIN)
        else {
            panic!("the policy allows it")
        };
        books.allowed(&snapshot, &question, "f-run-1", &allowed);
        books.ended("f-run-1", "the device is disabled", 3, 4);
        books.denied(&snapshot, &page(), "abc", &Denied::because(DenyReason::NoResource));
        let people = snapshot.user(&"corp/alice".parse().unwrap()).unwrap();
        let person = books.person("test", &"corp/alice".parse().unwrap(), people).expect("the key opens");
        books.log().clone().close().await.unwrap();
        let (state, mut text) = (company.folder().join("state"), String::new());
        for file in std::fs::read_dir(state.join("audit")).unwrap() {
            text += &String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap());
        }
        assert!(text.contains("f-run-1") && text.contains("abc") && text.contains("app/desk"), "{text}");
        for secret in ["alice", "laptop", "100.64.0.9", "hunter2"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let known = |id: &str| (id == &*person.id).then(|| person.key.clone());
        let folder = state.join("audit");
        let told = explain(&folder, "f-run-1", &known).unwrap().expect("it is there");
        assert!(matches!(&told.who, Who::Known(who) if who.user == "corp/alice" && who.device == "laptop"));
        assert_eq!(
            (told.decided.policies, told.ended.map(|end| end.sent)),
            (vec!["all".to_owned()], Some(3))
        );
        let erased = explain(&folder, "abc", &|_: &str| None).unwrap().expect("it is there");
        assert!(matches!(&erased.who, Who::Erased { .. }));
        assert_eq!(erased.decided.path.map(|path| path.to_string()).as_deref(), Some("/a"));
        let key = AuditKey::read_or_create(&state.join("audit.key")).unwrap().public();
        assert!(verify(&Chain { folder: &folder, gateway: "test", keys: &[key] }, &[]).unwrap().is_sound());
        assert_eq!(allowed.policies, [PolicyId::from("all")]);
    }
}
