//! Looking into the log: its end, and whatever fits a filter. Persons are opened with the keys given.
//! It verifies nothing. Always true: memory is bounded by what is asked for; a person whose key is gone
//! reads as erased.

use std::{
    collections::VecDeque,
    fmt, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    Entry, Identity, Line, Person,
    files::{self, ChainFile, Lines, Raw},
};
use crate::seal::Key;

/// Gives the key of the person with this audit id; none if it was destroyed.
pub type Opener<'a> = &'a dyn Fn(&str) -> Option<Key>;

/// Who an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Who {
    /// Nobody was known, or it is about nobody.
    Nobody,
    /// A person.
    Known(Identity),
    /// A person whose key was destroyed.
    Erased {
        /// The audit id.
        user: String,
    },
}

impl Who {
    /// Of an entry.
    pub(super) fn of(entry: &Entry, opener: Opener<'_>) -> Self {
        let (user, sealed) = match entry {
            Entry::Decision(decided) => (&decided.user, &decided.sealed),
            Entry::Admin(admin) => (&admin.user, &admin.sealed),
            Entry::Session(session) => (&session.user, &session.sealed),
            Entry::Start { .. }
            | Entry::Stop
            | Entry::Revocation { .. }
            | Entry::Ended { .. }
            | Entry::Erasure { .. }
            | Entry::Gap { .. }
            | Entry::Repair(_)
            | Entry::Retired { .. }
            | Entry::Checkpoint { .. }
            | Entry::Unknown => return Self::Nobody,
        };
        let Some(user) = user else { return Self::Nobody };
        let opened = opener(user).and_then(|key| Person::open(user, &key, sealed));
        opened.map_or_else(|| Self::Erased { user: user.to_string() }, Self::Known)
    }

    fn words(&self) -> Vec<&str> {
        match self {
            Self::Nobody => Vec::new(),
            Self::Known(it) => vec![&it.user, &it.email, &it.name, &it.device, &it.address],
            Self::Erased { user } => vec![user],
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody known"),
            Self::Known(it) => {
                write!(
                    f,
                    "{} <{}> ({}) on device {} from {}",
                    it.name, it.email, it.user, it.device, it.address
                )
            }
            Self::Erased { user } => write!(f, "{user} (erased)"),
        }
    }
}

/// What to look for; what is absent is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Somewhere in the line or in who it is about.
    pub text: Option<String>,
    /// The audit id, the user's id, the e-mail address or the name.
    pub user: Option<String>,
    /// The device's id.
    pub device: Option<String>,
    /// The app or subnet.
    pub resource: Option<String>,
    /// As in the line: `decision`, `admin`…
    pub kind: Option<String>,
    /// The earliest time, RFC 3339 in UTC as in the line, or the beginning of one: `2026-11-22`.
    pub since: Option<String>,
    /// The latest, likewise: that whole day.
    pub until: Option<String>,
}

impl Filter {
    fn fits(&self, found: &Found) -> bool {
        let line = &found.line;
        let is = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(test);
        is(&self.kind, &|kind| line.entry.kind() == kind)
            && is(&self.since, &|since| line.at.as_str() >= since)
            && is(&self.until, &|until| line.at.get(..until.len()).unwrap_or(&line.at) <= until)
            && is(&self.resource, &|name| matches!(&line.entry, Entry::Decision(it) if it.resource == name))
            && is(&self.device, &|id| matches!(&found.who, Who::Known(it) if it.device == id))
            && is(&self.user, &|user| found.is_about(user))
            && is(&self.text, &|text| found.contains(text))
    }
}

/// A line, and who it is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The line.
    pub line: Line,
    /// Who.
    pub who: Who,
}

impl Found {
    /// A line, with who it is about.
    pub fn of(line: Line, opener: Opener<'_>) -> Self {
        Self { who: Who::of(&line.entry, opener), line }
    }

    fn is_about(&self, user: &str) -> bool {
        let id = match &self.line.entry {
            Entry::Decision(decided) => decided.user.as_deref() == Some(user),
            Entry::Admin(admin) => admin.user.as_deref() == Some(user),
            Entry::Session(session) => session.user.as_deref() == Some(user),
            Entry::Erasure { user: erased } => **erased == *user,
            Entry::Start { .. }
            | Entry::Stop
            | Entry::Revocation { .. }
            | Entry::Ended { .. }
            | Entry::Gap { .. }
            | Entry::Repair(_)
            | Entry::Retired { .. }
            | Entry::Checkpoint { .. }
            | Entry::Unknown => false,
        };
        id || matches!(&self.who, Who::Known(it) if [&it.user, &it.email, &it.name].iter().any(|word| *word == user))
    }

    fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.line.encoded()).contains(text)
            || self.who.words().iter().any(|word| word.contains(text))
    }
}

/// Every line that fits, oldest first; lines that cannot be read are passed over. Blocks.
pub fn grep<'a>(
    folder: &Path,
    filter: Filter,
    opener: Opener<'a>,
) -> io::Result<impl Iterator<Item = io::Result<Found>> + use<'a>> {
    let files = files::list(folder)?.into_iter();
    let lines = files.flat_map(|file| match Lines::open(&file.path, u64::MAX) {
        Ok(lines) => Box::new(lines) as Box<dyn Iterator<Item = io::Result<Raw>>>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    });
    let found = move |line: Line| Found::of(line, opener);
    let lines = lines.filter_map(|raw| raw.map(|raw| raw.line()).transpose());
    Ok(lines.map(move |line| line.map(found)).filter(move |found| match found {
        Ok(found) => filter.fits(found),
        Err(_) => true,
    }))
}

/// The end of the log, and what comes after it.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    file: Option<ChainFile>,
    /// How far it was read, in bytes and lines.
    read: (u64, u64),
}

impl Tail {
    /// The last `lines` lines, and where to go on from. Blocks.
    pub fn open(folder: &Path, lines: usize) -> io::Result<(Vec<Line>, Self)> {
        let files = files::list(folder)?;
        let mut tail = Self { folder: folder.to_owned(), file: files.last().cloned(), read: (0, 0) };
        let mut last: VecDeque<Line> = VecDeque::new();
        for (back, file) in files.iter().rev().enumerate() {
            let (mut part, mut read) = (VecDeque::new(), (0, 0));
            for raw in Lines::open(&file.path, u64::MAX)? {
                let raw = raw?;
                read = if raw.ends { (raw.end, raw.number) } else { read };
                part.extend(raw.line());
                if part.len() + last.len() > lines {
                    part.pop_front();
                }
            }
            tail.read = if back == 0 { read } else { tail.read };
            part.append(&mut last);
            last = part;
            if last.len() >= lines {
                break;
            }
        }
        Ok((last.into(), tail))
    }

    /// What was written since; ask again after a while. Blocks.
    pub fn more(&mut self) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        for file in files::list(&self.folder)? {
            match &self.file {
                Some(current) if file.number < current.number => continue,
                Some(current) if file.number == current.number => {}
                Some(_) | None => self.read = (0, 0),
            }
            for raw in Lines::after(&file.path, self.read.0, self.read.1)? {
                let raw = raw?;
                if raw.ends {
                    self.read = (raw.end, raw.number);
                    lines.extend(raw.line());
                }
            }
            self.file = Some(file);
        }
        Ok(lines)
    }
}
