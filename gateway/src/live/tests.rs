//! The registry over real snapshots: what is cut, what stays, in both clocks; no sleeping, the clock is an argument.

use super::*;
use crate::{
    access::DenyReason,
    testing::{Company, connect},
};

const APPS: &str = r#"
[[app]]
name = "desk"
site = "local"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [22]
target = "127.0.0.1"
[[app]]
name = "safe"
site = "local"
kind = "tcp"
hosts = ["safe.corp.example"]
ports = [23]
target = "127.0.0.1"
"#;

const BOTH: &str = r#"
@id("both") permit (principal, action == Doorward::Action::"connect", resource);
"#;
const DESK: &str = r#"
@id("desk") permit (principal, action == Doorward::Action::"connect", resource == Doorward::App::"desk");
"#;
const NOBODY: &str = r#"
@id("nobody") forbid (principal, action, resource);
"#;
const WHILE: &str = r#"
@id("while") permit (principal, action == Doorward::Action::"connect", resource)
when { context.now < datetime("2190-01-01T00:00:00Z") };
"#;
/// 2190-01-01, when the permit above ends.
const END: i64 = 6_942_585_600_000;

fn desk() -> Question {
    connect("desk", "127.0.0.1:22")
}

fn safe() -> Question {
    connect("safe", "127.0.0.1:23")
}

/// What one company's policies allow, and how they change.
struct World {
    company: Company,
    live: Live,
}

impl World {
    fn new(policies: &str) -> Self {
        let company = Company::new(APPS, policies);
        let live = Live::new(company.snapshot(1));
        Self { company, live }
    }

    /// The next version of everything, with these policies.
    fn with(&self, policies: &str) -> Arc<Snapshot> {
        self.company.write_policies(policies);
        self.company.snapshot(self.live.snapshot().epoch() + 1)
    }

    fn open(&self, question: Question) -> (Cut, LiveGuard) {
        let cut = Cut::default();
        let (verdict, guard) = self.live.decide(question, &cut);
        assert!(matches!(verdict, Verdict::Allow(_)), "{verdict:?}");
        (cut, guard)
    }

    /// The one deadline there is.
    fn deadline(&self) -> Deadline {
        let table = self.live.table();
        table.entries.values().find_map(|entry| entry.until).expect("a deadline")
    }
}

fn is_cut(cut: &Cut) -> bool {
    cut.token().is_cancelled()
}

fn wall(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[test]
fn new_facts_cut_who_loses_and_keep_the_others() {
    let world = World::new(BOTH);
    let ((kept, _a), (lost, _b), (too, _c)) = (world.open(desk()), world.open(safe()), world.open(safe()));
    assert_eq!(kept.grant().policies, ["both".into()]);
    assert_eq!(world.live.put(world.with(DESK), &Asked::All), 2);
    assert!(!is_cut(&kept) && is_cut(&lost) && is_cut(&too));
    assert!(lost.why().is_some_and(|why| !why.reasons.is_empty()), "the cut has its reason");
    assert_eq!(kept.grant().policies, ["desk".into()], "what allows it now");
}

#[test]
fn who_asked_nothing_that_changed_is_not_asked_again() {
    let world = World::new(BOTH);
    let (lost, _a) = world.open(safe());
    let others = Asked::Of(["phone".parse().expect("a name")].into());
    assert_eq!(world.live.put(world.with(DESK), &others), 0, "another device's facts");
    assert!(!is_cut(&lost));
    let both = Asked::Of(["laptop", "phone"].map(|name| name.parse().expect("a name")).into());
    assert_eq!(world.live.put(world.with(DESK), &both), 1);
    assert!(is_cut(&lost));
}

#[test]
fn the_packet_core_is_told_of_all_cuts_at_once() {
    let world = World::new(BOTH);
    let (data_plane, mut cuts) = DataPlane::played();
    world.live.cut_first(data_plane);
    let open = |flow: u64, question| {
        let cut = Cut::of(FlowId(flow));
        (cut.clone(), world.live.decide(question, &cut).1)
    };
    let (first, safe, request) = (open(1, desk()), [open(3, safe()), open(5, safe())], world.open(safe()));
    assert_eq!(world.live.put(world.with(DESK), &Asked::All), 3);
    let mut flows = cuts().expect("an order");
    flows.sort_unstable();
    assert_eq!((flows, cuts()), ([3, 5].map(FlowId).to_vec(), None), "a request is no flow");
    assert!(
        safe.iter().all(|(cut, _)| is_cut(cut) && cut.is_told()) && is_cut(&request.0) && !is_cut(&first.0)
    );
    assert_eq!((world.live.put(world.with(DESK), &Asked::All), cuts()), (0, None), "nothing is cut twice");
    // A queue that is full: its one place is taken by the first order.
    let late = open(7, desk());
    assert_eq!((world.live.put(world.with(NOBODY), &Asked::All), late.0.is_told()), (2, true));
    world.live.put(world.with(BOTH), &Asked::All);
    let last = open(9, desk());
    assert_eq!((world.live.put(world.with(NOBODY), &Asked::All), last.0.is_told()), (1, false));
}

#[test]
fn each_distinct_question_is_asked_once() {
    let world = World::new(BOTH);
    let _open = [world.open(desk()), world.open(desk()), world.open(safe())];
    assert_eq!(world.live.table().settled(&Asked::All, wall(0)).len(), 2);
    assert_eq!(world.live.put(world.with(NOBODY), &Asked::All), 3, "the answer counts for all who asked");
}

#[test]
fn facts_that_change_while_it_is_decided_are_noticed() {
    let world = World::new(BOTH);
    let (old, cut) = (world.live.snapshot(), Cut::default());
    let guard = world.live.register(Arc::new(safe()), cut.clone());
    let verdict = access::check(&old, &safe(), wall(0));
    assert!(matches!(verdict, Verdict::Allow(_)), "{verdict:?}");
    assert_eq!(
        world.live.put(world.with(NOBODY), &Asked::All),
        0,
        "what is being decided is not put's to cut"
    );
    assert!(!world.live.settle(guard.id, old.epoch(), None), "the old answer must not stand");
    assert!(world.live.settle(guard.id, old.epoch() + 1, None));
    assert_eq!(world.live.put(world.with(NOBODY), &Asked::All), 1, "from then on it is");
}

#[test]
fn a_look_that_was_overtaken_changes_nothing() {
    let world = World::new(NOBODY);
    let strict = world.live.snapshot();
    world.live.put(world.with(BOTH), &Asked::All);
    let (cut, _guard) = world.open(desk());
    let questions = world.live.table().settled(&Asked::All, wall(0));
    assert_eq!(world.live.reconsider(&strict, questions, Instant::now()), 0);
    assert!(!is_cut(&cut), "an answer of old facts was applied");
}

#[test]
fn the_end_of_a_grant_by_the_wall_clock_cuts() {
    let world = World::new(WHILE);
    let (cut, _guard) = world.open(desk());
    assert_eq!(cut.grant().until, Some(wall(END)));
    let monotonic = Instant::now();
    world.live.look(Clock { wall: wall(END - 1), monotonic });
    assert!(!is_cut(&cut));
    world.live.look(Clock { wall: wall(END), monotonic });
    assert!(is_cut(&cut));
    assert!(world.live.table().by_wall.is_empty() && world.live.table().by_monotonic.is_empty());
}

#[test]
fn a_wall_clock_stepped_back_extends_no_grant() {
    let world = World::new(WHILE);
    let (cut, _guard) = world.open(desk());
    let end = world.deadline();
    let stepped = wall(0);
    // Loads in between see the stepped clock too.
    let questions = world.live.table().settled(&Asked::All, stepped);
    world.live.reconsider(&world.live.snapshot(), questions, Instant::now());
    assert_eq!(world.deadline(), end);
    world.live.look(Clock { wall: stepped, monotonic: end.monotonic - Duration::from_millis(1) });
    assert!(!is_cut(&cut));
    world.live.look(Clock { wall: stepped, monotonic: end.monotonic });
    assert!(is_cut(&cut));
}

#[test]
fn a_new_end_replaces_the_old_one() {
    let world = World::new(WHILE);
    let (cut, _guard) = world.open(desk());
    world.live.put(world.with(&WHILE.replace("2190", "2180")), &Asked::All);
    assert!(world.deadline().wall < wall(END));
    assert_eq!(cut.grant().until, Some(world.deadline().wall));
    world.live.put(world.with(BOTH), &Asked::All);
    assert!(world.live.table().by_wall.is_empty() && world.live.table().by_monotonic.is_empty());
    world.live.look(Clock { wall: wall(END), monotonic: Instant::now() });
    assert!(!is_cut(&cut));
}

#[test]
fn what_is_over_is_forgotten() {
    let world = World::new(WHILE);
    let (cut, guard) = world.open(desk());
    assert_eq!(world.live.len(), 1);
    drop(guard);
    assert!(world.live.is_empty());
    assert!(world.live.table().by_wall.is_empty() && world.live.table().by_monotonic.is_empty());
    assert_eq!(world.live.put(world.with(NOBODY), &Asked::All), 0);
    assert!(!is_cut(&cut));
}

#[test]
fn what_was_denied_is_never_granted_later() {
    let world = World::new(NOBODY);
    let cut = Cut::default();
    let (verdict, _guard) = world.live.decide(desk(), &cut);
    assert!(matches!(verdict, Verdict::Deny(_)), "{verdict:?}");
    world.live.put(world.with(BOTH), &Asked::All);
    assert!(cut.grant().policies.is_empty());
}

#[test]
fn the_first_reason_to_cut_stays() {
    let cut = Cut::default();
    cut.now(Denied::because(DenyReason::UserDisabled));
    cut.now(Denied::because(DenyReason::Draining));
    assert_eq!(cut.why().map(|why| why.reasons.clone()), Some(vec![DenyReason::UserDisabled]));
}
