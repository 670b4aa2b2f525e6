//! The one owner of the objects: takes changes in, keeps the published directory up to date, and says
//! what it touched. It commits nothing. Always true: what is revoked here counts for nothing until
//! the store says the same, whatever else the store says meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hash,
    str::FromStr,
    sync::Arc,
};

use policy::facts;
use protocol::{
    id::{AppId, DeviceId, GroupId, UserId},
    time::Timestamp,
};
use rpds::{HashTrieMapSync, HashTrieSetSync};

use super::{DeviceRecord, Directory, Kept, Objects, Person};
use crate::{
    object::{Address, Connector, Device, DeviceKey, Group, Kind, Part, Session, User},
    revoked::Revoked,
    store::{Change, Loaded, Meta, ObjectId},
};

/// What a change may have made different for those who read a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Devices about which a decision may differ now.
    pub devices: BTreeSet<DeviceId>,
    /// Those among them whose keys, address or very being may differ.
    pub peers: BTreeSet<DeviceId>,
    /// Whether connectors differ.
    pub connectors: bool,
    /// Whether addresses of apps differ.
    pub apps: bool,
    /// Whether all of it is to be looked at anew.
    pub everything: bool,
}

impl Touched {
    /// Everything may differ.
    pub fn everything() -> Self {
        Self { connectors: true, apps: true, everything: true, ..Self::default() }
    }

    /// Whether nothing that anybody reads differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What either touched.
    pub fn and(mut self, other: Self) -> Self {
        self.devices.extend(other.devices);
        self.peers.extend(other.peers);
        self.connectors |= other.connectors;
        self.apps |= other.apps;
        self.everything |= other.everything;
        self
    }
}

/// Sets of `V` by `K` that are cheap to clone.
type Sets<K, V> = HashTrieMapSync<K, HashTrieSetSync<V>>;

/// The objects, what follows from them, and what was revoked ahead of the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    objects: Objects,
    directory: Directory,
    members: Sets<GroupId, UserId>,
    children: Sets<GroupId, GroupId>,
    /// On which device a session is, by its id.
    devices: HashTrieMapSync<Arc<str>, DeviceId>,
    /// Each as often as it was said and not yet taken back.
    revoked: BTreeMap<Revoked, usize>,
}

impl View {
    /// What was loaded, with these revocations ahead of it.
    pub fn new(loaded: &Loaded, revoked: impl IntoIterator<Item = Revoked>) -> Self {
        let mut counted = BTreeMap::new();
        revoked.into_iter().for_each(|one| *counted.entry(one).or_default() += 1);
        Self::of(loaded, counted)
    }

    fn of(loaded: &Loaded, revoked: BTreeMap<Revoked, usize>) -> Self {
        let mut view = Self {
            objects: Objects::default(),
            directory: Directory::empty(loaded.meta.clone()),
            members: Sets::new_sync(),
            children: Sets::new_sync(),
            devices: HashTrieMapSync::new_sync(),
            revoked,
        };
        for object in &loaded.objects {
            view.objects.set(&object.id, object.revision, Some(&object.body));
        }
        view.follow_all();
        view
    }

    /// Takes over a whole store: another one, or what changed too long ago to be told one by one.
    pub fn replace(&mut self, loaded: &Loaded) -> Touched {
        let known = self.directory.meta();
        if loaded.meta.store == known.store && loaded.meta.revision < known.revision {
            return Touched::default();
        }
        let revoked = std::mem::take(&mut self.revoked);
        *self = Self::of(loaded, revoked);
        Touched::everything()
    }

    /// The objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The directory as it is now.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What is revoked ahead of the store.
    pub fn revoked(&self) -> impl Iterator<Item = &Revoked> {
        self.revoked.keys()
    }

    /// Takes over what was committed; `meta` is of the moment it was read. What it knows already is passed over,
    /// as is another store's.
    pub fn apply(&mut self, meta: Meta, changes: &[Change]) -> Touched {
        let known = &self.directory.meta;
        if meta.store != known.store || meta.revision < known.revision {
            return Touched::default();
        }
        let known = known.revision;
        let changes: Vec<&Change> = changes.iter().filter(|change| change.revision > known).collect();
        let mut touched =
            Touched { everything: meta.closed != self.directory.meta.closed, ..Touched::default() };
        self.directory.meta = Arc::new(meta);
        let mut groups = BTreeSet::new();
        for change in &changes {
            self.relink(&change.id, false);
            let group =
                (change.id.kind == Kind::Group).then(|| self.objects.get::<Group>(&change.id.id).cloned());
            self.objects.set(&change.id, change.revision, change.body.as_deref());
            self.relink(&change.id, true);
            // A group is written again as it is whenever somebody gets in: that is no change for the others.
            if group.is_some_and(|before| before.as_ref() != self.objects.get::<Group>(&change.id.id)) {
                groups.extend(GroupId::from_str(&change.id.id));
            }
        }
        for user in groups.iter().flat_map(|group| self.within(group)).collect::<BTreeSet<_>>() {
            self.follow_user(&user, &mut touched);
        }
        for change in &changes {
            self.follow(&change.id, &mut touched);
        }
        touched
    }

    /// From now on this counts for nothing, whatever the store says.
    pub fn revoke(&mut self, revoked: &Revoked) -> Touched {
        *self.revoked.entry(revoked.clone()).or_default() += 1;
        self.follow_revoked(revoked)
    }

    /// Takes one [`View::revoke`] back: the store says the same now, or refused to.
    pub fn give_back(&mut self, revoked: &Revoked) -> Touched {
        if let Some(count) = self.revoked.get_mut(revoked) {
            *count -= 1;
            if *count == 0 {
                self.revoked.remove(revoked);
            }
        }
        self.follow_revoked(revoked)
    }

    fn is_revoked(&self, what: Revoked) -> bool {
        !self.revoked.is_empty() && self.revoked.contains_key(&what)
    }

    fn follow_revoked(&mut self, revoked: &Revoked) -> Touched {
        let mut touched = Touched::default();
        match revoked {
            Revoked::User { user } | Revoked::Membership { user, .. } => self.follow_user(user, &mut touched),
            Revoked::Device { device } | Revoked::Key { device, .. } => {
                self.follow_device(device, &mut touched)
            }
            Revoked::Connector { connector } => {
                let id = ObjectId::new(Kind::Connector, connector.as_str());
                self.follow(&id, &mut touched);
            }
            Revoked::Session { session, .. } => self.follow_session(session, &mut touched),
            // Tokens are looked up where they are redeemed.
            Revoked::Token { .. } => {}
        }
        touched
    }

    /// Takes an object that is about to change out of the reverse tables, or puts one in that has changed.
    fn relink(&mut self, id: &ObjectId, is_there: bool) {
        match id.kind {
            Kind::User => {
                let Some(user) = self.objects.get::<User>(&id.id) else { return };
                user.groups.iter().for_each(|group| set(&mut self.members, group, &user.id, is_there));
            }
            Kind::Group => {
                let Some(group) = self.objects.get::<Group>(&id.id) else { return };
                group.within.iter().for_each(|parent| set(&mut self.children, parent, &group.id, is_there));
            }
            Kind::Device
            | Kind::Connector
            | Kind::Token
            | Kind::Address
            | Kind::Revocation
            | Kind::Session
            | Kind::Logout
            | Kind::Authority
            | Kind::Secret => {}
        }
    }

    fn follow_all(&mut self) {
        let ids = |kind| move |name: &Arc<str>| ObjectId::new(kind, name.clone());
        let objects = &self.objects;
        let groups = Group::names(objects).map(ids(Kind::Group));
        let users = User::names(objects).map(ids(Kind::User));
        let addresses = Address::names(objects).map(ids(Kind::Address));
        let devices = Device::names(objects).map(ids(Kind::Device));
        let connectors = Connector::names(objects).map(ids(Kind::Connector));
        let sessions = Session::names(objects).map(ids(Kind::Session));
        let all = groups.chain(users).chain(addresses).chain(devices).chain(connectors).chain(sessions);
        let all: Vec<_> = all.collect();
        all.iter().for_each(|id| self.relink(id, true));
        // Nobody read a directory yet.
        let mut touched = Touched::default();
        for id in all.iter().filter(|id| id.kind != Kind::Address || id.id.starts_with("app/")) {
            self.follow(id, &mut touched);
        }
    }

    /// Brings the directory up to date with an object.
    fn follow(&mut self, id: &ObjectId, touched: &mut Touched) {
        match id.kind {
            Kind::User => {
                if let Ok(user) = id.id.parse() {
                    self.follow_user(&user, touched);
                }
            }
            Kind::Device => {
                if let Ok(device) = id.id.parse() {
                    self.follow_device(&device, touched);
                }
            }
            Kind::Address => self.follow_address(&id.id, touched),
            Kind::Connector => self.follow_connector(&id.id, touched),
            Kind::Session => self.follow_session(&id.id, touched),
            // Whoever is in a group is followed by itself; the others decide nothing that is open.
            Kind::Group | Kind::Token | Kind::Revocation | Kind::Logout | Kind::Authority | Kind::Secret => {}
        }
    }

    fn follow_user(&mut self, id: &UserId, touched: &mut Touched) {
        match self.objects.get::<User>(id.as_str()) {
            Some(user) => {
                let person = self.person(user);
                self.directory.users.insert_mut(user.id.clone(), Arc::new(person));
            }
            None => {
                self.directory.users.remove_mut(id);
            }
        }
        touched.devices.extend(self.directory.owned(id).cloned());
    }

    fn person(&self, user: &User) -> Person {
        let revoked = |group: &&GroupId| {
            self.is_revoked(Revoked::Membership { user: user.id.clone(), group: (*group).clone() })
        };
        let facts = facts::User {
            id: user.id.clone(),
            groups: self.closed(user.groups.iter().filter(|group| !revoked(group))),
            email: user.email.clone(),
            contract_end: user.contract_end,
        };
        let enabled = user.disabled.is_none() && !self.is_revoked(Revoked::User { user: user.id.clone() });
        Person {
            facts: Arc::new(facts),
            name: user.name.clone(),
            enabled,
            audit: user.audit.clone(),
            key: user.key.clone(),
        }
    }

    /// The groups that exist among `direct`, with every ancestor.
    fn closed<'a>(&self, direct: impl Iterator<Item = &'a GroupId>) -> BTreeSet<GroupId> {
        let mut all = BTreeSet::new();
        let mut next: Vec<&GroupId> = direct.collect();
        while let Some(group) = next.pop() {
            // The group's own id, so that it is in memory once for all its members.
            if let Some(group) = self.objects.get::<Group>(group.as_str())
                && all.insert(group.id.clone())
            {
                next.extend(&group.within);
            }
        }
        all
    }

    /// Everybody in a group, directly or through others.
    fn within(&self, group: &GroupId) -> BTreeSet<UserId> {
        let (mut seen, mut users) = (BTreeSet::new(), BTreeSet::new());
        let mut next = vec![group];
        while let Some(group) = next.pop() {
            if seen.insert(group) {
                users.extend(self.members.get(group).into_iter().flat_map(HashTrieSetSync::iter).cloned());
                next.extend(self.children.get(group).into_iter().flat_map(HashTrieSetSync::iter));
            }
        }
        users
    }

    fn follow_device(&mut self, id: &DeviceId, touched: &mut Touched) {
        let before = self.directory.devices.get(id).cloned();
        if let Some(before) = &before {
            self.disown(&before.facts.owner, id);
        }
        match self.objects.get::<Device>(id.as_str()) {
            Some(device) => {
                let record = self.record(device);
                let owner = record.facts.owner.clone();
                let mut owned =
                    self.directory.owned.get(&owner).map(|owned| (**owned).clone()).unwrap_or_default();
                owned.insert(device.id.clone());
                self.directory.owned.insert_mut(owner, Arc::new(owned));
                self.directory.devices.insert_mut(device.id.clone(), Arc::new(record));
            }
            None => {
                self.directory.devices.remove_mut(id);
            }
        }
        touched.devices.insert(id.clone());
        touched.peers.insert(id.clone());
    }

    fn disown(&mut self, owner: &UserId, device: &DeviceId) {
        let Some(owned) = self.directory.owned.get(owner) else { return };
        let mut owned = (**owned).clone();
        owned.remove(device);
        if owned.is_empty() {
            self.directory.owned.remove_mut(owner);
        } else {
            self.directory.owned.insert_mut(owner.clone(), Arc::new(owned));
        }
    }

    fn record(&self, device: &Device) -> DeviceRecord {
        let id = &device.id;
        let valid = |key: &&DeviceKey| !self.is_revoked(Revoked::Key { device: id.clone(), key: key.key });
        let keys = || device.keys.iter().filter(valid);
        let owner = self.objects.get::<User>(device.owner.as_str());
        let facts = facts::Device {
            id: id.clone(),
            // The person's own id, so that it is in memory once for all their devices.
            owner: owner.map_or_else(|| device.owner.clone(), |owner| owner.id.clone()),
            // Without any key nothing is fresh.
            key_since: keys().map(|key| key.since).min().unwrap_or(Timestamp::MIN),
            groups: device.groups.clone(),
            platform: device.platform,
            posture: device.posture.clone(),
        };
        let address = self.objects.get::<Address>(&format!("{}/{id}", Part::Device));
        DeviceRecord {
            facts: Arc::new(facts),
            name: device.name.clone(),
            keys: keys().map(|key| key.key).collect(),
            index: address.filter(|address| address.freed.is_none()).map(|address| address.index),
            enabled: device.disabled.is_none() && !self.is_revoked(Revoked::Device { device: id.clone() }),
        }
    }

    fn follow_session(&mut self, id: &Arc<str>, touched: &mut Touched) {
        if let Some(device) = self.devices.get(id).cloned() {
            self.devices.remove_mut(id);
            // Another may be there by now.
            if self.directory.session(&device).is_some_and(|session| session.id == *id) {
                self.directory.sessions.remove_mut(&device);
            }
            touched.devices.insert(device);
        }
        let Some(session) = self.objects.get::<Session>(id) else { return };
        let device = session.device.clone();
        if !self.is_revoked(Revoked::Session { session: id.clone(), device: device.clone() }) {
            let seen = (session.clone(), Arc::new(facts_of(session)));
            self.directory.sessions.insert_mut(device.clone(), seen);
        }
        touched.devices.insert(device.clone());
        self.devices.insert_mut(id.clone(), device);
    }

    fn follow_address(&mut self, name: &str, touched: &mut Touched) {
        if let Some(device) = name.strip_prefix("device/").and_then(|id| id.parse().ok()) {
            if self.objects.get::<Device>(name.trim_start_matches("device/")).is_some() {
                self.follow_device(&device, touched);
            }
            return;
        }
        let Some(Ok(app)) = name.strip_prefix("app/").map(AppId::from_str) else { return };
        touched.apps = true;
        match self.objects.get::<Address>(name) {
            Some(address) => self.directory.apps.insert_mut(app, address.index),
            None => {
                self.directory.apps.remove_mut(&app);
            }
        }
    }

    fn follow_connector(&mut self, name: &str, touched: &mut Touched) {
        touched.connectors = true;
        let Ok(id) = name.parse() else { return };
        let connector = self.objects.get::<Connector>(name).filter(|connector| {
            connector.disabled.is_none()
                && !self.is_revoked(Revoked::Connector { connector: connector.id.clone() })
        });
        match connector {
            Some(connector) => self.directory.connectors.insert_mut(id, connector.clone()),
            None => {
                self.directory.connectors.remove_mut(&id);
            }
        }
    }
}

/// What policies see of a session.
fn facts_of(session: &Session) -> facts::Session {
    facts::Session {
        at: session.at,
        expires: session.expires,
        auth_time: session.auth_time,
        amr: session.amr.clone(),
        acr: session.acr.clone(),
    }
}

fn set<K: Clone + Eq + Hash, V: Clone + Eq + Hash>(
    sets: &mut Sets<K, V>,
    key: &K,
    value: &V,
    is_there: bool,
) {
    let mut set = sets.get(key).cloned().unwrap_or_else(HashTrieSetSync::new_sync);
    if is_there {
        set.insert_mut(value.clone());
    } else {
        set.remove_mut(value);
    }
    if set.is_empty() {
        sets.remove_mut(key);
    } else {
        sets.insert_mut(key.clone(), set);
    }
}
