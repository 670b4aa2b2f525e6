//! A process that commits is killed, or the server under it, at seeded moments; what it was told is kept.
//! The process is this executable again. `DOORWARD_SOAK_KILLS` says how many times.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use control::store::{BatchId, Engine, Revision, StoreError, sqlite::Sqlite};

use crate::{
    chance::Chance,
    fixture::{Place, batch, connect},
    model::{Model, Seen, Watcher, next},
};

/// Set for the process that commits: the file or URL, and what was committed before.
const WHERE: &str = "DOORWARD_STORE";
const BEFORE: &str = "DOORWARD_STORE_BEFORE";

/// So many transactions of each seed.
type History = Vec<(u64, u64)>;

fn replay(history: &History) -> Model {
    let mut model = Model::default();
    for (seed, count) in history {
        let mut chance = Chance(*seed);
        for _ in 0..*count {
            next(&mut model, &mut chance);
        }
    }
    model
}

/// Commits until it is killed; not started as that process, it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(place) = env::var(WHERE) else { return };
    let mut history: History = serde_json::from_str(&env::var(BEFORE).unwrap()).unwrap();
    let (seed, _) = history.pop().unwrap();
    let mut model = replay(&history);
    let engine: Box<dyn Engine> = if place.starts_with("postgres:") {
        Box::new(connect(&place).await)
    } else {
        Box::new(Sqlite::open(place.as_ref()).unwrap())
    };
    let mut chance = Chance(seed);
    loop {
        let batch = batch(next(&mut model.clone(), &mut chance));
        match engine.commit(&batch).await {
            Ok(outcomes) => model.follow(&batch, &outcomes),
            // The server was killed.
            Err(StoreError::Unreachable { .. } | StoreError::Uncertain { .. }) => return,
            Err(error) => panic!("{error}"),
        }
        writeln!(std::io::stdout(), "kept").unwrap();
    }
}

struct Committer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Committer {
    fn start(place: &Place, history: &History) -> Self {
        let address = match place {
            Place::File(folder) => folder.file().display().to_string(),
            Place::Server(server) => server.url(),
        };
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "killed::child", "--nocapture"]);
        command.env(WHERE, address).env(BEFORE, serde_json::to_string(history).unwrap());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// How many transactions it was told are kept, of those it says now; all until it ends without `most`.
    fn kept(&mut self, most: u64) -> u64 {
        let lines = self.lines.by_ref().map_while(Result::ok);
        // The test harness may say something on the same line.
        lines.filter(|line| line.ends_with("kept")).take(usize::try_from(most).unwrap()).count() as u64
    }

    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.kept(u64::from(u32::MAX))
    }
}

/// What was told is there, and of the transaction under way all or nothing; returns how many are there.
async fn survived(engine: &dyn Engine, history: &mut History, told: u64, watcher: &mut Watcher) {
    // Waits for what a killed client has left on its way.
    engine.outcome(&BatchId("none".into())).await.unwrap();
    let found = engine.load().await.unwrap().meta.revision;
    let last = history.last_mut().unwrap();
    last.1 = told;
    if replay(history).revision != found.0 {
        history.last_mut().unwrap().1 = told + 1;
    }
    let model = replay(history);
    model.hold(engine).await;
    assert!(watcher.catch_up(engine, 7).await);
    assert_eq!(watcher.seen, model.seen(), "the log tells the same story");
}

async fn kills(mut place: Place) {
    if let Place::Server(_) = place {
        // A server that says a commit is kept before it is: the engine must not put up with it.
        let hasty = "synchronous_commit = off\nwal_writer_delay = 10s";
        place = Place::Server(Box::new(tests::postgres::Postgres::start_with(hasty).unwrap()));
    }
    let engine = place.open().await;
    let store = engine.load().await.unwrap().meta.store;
    drop(engine);
    let mut watcher = Watcher { store, at: Revision(0), seen: Seen::new() };
    let times = env::var("DOORWARD_SOAK_KILLS").map_or(20, |times| times.parse().expect("a number"));
    let mut history = History::new();
    for seed in 1..=times {
        history.push((seed, 0));
        let mut chance = Chance(seed);
        let mut committer = Committer::start(&place, &history);
        let wanted = 1 + chance.below(40);
        let told = committer.kept(wanted);
        assert_eq!(told, wanted, "the process ended by itself");
        match &mut place {
            Place::File(folder) => {
                assert!(matches!(Sqlite::open(&folder.file()), Err(StoreError::Locked { .. })));
            }
            Place::Server(server) if chance.once_in(2) => {
                server.kill9().unwrap();
                server.restart().unwrap();
            }
            Place::Server(_) => {}
        }
        let told = told + committer.kill();
        survived(&*place.open().await, &mut history, told, &mut watcher).await;
    }
}

crate::both!(kills);
