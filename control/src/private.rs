//! Files that only we may read: keys. Read whole or refused; written aside, made durable, then put in place.
//! It knows no format. Always true: a file that others can read is refused; no half-written file has the name.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use protocol::config::Secret;

/// Larger than any file of keys.
const LARGEST: u64 = 64 << 10;

/// What is wrong with such a file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:04o}): run `chmod 600 {}`", file.display(), file.display())]
    Open {
        /// Which.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system would not.
    #[error("cannot {what} {}: {source}", file.display())]
    System {
        /// Which.
        file: PathBuf,
        /// Read or write.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

impl FileError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The whole text, which nobody else may read.
pub(crate) fn read(file: &Path) -> Result<Secret<String>, FileError> {
    let failed = |source| FileError::System { file: file.to_owned(), what: "read", source };
    let opened = File::open(file).map_err(failed)?;
    // Of the open file, so that what is judged is what is read.
    let mode = opened.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Open { file: file.to_owned(), mode });
    }
    let mut text = String::new();
    opened.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(Secret::new(text))
}

/// Makes a new file; one that is there stays.
pub(crate) fn create(file: &Path, text: &Secret<String>) -> Result<(), FileError> {
    put(file, text, |aside| fs::hard_link(aside, file).and_then(|()| fs::remove_file(aside)))
}

/// Makes a file, in the place of one that may be there.
pub(crate) fn replace(file: &Path, text: &Secret<String>) -> Result<(), FileError> {
    put(file, text, |aside| fs::rename(aside, file))
}

fn put(
    file: &Path,
    text: &Secret<String>,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut aside = file.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let written = write(&aside, text.expose()).and_then(|()| place(&aside)).and_then(|()| sync_folder(file));
    written.map_err(|source| {
        let _ = fs::remove_file(&aside);
        FileError::System { file: file.to_owned(), what: "write", source }
    })
}

fn write(aside: &Path, text: &str) -> io::Result<()> {
    // What a crash has left there was never in force.
    let _ = fs::remove_file(aside);
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()
}

/// Makes the name of `file` durable.
pub(crate) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
