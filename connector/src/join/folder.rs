//! The folder of a connector that joins: its key, and the configuration that is written last.
//! It dials nothing.
//! Always true: the configuration appears whole or not at all; what is there is never overwritten.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::JoinError;
use crate::key::{LinkKey, LinkKeyError};

/// The file of the private key.
pub(super) const KEY: &str = "connector.key";
/// The file of the configuration.
pub(super) const CONFIGURATION: &str = "connector.toml";

/// A folder that takes files, with a key in it. What was begun and not finished is removed, but the key.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    key: LinkKey,
    /// What becomes the configuration.
    draft: PathBuf,
    file: File,
}

impl Folder {
    /// Tries that files can be made, and takes the key of a former try or makes one, durably: a token
    /// is good for one key.
    pub fn prepare(path: &Path) -> Result<Self, JoinError> {
        let configuration = path.join(CONFIGURATION);
        if configuration.symlink_metadata().is_ok() {
            return Err(JoinError::Standing(configuration));
        }
        let failed = |error| JoinError::Folder(path.to_owned(), error);
        let draft = path.join(format!(".{CONFIGURATION}.{}", std::process::id()));
        // Of one that was killed and had our number; whether it is gone shows when ours is made.
        let _ = fs::remove_file(&draft);
        let file = OpenOptions::new().write(true).create_new(true).open(&draft).map_err(failed)?;
        let key = take_key(&path.join(KEY)).map_err(|error| {
            // An error here would hide the one that matters.
            let _ = fs::remove_file(&draft);
            JoinError::Key(path.join(KEY), error)
        })?;
        let folder = Self { path: path.to_owned(), key, draft, file };
        folder.sync().map_err(failed)?;
        Ok(folder)
    }

    pub fn key(&self) -> &LinkKey {
        &self.key
    }

    /// Writes the configuration; where it is.
    pub fn finish(mut self, text: &str) -> Result<PathBuf, JoinError> {
        let to = self.path.join(CONFIGURATION);
        match self.write(text, &to) {
            Ok(()) => Ok(to),
            Err(error) => Err(JoinError::Unwritten(to, error)),
        }
    }

    fn write(&mut self, text: &str, to: &Path) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        // Unlike a rename, a link overwrites nothing.
        fs::hard_link(&self.draft, to)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is of no use, and in nobody's way.
        let _ = fs::remove_file(&self.draft);
    }
}

fn take_key(path: &Path) -> Result<LinkKey, LinkKeyError> {
    match LinkKey::read(path) {
        Err(LinkKeyError::File(error)) if error.kind() == io::ErrorKind::NotFound => LinkKey::create(path),
        read => read,
    }
}
