//! The format: what was written reads back, and nothing that was changed or cut does.

use std::fs;

use proptest::{collection, prelude::*, sample};
use serde_json::json;

use super::*;
use crate::folder::Folder;

fn group(name: &str, rest: &str) -> (ObjectId, Arc<str>) {
    let body = json!({ "id": name, "in": [], "of a newer version": rest });
    (ObjectId::new(Kind::Group, name), body.to_string().into())
}

fn header() -> Header {
    Header {
        format: FORMAT,
        reader: READER,
        store: "s".into(),
        epoch: 3,
        revision: Revision(7),
        at: Timestamp::from_millis(1_795_209_300_123),
        engine: "sqlite".to_owned(),
        gateway: "gw".into(),
        marker: "m".into(),
    }
}

fn backup(groups: impl IntoIterator<Item = (ObjectId, Arc<str>)>) -> Backup {
    let hash = Hash::of(b"x");
    let text = || "x".to_owned();
    let head = Head { gateway: "gw".into(), n: 4, hash, at: text(), signature: text(), key: text() };
    Backup { header: header(), objects: groups.into_iter().collect(), heads: vec![head] }
}

fn refused(backup: &Backup) -> String {
    Backup::decode(backup.encode().as_bytes()).expect_err("refused").to_string()
}

proptest! {
    #[test]
    fn what_was_written_reads_back(groups in collection::btree_map("[a-z]{1,9}", ".{0,20}", 0..20)) {
        let groups = groups.iter().map(|(name, rest)| group(&format!("corp/{name}"), rest));
        let backup = backup(groups);
        prop_assert_eq!(Backup::decode(backup.encode().as_bytes()).expect("whole"), backup);
    }

    #[test]
    fn a_changed_byte_is_refused(at in any::<sample::Index>(), byte in any::<u8>()) {
        let mut bytes = backup([group("corp/a", ""), group("corp/b", "x")]).encode().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(Backup::decode(&bytes).is_err());
    }
}

#[test]
fn a_flipped_bit_or_a_cut_anywhere_is_refused() {
    let bytes = backup([group("corp/a", ""), group("corp/b", "x")]).encode().into_bytes();
    for at in 0..bytes.len() {
        assert!(Backup::decode(&bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(Backup::decode(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
    let twice = [bytes.clone(), bytes].concat();
    assert!(Backup::decode(&twice).is_err(), "two in one file");
}

#[test]
fn a_newer_format_says_so() {
    for (format, reader) in [(FORMAT + 1, READER), (FORMAT, READER + 1)] {
        let newer = Backup { header: Header { format, reader, ..header() }, ..backup([]) };
        assert!(refused(&newer).contains("a newer gateway wrote this backup"));
    }
}

#[test]
fn what_no_store_could_take_is_refused() {
    let (id, _) = group("corp/a", "");
    assert!(refused(&backup([(id.clone(), "[".into())])).contains("group corp/a: "));
    assert!(refused(&backup([(id, group("corp/b", "").1)])).contains("calls itself corp/b"));
    let address = |owner: &str| {
        let body = json!({ "part": "device", "owner": owner, "index": 9 }).to_string();
        (ObjectId::new(Kind::Address, format!("device/{owner}")), body.into())
    };
    assert!(refused(&backup([address("a"), address("b")])).contains("device/9 has two owners"));
}

#[test]
fn a_file_is_made_once_and_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("backup");
    let file = folder.path().join("b.jsonl");
    let backup = backup([group("corp/a", "")]);
    let bytes = backup.write(&file).expect("written");
    let metadata = fs::metadata(&file).expect("there");
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (bytes, 0o600));
    assert_eq!(Backup::read(&file).expect("read"), backup);
    assert!(matches!(backup.write(&file), Err(BackupError::Exists(_))));
    assert!(matches!(backup.write(&folder.path().join("no/b")), Err(BackupError::Write(_))));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left aside");
}
