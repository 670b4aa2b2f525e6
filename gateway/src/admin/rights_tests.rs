//! C4: every request by an operator who may administer Alice's things only, about Bob's and about nobody's.
//! Reading the whole of something is for who may read all of it. Always true: nothing here is root.

use control::{
    admin::Request,
    object::{Body, Connector, Rest, Session},
    store::{self, Commit, Engine, Lease, Store, sqlite::Sqlite},
};
use serde_json::{Value, json};

mod faulty;

use super::*;
use crate::{
    dataplane::DataPlane,
    dial::Dialer,
    health::Health,
    testing::{Company, DIRECTORY},
    tls::{Certificates, Names},
    truth::{self, Kept, Loader},
};

const BOB: &str = r#"
[[user]]
id = "corp/bob"
email = "bob@corp.example"
groups = ["corp/ops"]
[[device]]
name = "phone"
owner = "corp/bob"
keys = ["BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]
"#;
const RESOURCES: &str = r#"
[[site]]
name = "fra"
[[app]]
name = "desk"
site = "local"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [9]
target = "127.0.0.1"
"#;
const HELPDESK: &str = r#"
@id("dev")
permit (principal in Doorward::Group::"corp/dev", action in Doorward::Action::"access", resource);
@id("helpdesk")
permit (principal, action in Doorward::Action::"admin", resource)
when { principal.groups.contains("helpdesk") && context has owner && context.owner == Doorward::User::"corp/alice" };
@id("recruiters")
permit (principal, action in Doorward::Action::"admin", resource == Doorward::Admin::"user")
when { principal.groups.contains("recruiters") };
"#;

struct World {
    _company: Company,
    admin: Admin,
    store: Store,
    /// How many there are in the beginning.
    objects: usize,
}

impl World {
    async fn new() -> Self {
        Self::over(|engine| engine).await
    }

    /// With `wrap` between the store and its file.
    async fn over(wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>) -> Self {
        let company = Company::new(RESOURCES, HELPDESK);
        company.write("directory.toml", &format!("{DIRECTORY}{BOB}"));
        let files = company.files();
        let file = Sqlite::open(&company.folder().join("state/store.db")).expect("a store");
        let kept = Kept::over(wrap(Arc::new(file)), Lease::alone(), &files.config).await;
        let mut kept = kept.unwrap_or_else(|error| panic!("{error}"));
        kept.store.commit(company.fill(&files.config)).await.expect("kept");
        let connector = Connector {
            id: "fra-1".parse().unwrap(),
            site: "fra".parse().unwrap(),
            pin: PIN.parse().unwrap(),
            since: now(),
            disabled: None,
            rest: Rest::new(),
        };
        let ops = vec![
            connector.put(),
            session("5e55b0b", "corp/bob", "phone").put(),
            session("5e55a11ce", "corp/alice", "laptop").put(),
        ];
        kept.store.commit(Commit { ops, ..Commit::default() }).await.expect("kept");
        let known = kept.view().directory().meta().clone();
        kept.take(store::news(kept.store.engine(), &known).await.expect("read").0);
        kept.take_touched();
        let engine = files.policies.engine().clone();
        let directory = kept.view().directory().clone();
        let snapshot = Snapshot::new(1, files.config.clone(), engine, directory, kept.lease.clone());
        let live = Live::new(Arc::new(snapshot));
        let parts = truth::Parts {
            live: live.clone(),
            data_plane: DataPlane::ended(),
            dialer: Dialer::new(None, files.local().expect("this machine")),
            registry: None,
            certificates: Certificates::new(Names::default(), None),
            shadow: crate::shadow::new().0,
        };
        let held = kept.held();
        let (loader, reloader) = Loader::new(company.folder().join("doorward.toml"), files, kept, parts);
        tokio::spawn(loader.run());
        let durable = Durable::new(held.store.clone(), reloader.clone(), Health::default(), held.journal);
        let state = company.folder().join("state");
        let books = company.books();
        let audit_key = control::audit::AuditKey::read_or_create(&state.join("audit.key")).unwrap().public();
        let admin = Admin::new(Parts {
            gateway: "gateway".into(),
            state,
            store: held.store.clone(),
            keys: held.keys,
            reloader,
            live,
            books,
            audit_key,
            durable: durable.unwrap(),
            providers: Providers::default(),
            alone: Semaphore::new(1),
        });
        let objects = held.store.engine().load().await.expect("read").objects.len();
        Self { _company: company, admin, store: held.store, objects }
    }

    /// Mia of this Unix group asks.
    async fn asks(&self, group: &str, request: &Value) -> Result<Answer, String> {
        let request: Request = serde_json::from_value(request.clone()).expect("a request");
        let groups = [group.to_owned()].into();
        let mia = Operator { name: "mia".to_owned(), uid: 1000, groups, root: false };
        self.admin.serve(mia, AdminRequest::Control(request)).await
    }
}

fn session(id: &str, user: &str, device: &str) -> Session {
    let body = json!({
        "id": id, "user": user, "device": device, "provider": "corp", "subject": "x",
        "at": now(), "expires": now().plus(std::time::Duration::from_secs(3600)), "refreshed": now(),
    });
    serde_json::from_value(body).expect("a session")
}

const KEY: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
const PIN: &str = "sha256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Every request that names something, about these things.
fn requests([user, group, device, connector, session]: [&str; 5]) -> Vec<Value> {
    let keep = "keep";
    let user_requests = [
        json!({ "show": { "user": user } }),
        json!({ "add": { "user": user, "email": null, "name": null, "groups": [], "contract_end": null } }),
        json!({ "set": { "user": user, "email": keep, "name": { "to": "X" }, "contract_end": keep } }),
        json!({ "disable": { "user": user, "why": null } }),
        json!({ "enable": { "user": user } }),
        json!({ "remove": { "user": user, "with_devices": true } }),
        json!({ "erase": { "user": user } }),
    ];
    let group_requests = [
        json!({ "show": { "group": group } }),
        json!({ "add": { "group": group, "within": [] } }),
        json!({ "set": { "group": group, "within": [] } }),
        json!({ "remove": { "group": group, "with_members": true } }),
        json!({ "add-member": { "group": group, "user": user } }),
        json!({ "remove-member": { "group": group, "user": user } }),
    ];
    let device_requests = [
        json!({ "show": { "device": device } }),
        json!({ "add": { "device": device, "owner": user, "key": KEY, "platform": null, "groups": [], "address": null, "again": false } }),
        json!({ "set": { "device": device, "platform": { "to": "linux" }, "groups": null, "address": null } }),
        json!({ "disable": { "device": device, "why": null } }),
        json!({ "enable": { "device": device } }),
        json!({ "remove": { "device": device } }),
        json!({ "rename": { "device": device, "name": "other" } }),
        json!({ "key-add": { "device": device, "key": KEY, "again": false } }),
        json!({ "key-remove": { "device": device, "key": KEY } }),
        json!({ "posture": { "device": device, "change": { "firewall": { "to": true } }, "source": "self" } }),
    ];
    let connector_requests = [
        json!({ "show": { "connector": connector } }),
        json!({ "add": { "connector": connector, "site": "fra", "key": PIN } }),
        json!({ "disable": { "connector": connector, "why": null } }),
        json!({ "enable": { "connector": connector } }),
        json!({ "remove": { "connector": connector } }),
        json!({ "token": { "site": "fra", "name": connector, "seconds": 60 } }),
    ];
    let token_requests = [json!({ "revoke": { "token": "0123456789abcdef" } })];
    let session_requests = [
        json!({ "list": { "user": user, "device": null } }),
        json!({ "list": { "user": null, "device": device } }),
        json!({ "show": { "session": session } }),
        json!({ "end": { "session": session } }),
        json!({ "end-on": { "device": device } }),
        json!({ "end-of": { "user": user } }),
    ];
    let all: [(&str, &[Value]); 6] = [
        ("user", &user_requests),
        ("group", &group_requests),
        ("device", &device_requests),
        ("connector", &connector_requests),
        ("token", &token_requests),
        ("session", &session_requests),
    ];
    all.iter().flat_map(|(noun, verbs)| verbs.iter().map(move |verb| json!({ *noun: verb }))).collect()
}

#[tokio::test]
async fn an_operator_touches_nothing_out_of_scope_and_is_not_told_whether_it_exists() {
    let world = World::new().await;
    let before = world.store.engine().load().await.unwrap();
    let names = [
        ("corp/bob", "corp/xxx"),
        ("corp/ops", "corp/yyy"),
        ("phone", "ghost"),
        ("fra-1", "fra-9"),
        ("5e55b0b", "5e55000"),
    ];
    let [theirs, nobodys] = [names.map(|(name, _)| name), names.map(|(_, name)| name)];
    for (theirs, nobodys) in requests(theirs).iter().zip(&requests(nobodys)) {
        let said = world.asks("helpdesk", theirs).await.expect_err("it is not Alice's");
        let like = world.asks("helpdesk", nobodys).await.expect_err("there is none");
        let renamed = names.iter().fold(said, |said, (name, other)| said.replace(name, other));
        assert_eq!(renamed, like, "{theirs}");
    }
    let after = world.store.engine().load().await.unwrap();
    assert_eq!((after.meta.revision, after.objects), (before.meta.revision, before.objects));
}

/// Whoever may end Alice's sessions cannot end everybody's, nor look at what is no one person's.
#[tokio::test]
async fn what_concerns_everybody_is_not_for_who_may_administer_one() {
    let world = World::new().await;
    for request in
        [json!({ "session": "end-all" }), json!({ "session": { "list": { "user": null, "device": null } } })]
    {
        let why = world.asks("helpdesk", &request).await.expect_err("no owner is named");
        assert!(why.contains("owner is missing"), "{why}");
    }
    let provider = |request: Value| {
        let request = serde_json::from_value(json!({ "provider": request })).expect("a request");
        let groups = ["helpdesk".to_owned()].into();
        let mia = Operator { name: "mia".to_owned(), uid: 1000, groups, root: false };
        world.admin.serve(mia, request)
    };
    let why = provider(json!("list")).await.expect_err("no owner is named");
    assert!(why.contains("owner is missing"), "{why}");
    let check = |name: &str| provider(json!({ "check": { "provider": name, "name": null } }));
    let why = check("https://169.254.169.254").await.expect_err("nobody is asked for them");
    assert!(why.contains("owner is missing"), "{why}");
    assert_eq!(check("corp").await.expect_err("nor told what there is"), why);
    assert_eq!(world.store.engine().load().await.unwrap().objects.len(), world.objects);
}

/// What is in scope is there, so that the test above proves something.
#[tokio::test]
async fn an_operator_sees_and_does_what_is_in_scope() {
    let world = World::new().await;
    for (noun, seen) in [("user", json!(["corp/alice"])), ("device", json!(["laptop"]))] {
        // The list as a whole names no owner: it is asked for by who may read about Alice.
        let listed = world.asks("helpdesk", &json!({ noun: { "show": { noun: seen[0] } } })).await;
        assert_eq!(listed.expect("it is Alice's").data["id"], seen[0]);
    }
    let on_laptop = json!({ "session": { "list": { "user": null, "device": "laptop" } } });
    let listed = world.asks("helpdesk", &on_laptop).await.expect("it is Alice's");
    assert_eq!(listed.data[0]["id"], "5e55a11ce");
    world
        .asks("helpdesk", &json!({ "device": { "disable": { "device": "laptop", "why": null } } }))
        .await
        .unwrap();
    let of_alice = json!({ "session": { "list": { "user": "corp/alice", "device": null } } });
    // It ended with the device.
    assert_eq!(world.asks("helpdesk", &of_alice).await.expect("it is Alice's").data, json!([]));
    let why = world.asks("helpdesk", &json!({ "device": "list" })).await.expect_err("no owner is named");
    assert!(why.contains("owner is missing"), "{why}");
}

/// Who may add people does not thereby let them into groups.
#[tokio::test]
async fn a_person_joins_a_group_only_by_who_may_put_them_in() {
    let world = World::new().await;
    let add = |user: &str, groups: &[&str]| json!({ "user": { "add": { "user": user, "email": null, "name": null, "groups": groups, "contract_end": null } } });
    world.asks("recruiters", &add("corp/carol", &[])).await.expect("that is their work");
    let said =
        world.asks("recruiters", &add("corp/dora", &["corp/ops"])).await.expect_err("a way to any group");
    assert!(said.contains("group add-member corp/ops"), "{said}");
    let said = world.asks("recruiters", &add("corp/ops", &["corp/ops"])).await.expect_err("by whatever name");
    assert!(said.contains("group add-member corp/ops"), "{said}");
    let show = |user: &str| json!({ "user": { "show": { "user": user } } });
    world.asks("recruiters", &show("corp/carol")).await.expect("added");
    world.asks("recruiters", &show("corp/dora")).await.expect_err("not added");
}
