//! A disk without room, and one that may not be written. Each test has a disk of its own.

use std::{fs, path::Path};

use control::audit::{AuditError, Entry, Log, Options, Problem, What};

use crate::world::{World, decision, on_a_small_disk, revocation, small};

fn top() -> World {
    World::at(Path::new(&std::env::var("TOP").unwrap()))
}

#[tokio::test]
#[ignore = "run by another test, on a small disk"]
async fn full_at_a_new_file() {
    fill(small()).await;
}

#[tokio::test]
#[ignore = "run by another test, on a small disk"]
async fn full_in_mid_line() {
    let problems = fill(Options::default()).await;
    assert!(problems.iter().any(|it| matches!(it.what, What::Repaired { .. })), "{problems:?}");
}

async fn fill(options: Options) -> Vec<Problem> {
    let world = top();
    let (log, _heads) = world.open(options);
    let filler = world.top.join("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let mut durable = Vec::new();
    let error = loop {
        let id = format!("{}-{}", durable.len(), "x".repeat(700));
        match log.write(vec![revocation(&id)]).await {
            Ok(()) => durable.push(id),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AuditError::Disk { .. }), "{error}");
    let failing = log.status().failing.unwrap();
    assert!(failing.contains("make room"), "{failing}");
    for _ in 0..3 {
        log.note(Entry::Decision(Box::new(decision("lost"))));
    }
    log.write(vec![revocation("refused")]).await.unwrap_err();
    assert_eq!(log.status().lost, 3);
    fs::remove_file(filler).unwrap();
    log.write(vec![revocation("after")]).await.unwrap();
    assert_eq!(log.status().failing, None);
    log.close().await.unwrap();
    let report = world.verify(&[]);
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!(report.problems.iter().any(|it| it.what == What::Gap { lost: 3 }), "{:?}", report.problems);
    let ids = world.ids();
    assert!(durable.iter().all(|id| ids.get(&**id) == Some(&1)), "all that was durable");
    assert_eq!((ids.get("refused"), ids.get("after")), (None, Some(&1)));
    report.problems
}

#[tokio::test]
#[ignore = "run by another test, on a small disk"]
async fn on_a_read_only_disk() {
    let world = top();
    world.open(small()).0.close().await.unwrap();
    let key = world.key();
    let mounted = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(&world.top).status();
    assert!(mounted.unwrap().success());
    let error = Log::open(&world.folder(), "fra", key, small()).unwrap_err();
    assert!(error.to_string().contains("Read-only"), "{error}");
    assert!(world.verify(&[]).is_sound(), "it can still be read");
}

fn passes(test: &str, name: &str) {
    let world = World::new(name);
    let run = on_a_small_disk(test, &world.top).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn a_full_disk_loses_nothing_awaited_and_the_chain_says_what_else() {
    passes("disk::full_at_a_new_file", "full");
    passes("disk::full_in_mid_line", "midline");
}

#[test]
fn a_read_only_disk_is_named() {
    passes("disk::on_a_read_only_disk", "readonly");
}
