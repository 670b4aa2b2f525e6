//! Imports: as listed, all or nothing, nothing back by the way. The list is made by hand.
//! Always true: a second import of the same changes nothing.

use policy::facts::Posture;
use protocol::time::Timestamp;

use super::*;
use crate::{
    admin::import::{Listed, ListedDevice, ListedGroup, ListedUser},
    object::DeviceKey,
};

fn request(listed: Listed) -> ImportRequest {
    ImportRequest { listed, prune: false, again: false, dry_run: false }
}

fn import(request: &ImportRequest) -> Request {
    Request::Import(Box::new(request.clone()))
}

fn group(id: &str, within: &[&str]) -> ListedGroup {
    ListedGroup { id: id.parse().unwrap(), within: within.iter().map(|id| id.parse().unwrap()).collect() }
}

fn user(id: &str, groups: &[&str]) -> ListedUser {
    let groups = groups.iter().map(|id| id.parse().unwrap()).collect();
    ListedUser { id: id.parse().unwrap(), email: None, groups, contract_end: None, disabled: false }
}

fn listed_device(name: &str, owner: &str, keys: &[u8]) -> ListedDevice {
    ListedDevice {
        name: name.parse().unwrap(),
        owner: owner.parse().unwrap(),
        keys: keys.iter().map(|n| DeviceKey { key: key(*n), since: Timestamp::MIN }).collect(),
        groups: BTreeSet::new(),
        platform: None,
        posture: Posture::default(),
        address: None,
    }
}

fn listed() -> Listed {
    Listed {
        groups: vec![group("corp/g", &["corp/all"]), group("corp/all", &[])],
        users: vec![user("corp/a", &["corp/g"]), user("corp/c", &[])],
        devices: vec![listed_device("laptop", "corp/a", &[1]), listed_device("new", "corp/c", &[7, 8])],
        connectors: None,
    }
}

#[test]
fn what_is_listed_is_there_and_a_second_time_changes_nothing() {
    let mut world = World::peopled();
    let request = request(listed());
    let dry = world.does(&import(&ImportRequest { dry_run: true, ..request.clone() }));
    assert!(world.view.objects().get::<User>("corp/c").is_none(), "a dry run changes nothing");
    let plan = world.does(&import(&request));
    assert_eq!(plan.answer, dry.answer);
    let text = plan.answer.text.unwrap();
    for line in [
        "+ group corp/all",
        "~ group corp/g  in: [] → [\"corp/all\"]",
        "+ device new",
        "3 added, 2 changed, 0 removed",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!((world.index("laptop"), world.index("new")), (Some(2), Some(3)));
    assert_eq!(world.device("laptop").keys[0].since, world.now, "an age that is not told stays");
    assert!(world.view.objects().get::<User>("corp/b").is_some(), "not pruned");
    assert!(world.plan(&import(&request)).unwrap().commit.is_none(), "nothing is left to do");
}

#[test]
fn pruned_is_what_is_not_listed() {
    let mut world = World::peopled();
    world.does(&device_add("old", "corp/b", 5));
    world.does(&import(&ImportRequest { prune: true, ..request(listed()) }));
    let objects = world.view.objects();
    assert!(objects.get::<User>("corp/b").is_none() && objects.get::<Device>("old").is_none());
    assert!(objects.get::<Group>("corp/h").is_none());
    assert!(objects.get::<crate::object::Revocation>(&key(5).to_string()).is_some(), "its key is barred");
}

#[test]
fn nothing_comes_back_by_the_way() {
    let mut world = World::peopled();
    world.does(&disable_user("corp/a"));
    let plan = world.does(&import(&request(listed())));
    assert!(world.user("corp/a").disabled.is_some());
    assert!(plan.answer.notes.iter().any(|note| note.contains("corp/a") && note.contains("--again")));
    world.does(&remove_device("new"));
    let again = ImportRequest { again: true, ..request(listed()) };
    assert!(world.refuses(&import(&request(listed()))).contains("was taken from device new"));
    world.does(&import(&again));
    assert!(world.user("corp/a").disabled.is_none());
    assert_eq!(world.index("new"), Some(3), "its own address");
    let mut off = again;
    off.listed.users[0].disabled = true;
    world.does(&import(&off));
    assert!(world.user("corp/a").disabled.is_some(), "disabling is a change like others");
}

#[test]
fn keys_may_change_hands_and_a_list_may_not_contradict_itself() {
    let mut world = World::peopled();
    world.does(&import(&request(listed())));
    let mut swapped = request(listed());
    swapped.listed.devices =
        vec![listed_device("laptop", "corp/a", &[7]), listed_device("new", "corp/c", &[1])];
    world.does(&import(&swapped));
    assert_eq!((world.device("laptop").keys[0].key, world.device("new").keys[0].key), (key(7), key(1)));
    assert!(world.view.objects().get::<crate::object::Revocation>(&key(8).to_string()).is_some());
    let wrong = |change: &dyn Fn(&mut Listed)| {
        let mut request = swapped.clone();
        change(&mut request.listed);
        world.refuses(&import(&request))
    };
    let twice = |list: &mut Listed| list.devices[1].keys = list.devices[0].keys.clone();
    assert!(wrong(&twice).contains("stands in it twice"));
    assert!(wrong(&|list| list.devices[0].keys.clear()).contains("needs one key"));
    assert!(wrong(&|list| list.users.push(user("corp/a", &[]))).contains("user corp/a stands in it twice"));
    assert!(wrong(&|list| list.groups[1] = group("corp/all", &["corp/g"])).contains("in one another"));
    assert!(wrong(&|list| list.users[1] = user("corp/c", &["corp/x"])).contains("there is no group corp/x"));
    let taken = |list: &mut Listed| {
        list.devices.remove(0);
        list.devices[0].keys[0].key = key(7);
    };
    assert!(wrong(&taken).contains("is device laptop's already"));
}

#[test]
fn an_import_and_what_happens_meanwhile() {
    let mut world = World::peopled();
    let plan = world.plan(&import(&request(listed()))).unwrap();
    world
        .does(&Request::Group(GroupRequest::Remove { group: "corp/g".parse().unwrap(), with_members: true }));
    assert!(world.commit(plan.commit.unwrap()).is_err(), "a group it lays out is gone");
}

#[test]
fn a_hundred_thousand_devices() {
    let world = World::new();
    let name = |n: u32| format!("d{n}");
    let listed = Listed {
        groups: vec![group("corp/all", &[])],
        users: (0..20_000).map(|n| user(&format!("corp/u{n}"), &["corp/all"])).collect(),
        devices: (0..100_000_u32)
            .map(|n| {
                let mut device = listed_device(&name(n), &format!("corp/u{}", n % 20_000), &[1]);
                device.keys[0].key.0[..4].copy_from_slice(&(n + 1).to_be_bytes());
                device
            })
            .collect(),
        connectors: None,
    };
    let request = import(&request(listed));
    let sites = BTreeSet::new();
    let context = Context {
        now: world.now,
        actor: "root",
        sites: &sites,
        devices: 2..=2_000_000,
        index_of: &|_| None,
        random: &|| [0; 32],
        seal: &|_, _| String::new(),
        may_see: &|_| true,
    };
    let plan = plan(&world.view, &request, &context).expect("a plan");
    assert_eq!(plan.commit.expect("a commit").ops.len(), 1 + 20_000 + 100_000 * 2);
    assert_eq!(plan.answer.data["left_off"], 120_001 - 1000);
}
