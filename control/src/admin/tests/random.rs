//! Random requests against a plain model of people, devices and memberships; the store is checked after
//! every commit. Always true: what was revoked is brought about once, and then holds.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const USERS: [&str; 3] = ["corp/a", "corp/b", "corp/c"];
const GROUPS: [&str; 4] = ["corp/g0", "corp/g1", "corp/g2", "corp/g3"];
const NAMES: [&str; 5] = ["d0", "d1", "d2", "d3", "d4"];

fn request() -> impl Strategy<Value = Request> {
    let (user, group) = (prop::sample::select(&USERS[..]), prop::sample::select(&GROUPS[..]));
    let (name, k) = (prop::sample::select(&NAMES[..]), 1..7_u8);
    let above = prop::sample::subsequence(&GROUPS[..], 0..3);
    let address = prop::option::weighted(0.2, (2..10_u8).prop_map(|n| [100, 64, 0, n]));
    prop_oneof![
        2 => user.clone().prop_map(user_add),
        1 => (user.clone(), any::<bool>()).prop_map(|(user, with)| remove_user(user, with)),
        1 => user.clone().prop_map(disable_user),
        1 => user.clone().prop_map(|user| Request::User(UserRequest::Enable { user: user.parse().unwrap() })),
        2 => (group.clone(), above.clone()).prop_map(|(group, above)| group_add(group, &above)),
        2 => (group.clone(), above).prop_map(|(group, above)| group_set(group, &above)),
        1 => (group.clone(), any::<bool>()).prop_map(|(group, with_members)| {
            Request::Group(GroupRequest::Remove { group: group.parse().unwrap(), with_members })
        }),
        3 => (group, user.clone(), prop::bool::weighted(0.7))
            .prop_map(|(group, user, is_in)| member(group, user, is_in)),
        4 => (name.clone(), user, k.clone(), address, any::<bool>())
            .prop_map(|(name, owner, k, address, again)| device_add_at(name, owner, k, address, again)),
        1 => name.clone().prop_map(remove_device),
        1 => name.clone().prop_map(disable_device),
        1 => name.clone().prop_map(enable_device),
        2 => (name.clone(), k.clone(), any::<bool>()).prop_map(|(name, k, again)| key_add(name, k, again)),
        2 => (name.clone(), k).prop_map(|(name, k)| key_remove(name, k)),
        1 => (name.clone(), name).prop_map(|(name, to)| rename(name, to)),
    ]
}

/// What there is to be, told without preconditions, references or revisions.
#[derive(Debug, Default, PartialEq)]
struct Model {
    users: HashMap<String, bool>,
    memberships: BTreeSet<(String, String)>,
    /// By id: name, owner, keys, whether it is open.
    devices: HashMap<String, (String, String, Vec<WgKey>, bool)>,
}

impl Model {
    fn of(view: &View) -> Self {
        let objects = view.objects();
        let all = objects
            .all::<User>()
            .flat_map(|user| user.groups.iter().map(|group| (user.id.to_string(), group.to_string())));
        Self {
            users: objects.all::<User>().map(|user| (user.id.to_string(), user.disabled.is_none())).collect(),
            memberships: all.collect(),
            devices: objects
                .all::<Device>()
                .map(|device| {
                    let keys = device.keys.iter().map(|key| key.key).collect();
                    let (name, owner) = (device.name.to_string(), device.owner.to_string());
                    (device.id.to_string(), (name, owner, keys, device.disabled.is_none()))
                })
                .collect(),
        }
    }

    fn device(&mut self, called: &str) -> &mut (String, String, Vec<WgKey>, bool) {
        let id = self.devices.iter().find(|(id, device)| *id == called || device.0 == called);
        let id = id.expect("a device it knows").0.clone();
        self.devices.get_mut(&id).expect("by its id")
    }

    /// What a request that is not refused means.
    fn does(&mut self, request: &Request) {
        match request {
            Request::User(request) => self.user(request),
            Request::Group(GroupRequest::Remove { group, .. }) => {
                self.memberships.retain(|(_, of)| of != group.as_str());
            }
            Request::Group(GroupRequest::AddMember { group, user }) => {
                self.memberships.insert((user.to_string(), group.to_string()));
            }
            Request::Group(GroupRequest::RemoveMember { group, user }) => {
                self.memberships.remove(&(user.to_string(), group.to_string()));
            }
            Request::Device(request) => self.on_device(request),
            _ => {}
        }
    }

    fn user(&mut self, request: &UserRequest) {
        match request {
            UserRequest::Add { user, .. } | UserRequest::Enable { user } => {
                self.users.insert(user.to_string(), true);
            }
            UserRequest::Disable { user, .. } => {
                self.users.insert(user.to_string(), false);
            }
            UserRequest::Remove { user, .. } => {
                self.users.remove(user.as_str());
                self.memberships.retain(|(of, _)| of != user.as_str());
                self.devices.retain(|_, device| device.1 != user.as_str());
            }
            _ => {}
        }
    }

    fn on_device(&mut self, request: &DeviceRequest) {
        match request {
            DeviceRequest::Add { device, owner, key, .. } => {
                let new = (device.to_string(), owner.to_string(), vec![*key], true);
                self.devices.insert(device.to_string(), new);
            }
            DeviceRequest::Remove { device } => {
                let name = self.device(device.as_str()).0.clone();
                self.devices.retain(|_, device| device.0 != name);
            }
            DeviceRequest::Disable { device, .. } => self.device(device.as_str()).3 = false,
            DeviceRequest::Enable { device } => self.device(device.as_str()).3 = true,
            DeviceRequest::KeyAdd { device, key, .. } => self.device(device.as_str()).2.push(*key),
            DeviceRequest::KeyRemove { device, key } => {
                self.device(device.as_str()).2.retain(|held| held != key);
            }
            DeviceRequest::Rename { device, name } => self.device(device.as_str()).0 = name.to_string(),
            _ => {}
        }
    }
}

/// What decisions can see: who may do anything, with what.
fn seen(view: &View) -> String {
    let directory = view.directory();
    let devices: BTreeMap<_, _> = directory
        .devices()
        .filter(|device| device.enabled && !device.keys.is_empty())
        .map(|device| (&device.facts.id, device))
        .collect();
    let users: Vec<_> = USERS.iter().map(|user| directory.user(&user.parse().unwrap())).collect();
    let users: Vec<_> = users.iter().map(|user| user.map(|user| (&user.facts, user.enabled))).collect();
    let connectors: BTreeSet<_> = directory.connectors().map(|connector| &connector.id).collect();
    format!("{devices:?} {users:?} {connectors:?}")
}

fn revoked() -> impl Strategy<Value = Revoked> {
    prop_oneof![
        (0..3_usize).prop_map(|n| Revoked::User { user: USERS[n].parse().unwrap() }),
        (0..3_usize, 0..4_usize).prop_map(|(n, g)| Revoked::Membership {
            user: USERS[n].parse().unwrap(),
            group: GROUPS[g].parse().unwrap()
        }),
        (0..5_usize).prop_map(|n| Revoked::Device { device: NAMES[n].parse().unwrap() }),
        (0..5_usize, 1..7_u8)
            .prop_map(|(n, k)| Revoked::Key { device: NAMES[n].parse().unwrap(), key: key(k) }),
    ]
}

proptest! {
    #[test]
    fn the_store_stays_sound_and_does_what_the_model_says(
        requests in prop::collection::vec((request(), 0..12_u64), 1..60),
    ) {
        let mut world = World::new();
        let mut model = Model::default();
        for (request, pause) in &requests {
            world.days(*pause);
            let Ok(plan) = world.plan(request) else { continue };
            if let Some(commit) = plan.commit {
                prop_assert!(world.commit(commit).is_ok(), "{:?}", request);
            }
            model.does(request);
            prop_assert_eq!(&Model::of(&world.view), &model, "after {:?}", request);
        }
    }

    #[test]
    fn two_at_once_leave_a_sound_store(
        requests in prop::collection::vec(request(), 0..30),
        pairs in prop::collection::vec((request(), request()), 1..20),
    ) {
        let mut world = World::new();
        for request in &requests {
            if let Ok(Some(commit)) = world.plan(request).map(|plan| plan.commit) {
                prop_assert!(world.commit(commit).is_ok());
            }
        }
        for (one, other) in &pairs {
            let plans = [one, other].map(|request| world.plan(request).ok().and_then(|plan| plan.commit));
            let touched = |commit: &Commit| {
                commit.ops.iter().map(|op| op.id().clone()).collect::<BTreeSet<_>>()
            };
            let [Some(first), Some(second)] = plans else { continue };
            let together = touched(&first).intersection(&touched(&second)).next().is_some();
            prop_assert!(world.commit(first).is_ok());
            prop_assert!(world.commit(second).is_err() || !together, "{:?} and {:?}", one, other);
        }
    }

    #[test]
    fn what_is_revoked_ahead_of_the_store_is_what_the_commit_says(
        requests in prop::collection::vec(request(), 5..60),
        revoked in revoked(),
    ) {
        let mut world = World::new();
        for request in &requests {
            world.days(1);
            if let Ok(Some(commit)) = world.plan(request).map(|plan| plan.commit) {
                prop_assert!(world.commit(commit).is_ok());
            }
        }
        world.view.revoke(&revoked);
        let ahead = seen(&world.view);
        if let Some(commit) = revoke_commit(&world.view, &revoked, world.now, "root") {
            prop_assert!(world.commit(commit).is_ok());
        }
        world.view.give_back(&revoked);
        prop_assert_eq!(ahead, seen(&world.view));
        prop_assert!(revoke_commit(&world.view, &revoked, world.now, "root").is_none());
    }
}
