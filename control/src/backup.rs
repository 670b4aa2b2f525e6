//! A backup: everything the store keeps, as lines of JSON that every engine takes back.
//! It reads no store and restores none. Always true: a file that was changed or cut anywhere is refused;
//! what is sealed in the store stays sealed; no half-written file has the name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{config::Secret, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{Hash, Head},
    object::{
        Address, Authority, Body, Connector, Device, Group, Kind, Logout, READER, Revocation, Session, Token,
        User,
    },
    private::{self, FileError},
    store::{Object, ObjectId, Revision, Unique},
};

/// The format of the file that this program writes, and reads.
pub const FORMAT: u32 = 1;
/// Longer than any backup of ours, in bytes: about a million devices.
const LARGEST: u64 = 1 << 30;

/// Of which moment it is, and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// See [`FORMAT`].
    pub format: u32,
    /// The least [`READER`] that understands the bodies.
    pub reader: u32,
    /// The store's name; what is sealed in it opens by this name only.
    pub store: Arc<str>,
    /// The store's epoch.
    pub epoch: u64,
    /// The latest commit that is in it.
    pub revision: Revision,
    /// When it was begun, before anything was read.
    pub at: Timestamp,
    /// The engine it comes from, in one word.
    pub engine: String,
    /// The gateway that wrote it.
    pub gateway: Arc<str>,
    /// The id of the line in that gateway's audit log behind which stands what this cannot know.
    pub marker: Arc<str>,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Of which moment.
    pub header: Header,
    /// Every object with its body as it was.
    pub objects: BTreeMap<ObjectId, Arc<str>>,
    /// How far the audit log of each gateway had come, or less far.
    pub heads: Vec<Head>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Header(Header),
    Object { id: ObjectId, body: Arc<str> },
    Head(Head),
    Trailer { count: u64, sha256: Hash },
}

/// Why a file is no backup that could be restored, or why there is none.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A backup replaces no file.
    #[error("{} is there already, and a backup replaces no file: name another", .0.display())]
    Exists(PathBuf),
    /// The system would not; nothing was left behind.
    #[error("nothing was kept: {0}")]
    Write(#[from] FileError),
    /// The system would not.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Longer than any of ours.
    #[error("{} is longer than any backup (1 GiB): it is none", .0.display())]
    TooLong(PathBuf),
    /// Changed, cut, or something else.
    #[error("it is no whole backup ({0}): take another copy of it")]
    Damaged(String),
    /// A newer gateway wrote it.
    #[error(
        "a newer gateway wrote this backup (format {format}, readers of version {reader}; this one has {FORMAT} and {READER}): update this one"
    )]
    TooNew {
        /// Its format.
        format: u32,
        /// The readers it asks for.
        reader: u32,
    },
}

impl Backup {
    /// What was loaded of a store.
    pub fn new(header: Header, objects: Vec<Object>, heads: Vec<Head>) -> Self {
        Self { header, objects: objects.into_iter().map(|it| (it.id, it.body)).collect(), heads }
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let mut count = 0;
        let mut push = |line: &Line| {
            text.push_str(&written(line));
            count += 1;
        };
        push(&Line::Header(self.header.clone()));
        for (id, body) in &self.objects {
            push(&Line::Object { id: id.clone(), body: body.clone() });
        }
        self.heads.iter().for_each(|head| push(&Line::Head(head.clone())));
        let trailer = Line::Trailer { count, sha256: Hash::of(text.as_bytes()) };
        text + &written(&trailer)
    }

    /// Reads a file's text, all of it, and checks that a store could take it.
    pub fn decode(bytes: &[u8]) -> Result<Self, BackupError> {
        let mut lines = lines_before_trailer(bytes)?;
        let Some(Ok(Line::Header(header))) = lines.next().map(read_line) else {
            return Err(version(bytes).unwrap_or_else(|| damaged("its first line is no header")));
        };
        if header.format != FORMAT || header.reader > READER {
            return Err(BackupError::TooNew { format: header.format, reader: header.reader });
        }
        let mut backup = Self { header, objects: BTreeMap::new(), heads: Vec::new() };
        for line in lines {
            match read_line(line)? {
                Line::Object { id, body } => {
                    if let Some((id, _)) = backup.objects.insert(id.clone(), body).map(|body| (id, body)) {
                        return Err(damaged(format!("it has {id} twice")));
                    }
                }
                Line::Head(head) => backup.heads.push(head),
                Line::Header(_) | Line::Trailer { .. } => return Err(damaged("a line is out of place")),
            }
        }
        backup.check()?;
        Ok(backup)
    }

    /// Writes it where no file is yet, readable by its owner only.
    pub fn write(&self, file: &Path) -> Result<u64, BackupError> {
        if file.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(file.to_owned()));
        }
        let text = Secret::new(self.encode());
        private::create(file, &text)?;
        Ok(text.expose().len() as u64)
    }

    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Self, BackupError> {
        let failed = |source| BackupError::Read { file: file.to_owned(), source };
        let mut bytes = Vec::new();
        let opened = File::open(file).map_err(failed)?;
        opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            return Err(BackupError::TooLong(file.to_owned()));
        }
        Self::decode(&bytes)
    }

    /// Every body makes sense, and no two objects own the same.
    fn check(&self) -> Result<(), BackupError> {
        let mut taken = BTreeSet::new();
        for (id, body) in &self.objects {
            for unique in uniques(id, body).map_err(|why| damaged(format!("{id}: {why}")))? {
                if let Some(unique) = taken.replace(unique) {
                    return Err(damaged(format!("{} {} has two owners", unique.space, unique.value)));
                }
            }
        }
        Ok(())
    }
}

/// The unique values of an object; the error says why its body makes no sense.
pub fn uniques(id: &ObjectId, body: &str) -> Result<Vec<Unique>, String> {
    fn of<T: Body>(id: &ObjectId, body: &str) -> Result<Vec<Unique>, String> {
        T::read(id, body).map(|body| body.uniques())
    }
    match id.kind {
        Kind::User => of::<User>(id, body),
        Kind::Group => of::<Group>(id, body),
        Kind::Device => of::<Device>(id, body),
        Kind::Connector => of::<Connector>(id, body),
        Kind::Token => of::<Token>(id, body),
        Kind::Address => of::<Address>(id, body),
        Kind::Revocation => of::<Revocation>(id, body),
        Kind::Session => of::<Session>(id, body),
        Kind::Logout => of::<Logout>(id, body),
        Kind::Authority => of::<Authority>(id, body),
        Kind::Secret => serde_json::from_str::<String>(body).map(|_| Vec::new()).map_err(|it| it.to_string()),
    }
}

fn damaged(why: impl Into<String>) -> BackupError {
    BackupError::Damaged(why.into())
}

fn written(line: &Line) -> String {
    serde_json::to_string(line).expect("a line is JSON") + "\n"
}

fn read_line(line: &[u8]) -> Result<Line, BackupError> {
    serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))
}

/// The lines that the trailer speaks for. It is written anew and compared, so that nothing of it may differ.
fn lines_before_trailer(bytes: &[u8]) -> Result<impl Iterator<Item = &[u8]>, BackupError> {
    let whole = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("it does not end with a line"))?;
    let begins = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (before, trailer) = bytes.split_at(begins);
    let count = before.iter().filter(|byte| **byte == b'\n').count() as u64;
    let expected = Line::Trailer { count, sha256: Hash::of(before) };
    if trailer != written(&expected).as_bytes() {
        return Err(damaged("its last line does not fit the others"));
    }
    Ok(before.strip_suffix(b"\n").unwrap_or_default().split(|byte| *byte == b'\n'))
}

/// That a header which this version cannot read is a newer one's.
fn version(bytes: &[u8]) -> Option<BackupError> {
    let first = bytes.split(|byte| *byte == b'\n').next()?;
    let header = serde_json::from_slice::<serde_json::Value>(first).ok()?;
    let number = |name| u32::try_from(header["header"][name].as_u64()?).ok();
    let (format, reader) = (number("format")?, number("reader")?);
    (format > FORMAT || reader > READER).then_some(BackupError::TooNew { format, reader })
}

#[cfg(test)]
mod tests;
