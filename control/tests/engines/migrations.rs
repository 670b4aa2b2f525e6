//! A store of every earlier version becomes one of this, with all that was in it; whoever does it at once.
//! An earlier version is what the first steps make.

use control::{
    object::Kind,
    store::{
        BatchId, Engine, Expect, ObjectId, Op, Revision, StoreError, Unique,
        postgres::{self as server, Postgres},
        schema::Migration,
        sqlite::{self as file, Sqlite},
    },
};

use crate::{
    both,
    fixture::{Place, batch, connect},
};

both!(every_earlier_version_keeps_its_content);

const V1: &str = "
update meta set store = 'mine', revision = 1;
insert into objects (kind, id, revision, body) values ('device', 'a', 1, '{\"field\":1}');
insert into uniques (space, value, kind, id) values ('key', 'k', 'device', 'a');
insert into changes (revision, n, kind, id, body, at) values (1, 0, 'device', 'a', '{\"field\":1}', NOW);
insert into records (id, gateway, body) values ('r', 'g', '{}');
insert into observations (kind, id, body, at) values ('seen', 'a', '1', 5);";

const V2: &str = "
update meta set closed = '[\"why\"]';
insert into batches (id, outcome, at) values ('b', '[{\"Ok\":1}]', NOW);
insert into leases (name, holder, fence, until) values ('l', 'h', 7, NOW);";

/// The SQL that makes a store of the version, and fills it.
fn dump(steps: &[Migration], now: &str) -> String {
    let made: String = steps.iter().map(|step| step.sql).collect();
    let noted = format!("update meta set schema = {};", steps.len());
    let filled = [V1, V2].iter().take(steps.len()).map(|sql| sql.replace("NOW", now)).collect::<String>();
    if steps.is_empty() { made } else { made + &noted + &filled }
}

async fn every_earlier_version_keeps_its_content(first: Place) {
    let mut place = first;
    for version in 0..=file::MIGRATIONS.len() {
        assert_eq!(file::MIGRATIONS.len(), server::MIGRATIONS.len());
        let engine: Box<dyn Engine> = match &place {
            Place::File(folder) => {
                place.sql(&dump(&file::MIGRATIONS[..version], "1")).await;
                Box::new(one_of_two_files(folder.file()).await)
            }
            Place::Server(running) => {
                place.sql(&dump(&server::MIGRATIONS[..version], "now()")).await;
                let url = running.url();
                let (one, _other): (Postgres, Postgres) = tokio::join!(connect(&url), connect(&url));
                Box::new(one)
            }
        };
        holds(&*engine, version).await;
        place = match place {
            Place::File(_) => Place::file(),
            Place::Server(_) => Place::server(),
        };
    }
}

/// Of two who open a file at once, one does and one is told that it is taken; or both are, and try again.
async fn one_of_two_files(path: std::path::PathBuf) -> Sqlite {
    loop {
        let open = || {
            let path = path.clone();
            tokio::task::spawn_blocking(move || Sqlite::open(&path))
        };
        let (one, other) = tokio::join!(open(), open());
        match (one.unwrap(), other.unwrap()) {
            (Ok(store), Err(StoreError::Locked { .. })) | (Err(StoreError::Locked { .. }), Ok(store)) => {
                return store;
            }
            (Err(StoreError::Locked { .. }), Err(StoreError::Locked { .. })) => {}
            (one, other) => panic!("{one:?}, {other:?}"),
        }
    }
}

async fn holds(engine: &dyn Engine, version: usize) {
    let loaded = engine.load().await.unwrap();
    if version == 0 {
        assert_eq!((loaded.meta.revision, loaded.meta.epoch, loaded.objects.len()), (Revision(0), 1, 0));
        assert_eq!(loaded.meta.store.len(), 32);
        return;
    }
    assert_eq!((&*loaded.meta.store, loaded.meta.revision), ("mine", Revision(1)));
    assert_eq!(&*loaded.objects[0].body, r#"{"field":1}"#);
    assert_eq!(engine.records("g").await.unwrap().len(), 1);
    assert_eq!(engine.observed("seen").await.unwrap().len(), 1);
    let device = |name: &str| ObjectId::new(Kind::Device, name);
    let steal = Op::Put { id: device("b"), body: "{}".into(), uniques: vec![Unique::new("key", "k")] };
    let expects = vec![(device("a"), Expect::At(Revision(1)))];
    let commit = control::store::Commit { expects, ops: vec![steal], records: vec![] };
    engine.commit(&batch(vec![commit])).await.unwrap()[0].clone().unwrap_err();
    if version >= 2 {
        assert_eq!(loaded.meta.closed, ["why"]);
        assert_eq!(engine.outcome(&BatchId("b".into())).await.unwrap(), Some(vec![Ok(Revision(1))]));
        let lease = engine.lease("l", "other", std::time::Duration::from_secs(60)).await.unwrap();
        assert_eq!(lease.map(|fence| fence.0), Some(8));
    }
}
