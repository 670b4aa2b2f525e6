//! A writer that is killed, and a chain whose end was torn: what was awaited is there, once.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use control::audit::{Entry, What};
use proptest::{prelude::*, sample::Index};

use crate::world::{World, again, decision, revocation, small};

/// Writes until it is killed, and says what is durable.
#[tokio::test]
#[ignore = "run by another test, which kills it"]
async fn writer() {
    let world = World::at(Path::new(&std::env::var("TOP").unwrap()));
    let seed = std::env::var("SEED").unwrap();
    let (log, _heads) = world.open(small());
    for n in 0.. {
        for _ in 0..n % 7 {
            log.note(Entry::Decision(Box::new(decision("r1"))));
        }
        let id = format!("{seed}-{n}");
        log.write(vec![revocation(&id)]).await.unwrap();
        println!("\ndurable {id}");
    }
}

#[tokio::test]
async fn killed_twenty_times_it_has_what_was_awaited_once() {
    let world = World::new("killed");
    let mut durable = BTreeSet::new();
    for seed in 0_usize..20 {
        let command = again("crash::writer");
        let child = Command::new(&command[0])
            .args(&command[1..])
            .env("TOP", &world.top)
            .env("SEED", seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut ids = said.filter_map(|line| line.strip_prefix("durable ").map(str::to_owned));
        durable.extend(ids.by_ref().take(1 + seed * 7919 % 40));
        child.kill().unwrap();
        // What it had said before it died counts too.
        durable.extend(ids);
        child.wait().unwrap();
        let report = world.verify(&[]);
        assert!(report.is_sound(), "{seed}: {:?}", report.problems);
    }
    // As the store's outbox does after a crash: everything once more.
    let (log, _heads) = world.open(small());
    let last: Vec<_> = durable.iter().filter(|id| id.starts_with("19-")).collect();
    log.write(last.iter().map(|id| revocation(id)).collect()).await.unwrap();
    log.close().await.unwrap();
    let ids = world.ids();
    assert!(durable.len() > 100 && durable.iter().all(|id| ids.get(&**id) == Some(&1)), "{ids:?}");
    assert!(world.verify(&[]).is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_torn_end_is_kept_and_explained(cut in any::<Index>(), garbage in proptest::collection::vec(any::<u8>(), 0..40)) {
        let world = World::new("torn");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (log, _heads) = world.open(small());
            for n in 0..5 {
                log.write(vec![revocation(&format!("a{n}"))]).await.unwrap();
            }
            log.close().await.unwrap();
        });
        let file = world.files().pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(&garbage);
        fs::write(&file, &bytes).unwrap();
        let torn = bytes.last().is_some_and(|byte| *byte != b'\n');
        runtime.block_on(async {
            let (log, _heads) = world.open(small());
            log.write(vec![revocation("b")]).await.unwrap();
            log.close().await.unwrap();
        });
        let report = world.verify(&[]);
        prop_assert!(report.is_sound(), "{:?}", report.problems);
        let repaired = report.problems.iter().any(|it| matches!(it.what, What::Repaired { .. }));
        prop_assert!(repaired || !torn, "{:?}", report.problems);
        prop_assert!(fs::read(&file).unwrap().starts_with(&bytes), "nothing is trimmed");
        prop_assert!(world.ids().get("b") == Some(&1));
    }
}

#[tokio::test]
async fn a_change_further_up_is_not_repaired_away() {
    let world = World::new("launder");
    let (log, _heads) = world.open(small());
    log.write(vec![revocation("a"), revocation("b")]).await.unwrap();
    log.close().await.unwrap();
    let file = world.files().remove(0);
    let text = fs::read_to_string(&file).unwrap().replacen("device d1", "device d2", 1);
    fs::write(&file, text + "torn").unwrap();
    world.open(small()).0.close().await.unwrap();
    let report = world.verify(&[]);
    assert!(
        report.problems.iter().any(|it| matches!(it.what, What::Changed { .. })),
        "{:?}",
        report.problems
    );
    assert!(
        report.problems.iter().any(|it| matches!(it.what, What::Repaired { .. })),
        "{:?}",
        report.problems
    );
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "more").unwrap();
    let report = world.verify(&[]);
    assert!(report.problems.iter().any(|it| it.what == What::TornChanged), "{:?}", report.problems);
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let world = World::new("lock");
    let (log, _heads) = world.open(small());
    let error = control::audit::Log::open(&world.folder(), "fra", world.key(), small()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    log.close().await.unwrap();
}
