//! What both engines promise, without faults: the storm against the model, races, and the small promises.
//! Timing is the database's own: a lease is ended by SQL, never by waiting.

use std::{sync::Arc, time::Duration};

use control::{
    object::Kind,
    store::{
        Changes, Commit, Engine, Expect, ObjectId, Observation, Op, Record, Replacement, Revision,
        StoreError, Unique,
    },
};
use protocol::time::Timestamp;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    both,
    chance::Chance,
    fixture::{Place, batch},
    model::{Model, Watcher, id, seen, step},
};

both!(
    storm,
    one_of_a_hundred_wins,
    leases,
    observations,
    records_are_given_once,
    a_restored_store_is_another,
    unknown_kinds_are_kept,
    a_newer_store_is_refused,
    a_log_that_was_pruned_sends_back_to_load,
);

async fn storm(place: Place) {
    for seed in 1..=4 {
        let engine = place.open().await;
        let replacement = Replacement { store: format!("s{seed}").into(), ..Replacement::default() };
        let mut model =
            Model { revision: engine.replace(replacement).await.unwrap().revision.0, ..Model::default() };
        let old: Vec<_> = engine.records("g").await.unwrap().into_iter().map(|record| record.id).collect();
        engine.written(&old).await.unwrap();
        let mut chance = Chance(seed);
        let mut watchers = vec![Watcher::new(&*engine).await];
        for round in 0..120 {
            step(&*engine, &mut model, &mut chance).await;
            if chance.once_in(20) {
                watchers.push(Watcher::new(&*engine).await);
            }
            let (one, most) = (chance.below(watchers.len() as u64), chance.below(6) as usize + 1);
            let watcher = &mut watchers[one as usize];
            assert!(watcher.catch_up(&*engine, most).await, "seed {seed}, round {round}");
            assert_eq!(watcher.seen, model.seen(), "seed {seed}, round {round}, {most} at a time");
        }
        model.hold(&*engine).await;
        drop(engine);
        model.hold(&*place.open().await).await;
    }
}

fn put(id: ObjectId, uniques: Vec<Unique>) -> Op {
    Op::Put { id, body: "{}".into(), uniques }
}

fn device(name: impl Into<Arc<str>>) -> ObjectId {
    ObjectId::new(Kind::Device, name)
}

/// Several engines on one server, one on a file: of a hundred commits at once one may win, three times.
async fn one_of_a_hundred_wins(place: Place) {
    let mut engines = vec![place.open().await];
    if engines[0].is_shared() {
        engines.extend([place.open().await, place.open().await]);
    }
    let absent = |_| Commit {
        expects: vec![(device("a"), Expect::Absent)],
        ops: vec![put(device("a"), vec![])],
        ..Commit::default()
    };
    let Revision(first) = winner(&engines, absent).await;
    let at = move |_| Commit {
        expects: vec![(device("a"), Expect::At(Revision(first)))],
        ops: vec![put(device("a"), vec![])],
        ..Commit::default()
    };
    winner(&engines, at).await;
    let unique = |n| Commit {
        ops: vec![put(device(format!("u{n}")), vec![Unique::new("key", "k")])],
        ..Commit::default()
    };
    winner(&engines, unique).await;
    assert_eq!(
        engines[0].load().await.unwrap().meta.revision,
        Revision(3),
        "who was refused took no revision"
    );
}

async fn winner(engines: &[Arc<dyn Engine>], commit: impl Fn(usize) -> Commit) -> Revision {
    let mut all = JoinSet::new();
    for n in 0..100 {
        let (engine, batch) = (Arc::clone(&engines[n % engines.len()]), batch(vec![commit(n)]));
        all.spawn(async move { engine.commit(&batch).await.unwrap().remove(0) });
    }
    let won: Vec<_> = all.join_all().await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    won[0]
}

async fn leases(place: Place) {
    const LONG: Duration = Duration::from_secs(3600);
    let engine = place.open().await;
    let first = engine.lease("refresh", "a", LONG).await.unwrap().unwrap();
    assert_eq!(
        engine.lease("refresh", "a", LONG).await.unwrap(),
        Some(first),
        "who goes on holding keeps theirs"
    );
    assert_eq!(engine.lease("refresh", "b", LONG).await.unwrap(), None);
    assert!(engine.lease("other", "b", LONG).await.unwrap().is_some());
    engine.release("refresh", "b", first).await.unwrap();
    assert_eq!(engine.lease("refresh", "b", LONG).await.unwrap(), None, "only the holder may give it up");
    engine.release("refresh", "a", first).await.unwrap();
    let second = engine.lease("refresh", "b", LONG).await.unwrap().unwrap();
    assert!(second > first);
    engine.release("refresh", "b", first).await.unwrap();
    assert_eq!(engine.lease("refresh", "a", LONG).await.unwrap(), None, "not with an older fence");
    drop(engine);
    let past = if matches!(place, Place::File(_)) { "1" } else { "clock_timestamp()" };
    place.sql(&format!("update leases set until = {past}")).await;
    let engine = place.open().await;
    let third = engine.lease("refresh", "b", LONG).await.unwrap().unwrap();
    assert!(third > second, "held again after it had ended, it may have been another's");
    let ended = engine.lease("short", "a", Duration::ZERO).await.unwrap().unwrap();
    assert!(engine.lease("short", "b", LONG).await.unwrap().unwrap() > ended);
}

async fn observations(place: Place) {
    let seen = |id: &str, body: &str| Observation {
        kind: "k".into(),
        id: id.into(),
        body: body.into(),
        at: Timestamp::from_millis(7),
    };
    let engine = place.open().await;
    engine.observe(&[seen("a", "1"), seen("b", "2"), seen("a", "3")]).await.unwrap();
    engine.observe(&[seen("b", "4")]).await.unwrap();
    engine.observe(&[]).await.unwrap();
    let mut found = engine.observed("k").await.unwrap();
    found.sort_by_key(|seen| seen.id.clone());
    assert_eq!(found, [seen("a", "3"), seen("b", "4")]);
    assert_eq!(engine.observed("other").await.unwrap(), []);
    assert_eq!(engine.load().await.unwrap().meta.revision, Revision(0), "outside the order of commits");
}

fn record(id: &str, gateway: &str) -> Record {
    Record { id: id.into(), gateway: gateway.into(), body: format!("\"{id}\"").into() }
}

async fn records_are_given_once(place: Place) {
    let engine = place.open().await;
    let commit =
        Commit { records: vec![record("z", "g"), record("a", "g"), record("m", "h")], ..Commit::default() };
    let refused = Commit {
        expects: vec![(id(1), Expect::At(Revision(9)))],
        records: vec![record("no", "g")],
        ..Commit::default()
    };
    engine.commit(&batch(vec![commit.clone(), refused, commit])).await.unwrap()[1].clone().unwrap_err();
    drop(engine);
    let engine = place.open().await;
    assert_eq!(engine.records("g").await.unwrap(), [record("z", "g"), record("a", "g")], "in their order");
    engine.written(&["z".into(), "unheard of".into()]).await.unwrap();
    assert_eq!(engine.records("g").await.unwrap(), [record("a", "g")]);
    assert_eq!(engine.records("h").await.unwrap(), [record("m", "h")]);
}

async fn refuses_what_two_own(engine: &dyn Engine) {
    let before = engine.load().await.unwrap().meta;
    let twice = Replacement {
        objects: vec![
            (device("a"), "{}".into(), vec![Unique::new("key", "k")]),
            (device("b"), "{}".into(), vec![Unique::new("key", "k")]),
        ],
        ..Replacement::default()
    };
    assert!(matches!(engine.replace(twice).await, Err(StoreError::Damaged { .. })));
    assert_eq!(engine.load().await.unwrap().meta, before, "nothing of it");
}

async fn a_restored_store_is_another(place: Place) {
    let engine = place.open().await;
    let first = Commit {
        ops: vec![put(device("old"), vec![Unique::new("key", "k")])],
        records: vec![record("r", "g")],
        ..Commit::default()
    };
    engine.commit(&batch(vec![first])).await.unwrap();
    engine
        .observe(&[Observation { kind: "k".into(), id: "a".into(), body: "1".into(), at: Timestamp::MIN }])
        .await
        .unwrap();
    let before = engine.load().await.unwrap().meta;
    let mut watcher = Watcher::new(&*engine).await;
    refuses_what_two_own(&*engine).await;
    let late = Replacement { over: Some((before.store.clone(), Revision(0))), ..Replacement::default() };
    assert!(matches!(engine.replace(late).await, Err(StoreError::Moved)));
    assert_eq!(engine.load().await.unwrap().meta, before, "nothing of it");
    let with = Replacement {
        over: Some((before.store.clone(), before.revision)),
        store: "new".into(),
        objects: vec![(device("a"), "[1]".into(), vec![Unique::new("key", "k")])],
        closed: vec!["why".into()],
        records: vec![record("s", "g")],
    };
    let meta = engine.replace(with).await.unwrap();
    assert_eq!(
        (&*meta.store, meta.epoch, meta.revision),
        ("new", before.epoch + 1, Revision(before.revision.0 + 1))
    );
    assert_eq!(meta.closed, ["why"]);
    assert!(!watcher.catch_up(&*engine, 10).await, "another store");
    drop(engine);
    let engine = place.open().await;
    let loaded = engine.load().await.unwrap();
    assert_eq!(loaded.meta, meta);
    assert_eq!(seen(&loaded), [(device("a"), (meta.revision, "[1]".into()))].into());
    assert_eq!(engine.observed("k").await.unwrap(), []);
    assert!(matches!(engine.changes("new", before.revision, 9).await.unwrap(), Changes::Behind));
    let thief =
        Commit { ops: vec![put(device("thief"), vec![Unique::new("key", "k")])], ..Commit::default() };
    engine.commit(&batch(vec![thief])).await.unwrap()[0].clone().unwrap_err();
    let confirmed = engine.confirm(&[record("t", "g")]).await.unwrap();
    assert_eq!((confirmed.closed.len(), confirmed.revision), (0, meta.revision));
    assert_eq!(engine.records("g").await.unwrap(), [record("r", "g"), record("s", "g"), record("t", "g")]);
}

async fn unknown_kinds_are_kept(place: Place) {
    let engine = place.open().await;
    let mut watcher = Watcher::new(&*engine).await;
    engine
        .commit(&batch(vec![Commit { ops: vec![put(device("a"), vec![])], ..Commit::default() }]))
        .await
        .unwrap();
    drop(engine);
    place.sql("insert into objects values ('robot', 'r', 2, '{}'); insert into uniques values ('key', 'k', 'robot', 'r');
        insert into changes (revision, n, kind, id, body, at) select 2, 0, 'robot', 'r', '{}', at from changes;
        update meta set revision = 2").await;
    let engine = place.open().await;
    let commit = |name: &str, key| Commit {
        ops: vec![put(device(name), vec![Unique::new("key", key)])],
        ..Commit::default()
    };
    engine.commit(&batch(vec![commit("b", "l"), commit("a", "m")])).await.unwrap();
    assert_eq!(engine.load().await.unwrap().objects.len(), 2);
    assert!(watcher.catch_up(&*engine, 2).await);
    assert_eq!(watcher.seen, seen(&engine.load().await.unwrap()));
    assert!(
        matches!(engine.commit(&batch(vec![commit("c", "k")])).await, Err(StoreError::TooNew { .. })),
        "it is the robot's"
    );
    drop(engine);
    place.sql("insert into uniques values ('still', 'there', 'robot', 'r')").await;
}

async fn a_newer_store_is_refused(place: Place) {
    drop(place.open().await);
    place.sql("update meta set schema = 99").await;
    let engine = place.open().await;
    engine.load().await.expect("a newer schema that older readers can bear");
    drop(engine);
    place.sql("update meta set min_reader = 9").await;
    let error = match &place {
        Place::File(folder) => control::store::sqlite::Sqlite::open(&folder.file()).unwrap_err(),
        Place::Server(server) => {
            let url = protocol::config::Secret::new(server.url());
            control::store::postgres::Postgres::connect(url, None, Duration::from_secs(20)).await.unwrap_err()
        }
    };
    assert!(matches!(error, StoreError::TooNew { needs: 9, ours: 1 }), "{error}");
}

async fn a_log_that_was_pruned_sends_back_to_load(place: Place) {
    let engine = place.open().await;
    let mut early = Watcher::new(&*engine).await;
    let commit = |n| batch(vec![Commit { ops: vec![put(id(n), vec![])], ..Commit::default() }]);
    let old = commit(1);
    engine.commit(&old).await.unwrap();
    let mut late = Watcher::new(&*engine).await;
    let mut future = Watcher::new(&*engine).await;
    future.at = Revision(9);
    engine.prune(Duration::from_secs(3600)).await.unwrap();
    assert!(engine.outcome(&old.id).await.unwrap().is_some());
    drop(engine);
    let past = if matches!(place, Place::File(_)) { "1" } else { "'2001-01-01'" };
    place.sql(&format!("update changes set at = {past}; update batches set at = {past}")).await;
    let engine = place.open().await;
    engine.prune(Duration::from_secs(3600)).await.unwrap();
    engine.commit(&commit(2)).await.unwrap();
    assert!(!early.catch_up(&*engine, 10).await);
    assert!(!future.catch_up(&*engine, 10).await);
    assert!(late.catch_up(&*engine, 10).await);
    assert_eq!(late.seen, seen(&engine.load().await.unwrap()));
    assert_eq!(engine.outcome(&old.id).await.unwrap(), None);
}

/// PostgreSQL only: nobody else writes a file.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_commits_the_other_hears_of() {
    let place = Place::server();
    let (one, other) = (place.open().await, place.open().await);
    let hang = Duration::from_secs(30);
    timeout(hang, other.hint()).await.expect("it listens now");
    let mut watcher = Watcher::new(&*other).await;
    one.commit(&batch(vec![Commit { ops: vec![put(id(1), vec![])], ..Commit::default() }])).await.unwrap();
    timeout(hang, other.hint()).await.expect("it is told");
    assert!(watcher.catch_up(&*other, 10).await);
    assert_eq!(watcher.seen.len(), 1);
}

async fn refusal(url: String, root_ca: Option<&std::path::Path>) -> String {
    let url = protocol::config::Secret::new(url);
    let opened = control::store::postgres::Postgres::connect(url, root_ca, Duration::from_secs(20)).await;
    let error = opened.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    error.to_string()
}

/// Whoever is there must show a certificate for the name in the URL, by the authority in the file.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_reached_by_network_is_verified() {
    let folder = crate::fixture::Folder::new();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.0.join("certificate"), folder.0.join("key"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let settings =
        format!("ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'", certificate.display(), key.display());
    let server = tests::postgres::Postgres::start_with(&settings).unwrap();
    let named = format!("postgres://tester:hunter2@localhost:{}/postgres", server.port());
    let url = protocol::config::Secret::new(named.clone());
    let engine =
        control::store::postgres::Postgres::connect(url, Some(&certificate), Duration::from_secs(20));
    engine.await.unwrap().load().await.unwrap();
    let other = folder.0.join("other");
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&other, stranger.cert.pem()).unwrap();
    let said = refusal(named.clone(), Some(&other)).await;
    assert!(said.contains("certificate"), "{said}");
    let said = refusal(named.replace("localhost", "127.0.0.1"), Some(&certificate)).await;
    assert!(said.contains("not valid for name"), "{said}");
    let said = refusal(named, Some(&folder.0.join("none"))).await;
    assert!(said.contains("none"), "{said}");
    let plain = tests::postgres::Postgres::start().unwrap();
    let url = format!("postgres://tester:hunter2@localhost:{}/postgres?sslmode=prefer", plain.port());
    let said = refusal(url, Some(&certificate)).await;
    assert!(said.contains("TLS"), "{said}");
}

/// And by socket, where nobody asks for TLS.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_needs_no_tls_and_a_network_does() {
    let server = tests::postgres::Postgres::start().unwrap();
    crate::fixture::connect(&server.socket_url()).await.load().await.unwrap();
    let said =
        refusal(server.url().replace("tester@", "tester:hunter2@").replace("disable", "prefer"), None).await;
    assert!(said.contains("TLS needs"), "{said}");
    let said = refusal("postgres://tester:hunter2@host:port/x?y=z".into(), None).await;
    assert!(said.contains("not a PostgreSQL URL"), "{said}");
}
