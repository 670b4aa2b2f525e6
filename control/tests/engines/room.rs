//! A file that cannot be written: no room, no right, somebody else's; and one that a power cut has torn.
//! What needs mounts runs in this executable again, in namespaces of its own.

use std::{
    env, fs,
    fs::OpenOptions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use control::{
    object::Kind,
    store::{Changes, Commit, Engine, ObjectId, Op, Revision, StoreError, sqlite::Sqlite},
};
use nix::mount::{MsFlags, mount};

use crate::{
    chance::Chance,
    fixture::{Folder, batch},
    model::{Model, Seen, Watcher, seen, step},
};

/// Set inside the namespaces.
const INSIDE: &str = "DOORWARD_STORE_INSIDE";

/// Whether this is the inside; if not, it has been there and back.
fn inside(test: &str, who: &[&str]) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--mount"]).args(who).arg(env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn disk(place: &Path) {
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("size=2m")).unwrap();
}

/// Some kilobytes under a name of their own.
fn write(number: u64) -> Commit {
    let id = ObjectId::new(Kind::Device, format!("d{number}"));
    Commit { ops: vec![Op::Put { id, body: "x".repeat(9000).into(), uniques: vec![] }], ..Commit::default() }
}

async fn try_write(store: &Sqlite, model: &mut Model, number: u64) -> Result<(), StoreError> {
    let batch = batch(vec![write(number)]);
    let outcomes = store.commit(&batch).await?;
    model.follow(&batch, &outcomes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_heals() {
    if !inside("room::a_full_disk_loses_nothing_and_heals", &["--map-root-user"]) {
        return;
    }
    let folder = Folder::new();
    disk(&folder.0);
    let ballast = folder.0.join("ballast");
    fs::write(&ballast, vec![0; 700_000]).unwrap();
    let store = Sqlite::open(&folder.file()).unwrap();
    let mut model = Model::default();
    let mut refused = 0;
    for number in 0.. {
        match try_write(&store, &mut model, number).await {
            Ok(()) => refused = 0,
            Err(StoreError::Full { .. }) if refused == 5 => break,
            Err(StoreError::Full { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        model.hold(&store).await;
    }
    assert!(model.revision > 10);
    fs::remove_file(&ballast).unwrap();
    for number in 1000..1010 {
        try_write(&store, &mut model, number).await.expect("there is room again");
    }
    drop(store);
    model.hold(&Sqlite::open(&folder.file()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_read_on() {
    if !inside("room::a_read_only_disk_is_read_on", &["--map-root-user"]) {
        return;
    }
    let folder = Folder::new();
    disk(&folder.0);
    let remount = |flags| {
        let again = mount(None::<&str>, &folder.0, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>);
        again.unwrap();
    };
    let mut model = Model::default();
    let store = Sqlite::open(&folder.file()).unwrap();
    try_write(&store, &mut model, 1).await.unwrap();
    drop(store);
    remount(MsFlags::MS_RDONLY);
    let error = Sqlite::open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    let error = Sqlite::open(&folder.0.join("none")).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    remount(MsFlags::empty());
    model.hold(&Sqlite::open(&folder.file()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_the_right_to_write_is_read_only() {
    if !inside("room::a_file_without_the_right_to_write_is_read_only", &["--map-user=1000"]) {
        return;
    }
    let folder = Folder::new();
    drop(Sqlite::open(&folder.file()).unwrap());
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o400)).unwrap();
    let error = Sqlite::open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_its_owners_and_one_processs() {
    let folder = Folder::new();
    let store = Sqlite::open(&folder.file()).unwrap();
    try_write(&store, &mut Model::default(), 1).await.unwrap();
    let files: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(files.len() > 1, "the log is beside it");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    assert!(matches!(Sqlite::open(&folder.file()), Err(StoreError::Locked { .. })));
    drop(store);
    drop(Sqlite::open(&folder.file()).unwrap());
    fs::write(folder.file(), "no database, but long enough to be told from one".repeat(99)).unwrap();
    assert!(matches!(Sqlite::open(&folder.file()), Err(StoreError::Damaged { .. })));
}

/// A store at work: what its files were at some moments, and what it was at every revision.
struct Story {
    store: std::sync::Arc<str>,
    history: Vec<Seen>,
    copies: Vec<(PathBuf, u64)>,
}

async fn story(folder: &Folder) -> Story {
    let store = Sqlite::open(&folder.file()).unwrap();
    let (mut model, mut chance) = (Model::default(), Chance(7));
    let mut story =
        Story { store: store.load().await.unwrap().meta.store, history: vec![Seen::new()], copies: vec![] };
    for round in 0..700 {
        if !(150..=600).contains(&round) {
            let mut one = Model::clone(&model);
            step(&store, &mut model, &mut chance).await;
            // What stood between the commits of a batch nobody can see.
            while one.revision < model.revision {
                one.revision += 1;
                story.history.push(model.seen());
            }
        } else {
            try_write(&store, &mut model, round % 9).await.unwrap();
            story.history.push(model.seen());
        }
        if round % 40 == 10 {
            let copy = folder.0.join(format!("copy{round}"));
            fs::copy(folder.file(), &copy).unwrap();
            fs::copy(folder.0.join("store-wal"), copy.with_extension("wal")).unwrap();
            story.copies.push((copy, model.revision));
        }
    }
    story
}

/// At a seeded offset of the file or its log, everything after it is gone. The log's first part is an
/// earlier moment; a file's is not a store, unless the log has all that is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_store_is_an_earlier_one_or_damaged() {
    let folder = Folder::new();
    let story = story(&folder).await;
    let mut chance = Chance(1);
    let (mut opened, mut damaged) = (0, 0);
    for round in 0..90 {
        let (copy, latest) = &story.copies[chance.below(story.copies.len() as u64) as usize];
        let torn = folder.0.join(format!("torn{round}"));
        let log = folder.0.join(format!("torn{round}-wal"));
        fs::copy(copy, &torn).unwrap();
        fs::copy(copy.with_extension("wal"), &log).unwrap();
        let is_log = round % 2 == 0;
        let file = OpenOptions::new().write(true).open(if is_log { &log } else { &torn }).unwrap();
        let length = file.metadata().unwrap().len();
        // The beginnings are where a store could be taken for a new one; empty without a log, it is.
        let offset = match chance.below(4) {
            0 if is_log => chance.below(length.clamp(1, 40_000)),
            0 if log.metadata().unwrap().len() > 0 => 0,
            _ => 1 + chance.below(length.max(1)),
        };
        file.set_len(offset.min(length)).unwrap();
        match read(&torn, &story).await {
            Ok(revision) => {
                assert!(revision.0 <= *latest);
                opened += 1;
            }
            Err(StoreError::Damaged { .. }) if !is_log => damaged += 1,
            Err(error) => panic!("round {round}: {error}"),
        }
        let _ = fs::remove_file(torn);
    }
    assert!(opened >= 45 && damaged > 0, "{opened} opened, {damaged} damaged");
}

async fn read(path: &Path, story: &Story) -> Result<Revision, StoreError> {
    let store = Sqlite::open(path)?;
    let loaded = store.load().await?;
    let revision = loaded.meta.revision;
    assert_eq!(loaded.meta.store, story.store);
    assert_eq!(seen(&loaded), story.history[revision.0 as usize], "as of revision {revision}");
    if let Changes::Since { .. } = store.changes(&story.store, Revision(0), 1).await? {
        let mut watcher = Watcher { store: story.store.clone(), at: Revision(0), seen: Seen::new() };
        assert!(watcher.catch_up(&store, 50).await);
        assert_eq!(watcher.seen, seen(&loaded));
    }
    Ok(revision)
}
