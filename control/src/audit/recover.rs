//! Where a chain ends, and what is behind its last good line: read when a gateway begins to write.
//! It trims and mends nothing. Always true: only what comes after the last line that is one of ours counts
//! as torn, so that a change further up stays in sight.

use std::{
    collections::{HashSet, VecDeque},
    fs, io,
    path::Path,
    sync::Arc,
};

use super::{
    Entry, Hash, Torn,
    chain::End,
    files::{self, ChainFile, Lines},
};

/// How many ids of the past are known, at least.
const KNOWN: usize = 65_536;

/// The ids of the recent past, to notice what is written twice.
#[derive(Debug, Default)]
pub(super) struct Known {
    ids: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl Known {
    /// Whether it was written.
    pub(super) fn has(&self, id: &Arc<str>) -> bool {
        self.ids.contains(id)
    }

    /// Remembers it, and forgets the oldest if there are too many.
    pub(super) fn add(&mut self, id: Arc<str>) {
        if self.ids.insert(id.clone()) {
            self.order.push_back(id);
        }
        if self.order.len() > KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// What stands in the folder.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the chain goes on.
    pub end: End,
    /// What counts no more; a new file must begin with a repair if there is any.
    pub torn: Vec<Torn>,
    /// What was written lately.
    pub known: Known,
    /// The last file.
    pub last: Option<ChainFile>,
    /// Its length.
    pub size: u64,
}

/// The good part of one file.
struct Scanned {
    end: Option<End>,
    good: u64,
    ids: Vec<Arc<str>>,
    lines: usize,
}

/// Reads from the end backwards, as far as ids of the past are wanted.
pub(super) fn recover(folder: &Path) -> io::Result<Found> {
    let files = files::list(folder)?;
    let size = files.last().map_or(Ok(0), |file| fs::metadata(&file.path).map(|data| data.len()))?;
    let (mut end, mut torn, mut ids, mut lines) = (None, Vec::new(), Vec::new(), 0);
    for file in files.iter().rev() {
        let scanned = scan(file)?;
        if end.is_none() {
            torn.extend(Some(file.torn(scanned.good)?).filter(|torn| torn.bytes > 0));
            end = scanned.end;
        }
        lines += scanned.lines;
        ids.push(scanned.ids);
        if end.is_some() && lines >= KNOWN {
            break;
        }
    }
    let mut known = Known::default();
    ids.into_iter().rev().flatten().for_each(|id| known.add(id));
    torn.reverse();
    Ok(Found { end: end.unwrap_or(End::NONE), torn, known, last: files.into_iter().last(), size })
}

fn scan(file: &ChainFile) -> io::Result<Scanned> {
    let mut scanned = Scanned { end: None, good: 0, ids: Vec::new(), lines: 0 };
    let mut unsigned = 0;
    for raw in Lines::open(&file.path, u64::MAX)? {
        let raw = raw?;
        let Some(line) = raw.line() else { continue };
        unsigned = if matches!(line.entry, Entry::Checkpoint { .. }) { 0 } else { unsigned + 1 };
        scanned.end = Some(End { n: line.n, hash: Hash::of(&raw.bytes), unsigned });
        scanned.good = raw.end;
        scanned.ids.extend(line.entry.id().cloned());
        scanned.lines += 1;
    }
    Ok(scanned)
}
