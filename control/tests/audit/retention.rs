//! Files follow one another, old ones go by policy, and checkpoints come often enough.

use std::{fs, time::Duration};

use control::audit::{Entry, Options, Problem, Retention, What};

use crate::world::{World, decision, revocation, small};

#[tokio::test]
async fn old_files_go_by_policy_and_nobody_calls_it_tampering() {
    let world = World::new("retention");
    let retention = Retention { bytes: Some(4000), age: None };
    let (log, heads) = world.open(Options { retention, ..small() });
    let mut first = None;
    for n in 0..100 {
        log.write(vec![revocation(&format!("a{n}"))]).await.unwrap();
        first = first.or_else(|| heads.borrow().clone());
    }
    log.close().await.unwrap();
    let head = heads.borrow().clone().unwrap();
    let report = world.verify(&[first.unwrap(), head]);
    assert!(report.is_sound() && report.problems.is_empty(), "{:?}", report.problems);
    assert!(report.begins > 50, "{report:?}");
    let kept: u64 = world.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(kept < 10_000, "{kept}");
    // By hand is another matter.
    fs::remove_file(world.files().remove(0)).unwrap();
    let report = world.verify(&[]);
    assert!(
        report.problems.iter().any(|it| matches!(it.what, What::Beginning { .. })),
        "{:?}",
        report.problems
    );
}

#[tokio::test]
async fn what_is_too_old_goes() {
    let world = World::new("old");
    world.forge(6, 2);
    let retention = Retention { age: Some(Duration::from_secs(86_400)), bytes: None };
    world.open(Options { retention, ..small() }).0.close().await.unwrap();
    let report = world.verify(&[]);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.begins, 5);
}

#[test]
fn a_chain_bound_anew_without_checkpoints_is_found() {
    let world = World::new("unsigned");
    world.forge(1100, 2000);
    let report = world.verify(&[]);
    assert!(
        matches!(report.problems[..], [Problem { what: What::Unsigned { .. }, .. }]),
        "{:?}",
        report.problems
    );
}

#[tokio::test]
async fn what_nobody_awaits_is_signed_every_thousand_lines() {
    let world = World::new("thousand");
    let (log, heads) = world.open(Options { version: "1".into(), ..Options::default() });
    for _ in 0..3500 {
        log.note(Entry::Decision(Box::new(decision("r"))));
    }
    log.close().await.unwrap();
    let report = world.verify(&[heads.borrow().clone().unwrap()]);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!((report.files, report.checkpoints), (1, 5), "after start, three times, after stop");
}

#[tokio::test]
async fn what_has_an_id_is_written_once() {
    let world = World::new("once");
    for _ in 0..2 {
        let (log, _heads) = world.open(small());
        for _ in 0..2 {
            log.write(vec![revocation("a"), revocation("a"), revocation("b")]).await.unwrap();
        }
        log.close().await.unwrap();
    }
    assert_eq!(world.ids().into_values().collect::<Vec<_>>(), [1, 1]);
}
