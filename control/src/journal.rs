//! Revocations that hold but are not durable in the store yet, one JSON line each in a file of the state
//! folder, so that a restart forgets none. It brings none about. Always true: what `add` has returned
//! for is on the disk; a line that was torn by a crash was never acknowledged and is left out.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::revoked::Revoked;

/// A revocation with who meant it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What counts for nothing.
    #[serde(flatten)]
    pub revoked: Revoked,
    /// Since when.
    pub at: Timestamp,
    /// By whose word.
    pub by: String,
}

/// The file.
#[derive(Debug, Clone)]
pub struct Journal(PathBuf);

impl Journal {
    /// In a state folder.
    pub fn new(state: &Path) -> Self {
        Self(state.join("revocations.jsonl"))
    }

    /// What is in it; nothing if there is no file.
    pub fn read(&self) -> io::Result<Vec<Entry>> {
        let file = match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let mut entries = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            match serde_json::from_slice(&line?) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    tracing::warn!(file = %self.0.display(), %error, "a line of a crash is left out")
                }
            }
        }
        Ok(entries)
    }

    /// Adds lines; durable on return.
    pub fn add(&self, entries: &[Entry]) -> io::Result<()> {
        let is_new = !self.0.exists();
        // What a crash has torn must not take the next line with it.
        let whole = is_new || std::fs::read(&self.0)?.last().is_none_or(|last| *last == b'\n');
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        let mut lines = if whole { Vec::new() } else { vec![b'\n'] };
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.sync_all()?;
        if is_new { self.sync_folder() } else { Ok(()) }
    }

    /// Keeps only `left`: the others are durable where they belong.
    pub fn keep(&self, left: &[Entry]) -> io::Result<()> {
        if left.is_empty() {
            return match std::fs::remove_file(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.and_then(|()| self.sync_folder()),
            };
        }
        let aside = Self(self.0.with_extension("new"));
        match std::fs::remove_file(&aside.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        aside.add(left)?;
        std::fs::rename(&aside.0, &self.0)?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(self.0.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        let revoked = Revoked::Device { device: name.parse().unwrap() };
        Entry { revoked, at: Timestamp::from_millis(7), by: "root".to_owned() }
    }

    #[test]
    fn forgets_nothing_but_what_was_torn() {
        let state = std::env::temp_dir().join(format!("doorward-journal-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let journal = Journal::new(&state);
        assert_eq!(journal.read().unwrap(), []);
        journal.add(&[entry("a"), entry("b")]).unwrap();
        let whole = std::fs::read(&journal.0).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(&journal.0, &whole[..cut]).unwrap();
            journal.add(&[entry("c")]).unwrap();
            let read = journal.read().unwrap();
            assert_eq!(read.last(), Some(&entry("c")), "cut at {cut}");
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert!(read.len() > lines && read.len() <= lines + 2, "cut at {cut}: {read:?}");
        }
        journal.keep(&[entry("b")]).unwrap();
        assert_eq!(journal.read().unwrap(), [entry("b")]);
        journal.keep(&[]).unwrap();
        assert_eq!(journal.read().unwrap(), []);
        std::fs::remove_dir_all(&state).unwrap();
    }
}
