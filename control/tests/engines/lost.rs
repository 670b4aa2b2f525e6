//! A PostgreSQL that is lost or slow: a relay between engine and server cuts or stalls at seeded places,
//! also exactly at COMMIT. Every commit is answered, and what was said of it holds.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use control::store::{Batch, BatchId, Engine, Outcome, Revision, StoreError, postgres::Postgres};
use protocol::config::Secret;
use tests::wait::HANG;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_postgres::NoTls;

use crate::{
    chance::Chance,
    fixture::{batch, connect},
    model::{Model, next},
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// After so many more bytes from the engine.
    Bytes(usize),
    /// COMMIT does not arrive.
    BeforeCommit,
    /// COMMIT arrives, its answer does not.
    AfterCommit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Cut(Place),
    Stall(Place),
}

/// What happens next, once.
type Plan = Arc<Mutex<Option<Fault>>>;

struct Relay {
    port: u16,
    plan: Plan,
    _tasks: JoinSet<()>,
}

impl Relay {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Plan::default();
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&plan);
        tasks.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((engine, _)) = listener.accept().await {
                let plan = Arc::clone(&shared);
                pairs.spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    let _ = relay(engine, server, &plan).await;
                });
            }
        });
        Self { port, plan, _tasks: tasks }
    }

    fn plan(&self, fault: Option<Fault>) {
        *self.plan.lock().unwrap() = fault;
    }
}

/// Passes bytes on until the plan says otherwise.
async fn relay(mut engine: TcpStream, mut server: TcpStream, plan: &Plan) -> Option<()> {
    let (mut there, mut back) = (vec![0; 1 << 14], vec![0; 1 << 14]);
    loop {
        tokio::select! {
            read = engine.read(&mut there) => {
                let bytes = &there[..read.ok().filter(|read| *read > 0)?];
                let Some(fault) = due(plan, bytes) else {
                    server.write_all(bytes).await.ok()?;
                    continue;
                };
                let (Fault::Cut(place) | Fault::Stall(place)) = fault;
                if place == Place::AfterCommit {
                    server.write_all(bytes).await.ok()?;
                    let _ = server.read(&mut back).await;
                }
                if matches!(fault, Fault::Stall(_)) {
                    std::future::pending::<()>().await;
                }
                return None;
            }
            read = server.read(&mut back) => {
                engine.write_all(&back[..read.ok().filter(|read| *read > 0)?]).await.ok()?;
            }
        }
    }
}

/// The fault, if these bytes are where it happens.
fn due(plan: &Plan, bytes: &[u8]) -> Option<Fault> {
    let mut plan = plan.lock().unwrap();
    let (Fault::Cut(place) | Fault::Stall(place)) = plan.as_mut()?;
    let is_due = match place {
        Place::Bytes(left) => {
            *left = left.saturating_sub(bytes.len());
            *left == 0
        }
        Place::BeforeCommit | Place::AfterCommit => bytes.windows(7).any(|window| window == b"commit\0"),
    };
    if is_due { plan.take() } else { None }
}

fn fault(chance: &mut Chance) -> Fault {
    let place = match chance.below(4) {
        0 => Place::BeforeCommit,
        1 => Place::AfterCommit,
        _ => Place::Bytes(1 + chance.below(2500) as usize),
    };
    if chance.once_in(3) { Fault::Stall(place) } else { Fault::Cut(place) }
}

/// Asks until it is answered.
async fn outcome(engine: &Postgres, batch: &Batch) -> Option<Vec<Outcome>> {
    let asked = async {
        loop {
            if let Ok(outcome) = engine.outcome(&batch.id).await {
                return outcome;
            }
        }
    };
    timeout(HANG, asked).await.expect("it answers again")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_commit_is_answered_and_the_answer_holds() {
    let server = tests::postgres::Postgres::start().unwrap();
    let witness = connect(&server.url()).await;
    let relay = Relay::to(server.port()).await;
    let url = Secret::new(server.url_through(relay.port));
    let engine = Postgres::connect(url, None, Duration::from_secs(1)).await.unwrap();
    let mut model = Model::default();
    let (mut uncertain, mut kept, mut unreachable) = (0, 0, 0);
    for seed in 1..=30 {
        let mut chance = Chance(seed);
        relay.plan(Some(fault(&mut chance)));
        let batch = batch(next(&mut model.clone(), &mut chance));
        let answer = timeout(HANG, engine.commit(&batch)).await.expect("an answer");
        relay.plan(None);
        match answer {
            Ok(outcomes) => model.follow(&batch, &outcomes),
            Err(StoreError::Uncertain { batch: named, .. }) => {
                assert_eq!(named, batch.id);
                uncertain += 1;
                if let Some(outcomes) = outcome(&engine, &batch).await {
                    kept += 1;
                    model.follow(&batch, &outcomes);
                }
            }
            Err(StoreError::Unreachable { .. }) => {
                unreachable += 1;
                assert_eq!(outcome(&engine, &batch).await, None, "seed {seed}: it was said not to be kept");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
        model.hold(&witness).await;
    }
    assert!(kept > 0 && uncertain > kept && unreachable > 0, "{kept} of {uncertain}, {unreachable}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_unreachable_and_comes_back() {
    let mut server = tests::postgres::Postgres::start().unwrap();
    let engine = Postgres::connect(Secret::new(server.url()), None, Duration::from_secs(1)).await.unwrap();
    server.kill9().unwrap();
    let error = timeout(HANG, engine.load()).await.expect("an answer").unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    server.restart().unwrap();
    let back = async { while engine.load().await.is_err() {} };
    timeout(HANG, back).await.expect("it reconnects by itself");
}

/// A client whose connection was lost may have left a COMMIT on its way: the answer waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_is_that_of_what_is_still_on_its_way() {
    let server = tests::postgres::Postgres::start().unwrap();
    let engine = connect(&server.url()).await;
    let (late, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    let _driver = tokio::spawn(connection);
    let begun = "begin; select revision from meta for update;
        insert into batches (id, outcome) values ('late', '[{\"Ok\":1}]')";
    late.batch_execute(begun).await.unwrap();
    let asked = tokio::spawn(async move { engine.outcome(&BatchId("late".into())).await.unwrap() });
    let (witness, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    let _driver = tokio::spawn(connection);
    let waits = async {
        let waiting = "select exists (select 1 from pg_locks where not granted)";
        while !asked.is_finished() && !witness.query_one(waiting, &[]).await.unwrap().get::<_, bool>(0) {}
    };
    timeout(HANG, waits).await.expect("it asks");
    late.batch_execute("commit").await.unwrap();
    assert_eq!(asked.await.unwrap(), Some(vec![Ok(Revision(1))]));
}
