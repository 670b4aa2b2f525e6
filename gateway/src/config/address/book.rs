//! The ledger's file: read, changed and replaced under a lock, so that the gateway and a command
//! line beside it never work on different ones.
//! Always true: the file is whole, old or new, whenever the power fails or the disk is full.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use protocol::time::Timestamp;

use super::{
    AddressError,
    ledger::{Ledger, Wanted},
};
use crate::config::Tunnel;

/// `addresses.json` of a state folder.
#[derive(Debug)]
pub struct Book {
    folder: PathBuf,
}

impl Book {
    /// Nothing is read or made yet.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.to_owned() }
    }

    /// Gives everything wanted an index, keeps that, and returns it.
    pub fn assign(
        &self,
        tunnel: &Tunnel,
        devices: &[Wanted<'_>],
        apps: &[Wanted<'_>],
        now: Timestamp,
    ) -> Result<Ledger, AddressError> {
        let folder = self.lock().map_err(|source| self.failed("open", &self.folder, source))?;
        let kept = self.read()?;
        let next = kept.next(tunnel, devices, apps, now)?;
        if next != kept {
            self.replace(&folder, &next).map_err(|source| self.failed("write", &self.file(), source))?;
        }
        Ok(next)
    }

    /// Whether [`assign`](Self::assign) would succeed; nothing is made or changed.
    pub fn preview(
        &self,
        tunnel: &Tunnel,
        devices: &[Wanted<'_>],
        apps: &[Wanted<'_>],
        now: Timestamp,
    ) -> Result<(), AddressError> {
        self.read()?.next(tunnel, devices, apps, now).map(drop)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("addresses.json")
    }

    /// The folder, made if it is missing and locked until it is dropped.
    fn lock(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let folder = File::open(&self.folder)?;
        folder.lock()?;
        Ok(folder)
    }

    fn read(&self) -> Result<Ledger, AddressError> {
        let file = self.file();
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ledger::default()),
            Err(error) => return Err(self.failed("read", &file, error)),
        };
        let damaged = |reason| AddressError::Damaged { file: file.clone(), reason };
        let ledger: Ledger = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        ledger.check().map_err(damaged)?;
        Ok(ledger)
    }

    fn replace(&self, folder: &File, ledger: &Ledger) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(ledger)?;
        let new = self.folder.join("addresses.json.new");
        let written = write_new(folder, &new, &text).and_then(|()| fs::rename(&new, self.file()));
        if written.is_err() {
            // What is left of it is of no use; the old file stands either way.
            let _ = fs::remove_file(&new);
        }
        written?;
        folder.sync_all()
    }

    fn failed(&self, action: &'static str, file: &Path, source: io::Error) -> AddressError {
        AddressError::File { action, file: file.to_owned(), source }
    }
}

fn write_new(folder: &File, new: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    let (owner, mine) = (folder.metadata()?, file.metadata()?);
    if (owner.uid(), owner.gid()) != (mine.uid(), mine.gid()) && mine.is_file() {
        // A command run by root must leave a file that the gateway's user can read.
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Part;

    fn book(name: &str) -> Book {
        let folder = std::env::temp_dir().join(format!("doorward-book-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Book::new(&folder)
    }

    fn assign(book: &Book, apps: &[&str]) -> Result<Ledger, AddressError> {
        let tunnel = Tunnel::new("100.64.0.0/16".parse().unwrap(), "fd00:d00:d00::/48".parse().unwrap());
        let apps: Vec<Wanted<'_>> = apps.iter().map(|app| (*app, None)).collect();
        book.assign(&tunnel, &[("laptop", None)], &apps, Timestamp::from_millis(1000))
    }

    #[test]
    fn what_is_given_is_kept() {
        let book = book("kept");
        let first = assign(&book, &["wiki"]).unwrap();
        let mode = fs::metadata(book.file()).unwrap().mode() & 0o777;
        assert_eq!((first.index(Part::Apps, "wiki"), mode), (Some(2), 0o600));
        let second = assign(&book, &["db", "wiki"]).unwrap();
        assert_eq!((second.index(Part::Apps, "db"), second.index(Part::Apps, "wiki")), (Some(3), Some(2)));
        assert_eq!(book.read().unwrap(), second);
        assign(&book, &["wiki"]).unwrap();
        let text = fs::read_to_string(book.file()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let freed = serde_json::json!({ "devices": {}, "apps": { "3": { "name": "db", "at": 1000 } } });
        let whole = serde_json::json!({ "devices": { "laptop": 2 }, "apps": { "wiki": 2 }, "freed": freed });
        assert_eq!(json, whole);
        fs::remove_dir_all(&book.folder).unwrap();
    }

    #[test]
    fn a_full_disk_leaves_the_old_file() {
        let book = book("full");
        let kept = assign(&book, &["wiki"]).unwrap();
        symlink("/dev/full", book.folder.join("addresses.json.new")).unwrap();
        let error = assign(&book, &["wiki", "db"]).expect_err("no space").to_string();
        assert!(error.starts_with("cannot write ") && error.contains("No space left"), "{error}");
        assert_eq!(book.read().unwrap(), kept);
        assert!(assign(&book, &["wiki", "db"]).is_ok(), "and the next time it goes on");
        fs::remove_dir_all(&book.folder).unwrap();
    }

    #[test]
    fn a_damaged_file_stops_everything() {
        let book = book("damaged");
        assign(&book, &["wiki"]).unwrap();
        for text in [
            "",
            "{}",
            r#"{"devices":{},"apps":{"a":2,"b":2},"freed":{"devices":{},"apps":{}}}"#,
            r#"{"devices":{},"apps":{},"freed":{"devices":{},"apps":{}},"more":1}"#,
        ] {
            fs::write(book.file(), text).unwrap();
            let error = assign(&book, &["wiki"]).expect_err("damaged").to_string();
            assert!(error.contains("is damaged (") && error.contains("restore it"), "{error}");
            assert_eq!(fs::read_to_string(book.file()).unwrap(), text, "left as it was");
        }
        fs::remove_dir_all(&book.folder).unwrap();
    }
}
