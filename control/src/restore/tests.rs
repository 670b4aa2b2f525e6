//! Everything that can end after a backup, each by itself: it stays ended, and nothing else changes.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{backup::Header, object::READER};

const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const SPARE: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const PIN: &str = "sha256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

type Bodies = BTreeMap<ObjectId, serde_json::Value>;

fn id(kind: Kind, name: &str) -> ObjectId {
    ObjectId::new(kind, name)
}

fn company() -> Bodies {
    let key = |key: &str| json!({ "key": key, "since": 0 });
    let token = |name: &str, used: Option<&str>| {
        let mut token = json!({ "id": name, "hash": "", "site": "fra", "connector": "fra-2", "by": "root", "at": 0, "expires": 9 });
        if let Some(used) = used {
            token["used"] = json!(used);
        }
        token
    };
    Bodies::from([
        (id(Kind::Group, "corp/staff"), json!({ "id": "corp/staff", "in": ["corp/all"] })),
        (id(Kind::Group, "corp/all"), json!({ "id": "corp/all", "in": [] })),
        (
            id(Kind::User, "corp/alice"),
            json!({ "id": "corp/alice", "audit": "u-a", "key": "1.k.x", "email": "a@corp.example", "groups": ["corp/staff"] }),
        ),
        (
            id(Kind::Device, "laptop"),
            json!({ "id": "laptop", "name": "laptop", "owner": "corp/alice", "keys": [key(KEY), key(SPARE)], "groups": ["lab"] }),
        ),
        (id(Kind::Connector, "fra-1"), json!({ "id": "fra-1", "site": "fra", "pin": PIN, "since": 0 })),
        (id(Kind::Token, "fresh"), token("fresh", None)),
        (id(Kind::Token, "spent"), token("spent", Some(PIN))),
        (id(Kind::Secret, "proof"), json!("1.k.y")),
    ])
}

fn backup(bodies: &Bodies) -> Backup {
    let header = Header {
        format: 1,
        reader: READER,
        store: "s".into(),
        epoch: 1,
        revision: Revision(1),
        at: Timestamp::MIN,
        engine: "sqlite".to_owned(),
        gateway: "gw".into(),
        marker: "m".into(),
    };
    let objects = bodies.iter().map(|(id, body)| (id.clone(), body.to_string().into())).collect();
    Backup { header, objects, heads: Vec::new() }
}

fn view(bodies: &Bodies) -> View {
    let revision = Revision(9);
    let object = |(id, body): (&ObjectId, &serde_json::Value)| Object {
        id: id.clone(),
        revision,
        body: body.to_string().into(),
    };
    let meta = Meta { store: "s".into(), epoch: 1, revision, closed: Vec::new() };
    View::new(&Loaded { meta, objects: bodies.iter().map(object).collect() }, [])
}

fn made(since: &Since<'_>) -> Restored {
    restored(&backup(&company()), since, Timestamp::from_millis(5), "root")
}

/// With the store of now changed like this.
fn after(change: impl FnOnce(&mut Bodies)) -> Restored {
    let mut bodies = company();
    change(&mut bodies);
    made(&Since { store: Some(&view(&bodies)), ..Since::default() })
}

fn body(restored: &Restored, kind: Kind, name: &str) -> serde_json::Value {
    serde_json::from_str(restored.objects.get(&id(kind, name)).expect("there")).expect("JSON")
}

fn said(restored: &Restored) -> Vec<&str> {
    assert_eq!(restored.closed, Vec::<String>::new());
    restored.again.iter().map(|one| one.said.as_str()).collect()
}

#[test]
fn without_a_change_only_unused_tokens_go() {
    for restored in [made(&Since::default()), after(|_| ())] {
        assert_eq!(said(&restored), Vec::<&str>::new());
        let mut expected = company();
        expected.remove(&id(Kind::Token, "fresh"));
        assert_eq!(restored.objects, backup(&expected).objects, "to the letter");
        assert_eq!((restored.voided, restored.erased.len()), (1, 0));
    }
}

#[test]
fn who_and_what_is_shut_or_gone_stays_shut() {
    let shut = json!({ "at": 1, "by": "root" });
    for (kind, name, expected) in [
        (Kind::User, "corp/alice", "user corp/alice"),
        (Kind::Device, "laptop", "device laptop"),
        (Kind::Connector, "fra-1", "connector fra-1"),
    ] {
        let disabled = after(|now| {
            now.get_mut(&id(kind, name)).expect("there")["disabled"] = shut.clone();
        });
        assert_eq!(said(&disabled), [expected]);
        assert!(!body(&disabled, kind, name)["disabled"].is_null());
        let removed = after(|now| {
            now.remove(&id(kind, name));
        });
        assert!(said(&removed).contains(&expected), "{:?}", removed.again);
        assert!(!body(&removed, kind, name)["disabled"].is_null());
    }
}

#[test]
fn keys_groups_owners_and_pins_that_went_stay_away() {
    let keys = after(|now| {
        let keys = &mut now.get_mut(&id(Kind::Device, "laptop")).expect("there")["keys"];
        keys.as_array_mut().expect("keys").pop();
    });
    assert_eq!(said(&keys), [format!("key {SPARE} of device laptop")]);
    assert_eq!(body(&keys, Kind::Device, "laptop")["keys"], json!([{ "key": KEY, "since": 0 }]));
    assert_eq!(body(&keys, Kind::Revocation, SPARE)["device"], "laptop", "and barred");
    let groups = after(|now| {
        now.get_mut(&id(Kind::User, "corp/alice")).expect("there")["groups"] = json!([]);
        now.get_mut(&id(Kind::Group, "corp/staff")).expect("there")["in"] = json!([]);
        now.get_mut(&id(Kind::Device, "laptop")).expect("there")["groups"] = json!([]);
    });
    assert_eq!(groups.again.len(), 3, "{:?}", groups.again);
    for (kind, name, part) in [
        (Kind::User, "corp/alice", "groups"),
        (Kind::Group, "corp/staff", "in"),
        (Kind::Device, "laptop", "groups"),
    ] {
        assert_eq!(body(&groups, kind, name)[part], json!([]), "{name}");
    }
    let sold =
        after(|now| now.get_mut(&id(Kind::Device, "laptop")).expect("there")["owner"] = json!("corp/bob"));
    assert_eq!(said(&sold), ["device laptop"]);
    let other =
        after(|now| now.get_mut(&id(Kind::Connector, "fra-1")).expect("there")["site"] = json!("ams"));
    assert_eq!(said(&other), ["connector fra-1"]);
}

#[test]
fn posture_and_the_end_of_a_contract_are_as_now() {
    let fact = |value| json!({ "managed": { "value": value, "source": "mdm", "at": 1 } });
    let restored = after(|now| {
        now.get_mut(&id(Kind::Device, "laptop")).expect("there")["posture"] = fact(false);
        now.get_mut(&id(Kind::User, "corp/alice")).expect("there")["contract_end"] = json!(1000);
    });
    assert_eq!(restored.again.len(), 2);
    assert_eq!(body(&restored, Kind::Device, "laptop")["posture"]["managed"]["value"], false);
    assert_eq!(body(&restored, Kind::User, "corp/alice")["contract_end"], 1000);
}

#[test]
fn a_key_barred_since_comes_back_by_no_backup() {
    let bar = json!({ "key": SPARE, "device": "tablet", "at": 1, "by": "root" });
    let restored = after(|now| {
        now.insert(id(Kind::Revocation, SPARE), bar.clone());
    });
    assert_eq!(body(&restored, Kind::Revocation, SPARE), bar);
}

#[test]
fn the_audit_log_is_believed_and_what_it_means_must_be_known() {
    let audited =
        ["user u-a", "member u-a corp/staff", "connector fra-1", "token fresh", "device unheard-of"];
    let restored = made(&Since { audited: audited.map(str::to_owned).to_vec(), ..Since::default() });
    assert_eq!(said(&restored), ["user corp/alice", "corp/alice in group corp/staff", "connector fra-1"]);
    assert!(restored.again.iter().all(|one| !one.audited.contains("alice")), "{:?}", restored.again);
    let strange = ["user u-b", "house a"].map(str::to_owned).to_vec();
    let restored = made(&Since { audited: strange, closed: vec!["a reason".to_owned()], ..Since::default() });
    assert_eq!(restored.closed.len(), 3, "{:?}", restored.closed);
}

#[test]
fn what_is_not_durable_yet_is_revoked_as_well() {
    let revoked = vec![Revoked::Device { device: "laptop".parse().expect("a name") }];
    assert_eq!(said(&made(&Since { revoked, ..Since::default() })), ["device laptop"]);
}

#[test]
fn who_was_erased_stays_erased() {
    let alice = BTreeSet::from(["corp/alice".parse().expect("a name")]);
    let line = made(&Since { erased: BTreeSet::from(["u-a".into()]), ..Since::default() });
    assert_eq!(line.erased, alice);
    let other = after(|now| {
        let user = now.get_mut(&id(Kind::User, "corp/alice")).expect("there");
        *user = json!({ "id": "corp/alice", "audit": "u-z", "key": "1.k.z", "groups": ["corp/staff"] });
    });
    assert_eq!(other.erased, alice);
    assert!(body(&other, Kind::User, "corp/alice")["email"].is_null());
}

#[test]
fn what_cannot_be_read_in_the_store_keeps_it_closed() {
    let restored = after(|now| {
        now.insert(id(Kind::User, "corp/alice"), json!("?"));
    });
    assert!(
        restored.closed.iter().any(|why| why.starts_with("user u-a makes no sense")),
        "{:?}",
        restored.closed
    );
}
