//! The directory followed change by change is the directory made of the end, and what was not touched
//! did not differ. The model is [`View::new`].

use std::collections::BTreeMap;

use policy::facts::Posture;
use proptest::prelude::*;
use protocol::{id::ConnectorId, key::LinkPin};

use super::*;
use crate::{
    object::{Address, Body, Connector, Device, DeviceKey, Disabled, Group, Kind, Part, User},
    revoked::Revoked,
    store::{Change, Loaded, Object, ObjectId, Op},
};

const USERS: [&str; 3] = ["corp/a", "corp/b", "corp/c"];
const GROUPS: [&str; 4] = ["corp/g0", "corp/g1", "corp/g2", "corp/g3"];
const DEVICES: [&str; 4] = ["d0", "d1", "d2", "d3"];

fn key(n: u8) -> WgKey {
    WgKey([n + 1; 32])
}

fn disabled(yes: bool) -> Option<Disabled> {
    yes.then(|| Disabled { at: protocol::time::Timestamp::MIN, by: "root".into(), why: None })
}

/// A change to one of few objects.
fn op() -> impl Strategy<Value = Op> {
    let user = (0..3_usize, prop::collection::btree_set(0..4_usize, 0..3), any::<bool>());
    let user = user.prop_map(|(n, groups, off)| {
        let groups = groups.into_iter().map(|g| GROUPS[g].parse().unwrap()).collect();
        User {
            id: USERS[n].parse().unwrap(),
            audit: "u-1".into(),
            key: "".into(),
            email: None,
            name: None,
            groups,
            contract_end: None,
            disabled: disabled(off),
            rest: Default::default(),
        }
        .put()
    });
    let group = (0..4_usize, prop::collection::btree_set(0..4_usize, 0..3)).prop_map(|(n, within)| {
        let within = within.into_iter().map(|g| GROUPS[g].parse().unwrap()).collect();
        Group { id: GROUPS[n].parse().unwrap(), within, rest: Default::default() }.put()
    });
    let device = (0..4_usize, 0..3_usize, 1..3_u8, any::<bool>()).prop_map(|(n, owner, keys, off)| {
        let since = protocol::time::Timestamp::MIN;
        Device {
            id: DEVICES[n].parse().unwrap(),
            name: DEVICES[n].parse().unwrap(),
            owner: USERS[owner].parse().unwrap(),
            keys: (0..keys).map(|k| DeviceKey { key: key(n as u8 * 2 + k), since }).collect(),
            groups: Default::default(),
            platform: None,
            posture: Posture::default(),
            disabled: disabled(off),
            rest: Default::default(),
        }
        .put()
    });
    let address = (0..6_usize, 2..9_u32, any::<bool>()).prop_map(|(n, index, rests)| {
        let (part, owner) = if n < 4 { (Part::Device, DEVICES[n]) } else { (Part::App, ["x", "y"][n - 4]) };
        let freed = rests.then_some(protocol::time::Timestamp::MIN);
        Address { part, owner: owner.to_owned(), index, freed, rest: Default::default() }.put()
    });
    let connector = (0..2_u8, any::<bool>()).prop_map(|(n, off)| {
        Connector {
            id: format!("c{n}").parse().unwrap(),
            site: "fra".parse().unwrap(),
            pin: LinkPin([n; 32]),
            since: protocol::time::Timestamp::MIN,
            disabled: disabled(off),
            rest: Default::default(),
        }
        .put()
    });
    let put = prop_oneof![3 => user, 2 => group, 3 => device, 1 => address, 1 => connector];
    (put, prop::bool::weighted(0.25), prop::bool::weighted(0.05)).prop_map(|(put, delete, damage)| {
        let Op::Put { id, uniques, body } = put else { unreachable!("only puts are made") };
        match (delete, damage) {
            (true, _) => Op::Delete { id },
            (false, true) => Op::Put { id, uniques, body: "{\"id\":7}".into() },
            (false, false) => Op::Put { id, uniques, body },
        }
    })
}

fn revoked() -> impl Strategy<Value = Revoked> {
    prop_oneof![
        (0..3_usize).prop_map(|n| Revoked::User { user: USERS[n].parse().unwrap() }),
        (0..3_usize, 0..4_usize).prop_map(|(n, g)| Revoked::Membership {
            user: USERS[n].parse().unwrap(),
            group: GROUPS[g].parse().unwrap()
        }),
        (0..4_usize).prop_map(|n| Revoked::Device { device: DEVICES[n].parse().unwrap() }),
        (0..4_usize, 0..2_u8).prop_map(|(n, k)| Revoked::Key {
            device: DEVICES[n].parse().unwrap(),
            key: key(n as u8 * 2 + k)
        }),
        (0..2_u8)
            .prop_map(|n| Revoked::Connector { connector: ConnectorId::try_from(format!("c{n}")).unwrap() }),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Op>),
    Revoke(Revoked),
    GiveBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(op(), 1..4).prop_map(Step::Commit),
        1 => revoked().prop_map(Step::Revoke),
        1 => Just(Step::GiveBack),
    ]
}

fn meta(revision: u64) -> Meta {
    Meta { store: "s".into(), epoch: 1, revision: Revision(revision), closed: Vec::new() }
}

/// Everything a reader can see, in order.
fn seen(directory: &Directory) -> String {
    let users: BTreeMap<_, _> = directory.users.iter().map(|(id, p)| (id, (&p.facts, p.enabled))).collect();
    let devices: BTreeMap<_, _> = directory.devices.iter().collect();
    let owned: BTreeMap<_, _> = directory.owned.iter().collect();
    let connectors: BTreeMap<_, _> = directory.connectors.iter().collect();
    let apps: BTreeMap<_, _> = directory.apps.iter().collect();
    format!("{users:?} {devices:?} {owned:?} {connectors:?} {apps:?}")
}

/// What a decision about a device reads.
fn decided(directory: &Directory, device: &str) -> String {
    let device = directory.device(&device.parse().unwrap());
    let user = device.and_then(|device| directory.user(&device.facts.owner));
    format!("{device:?} {:?}", user.map(|user| (&user.facts, user.enabled)))
}

proptest! {
    #[test]
    fn following_is_the_same_as_loading(steps in prop::collection::vec(step(), 1..30)) {
        let mut view = View::new(&Loaded { meta: meta(0), objects: Vec::new() }, []);
        let mut objects: BTreeMap<ObjectId, Object> = BTreeMap::new();
        let mut said: Vec<Revoked> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            let revision = Revision(n as u64 + 1);
            let before = view.directory().clone();
            let touched = match step {
                Step::Commit(ops) => {
                    let mut changes = Vec::new();
                    for op in ops {
                        let body = match &op {
                            Op::Put { body, .. } => Some(body.clone()),
                            Op::Delete { .. } => None,
                        };
                        let id = op.id().clone();
                        objects.remove(&id);
                        if let Some(body) = &body {
                            objects.insert(id.clone(), Object { id: id.clone(), revision, body: body.clone() });
                        }
                        changes.push(Change { revision, id, body });
                    }
                    view.apply(meta(revision.0), &changes)
                }
                Step::Revoke(revoked) => {
                    said.push(revoked.clone());
                    view.revoke(&revoked)
                }
                Step::GiveBack => match said.pop() {
                    Some(revoked) => view.give_back(&revoked),
                    None => continue,
                },
            };
            let loaded = Loaded { meta: meta(revision.0), objects: objects.values().cloned().collect() };
            let fresh = View::new(&loaded, said.clone());
            prop_assert_eq!(seen(view.directory()), seen(fresh.directory()));
            prop_assert_eq!(view.objects().damaged(), fresh.objects().damaged());
            for device in DEVICES {
                let id: DeviceId = device.parse().unwrap();
                let (old, new) = (decided(&before, device), decided(view.directory(), device));
                prop_assert!(old == new || touched.devices.contains(&id), "{} differs untouched", device);
                let peer = |directory: &Directory| directory.device(&id).map(|d| (d.keys.clone(), d.index, d.enabled));
                prop_assert!(peer(&before) == peer(view.directory()) || touched.peers.contains(&id));
            }
        }
    }
}

#[test]
fn what_a_newer_version_wrote_is_kept() {
    let body = r#"{"id":"corp/g","in":[],"colour":"red"}"#;
    let id = ObjectId::new(Kind::Group, "corp/g");
    let group = Group::read(&id, body).expect("a group");
    let Op::Put { body, .. } = group.put() else { panic!("not a put") };
    assert!(body.contains(r#""colour":"red""#), "{body}");
    assert!(Group::read(&ObjectId::new(Kind::Group, "corp/h"), &body).is_err(), "under another name");
}

#[test]
fn a_group_written_again_as_it_is_touches_nobody() {
    let group = Group { id: "corp/g".parse().unwrap(), within: Default::default(), rest: Default::default() };
    let user = User {
        id: "corp/a".parse().unwrap(),
        audit: "u-1".into(),
        key: "".into(),
        email: None,
        name: None,
        groups: [group.id.clone()].into(),
        contract_end: None,
        disabled: None,
        rest: Default::default(),
    };
    let device = Device {
        id: "d".parse().unwrap(),
        name: "d".parse().unwrap(),
        owner: user.id.clone(),
        keys: Vec::new(),
        groups: Default::default(),
        platform: None,
        posture: Posture::default(),
        disabled: None,
        rest: Default::default(),
    };
    let mut view = View::new(&Loaded { meta: meta(0), objects: Vec::new() }, []);
    let mut write = |revision, op: Op| {
        let Op::Put { id, body, .. } = op else { panic!("not a put") };
        view.apply(meta(revision), &[Change { revision: Revision(revision), id, body: Some(body) }])
    };
    write(1, user.put());
    write(2, device.put());
    assert!(!write(3, group.put()).is_empty(), "a group that comes to be is one more for its members");
    assert!(write(4, group.put()).is_empty());
}
