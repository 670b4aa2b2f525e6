//! Loads over real files: whole or not at all, and what a watched folder may not take away.

use super::*;
use crate::{
    access::{self, Allowed, Verdict},
    connectors::OpenError,
    live::Cut,
    testing::{Company, DIRECTORY, connect},
};

const DESK: &str = r#"
[[app]]
name = "desk"
site = "local"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [9]
target = "127.0.0.1"
"#;
const PERMIT: &str = r#"@id("all") permit (principal, action, resource);"#;
const GUARDED: &str = r#"
@id("all") permit (principal, action, resource);
@id("guard") forbid (principal, action, resource) when { context.now < datetime("1980-01-01T00:00:00Z") };
"#;

struct World {
    company: Company,
    loader: Loader,
    reloader: Reloader,
}

impl World {
    fn new(policies: &str) -> Self {
        let company = Company::new(DESK, policies);
        let files = company.files();
        let live = Live::new(Arc::new(files.snapshot(1)));
        let dialer = Dialer::new(None, files.local().expect("this machine"));
        let path = company.folder().join("doorward.toml");
        let (loader, reloader) =
            Loader::new(path, files, live, DataPlane::ended(), dialer, None, crate::shadow::new().0);
        Self { company, loader, reloader }
    }

    fn forbids(&self) -> usize {
        self.loader.live.snapshot().engine().forbids().count()
    }

    fn epoch(&self) -> u64 {
        self.loader.live.snapshot().epoch()
    }

    fn allowed(&self) -> Allowed {
        let snapshot = self.loader.live.snapshot();
        let now = Timestamp::from_system(SystemTime::now());
        match access::check(&snapshot, &connect("desk", "127.0.0.1:9"), now) {
            Verdict::Allow(allowed) => allowed,
            Verdict::Deny(denied) => panic!("{denied}"),
        }
    }

    /// Writes doorward.toml anew with one thing replaced.
    fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.loader.path).expect("written");
        assert!(text.contains(from));
        self.company.write("doorward.toml", &text.replace(from, to));
    }
}

#[tokio::test]
async fn a_folder_that_loses_a_forbid_is_loaded_by_a_person_only() {
    let mut world = World::new(GUARDED);
    world.company.write_policies(PERMIT);
    let refused = world.loader.load(Scope::WatchedPolicies).await.expect_err("a guard would go");
    assert!(refused.contains("removes forbid guard"), "{refused}");
    assert_eq!((world.forbids(), world.epoch()), (1, 1));
    let loaded = world.loader.load(Scope::Policies).await.expect("that is meant");
    assert_eq!(loaded.forbids_removed, ["guard"]);
    assert_eq!((world.forbids(), world.epoch()), (0, 2));
}

#[tokio::test]
async fn a_watched_folder_is_loaded_when_it_changes_and_refused_once() {
    let mut world = World::new(PERMIT);
    let mut seen = world.company.policies();
    world.loader.look(&mut seen).await;
    assert_eq!(world.epoch(), 1, "nothing changed");
    world.company.write_policies(GUARDED);
    world.loader.look(&mut seen).await;
    assert_eq!((world.forbids(), world.epoch()), (1, 2));
    world.company.write_policies(PERMIT);
    world.loader.look(&mut seen).await;
    assert_eq!((world.forbids(), world.epoch()), (1, 2));
    assert_eq!(seen, world.company.policies(), "a folder that was refused is not tried again");
}

#[tokio::test]
async fn a_load_that_fails_in_one_file_changes_nothing() {
    let mut world = World::new(PERMIT);
    world.company.write_policies(GUARDED);
    world.company.write("directory.toml", &DIRECTORY.replace("owner = \"corp/alice\"", "owner = \"corp/x\""));
    let mistakes = world.loader.load(Scope::All).await.expect_err("nobody is called x");
    assert!(mistakes.contains("corp/x"), "{mistakes}");
    assert_eq!((world.forbids(), world.epoch()), (0, 1));
}

#[tokio::test]
async fn what_is_bound_or_handed_out_does_not_change() {
    let mut world = World::new(PERMIT);
    world.edit("127.0.0.1:51820", "127.0.0.1:51821");
    let refused = world.loader.load(Scope::All).await.expect_err("a socket is bound");
    assert!(refused.starts_with("gateway.listen cannot change"), "{refused}");
    world.edit("127.0.0.1:51821", "127.0.0.1:51820");
    world.edit("[policy]", "[health]\nlisten = [\"127.0.0.1:9820\"]\n[policy]");
    let refused = world.loader.load(Scope::All).await.expect_err("a listener would open");
    assert!(refused.starts_with("health.listen cannot change"), "{refused}");
    assert_eq!(world.epoch(), 1);
}

#[tokio::test]
async fn a_load_cuts_and_says_how_many() {
    let mut world = World::new(PERMIT);
    let cut = Cut::default();
    let (_verdict, _guard) = world.loader.live.decide(connect("desk", "127.0.0.1:9"), &cut);
    world.company.write("directory.toml", &DIRECTORY.replace("email =", "disabled = true\nemail ="));
    let loaded = world.loader.load(Scope::All).await.expect("loaded");
    assert_eq!(loaded.cut, 1);
    assert!(cut.token().is_cancelled());
}

#[tokio::test]
async fn what_the_gateway_itself_may_dial_follows() {
    let mut world = World::new(PERMIT);
    world.edit("127.0.0.1/32", "127.0.0.2/32");
    world.loader.load(Scope::All).await.expect("loaded");
    let opened = world.loader.dialer.open(world.allowed().permit, 1).await;
    assert!(matches!(opened, Err(OpenError::NotAllowed(_))), "{opened:?}");
}

#[tokio::test]
async fn who_asks_is_answered() {
    let World { company: _company, loader, reloader } = World::new(PERMIT);
    let loading = tokio::spawn(loader.run());
    assert_eq!(reloader.load(Scope::Policies).await.expect("loaded").count, 1);
    drop(reloader);
    loading.await.expect("ended with the last who may ask");
}
