//! Whatever is done to the lines of a chain by hand is found, and where.

use std::{fs, path::PathBuf, sync::OnceLock};

use control::audit::{Entry, Head, Problem, Report, What};
use proptest::{prelude::*, sample::Index};

use crate::world::{World, admin, decision, revocation, small};

/// A small chain over several files, its last head, and every line with its file.
struct Original {
    files: Vec<(String, Vec<u8>)>,
    key: Vec<u8>,
    head: Head,
}

fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let world = World::new("original");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let head = runtime.block_on(async {
            let (log, heads) = world.open(small());
            for n in 0..4 {
                log.write(vec![admin(&format!("a{n}")), Entry::Decision(Box::new(decision("r1")))])
                    .await
                    .unwrap();
                log.write(vec![revocation(&format!("r{n}"))]).await.unwrap();
            }
            log.close().await.unwrap();
            heads.borrow().clone().unwrap()
        });
        let report = world.verify(std::slice::from_ref(&head));
        assert!(report.is_sound() && report.problems.is_empty() && report.files > 2, "{report:?}");
        assert_eq!((report.ends, report.unsigned), (head.n, 0));
        let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
        let files = world.files().iter().map(|file| (name(file), fs::read(file).unwrap())).collect();
        Original { files, key: fs::read(world.top.join("audit.key")).unwrap(), head }
    })
}

/// What is said of the original after `change`.
fn verified(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Report {
    let Original { files, key, head } = original();
    let mut files = files.clone();
    change(&mut files);
    let world = World::new("changed");
    world.key();
    fs::write(world.top.join("audit.key"), key).unwrap();
    fs::create_dir(world.folder()).unwrap();
    for (name, bytes) in files {
        fs::write(world.folder().join(name), bytes).unwrap();
    }
    world.verify(std::slice::from_ref(head))
}

fn lines(files: &[(String, Vec<u8>)]) -> Vec<(usize, Vec<u8>)> {
    let lines = |(index, (_, bytes)): (usize, &(String, Vec<u8>))| {
        bytes.split_inclusive(|byte| *byte == b'\n').map(|line| (index, line.to_owned())).collect::<Vec<_>>()
    };
    files.iter().enumerate().flat_map(lines).collect()
}

/// What is said after `change` of the lines, which stay in their files.
fn rearranged(change: impl FnOnce(&mut Vec<(usize, Vec<u8>)>)) -> Report {
    verified(|files| {
        let mut all = lines(files);
        change(&mut all);
        files.iter_mut().for_each(|(_, bytes)| bytes.clear());
        all.into_iter().for_each(|(file, line)| files[file].1.extend(line));
    })
}

fn count() -> usize {
    lines(&original().files).len()
}

proptest! {
    #[test]
    fn a_changed_byte_is_found_in_its_line(file in any::<Index>(), at in any::<Index>(), byte in any::<u8>()) {
        let mut place = (String::new(), 0);
        let mut same = false;
        let report = verified(|files| {
            let (name, bytes) = &mut files[file.index(original().files.len())];
            let at = at.index(bytes.len());
            let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            place = (name.clone(), line as u64);
            same = bytes[at] == byte;
            bytes[at] = byte;
        });
        prop_assume!(!same);
        let located = report.problems.iter().any(|it| (it.file.clone(), it.line) == place);
        prop_assert!(located, "{place:?} {:?}", report.problems);
    }

    #[test]
    fn a_line_taken_out_is_missed(at in any::<Index>()) {
        let at = at.index(count());
        let gone = at as u64 + 1;
        let report = rearranged(|lines| { lines.remove(at); });
        let named = report.problems.iter().any(|it| match it.what {
            What::Missing { from, through } => (from..=through).contains(&gone),
            What::Cut { n, .. } => n == gone,
            What::Beginning { n } => n == gone + 1,
            _ => false,
        });
        prop_assert!(named && !report.is_sound(), "{gone} {:?}", report.problems);
    }

    #[test]
    fn a_line_put_in_twice_is_found(at in any::<Index>(), to in any::<Index>()) {
        let (at, to) = (at.index(count()), to.index(count() + 1));
        let twice = at as u64 + 1;
        let report = rearranged(|lines| {
            let line = lines[at].1.clone();
            let file = lines[to.min(lines.len() - 1)].0;
            lines.insert(to, (file, line));
        });
        let named = report.problems.iter().any(|it| match it.what {
            What::OutOfOrder { n } => n == twice,
            // It came too early: then it is the right one that comes too late.
            What::Missing { through, .. } => through + 1 == twice,
            What::Beginning { n } => n == twice,
            _ => false,
        });
        prop_assert!(named && !report.is_sound(), "{twice} {:?}", report.problems);
    }

    #[test]
    fn two_lines_swapped_are_found(a in any::<Index>(), b in any::<Index>()) {
        let (a, b) = (a.index(count()), b.index(count()));
        prop_assume!(a != b);
        let report = rearranged(|lines| {
            let line = lines[a].1.clone();
            lines[a].1 = std::mem::replace(&mut lines[b].1, line);
        });
        let early = a.min(b) as u64 + 1;
        let named = report.problems.iter().any(|it| match it.what {
            What::OutOfOrder { n } => n == early,
            What::Missing { from, through } => (from..=through).contains(&early),
            What::Beginning { .. } => early == 1,
            _ => false,
        });
        prop_assert!(named && !report.is_sound(), "{a} {b} {:?}", report.problems);
    }
}

#[test]
fn a_head_kept_elsewhere_shows_a_cut_tail_and_another_chain() {
    let whole = count();
    for keep in [1, whole / 2, whole - 1] {
        let report = rearranged(|lines| lines.truncate(keep));
        let cut = What::Cut { ends: keep as u64, n: original().head.n };
        assert!(report.problems.iter().any(|it| it.what == cut), "{:?}", report.problems);
    }
    let other = World::new("other");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (log, _heads) = other.open(small());
        for n in 0..20 {
            log.write(vec![revocation(&format!("x{n}"))]).await.unwrap();
        }
        log.close().await.unwrap();
    });
    let report = other.verify(std::slice::from_ref(&original().head));
    assert!(
        report.problems.iter().any(|it| matches!(it.what, What::OtherHead { .. })),
        "{:?}",
        report.problems
    );
}

#[test]
fn the_last_line_is_not_written_otherwise_either() {
    let report = rearranged(|lines| {
        let line = &mut lines.last_mut().unwrap().1;
        line.insert(1, b' ');
    });
    assert!(
        matches!(report.problems[..], [Problem { what: What::Signature { .. }, .. }]),
        "{:?}",
        report.problems
    );
}

#[test]
fn another_key_has_signed_nothing() {
    let report = verified(|_| {});
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let world = World::new("stranger");
    fs::create_dir(world.folder()).unwrap();
    for (name, bytes) in &original().files {
        fs::write(world.folder().join(name), bytes).unwrap();
    }
    let forged = world.verify(&[]).problems;
    assert!(
        !forged.is_empty() && forged.iter().all(|it| matches!(it.what, What::Signature { .. })),
        "{forged:?}"
    );
}
