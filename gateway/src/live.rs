//! Live re-decision: what is open is registered before it is decided, asked again when a fact or
//! the clock changes, and cut when the answer has become no.
//! It does not close sockets: it cancels the token that their owner watches.
//! Always true: between a change of facts and the next look no grant of the old facts is added.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use policy::decision::PolicyId;
use protocol::{id::DeviceId, time::Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tunnel::FlowId;

use crate::{
    access::{self, Allowed, Denied, Question, Verdict},
    dataplane::DataPlane,
    snapshot::Snapshot,
};

/// The clock is looked at this often even when no deadline is near, so that a stepped wall clock
/// is noticed well inside the promised second.
const CLOCK_LOOK: Duration = Duration::from_millis(250);

/// How the owner of something open learns that it must end, and why; and what allows it meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Cut {
    token: CancellationToken,
    why: Arc<OnceLock<Denied>>,
    grant: Arc<Mutex<Grant>>,
    flow: Option<FlowId>,
    /// The packet core was told.
    told: Arc<AtomicBool>,
}

/// What the latest look said of something open.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// The first instant at which the answer may differ.
    pub until: Option<Timestamp>,
    /// The permits that matched.
    pub policies: Vec<PolicyId>,
}

impl Cut {
    /// Of a flow, which the packet core can end sooner than its owner.
    pub fn of(flow: FlowId) -> Self {
        Self { flow: Some(flow), ..Self::default() }
    }

    /// The token that is cancelled when access ends.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Ends it; the first reason given stays.
    pub fn now(&self, why: Denied) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    /// Whether the packet core has cut the flow already, or is about to.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// What allows it now.
    pub fn grant(&self) -> Grant {
        self.grant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn granted(&self, allowed: &Allowed) {
        let grant = Grant { until: allowed.until, policies: allowed.policies.clone() };
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = grant;
    }

    /// Why it was ended, once it was.
    pub fn why(&self) -> Option<&Denied> {
        self.why.get()
    }
}

#[derive(Debug)]
struct Entry {
    question: Arc<Question>,
    cut: Cut,
    since: Timestamp,
    until: Option<Deadline>,
    /// `false` while its first decision is under way; that decision notices a change by the epoch.
    settled: bool,
}

/// An instant in both clocks: whichever comes first ends the grant, so that a wall clock stepped
/// back never extends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deadline {
    wall: Timestamp,
    monotonic: Instant,
}

impl Deadline {
    fn new(wall: Timestamp, clock: Clock) -> Self {
        Self { wall, monotonic: clock.monotonic + clock.wall.until(wall) }
    }

    /// A wall clock stepped back makes the same end look further away: it stays where it was.
    fn no_later_than(self, old: Option<Self>) -> Self {
        match old {
            Some(old) if old.wall == self.wall && old.monotonic < self.monotonic => old,
            Some(_) | None => self,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    wall: Timestamp,
    monotonic: Instant,
}

impl Clock {
    fn read() -> Self {
        Self { wall: Timestamp::from_system(SystemTime::now()), monotonic: Instant::now() }
    }
}

/// What a new snapshot may have changed the answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Everything.
    All,
    /// Only what these devices asked: all else reads the same facts as before.
    Of(BTreeSet<DeviceId>),
}

/// Distinct questions, each with the instant to ask it for.
type Questions = HashMap<Arc<Question>, Timestamp>;

#[derive(Debug, Default)]
struct Table {
    epoch: u64,
    next: u64,
    entries: HashMap<u64, Entry>,
    by_device: HashMap<DeviceId, BTreeSet<u64>>,
    /// When something allowed of a device ended last, or was allowed.
    used: HashMap<DeviceId, Timestamp>,
    /// The entries' deadlines in each clock's order: a stepped wall clock parts the two.
    by_wall: BTreeSet<(Timestamp, u64)>,
    by_monotonic: BTreeSet<(Instant, u64)>,
}

impl Table {
    fn set_until(&mut self, id: u64, until: Option<Deadline>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let until = until.map(|until| until.no_later_than(entry.until));
        let old = std::mem::replace(&mut entry.until, until);
        self.unplan(id, old);
        if let Some(until) = until {
            self.by_wall.insert((until.wall, id));
            self.by_monotonic.insert((until.monotonic, id));
        }
    }

    fn unplan(&mut self, id: u64, until: Option<Deadline>) {
        if let Some(until) = until {
            self.by_wall.remove(&(until.wall, id));
            self.by_monotonic.remove(&(until.monotonic, id));
        }
    }

    fn add(&mut self, question: Arc<Question>, cut: Cut) -> u64 {
        let id = self.next;
        self.next += 1;
        self.by_device.entry(question.device.clone()).or_default().insert(id);
        self.entries.insert(id, Entry { question, cut, since: now(), until: None, settled: false });
        id
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.unplan(id, entry.until);
        let device = &entry.question.device;
        if entry.settled {
            self.used.insert(device.clone(), now());
        }
        if let Some(ids) = self.by_device.get_mut(device) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_device.remove(device);
            }
        }
    }

    /// What is settled of these devices.
    fn of<'a>(
        &'a self,
        devices: impl IntoIterator<Item = &'a DeviceId>,
    ) -> impl Iterator<Item = (u64, &'a Entry)> {
        let ids = devices.into_iter().filter_map(|device| self.by_device.get(device)).flatten();
        let entries = ids.filter_map(|id| Some((*id, self.entries.get(id)?)));
        entries.filter(|(_, entry)| entry.settled)
    }

    /// The questions whose deadline has passed in either clock, each with the instant to ask for: a
    /// deadline that has passed has passed, whatever a wall clock stepped back says.
    fn due(&self, clock: Clock) -> Questions {
        let wall = self.by_wall.range(..=(clock.wall, u64::MAX)).map(|(_, id)| id);
        let monotonic = self.by_monotonic.range(..=(clock.monotonic, u64::MAX)).map(|(_, id)| id);
        let entries = wall.chain(monotonic).filter_map(|id| self.entries.get(id));
        let mut due = Questions::new();
        for entry in entries {
            let at = entry.until.map_or(clock.wall, |until| until.wall.max(clock.wall));
            let latest = due.entry(entry.question.clone()).or_insert(at);
            *latest = at.max(*latest);
        }
        due
    }

    fn settled(&self, of: &Asked, at: Timestamp) -> Questions {
        let question = |entry: &Entry| (entry.question.clone(), at);
        match of {
            Asked::All => self.entries.values().filter(|entry| entry.settled).map(question).collect(),
            Asked::Of(devices) => self.of(devices).map(|(_, entry)| question(entry)).collect(),
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Something open, for whoever is shown what they have open.
#[derive(Debug, Clone)]
pub struct Open {
    /// What was asked.
    pub question: Arc<Question>,
    /// Since when.
    pub since: Timestamp,
    /// The first instant at which the answer may differ.
    pub until: Option<Timestamp>,
}

/// The registry of everything open, over the snapshot in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    snapshot: ArcSwap<Snapshot>,
    table: Mutex<Table>,
    replan: Notify,
    data_plane: OnceLock<DataPlane>,
}

/// Keeps something registered; dropping it says that it is over.
#[derive(Debug)]
pub struct LiveGuard {
    live: Live,
    id: u64,
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.live.table().remove(self.id);
    }
}

impl Live {
    /// A registry over `snapshot`.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let table = Mutex::new(Table { epoch: snapshot.epoch(), ..Table::default() });
        let snapshot = ArcSwap::new(snapshot);
        Self(Arc::new(Inner { snapshot, table, replan: Notify::new(), data_plane: OnceLock::new() }))
    }

    /// From now on the packet core cuts flows before their owners do, all of them at once.
    pub fn cut_first(&self, data_plane: DataPlane) {
        let _ = self.0.data_plane.set(data_plane);
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// What a device has open, each resource once with the earliest end.
    pub fn open_of(&self, device: &DeviceId) -> Vec<Open> {
        let table = self.table();
        let open = table.of([device]).map(|(_, entry)| Open {
            question: entry.question.clone(),
            since: entry.since,
            until: entry.until.map(|until| until.wall),
        });
        let mut open: Vec<Open> = open.collect();
        drop(table);
        let key = |open: &Open| (open.question.resource.to_string(), open.until.is_none(), open.until);
        open.sort_by_key(key);
        open.dedup_by(|a, b| a.question.resource == b.question.resource);
        open
    }

    /// When a device last had something open that was allowed, since this gateway runs.
    pub fn last_used(&self, device: &DeviceId) -> Option<Timestamp> {
        let table = self.table();
        if table.of([device]).next().is_some() {
            return Some(now());
        }
        table.used.get(device).copied()
    }

    /// Forgets when devices were used of which `is_known` knows nothing.
    pub fn forget_used(&self, is_known: impl Fn(&DeviceId) -> bool) {
        self.table().used.retain(|device, _| is_known(device));
    }

    /// How many things are open.
    pub fn len(&self) -> usize {
        self.table().entries.len()
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Registers, then decides: if the facts change in between, it decides again, so that no
    /// change falls between the two. `cut` is cancelled when the answer becomes no.
    pub fn decide(&self, question: Question, cut: &Cut) -> (Verdict, LiveGuard) {
        let (verdict, guard, _) = self.decide_by(question, cut);
        (verdict, guard)
    }

    /// The same, with the snapshot that was decided by.
    pub fn decide_by(&self, question: Question, cut: &Cut) -> (Verdict, LiveGuard, Arc<Snapshot>) {
        let question = Arc::new(question);
        let guard = self.register(question.clone(), cut.clone());
        loop {
            let snapshot = self.snapshot();
            let clock = Clock::read();
            let verdict = access::check(&snapshot, &question, clock.wall);
            let until = match &verdict {
                Verdict::Allow(allowed) => {
                    cut.granted(allowed);
                    allowed.until.map(|wall| Deadline::new(wall, clock))
                }
                Verdict::Deny(_) => return (verdict, guard, snapshot),
            };
            if self.settle(guard.id, snapshot.epoch(), until) {
                return (verdict, guard, snapshot);
            }
        }
    }

    fn register(&self, question: Arc<Question>, cut: Cut) -> LiveGuard {
        let id = self.table().add(question, cut);
        LiveGuard { live: self.clone(), id }
    }

    fn settle(&self, id: u64, epoch: u64, until: Option<Deadline>) -> bool {
        let mut table = self.table();
        if table.epoch != epoch {
            return false;
        }
        if let Some(entry) = table.entries.get_mut(&id) {
            entry.settled = true;
        }
        table.set_until(id, until);
        let first = table.by_monotonic.first().is_some_and(|(_, first)| *first == id);
        drop(table);
        if first {
            self.0.replan.notify_one();
        }
        true
    }

    /// Puts `snapshot` in force and asks the settled questions of `asked` again, each distinct one once.
    /// Returns how many open things were cut. Called by one task only: the next snapshot comes when
    /// everything was asked for this one.
    pub fn put(&self, snapshot: Arc<Snapshot>, asked: &Asked) -> usize {
        let clock = Clock::read();
        self.0.snapshot.store(snapshot.clone());
        let questions = {
            let mut table = self.table();
            table.epoch = snapshot.epoch();
            table.settled(asked, clock.wall)
        };
        self.reconsider(&snapshot, questions, clock.monotonic)
    }

    /// Asks again what the clock may have changed, for ever. The owner aborts it at the end.
    pub async fn watch_clock(self) {
        loop {
            self.look(Clock::read());
            let next = self.table().by_monotonic.first().map(|(at, _)| *at);
            let wait = next.map_or(CLOCK_LOOK, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = tokio::time::sleep(wait.min(CLOCK_LOOK)) => {}
                () = self.0.replan.notified() => {}
            }
        }
    }

    /// Asks again what is due.
    fn look(&self, clock: Clock) {
        let due = self.table().due(clock);
        if !due.is_empty() {
            let snapshot = self.snapshot();
            self.reconsider(&snapshot, due, clock.monotonic);
        }
    }

    /// Decides outside the lock, then applies to every settled entry that asked the same, unless
    /// a newer snapshot came into force meanwhile: whoever put it asks again.
    fn reconsider(&self, snapshot: &Snapshot, questions: Questions, monotonic: Instant) -> usize {
        let answers: HashMap<_, _> = questions
            .into_iter()
            .map(|(question, wall)| {
                let verdict = access::check(snapshot, &question, wall);
                (question, (verdict, Clock { wall, monotonic }))
            })
            .collect();
        let mut table = self.table();
        if table.epoch != snapshot.epoch() {
            return 0;
        }
        let devices: BTreeSet<_> = answers.keys().map(|question| &question.device).collect();
        let asked: Vec<_> = table
            .of(devices)
            .filter_map(|(id, entry)| Some((id, entry.cut.clone(), answers.get(&entry.question)?)))
            .collect();
        let mut ended = Vec::new();
        for (id, handle, (verdict, clock)) in asked {
            match verdict {
                Verdict::Allow(allowed) => {
                    handle.granted(allowed);
                    table.set_until(id, allowed.until.map(|wall| Deadline::new(wall, *clock)));
                }
                Verdict::Deny(denied) => {
                    table.set_until(id, None);
                    if !handle.token.is_cancelled() {
                        ended.push((handle, denied.clone()));
                    }
                }
            }
        }
        if let Some(data_plane) = self.0.data_plane.get() {
            let flows = ended.iter().filter_map(|(handle, _)| handle.flow);
            let told = data_plane.cut_at_once(flows);
            ended.iter().for_each(|(handle, _)| handle.told.store(told, Ordering::Relaxed));
        }
        let cut = ended.len();
        ended.into_iter().for_each(|(handle, denied)| handle.now(denied));
        cut
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
