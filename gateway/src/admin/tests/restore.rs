//! Backups put back: into the store they come from, into another, and by whom they must not be.

use control::{
    object::{Disabled, User},
    store::Observation,
};
use serde_json::json;

use super::*;

fn disable() -> DeviceRequest {
    DeviceRequest::Disable { device: "laptop".parse().expect("a name"), why: None }
}

fn laptop() -> Revoked {
    Revoked::Device { device: "laptop".parse().expect("a name") }
}

fn closed(world: &World) -> Vec<String> {
    world.admin.0.reloader.view().directory().meta().closed.clone()
}

/// Every person's key, in the clear.
fn keys(world: &World) -> Vec<Vec<u8>> {
    let view = world.admin.0.reloader.view();
    let store = view.directory().meta().store.clone();
    let ring = world.admin.0.keys.load_full();
    let open = |user: &Arc<User>| ring.open(&place_of(&store, &user.id), &user.key).expect("it opens");
    view.objects().all::<User>().map(|user| open(user).expose().clone()).collect()
}

#[tokio::test]
async fn a_store_is_what_it_was_and_its_secrets_open() {
    let world = World::new().await;
    world.fill().await;
    let (before, file) = (keys(&world), world.backup().await);
    let meta = world.admin.0.reloader.view().directory().meta().clone();
    world.device(DeviceRequest::Remove { device: "laptop".parse().expect("a name") }).await;
    let text = std::fs::read(&file).expect("a backup");
    assert!(before.iter().all(|key| !text.windows(32).any(|part| part == key)), "sealed");
    world.restore(&file).await;
    assert_eq!(keys(&world), before);
    assert_eq!(world.laptop(), Some(false), "it was removed since");
    let after = world.admin.0.reloader.view().directory().meta().clone();
    assert_ne!(after.store, meta.store);
    assert_eq!(after.epoch, meta.epoch + 1);
    assert_eq!(closed(&world), Vec::<String>::new(), "everything could be known");
    let told = world.audited("backup restore").await;
    assert_eq!(told[0]["entry"]["details"]["backup"]["revision"], json!(meta.revision));
    assert_eq!(world.store().engine().records("gw").await.expect("read"), [], "it is in the chain");
    world.ask(AdminRequest::Audit(request::AuditRequest::Verify)).await;
}

#[tokio::test]
async fn it_asks_before_it_acts() {
    let world = World::new().await;
    world.fill().await;
    let file = world.backup().await;
    let before = world.admin.0.reloader.view().directory().meta().clone();
    let asked = RestoreRequest::From { file: file.clone(), yes: false };
    let answer = world.ask(AdminRequest::Restore(asked)).await;
    assert!(answer.text.expect("words").contains("--yes"));
    assert_eq!(*world.admin.0.reloader.view().directory().meta(), before);
    let stranger = Admin::operator(4_000_000_000, 4_000_000_000);
    for request in [
        AdminRequest::Backup { file: world.file("stolen") },
        AdminRequest::Restore(RestoreRequest::From { file, yes: true }),
        AdminRequest::Restore(RestoreRequest::Confirm),
        AdminRequest::Key(KeyRequest::List),
        AdminRequest::Key(KeyRequest::Rotate),
    ] {
        let refused = world.admin.serve(stranger.clone(), request).await.expect_err("no policy lets them");
        assert!(refused.contains("the policies do not let uid-4000000000"), "{refused}");
    }
    assert_eq!(*world.admin.0.reloader.view().directory().meta(), before);
    assert!(!world.file("stolen").exists());
    assert_eq!(world.audited("\"decision\":\"deny\"").await.as_array().map(Vec::len), Some(5));
}

/// Another machine with nothing but the file of keys: what was revoked since cannot be known.
#[tokio::test]
async fn after_a_disaster_it_is_closed_until_a_person_has_looked() {
    let lost = World::new().await;
    lost.fill().await;
    let file = lost.backup().await;
    let new = World::with_key(Some(lost.file("store.key"))).await;
    let answer = new.restore(&file).await;
    assert!(answer.text.expect("words").contains("CLOSED"));
    assert_eq!(closed(&new), ["the audit log of gateway gw begins after the backup"]);
    assert_eq!(new.laptop(), Some(true), "that it is not in an empty store says nothing");
    new.restore(&file).await;
    assert_eq!(closed(&new).len(), 1, "restoring again makes nothing known");
    new.ask(AdminRequest::Restore(RestoreRequest::Confirm)).await;
    assert_eq!(closed(&new), Vec::<String>::new());
    assert_eq!(new.audited("backup confirm").await.as_array().map(Vec::len), Some(1));
    let again = new.try_ask(AdminRequest::Restore(RestoreRequest::Confirm)).await;
    assert!(again.expect_err("nothing to confirm").contains("the store is open"));
}

#[tokio::test]
async fn keys_that_do_not_open_it_are_named() {
    let (world, other) = (World::new().await, World::new().await);
    world.fill().await;
    let file = world.backup().await;
    let before = other.admin.0.reloader.view().directory().meta().clone();
    let request = RestoreRequest::From { file, yes: true };
    let refused = other.try_ask(AdminRequest::Restore(request)).await.expect_err("other keys");
    assert!(refused.contains(world.admin.0.keys.load().sealing()), "{refused}");
    assert_eq!(*other.admin.0.reloader.view().directory().meta(), before);
}

#[tokio::test]
async fn what_only_the_outbox_knows_is_revoked_again() {
    let world = World::new().await;
    world.fill().await;
    let file = world.backup().await;
    let entry = world.admin.revocation(&Admin::operator(0, 0), &laptop());
    let records = vec![world.admin.0.books.record(&entry)];
    world.store().commit(Commit { records, ..Commit::default() }).await.expect("kept");
    world.restore(&file).await;
    assert_eq!((world.laptop(), closed(&world).len()), (Some(false), 0));
}

#[tokio::test]
async fn what_only_the_audit_log_knows_is_revoked_again() {
    let world = World::new().await;
    world.fill().await;
    let file = world.backup().await;
    world.device(disable()).await;
    world.device(DeviceRequest::Enable { device: "laptop".parse().expect("a name") }).await;
    world.restore(&file).await;
    assert_eq!((world.laptop(), closed(&world).len()), (Some(false), 0));
}

#[tokio::test]
async fn what_only_this_process_knows_is_revoked_again() {
    let world = World::new().await;
    world.fill().await;
    let file = world.backup().await;
    world.admin.0.reloader.revoke(vec![laptop()]).await;
    world.restore(&file).await;
    world.admin.0.reloader.give_back(vec![laptop()]).await;
    assert_eq!(world.laptop(), Some(false));
}

#[tokio::test]
async fn what_only_the_store_knows_is_revoked_again() {
    let world = World::new().await;
    world.fill().await;
    let file = world.backup().await;
    let view = world.admin.0.reloader.view();
    let alice = view.objects().get::<User>("corp/alice").expect("Alice");
    let disabled = Some(Disabled { at: Timestamp::MIN, by: "test".into(), why: None });
    let op = control::object::Body::put(&User { disabled, ..(**alice).clone() });
    world.store().commit(Commit { ops: vec![op], ..Commit::default() }).await.expect("kept");
    world.restore(&file).await;
    let snapshot = world.admin.0.live.snapshot();
    assert!(!snapshot.user(&"corp/alice".parse().expect("a name")).expect("Alice").enabled);
}

#[tokio::test]
async fn what_another_gateway_wrote_since_is_not_known() {
    let world = World::new().await;
    world.fill().await;
    let head = |n: u64| {
        let hash = log::Hash::of(&n.to_be_bytes());
        let head = json!({ "gateway": "other", "n": n, "hash": hash, "at": "", "signature": "", "key": "" });
        let (kind, id) = (HEADS.into(), "other".into());
        [Observation { kind, id, body: head.to_string().into(), at: Timestamp::MIN }]
    };
    world.store().engine().observe(&head(7)).await.expect("kept");
    let file = world.backup().await;
    let answer = |yes| {
        let file = file.clone();
        world.ask(AdminRequest::Restore(RestoreRequest::From { file, yes }))
    };
    assert_eq!(answer(false).await.data["closed"], json!([]));
    world.store().engine().observe(&head(8)).await.expect("kept");
    let expected = json!(["the audit log of gateway other since the backup is not here"]);
    assert_eq!(answer(true).await.data["closed"], expected);
}

#[tokio::test]
async fn a_damaged_audit_log_keeps_it_closed() {
    let world = World::new().await;
    world.fill().await;
    let file = world.backup().await;
    world.device(disable()).await;
    let log = world.file("state/audit/000001.jsonl");
    let text = std::fs::read_to_string(&log).expect("a log");
    let begins = text.find("\"kind\":\"revocation\"").expect("the revocation");
    std::fs::write(&log, format!("{}X{}", &text[..begins], &text[begins + 1..])).expect("written");
    world.restore(&file).await;
    assert_eq!(closed(&world).len(), 1);
    assert!(closed(&world)[0].contains("is not whole"), "{:?}", closed(&world));
}
