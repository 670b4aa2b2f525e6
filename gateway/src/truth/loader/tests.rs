//! Loads over real files: whole or not at all, and what a watched folder may not take away.

use std::{sync::Arc, time::SystemTime};

use control::{
    object::{Body, Disabled, User},
    revoked::Revoked,
    store::{Commit, Revision, Store},
};
use protocol::time::Timestamp;

use super::{super::Scope, *};
use crate::{
    access::{self, Allowed, Denied, DenyReason, Verdict},
    connectors::OpenError,
    dataplane::DataPlane,
    dial::Dialer,
    live::{Cut, Live, LiveGuard},
    snapshot::Snapshot,
    testing::{Company, connect},
    tls::{Certificates, Names},
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
    live: Live,
    store: Store,
    certificates: Certificates,
}

impl World {
    async fn new(policies: &str) -> Self {
        let company = Company::new(DESK, policies);
        let files = company.files();
        let mut kept = Kept::open(&files.config).await.unwrap_or_else(|error| panic!("{error}"));
        let known = kept.view().directory().meta().clone();
        kept.store.commit(company.fill(&files.config)).await.expect("kept");
        kept.take(store::news(kept.store.engine(), &known).await.expect("read").0);
        kept.take_touched();
        let engine = files.policies.engine().clone();
        let directory = kept.view().directory().clone();
        let snapshot = Snapshot::new(1, files.config.clone(), engine, directory, kept.lease.clone());
        let dialer = Dialer::new(None, files.local().expect("this machine"));
        let path = company.folder().join("doorward.toml");
        let (live, shadow) = (Live::new(Arc::new(snapshot)), crate::shadow::new().0);
        let certificates = Certificates::new(Names::default(), None);
        let parts = Parts {
            live: live.clone(),
            data_plane: DataPlane::ended(),
            dialer,
            registry: None,
            certificates: certificates.clone(),
            shadow,
        };
        let store = kept.store.clone();
        let (loader, reloader) = Loader::new(path, files, kept, parts);
        Self { company, loader, reloader, live, store, certificates }
    }

    /// Writes Alice anew, disabled.
    async fn disable_alice(&self) -> Revision {
        let view = self.reloader.view();
        let alice = view.objects().get::<User>("corp/alice").expect("Alice");
        let disabled = Some(Disabled { at: Timestamp::MIN, by: "test".into(), why: None });
        let op = User { disabled, ..(**alice).clone() }.put();
        self.store.commit(Commit { ops: vec![op], ..Commit::default() }).await.expect("kept")
    }

    fn open(&self) -> (Cut, LiveGuard) {
        let cut = Cut::default();
        let (verdict, guard) = self.live.decide(connect("desk", "127.0.0.1:9"), &cut);
        assert!(matches!(verdict, Verdict::Allow(_)), "{verdict:?}");
        (cut, guard)
    }

    fn forbids(&self) -> usize {
        self.live.snapshot().engine().forbids().count()
    }

    fn epoch(&self) -> u64 {
        self.live.snapshot().epoch()
    }

    fn allowed(&self) -> Allowed {
        let snapshot = self.live.snapshot();
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

const WIKI: &str = r#"
[[app]]
name = "wiki"
site = "local"
kind = "http"
hosts = ["wiki.corp.example"]
upstream = "http://127.0.0.1:9000"
"#;

#[tokio::test]
async fn names_and_certificates_come_and_go_with_the_file() {
    let mut world = World::new(PERMIT).await;
    let ours = |world: &World| world.certificates.names().contains("wiki.corp.example");
    assert!(!ours(&world));
    world.edit("[[app]]", &format!("{WIKI}[[app]]"));
    world.loader.load(Scope::All).await.expect("loaded");
    assert!(ours(&world));
    world.edit("[dns]", "[[tls.certificate]]\nchain = \"gone.pem\"\nkey = \"gone.key\"\n[dns]");
    world.edit("hosts = [\"wiki", "hosts = [\"docs");
    let error = world.loader.load(Scope::All).await.expect_err("a broken file");
    assert!(error.contains("tls.certificate[0].chain: cannot read"), "{error}");
    assert!(ours(&world), "nothing has changed");
}

#[tokio::test]
async fn a_folder_that_loses_a_forbid_is_loaded_by_a_person_only() {
    let mut world = World::new(GUARDED).await;
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
    let mut world = World::new(PERMIT).await;
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
    let mut world = World::new(PERMIT).await;
    world.company.write_policies(GUARDED);
    world.edit("zones = [\"corp.example\"]", "zones = []\ncolour = 1");
    let mistakes = world.loader.load(Scope::All).await.expect_err("an unknown key");
    assert!(mistakes.contains("colour"), "{mistakes}");
    assert_eq!(world.forbids(), 0);
}

#[tokio::test]
async fn what_is_bound_or_handed_out_does_not_change() {
    let mut world = World::new(PERMIT).await;
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
    let mut world = World::new(PERMIT).await;
    let (cut, _guard) = world.open();
    world.company.write_policies("");
    assert_eq!(world.loader.load(Scope::Policies).await.expect("loaded").cut, 1);
    assert!(cut.token().is_cancelled());
}

#[tokio::test]
async fn what_the_store_says_cuts_and_waits_for_nobody() {
    let world = World::new(PERMIT).await;
    let (cut, _guard) = world.open();
    let revision = world.disable_alice().await;
    let World { loader, reloader, .. } = world;
    tokio::spawn(loader.run());
    assert_eq!(reloader.catch_up().await.expect("read"), 1);
    assert!(cut.token().is_cancelled());
    assert_eq!(reloader.view().directory().revision(), revision);
}

#[tokio::test]
async fn a_revocation_waits_for_no_load() {
    let world = World::new(PERMIT).await;
    // A changed folder must be quiet for a while before it is loaded.
    world.company.write_policies(GUARDED);
    let World { loader, reloader, company: _company, .. } = world;
    tokio::spawn(loader.run());
    let loading = reloader.load(Scope::All);
    let revoking = reloader.revoke(vec![Revoked::Device { device: "laptop".parse().expect("a name") }]);
    tokio::select! {
        biased;
        loaded = loading => panic!("loaded first: {loaded:?}"),
        _ = revoking => {}
    }
}

#[tokio::test]
async fn a_revocation_holds_whatever_the_store_says() {
    let world = World::new(PERMIT).await;
    let (cut, _guard) = world.open();
    let World { loader, reloader, live, company: _company, .. } = world;
    tokio::spawn(loader.run());
    let revoked = vec![Revoked::Device { device: "laptop".parse().expect("a name") }];
    assert_eq!(reloader.revoke(revoked.clone()).await, 1);
    assert!(cut.token().is_cancelled());
    let question = connect("desk", "127.0.0.1:9");
    reloader.load(Scope::All).await.expect("loaded");
    let denied = live.decide(question.clone(), &Cut::default()).0;
    assert!(
        matches!(denied, Verdict::Deny(Denied { ref reasons, .. }) if *reasons == [DenyReason::DeviceDisabled])
    );
    reloader.give_back(revoked).await;
    assert!(matches!(live.decide(question, &Cut::default()).0, Verdict::Allow(_)));
}

#[tokio::test]
async fn what_the_gateway_itself_may_dial_follows() {
    let mut world = World::new(PERMIT).await;
    world.edit("127.0.0.1/32", "127.0.0.2/32");
    world.loader.load(Scope::All).await.expect("loaded");
    let opened = world.loader.parts.dialer.open(world.allowed().permit, 1).await;
    assert!(matches!(opened, Err(OpenError::NotAllowed(_))), "{opened:?}");
}

#[tokio::test]
async fn who_asks_is_answered() {
    let World { company: _company, loader, reloader, .. } = World::new(PERMIT).await;
    let loading = tokio::spawn(loader.run());
    assert_eq!(reloader.load(Scope::Policies).await.expect("loaded").count, 1);
    drop(reloader);
    loading.await.expect("ended with the last who may ask");
}
