//! The files of a chain: their names and order, and their lines one by one in bounded memory.
//! It judges nothing. Always true: a line is one of ours only if it is whole, with its end.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};

use super::{Hash, Line, Torn, chain::LONGEST};

/// One file of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainFile {
    /// Its place in the order.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl ChainFile {
    /// The one of this number.
    pub(super) fn new(folder: &Path, number: u64) -> Self {
        Self { number, path: folder.join(format!("{number:06}.jsonl")) }
    }

    /// Its name within the folder.
    pub(super) fn name(&self) -> String {
        format!("{:06}.jsonl", self.number)
    }

    /// Its first line, if it is one of ours.
    pub(super) fn first(&self) -> io::Result<Option<Line>> {
        Ok(Lines::open(&self.path, u64::MAX)?.next().transpose()?.and_then(|raw| raw.line()))
    }

    /// What is behind its first `after` bytes.
    pub(super) fn torn(&self, after: u64) -> io::Result<Torn> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(after))?;
        let (mut hash, mut bytes, mut buffer) = (Context::new(&SHA256), 0, vec![0; 64 << 10]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(buffer.get(..read).unwrap_or_default());
        }
        Ok(Torn { file: self.name(), after, bytes, hash: Hash::from_digest(hash.finish()) })
    }
}

/// The files in `folder`, oldest first; none if it is not there.
pub(super) fn list(folder: &Path) -> io::Result<Vec<ChainFile>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        files.extend(
            number.map(|number| ChainFile::new(folder, number)).filter(|file| file.path.ends_with(&name)),
        );
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

/// Some bytes up to the end of a line.
#[derive(Debug)]
pub(super) struct Raw {
    /// Counted from 1.
    pub number: u64,
    /// Where they end in the file.
    pub end: u64,
    /// Without the line's end.
    pub bytes: Vec<u8>,
    /// Whether the line ends; else the file does, or it is longer than any of ours.
    pub ends: bool,
}

impl Raw {
    /// As one of ours, if it is.
    pub(super) fn line(&self) -> Option<Line> {
        if self.ends { serde_json::from_slice(&self.bytes).ok() } else { None }
    }
}

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<io::Take<File>>,
    number: u64,
    end: u64,
}

impl Lines {
    /// Of the first `limit` bytes of `file`.
    pub(super) fn open(file: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(file)?.take(limit)), number: 0, end: 0 })
    }

    /// Of what comes after `end`, where line `number` ends.
    pub(super) fn after(file: &Path, end: u64, number: u64) -> io::Result<Self> {
        let mut opened = File::open(file)?;
        opened.seek(SeekFrom::Start(end))?;
        Ok(Self { reader: BufReader::new(opened.take(u64::MAX)), number, end })
    }

    fn read(&mut self) -> io::Result<Option<Raw>> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        let ends = bytes.pop_if(|last| *last == b'\n').is_some();
        self.number += 1;
        self.end += read as u64;
        Ok(Some(Raw { number: self.number, end: self.end, bytes, ends }))
    }
}

impl Iterator for Lines {
    type Item = io::Result<Raw>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
