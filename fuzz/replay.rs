//! Replays a committed corpus: what the fuzzer once found interesting, and what it once broke.
//! Included by the tests of each crate that has an entry of `fuzz/`; it belongs to none of them.
//! Always true: an empty or missing corpus is a failure, and the unit at fault is named.

use std::{fs, path::Path};

/// Gives every unit of `fuzz/corpus/TARGET` to `entry`.
#[allow(clippy::disallowed_methods, reason = "a test reads its corpus, in pure crates too")]
pub fn corpus(target: &str, entry: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).expect("the corpus is committed");
    let mut units: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    units.sort();
    assert!(!units.is_empty(), "{} is empty", folder.display());
    for unit in units {
        println!("{}", unit.display());
        entry(&fs::read(&unit).expect("a unit is readable"));
    }
}
