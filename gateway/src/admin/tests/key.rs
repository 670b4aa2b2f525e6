//! Keys rotated: to the end, and from wherever a killed process left off.

use std::{
    fmt::Write,
    pin::Pin,
    task::{Context as Task, Poll},
};

use control::{
    object::Body as _,
    store::{Change, Changes, Lease},
};

use super::*;
use crate::{
    books::{place_of_authority, place_of_refresh},
    steward::Steward,
};

/// More than are sealed in one commit, twice.
const PEOPLE: usize = 450;
/// The proof, a session, and the authority.
const OTHERS: usize = 3;
/// Moments at which the process is killed.
const MOMENTS: usize = 20;

async fn crowd() -> World {
    let world = World::new().await;
    let mut text = String::new();
    for n in 0..PEOPLE {
        writeln!(text, "[[user]]\nid = \"corp/p{n}\"\nemail = \"p{n}@corp.example\"").expect("text");
    }
    world.import(text).await;
    let ring = world.admin.0.keys.load_full();
    let store = world.admin.0.reloader.view().directory().meta().store.clone();
    let session = control::object::Session {
        id: "5e55".into(),
        user: "corp/p0".parse().expect("an id"),
        device: "laptop".parse().expect("an id"),
        provider: "corp".parse().expect("an id"),
        subject: "p0".into(),
        at: Timestamp::MIN,
        expires: Timestamp::MAX,
        auth_time: None,
        amr: Default::default(),
        acr: None,
        sid: None,
        refresh: Some(ring.seal(&place_of_refresh(&store, "5e55"), b"refresh").into()),
        refreshed: Timestamp::MIN,
        refreshing: None,
        suspended: None,
        rest: Default::default(),
    };
    let authority = control::object::Authority {
        id: "access".into(),
        certificate: "PEM".to_owned(),
        key: ring.seal(&place_of_authority(&store), b"key").into(),
        at: Timestamp::MIN,
        rest: Default::default(),
    };
    let ops = vec![session.put(), authority.put()];
    let commit = Commit { ops, ..Commit::default() };
    world.store().commit(commit).await.expect("kept");
    world.admin.0.reloader.catch_up().await.expect("read");
    world
}

fn ids(world: &World) -> Vec<String> {
    let ring = Keyring::read(&world.file("store.key")).expect("keys");
    ring.ids().map(str::to_owned).collect()
}

async fn rotate(world: &World) -> Answer {
    world.ask(AdminRequest::Key(KeyRequest::Rotate)).await
}

/// What a restart would ask of the file of keys, and of every secret.
async fn opens(world: &World) {
    let ring = Keyring::read(&world.file("store.key")).expect("keys");
    let loaded = world.store().engine().load().await.expect("read");
    let store = &*loaded.meta.store;
    for object in &loaded.objects {
        match object.id.kind {
            control::object::Kind::Secret => {
                let proof: String = serde_json::from_str(&object.body).expect("text");
                ring.proves(store, &proof).unwrap_or_else(|error| panic!("{error}"));
            }
            control::object::Kind::User => {
                let user: control::object::User = serde_json::from_str(&object.body).expect("a user");
                ring.open(&place_of(store, &user.id), &user.key).unwrap_or_else(|error| panic!("{error}"));
            }
            control::object::Kind::Session => {
                let session: control::object::Session =
                    serde_json::from_str(&object.body).expect("a session");
                let (place, sealed) =
                    (place_of_refresh(store, &session.id), session.refresh.expect("sealed"));
                ring.open(&place, &sealed).unwrap_or_else(|error| panic!("{error}"));
            }
            control::object::Kind::Authority => {
                let authority: control::object::Authority =
                    serde_json::from_str(&object.body).expect("an authority");
                let opened = ring.open(&place_of_authority(store), &authority.key);
                opened.unwrap_or_else(|error| panic!("{error}"));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn everything_is_sealed_anew_and_the_old_key_goes() {
    let world = crowd().await;
    let old = ids(&world);
    let before = world.admin.0.reloader.view().directory().revision();
    let answer = rotate(&world).await;
    assert_eq!(answer.data["sealed"], PEOPLE + OTHERS);
    let new = ids(&world);
    assert!(new.len() == 1 && new != old, "{new:?}");
    opens(&world).await;
    let listed = world.ask(AdminRequest::Key(KeyRequest::List)).await;
    assert_eq!(
        listed.data,
        serde_json::json!([{ "id": new[0], "seals": "yes", "secrets": PEOPLE + OTHERS, "here": "yes" }])
    );
    let engine = world.store().engine();
    let store = world.admin.0.reloader.view().directory().meta().store.clone();
    let Changes::Since { changes, .. } = engine.changes(&store, before, 10_000).await.expect("read") else {
        panic!("nothing was pruned");
    };
    assert!(changes.iter().all(|Change { body, .. }| !body.as_deref().unwrap_or("").contains(&old[0])));
    assert_eq!(world.admin.0.keys.load().sealing(), new[0], "the running gateway goes by it");
    world.fill().await;
    opens(&world).await;
}

/// A future that is given up after so many polls, as a killed process gives it up.
struct Killed<F>(Pin<Box<F>>, usize);

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        self.1 -= 1;
        self.0.as_mut().poll(task).map(Some)
    }
}

/// The runtime of its own ends only when what was already given to the disk has been done.
fn rotate_and_be_killed(admin: &Admin, polls: usize) -> bool {
    let admin = admin.clone();
    let killed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let request = AdminRequest::Key(KeyRequest::Rotate);
        runtime.block_on(Killed(Box::pin(admin.serve(Admin::operator(0, 0), request)), polls)).is_none()
    });
    killed.join().expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_killed_is_finished_by_another() {
    let mut world = crowd().await;
    let mut killed = 0;
    for polls in 1..=MOMENTS {
        let admin = world.admin.clone();
        let interrupted = tokio::task::spawn_blocking(move || rotate_and_be_killed(&admin, polls));
        killed += usize::from(interrupted.await.expect("no panic"));
        opens(&world).await;
        world = world.restarted();
        let before = ids(&world);
        rotate(&world).await;
        let after = ids(&world);
        assert_eq!(after.len(), 1, "killed after {polls} polls");
        if before.len() > 1 {
            assert_eq!(after[0], before[0], "what was begun is finished: killed after {polls} polls");
        }
        opens(&world).await;
    }
    // How many polls a whole one takes is the scheduler's: the first moments are always before its end.
    assert!(killed > 2, "{killed} were killed before their end");
}

#[tokio::test]
async fn the_file_of_before_does_not_start_a_gateway_any_more() {
    let world = crowd().await;
    let old = world.file("old.key");
    std::fs::copy(world.file("store.key"), &old).expect("copied");
    rotate(&world).await;
    let ring = Keyring::read(&old).expect("keys");
    let loaded = world.store().engine().load().await.expect("read");
    let id = control::store::ObjectId::new(control::object::Kind::Secret, crate::truth::PROOF);
    let proof = loaded.objects.iter().find(|object| object.id == id).expect("a proof");
    let proof: String = serde_json::from_str(&proof.body).expect("text");
    let refused = ring.proves(&loaded.meta.store, &proof).expect_err("another key");
    assert!(refused.to_string().contains(world.admin.0.keys.load().sealing()), "{refused}");
}

/// As on a gateway that shares the store with the one where keys were rotated.
#[tokio::test]
async fn a_gateway_that_lacks_a_key_says_so_until_the_file_is_copied() {
    let world = crowd().await;
    let (file, new) = (world.file("store.key"), world.file("new.key"));
    let old = std::fs::read(&file).expect("keys");
    rotate(&world).await;
    std::fs::rename(&file, &new).expect("moved");
    std::fs::write(&file, old).expect("written");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
    let world = world.restarted();
    let (parts, health) = (world.admin.0.clone(), Health::default());
    let steward = Steward {
        gateway: "gw".into(),
        store: parts.store.clone(),
        keys: parts.keys.clone(),
        lease: Lease::alone(),
        log: parts.books.log().clone(),
        reloader: parts.reloader.clone(),
        live: parts.live.clone(),
        health: health.clone(),
    };
    let watching = tokio::spawn(steward.watch());
    let told = || health.states_now().iter().any(|state| state.name == "store_key_missing");
    let until = async |wanted: bool| {
        while told() != wanted {
            tokio::task::yield_now().await;
        }
    };
    let hang = std::time::Duration::from_secs(30);
    tokio::time::timeout(hang, until(true)).await.expect("it is told");
    std::fs::rename(&new, &file).expect("copied");
    tokio::time::timeout(hang, until(false)).await.expect("it is over");
    assert_eq!(world.admin.0.keys.load().sealing(), ids(&world)[0]);
    watching.abort();
}
