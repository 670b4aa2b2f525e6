//! The one thread that writes a chain: gathers what comes, writes it in one piece, makes it durable, answers.
//! What failed is set aside and a new file begins with why. Always true: nothing is acknowledged before it
//! is durable; a line that was not acknowledged is lost and counted, or refused to who awaited it.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use protocol::time::Timestamp;
use tokio::sync::{oneshot, watch};

use super::{
    AuditError, AuditKey, Entry, Head, Options, Repair, Torn,
    chain::End,
    files::{self, ChainFile},
    log::{Job, Shared},
    recover::{self, Known},
};
use crate::private::sync_folder;

/// How long entries that nobody awaits may gather.
const GATHER: Duration = Duration::from_millis(100);
/// Entries written in one piece.
const PIECE: usize = 4096;
/// A checkpoint comes after so many lines,
pub(super) const EVERY: u64 = 1000;
/// or after this time, if there was a line.
const CHECKPOINT: Duration = Duration::from_secs(60);
/// How often a failing disk is tried again when nobody awaits anything.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether files are too old.
const RETIRE: Duration = Duration::from_secs(3600);
/// In so many files the lines of the retention's age are spread, however few there are.
const SPREAD: u32 = 8;

type Answer = oneshot::Sender<Result<(), AuditError>>;

/// The owner of a chain's files.
pub(super) struct Writer {
    folder: PathBuf,
    gateway: Arc<str>,
    key: AuditKey,
    options: Options,
    shared: Arc<Shared>,
    heads: watch::Sender<Option<Head>>,
    known: Known,
    end: End,
    /// The last file there is, and how many of its bytes are durable lines.
    last: Option<ChainFile>,
    size: u64,
    /// That file, as long as all went well.
    open: Option<File>,
    /// When it began.
    began: Instant,
    /// Whether that is news to the retention.
    rotated: bool,
    /// What the next file must say.
    torn: Vec<Torn>,
    reason: String,
    /// Of the entries lost, those that the chain knows of.
    told: u64,
    checkpoint: Instant,
    retire: Instant,
    tried: Instant,
    _lock: File,
}

/// What was taken from the queue.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    /// How many of them nobody awaits.
    notes: u64,
    answers: Vec<Answer>,
    close: bool,
}

/// What goes to the disk in one piece.
struct Piece {
    end: End,
    bytes: Vec<u8>,
    lines: u64,
    /// Entries left out because they are too long.
    lost: u64,
    head: Option<Head>,
    at: Timestamp,
}

impl Writer {
    pub(super) fn open(
        folder: &Path,
        gateway: &str,
        key: AuditKey,
        options: Options,
        shared: Arc<Shared>,
        heads: watch::Sender<Option<Head>>,
    ) -> Result<Self, AuditError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = lock(folder)?;
        let found = recover::recover(folder)?;
        let now = Instant::now();
        let mut writer = Self {
            folder: folder.to_owned(),
            gateway: gateway.into(),
            key,
            shared,
            heads,
            known: found.known,
            end: found.end,
            last: found.last,
            size: found.size,
            open: None,
            began: now,
            rotated: false,
            torn: found.torn,
            reason: "the gateway had ended in the middle of a line, or somebody wrote behind it".to_owned(),
            told: 0,
            checkpoint: now,
            retire: now,
            tried: now,
            _lock: lock,
            options,
        };
        let start = Entry::Start { version: writer.options.version.clone() };
        writer.put(&[start], true)?;
        writer.retire()?;
        Ok(writer)
    }

    /// Until the log is closed, or nobody holds it any more.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let mut batch = self.gather(queue);
            let (answers, close) = (std::mem::take(&mut batch.answers), batch.close);
            let result = self.carry_out(&mut batch, !answers.is_empty());
            if close {
                // Who awaits the end may open the folder again at once.
                drop(self);
                answer(answers, &result);
                return;
            }
            answer(answers, &result);
        }
    }

    /// Waits for entries, or for the next thing that is due by the clock.
    fn gather(&self, queue: &Receiver<Job>) -> Batch {
        let mut batch = Batch::default();
        let mut until = self.due();
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            match queue.recv_timeout(wait) {
                Ok(job) => batch.take(job),
                Err(RecvTimeoutError::Timeout) => return batch,
                Err(RecvTimeoutError::Disconnected) => return Batch { close: true, ..batch },
            }
            if batch.close || batch.entries.len() >= PIECE {
                return batch;
            }
            // Who awaits goes at once, with whatever is there already.
            let latest = Instant::now() + if batch.answers.is_empty() { GATHER } else { Duration::ZERO };
            until = if batch.entries.len() == 1 { latest } else { until.min(latest) };
        }
    }

    fn due(&self) -> Instant {
        let checkpoint = (self.end.unsigned > 0).then_some(self.checkpoint + CHECKPOINT);
        let again = (self.open.is_none() || self.untold() > 0).then_some(self.tried + AGAIN);
        [checkpoint, again].into_iter().flatten().fold(self.retire + RETIRE, Instant::min)
    }

    fn untold(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed) - self.told
    }

    fn carry_out(&mut self, batch: &mut Batch, is_awaited: bool) -> Result<(), AuditError> {
        if batch.close {
            batch.entries.push(Entry::Stop);
        }
        // A failing disk is not tried for every note.
        if self.open.is_none() && self.tried.elapsed() < AGAIN && !is_awaited && !batch.close {
            self.shared.lost.fetch_add(batch.notes, Ordering::Relaxed);
            return Err(AuditError::Closed);
        }
        self.tried = Instant::now();
        let result = self.put(&batch.entries, batch.close).map_err(AuditError::from);
        self.tell(result.as_ref().err());
        if result.is_err() {
            self.shared.lost.fetch_add(batch.notes, Ordering::Relaxed);
        } else if self.retire.elapsed() >= RETIRE || self.rotated {
            let _ = self.retire().inspect_err(|error| tracing::warn!(%error, "old audit files stay"));
        }
        result
    }

    fn tell(&self, error: Option<&AuditError>) {
        let now = error.map(ToString::to_string);
        let mut failing = self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*failing, &now) {
            (None, Some(error)) => tracing::error!(error, "entries are lost"),
            (Some(_), None) => tracing::info!("the audit log is written again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *failing = now;
    }

    /// Makes `entries` durable, or nothing of them; signs when it is time, or when told to.
    fn put(&mut self, entries: &[Entry], sign: bool) -> io::Result<()> {
        self.examine()?;
        let untold = self.untold();
        let due = self.checkpoint.elapsed() >= CHECKPOINT;
        let piece = self.compose(entries, untold, sign || due);
        if piece.bytes.is_empty() {
            return Ok(());
        }
        let fresh = self.prepare()?;
        if let Err(error) = self.write(&piece.bytes, fresh) {
            self.abandon(fresh, &error);
            return Err(error);
        }
        self.size += piece.bytes.len() as u64;
        self.end = piece.end;
        self.torn.clear();
        self.told += untold;
        self.shared.lost.fetch_add(piece.lost, Ordering::Relaxed);
        self.shared.lines.fetch_add(piece.lines, Ordering::Relaxed);
        entries.iter().filter_map(Entry::id).for_each(|id| self.known.add(id.clone()));
        if let Some(head) = piece.head {
            self.checkpoint = Instant::now();
            self.heads.send_replace(Some(head));
        }
        Ok(())
    }

    fn compose(&self, entries: &[Entry], untold: u64, sign: bool) -> Piece {
        let at = Timestamp::from_system(SystemTime::now());
        let mut piece = Piece { end: self.end, bytes: Vec::new(), lines: 0, lost: 0, head: None, at };
        if !self.torn.is_empty() {
            let (reason, torn) = (self.reason.clone(), self.torn.clone());
            self.push(&mut piece, Entry::Repair(Repair { reason, good: self.end.hash, torn }));
        }
        if untold > 0 {
            self.push(&mut piece, Entry::Gap { lost: untold });
        }
        let mut ids = HashSet::new();
        for entry in entries {
            if entry.id().is_none_or(|id| !self.known.has(id) && ids.insert(id)) {
                self.push(&mut piece, entry.clone());
            }
        }
        if sign && piece.end.unsigned > 0 {
            self.sign(&mut piece);
        }
        piece
    }

    fn push(&self, piece: &mut Piece, entry: Entry) {
        match piece.end.push(entry, piece.at, &mut piece.bytes) {
            Ok(()) => piece.lines += 1,
            Err(_) => piece.lost += 1,
        }
        if piece.end.unsigned >= EVERY {
            self.sign(piece);
        }
    }

    fn sign(&self, piece: &mut Piece) {
        let (n, hash) = (piece.end.n + 1, piece.end.hash);
        let head = self.key.sign(&self.gateway, n, hash, &piece.at.to_string());
        let (signature, key) = (head.signature.clone(), head.key.clone());
        let entry = Entry::Checkpoint { n, head: hash, signature, key };
        piece.end.push(entry, piece.at, &mut piece.bytes).expect("a checkpoint is short");
        piece.lines += 1;
        piece.head = Some(head);
    }

    fn is_full(&self) -> bool {
        let age = self.options.retention.age;
        self.size >= self.options.file || age.is_some_and(|age| self.began.elapsed() >= age / SPREAD)
    }

    /// After a failure: what stands behind the last durable line.
    fn examine(&mut self) -> io::Result<()> {
        if self.open.is_none()
            && self.torn.is_empty()
            && let Some(last) = &self.last
        {
            self.torn.extend(Some(last.torn(self.size)?).filter(|torn| torn.bytes > 0));
        }
        Ok(())
    }

    /// The file that comes after the last.
    fn next(&self) -> ChainFile {
        ChainFile::new(&self.folder, self.last.as_ref().map_or(1, |last| last.number + 1))
    }

    /// Sees to it that a file is open to which lines may be added; whether it is a new one.
    fn prepare(&mut self) -> io::Result<bool> {
        let stays = self.torn.is_empty() && !self.is_full();
        if stays && self.open.is_some() {
            return Ok(false);
        }
        if stays && let Some(last) = &self.last {
            self.open = Some(OpenOptions::new().append(true).open(&last.path)?);
            return Ok(false);
        }
        // One of this name was begun in vain, and nothing in it was ever acknowledged.
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        self.open = Some(options.open(&self.next().path)?);
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8], fresh: bool) -> io::Result<()> {
        let mut file = self.open.as_ref().expect("prepared");
        file.write_all(bytes)?;
        file.sync_data()?;
        if fresh {
            let new = self.next();
            sync_folder(&new.path)?;
            (self.last, self.size, self.began, self.rotated) = (Some(new), 0, Instant::now(), true);
        }
        Ok(())
    }

    /// Nothing of what was just tried counts. A file that was begun for it goes; of one that was there, what
    /// it has too much is looked at when it is tried again.
    fn abandon(&mut self, fresh: bool, error: &io::Error) {
        self.open = None;
        if fresh {
            let _ = fs::remove_file(self.next().path);
        } else {
            self.reason = format!("the disk failed ({error})");
        }
    }

    /// Deletes what is too old or too much, after the chain says so, signed.
    fn retire(&mut self) -> io::Result<()> {
        (self.retire, self.rotated) = (Instant::now(), false);
        let files = files::list(&self.folder)?;
        let old = self.too_old(&files)?;
        let Some(kept) = files.get(old).filter(|_| old > 0) else { return Ok(()) };
        let Some(first) = kept.first()? else { return Ok(()) };
        self.put(&[Entry::Retired { through: first.n - 1, hash: first.prev }], true)?;
        for file in files.iter().take(old) {
            fs::remove_file(&file.path)?;
        }
        sync_folder(&kept.path)
    }

    /// How many of `files`, the current one never.
    fn too_old(&self, files: &[ChainFile]) -> io::Result<usize> {
        let retention = &self.options.retention;
        let before = retention.age.and_then(|age| SystemTime::now().checked_sub(age));
        let before = before.map(|before| Timestamp::from_system(before).to_string());
        let sizes: Vec<u64> =
            files.iter().map(|file| Ok(fs::metadata(&file.path)?.len())).collect::<io::Result<_>>()?;
        let mut closed: u64 = sizes.iter().rev().skip(1).sum();
        for (index, (pair, size)) in files.windows(2).zip(&sizes).enumerate() {
            let next = pair.last().map(ChainFile::first).transpose()?.flatten();
            let aged = before.as_ref().zip(next).is_some_and(|(before, next)| next.at < *before);
            if !aged && retention.bytes.is_none_or(|most| closed <= most) {
                return Ok(index);
            }
            closed -= size;
        }
        Ok(files.len().saturating_sub(1))
    }
}

impl Batch {
    fn take(&mut self, job: Job) {
        match job {
            Job::Note(entry, _place) => {
                self.entries.push(*entry);
                self.notes += 1;
            }
            Job::Write(entries, answer, _place) => {
                self.entries.extend(entries);
                self.answers.push(answer);
            }
            Job::Close(answer) => {
                self.answers.push(answer);
                self.close = true;
            }
        }
    }
}

fn answer(answers: Vec<Answer>, result: &Result<(), AuditError>) {
    for answer in answers {
        let _ = answer.send(result.clone());
    }
}

fn lock(folder: &Path) -> Result<File, AuditError> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked { folder: folder.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
