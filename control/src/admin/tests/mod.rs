//! Administration against a store in memory, which decides by the same code as the databases.
//! Each file has the rules of one thing. Always true: every test ends in a sound store.

mod endings;
mod import;
mod random;
mod rules;
mod sessions;
mod tokens;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
};

use protocol::{id::SiteId, key::WgKey, time::Timestamp};

use super::*;
use crate::{
    object::{Address, Connector, Device, Group, Part, User},
    store::{
        Batch, BatchId, Change, Loaded, Meta, Object, ObjectId, Outcome, Revision, Unique, batch::Standing,
    },
};

/// A store, who looks at it, and a clock that stands until it is moved.
struct World {
    view: View,
    objects: BTreeMap<ObjectId, Object>,
    uniques: HashMap<ObjectId, Vec<Unique>>,
    revision: Revision,
    now: Timestamp,
    drawn: Cell<u8>,
    hidden: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let loaded = Loaded { meta: meta(Revision(0)), objects: Vec::new() };
        Self {
            view: View::new(&loaded, []),
            objects: BTreeMap::new(),
            uniques: HashMap::new(),
            revision: Revision(0),
            now: Timestamp::from_millis(1_000_000),
            drawn: Cell::new(0),
            hidden: BTreeSet::new(),
        }
    }

    /// With people `corp/a` and `corp/b`, groups `corp/g` and `corp/h`, and device `laptop` of `corp/a`
    /// with key 1.
    fn peopled() -> Self {
        let mut world = Self::new();
        for request in
            [group_add("corp/g", &[]), group_add("corp/h", &[]), user_add("corp/a"), user_add("corp/b")]
        {
            world.does(&request);
        }
        world.does(&device_add("laptop", "corp/a", 1));
        world
    }

    fn plan(&self, request: &Request) -> Result<Plan, AdminError> {
        let sites: BTreeSet<SiteId> = ["local", "fra"].map(|site| site.parse().unwrap()).into();
        let random = || {
            self.drawn.set(self.drawn.get().wrapping_add(1));
            [self.drawn.get(); 32]
        };
        let context = Context {
            now: self.now,
            actor: "root",
            sites: &sites,
            devices: 2..=9,
            index_of: &|ip: Ipv4Addr| Some(u32::from(ip) & 0xff),
            random: &random,
            seal: &|user, key| format!("sealed {user} {}", key[0]),
            may_see: &|scope| !scope.object.as_ref().is_some_and(|object| self.hidden.contains(object)),
        };
        plan(&self.view, request, &context)
    }

    fn commit(&mut self, commit: Commit) -> Outcome {
        let batch = Batch { id: BatchId("b".into()), commits: vec![commit] };
        let objects = self.objects.iter().map(|(id, object)| {
            let uniques = self.uniques.get(id).cloned().unwrap_or_default();
            (id.clone(), (object.revision, uniques))
        });
        let uniques =
            self.uniques.iter().flat_map(|(id, all)| all.iter().map(|one| (one.clone(), id.clone())));
        let standing =
            Standing { revision: self.revision, objects: objects.collect(), uniques: uniques.collect() };
        let (writes, mut outcomes) = batch.decide(standing);
        let ids: HashSet<&ObjectId> = batch.commits[0].ops.iter().map(crate::store::Op::id).collect();
        assert_eq!(ids.len(), batch.commits[0].ops.len(), "each object once");
        if outcomes[0].is_ok() {
            self.take(&batch.commits[0], writes.revision, &writes.changes);
        }
        outcomes.remove(0)
    }

    fn take(&mut self, commit: &Commit, revision: Revision, changes: &[Change]) {
        self.revision = revision;
        for op in &commit.ops {
            self.objects.remove(op.id());
            self.uniques.remove(op.id());
            if let crate::store::Op::Put { id, body, uniques } = op {
                self.uniques.insert(id.clone(), uniques.clone());
                let object = Object { id: id.clone(), revision, body: body.clone() };
                self.objects.insert(id.clone(), object);
            }
        }
        self.view.apply(meta(revision), changes);
        self.check();
    }

    /// Plans and commits; both must go well.
    fn does(&mut self, request: &Request) -> Plan {
        let mut plan = self.plan(request).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        if let Some(commit) = plan.commit.take() {
            self.commit(commit).unwrap_or_else(|refused| panic!("{request:?}: {refused}"));
        }
        plan
    }

    fn refuses(&self, request: &Request) -> String {
        self.plan(request).map(drop).expect_err("a refusal").to_string()
    }

    fn user(&self, id: &str) -> &User {
        self.view.objects().get::<User>(id).expect("the user")
    }

    fn device(&self, id: &str) -> &Device {
        self.view.objects().get::<Device>(id).expect("the device")
    }

    fn index(&self, id: &str) -> Option<u32> {
        self.view.directory().device(&id.parse().unwrap())?.index
    }

    fn days(&mut self, days: u64) {
        self.now = self.now.plus(std::time::Duration::from_secs(days * 86_400));
    }

    /// What must hold of everything that is kept, whatever was done.
    fn check(&self) {
        let objects = self.view.objects();
        assert!(objects.damaged().is_empty());
        let mut uniques = HashSet::new();
        assert!(self.uniques.values().flatten().all(|unique| uniques.insert(unique)), "unique values");
        let (mut keys, mut names) = (HashSet::new(), HashSet::new());
        for device in objects.all::<Device>() {
            assert!(objects.get::<User>(device.owner.as_str()).is_some(), "{} has an owner", device.id);
            assert!(device.keys.len() <= 2 && (device.disabled.is_some() || !device.keys.is_empty()));
            assert!(device.keys.iter().all(|key| keys.insert(key.key)), "one owner per key");
            assert!(names.insert(&device.name) && (device.name == device.id || names.insert(&device.id)));
            assert!(self.index(device.id.as_str()).is_some_and(|n| (2..=9).contains(&n)), "{}", device.id);
            for key in &device.keys {
                assert!(
                    objects.get::<crate::object::Revocation>(&key.key.to_string()).is_none(),
                    "not barred"
                );
            }
        }
        let mut indices = HashSet::new();
        for address in objects.all::<Address>().filter(|address| address.part == Part::Device) {
            assert!(indices.insert(address.index), "one owner per index");
            let active = address.freed.is_none();
            assert_eq!(active, objects.get::<Device>(&address.owner).is_some(), "{} {active}", address.owner);
        }
        for user in objects.all::<User>() {
            assert!(user.groups.iter().all(|group| objects.get::<Group>(group.as_str()).is_some()));
        }
        for group in objects.all::<Group>() {
            assert!(group.within.iter().all(|above| objects.get::<Group>(above.as_str()).is_some()));
        }
        let groups = objects.all::<Group>().map(|group| (group.id.clone(), group.within.clone()));
        assert_eq!(super::group::round_of(&groups.collect()), Ok(()));
        assert!(objects.all::<Connector>().all(|connector| !connector.site.is_local()));
    }
}

fn meta(revision: Revision) -> Meta {
    Meta { store: "s".into(), epoch: 1, revision, closed: Vec::new() }
}

fn key(n: u8) -> WgKey {
    WgKey([n; 32])
}

fn user_add(user: &str) -> Request {
    Request::User(UserRequest::Add {
        user: user.parse().unwrap(),
        email: Some("a@corp.example".to_owned()),
        name: None,
        groups: BTreeSet::new(),
        contract_end: None,
    })
}

fn group_add(group: &str, within: &[&str]) -> Request {
    let within = within.iter().map(|group| group.parse().unwrap()).collect();
    Request::Group(GroupRequest::Add { group: group.parse().unwrap(), within })
}

fn group_set(group: &str, within: &[&str]) -> Request {
    let within = within.iter().map(|group| group.parse().unwrap()).collect();
    Request::Group(GroupRequest::Set { group: group.parse().unwrap(), within })
}

fn member(group: &str, user: &str, is_in: bool) -> Request {
    let (group, user) = (group.parse().unwrap(), user.parse().unwrap());
    Request::Group(if is_in {
        GroupRequest::AddMember { group, user }
    } else {
        GroupRequest::RemoveMember { group, user }
    })
}

fn device_add(device: &str, owner: &str, n: u8) -> Request {
    device_add_at(device, owner, n, None, false)
}

fn device_add_at(device: &str, owner: &str, n: u8, address: Option<[u8; 4]>, again: bool) -> Request {
    Request::Device(DeviceRequest::Add {
        device: device.parse().unwrap(),
        owner: owner.parse().unwrap(),
        key: key(n),
        platform: None,
        groups: BTreeSet::new(),
        address: address.map(Ipv4Addr::from),
        again,
    })
}

fn device(device: &str, request: impl Fn(protocol::id::DeviceId) -> DeviceRequest) -> Request {
    Request::Device(request(device.parse().unwrap()))
}

fn remove_device(name: &str) -> Request {
    device(name, |device| DeviceRequest::Remove { device })
}

fn key_add(name: &str, n: u8, again: bool) -> Request {
    device(name, |device| DeviceRequest::KeyAdd { device, key: key(n), again })
}

fn key_remove(name: &str, n: u8) -> Request {
    device(name, |device| DeviceRequest::KeyRemove { device, key: key(n) })
}

fn disable_device(name: &str) -> Request {
    device(name, |device| DeviceRequest::Disable { device, why: Some("lost".to_owned()) })
}

fn enable_device(name: &str) -> Request {
    device(name, |device| DeviceRequest::Enable { device })
}

fn rename(name: &str, to: &str) -> Request {
    device(name, |device| DeviceRequest::Rename { device, name: to.parse().unwrap() })
}

fn remove_user(user: &str, with_devices: bool) -> Request {
    Request::User(UserRequest::Remove { user: user.parse().unwrap(), with_devices })
}

fn disable_user(user: &str) -> Request {
    Request::User(UserRequest::Disable { user: user.parse().unwrap(), why: None })
}
