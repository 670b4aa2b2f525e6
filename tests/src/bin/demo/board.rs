//! What happens while the demo waits: lines that programs print, programs that end, a wish to stop.
//! It starts and ends nothing. Always true: every wait ends by its event, by Ctrl-C or SIGTERM, or
//! at a limit that only a hang reaches; how much is remembered of a program is bounded.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{BufRead, BufReader, PipeReader, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Generous: a loaded machine is not a hang.
pub const HANG: Duration = Duration::from_secs(60);
/// Between two looks at what can only be polled.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines remembered of one program.
const REMEMBERED: usize = 2000;

/// Somebody wants the demo to end.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// A line a program printed.
#[derive(Debug, Clone)]
pub struct Line {
    /// Without its end.
    pub text: String,
    /// When it was read, for intervals.
    pub at: Instant,
    /// When it was read, by the wall clock.
    pub wall: SystemTime,
}

/// What one program printed.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<Line>,
    /// How many are not remembered any more.
    forgotten: usize,
    ended: bool,
}

impl Log {
    /// The remembered lines from the `first` that was ever printed on.
    pub fn since(&self, first: usize) -> impl Iterator<Item = &Line> {
        self.lines.iter().skip(first.saturating_sub(self.forgotten))
    }

    /// How many lines there were.
    pub fn count(&self) -> usize {
        self.forgotten + self.lines.len()
    }

    /// Whether no more will come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn add(&mut self, text: String) {
        self.lines.push_back(Line { text, at: Instant::now(), wall: SystemTime::now() });
        if self.lines.len() > REMEMBERED {
            self.lines.pop_front();
            self.forgotten += 1;
        }
    }
}

/// Names a log on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(u64);

#[derive(Debug, Default)]
struct State {
    logs: HashMap<LogId, Log>,
    next: u64,
    stop: bool,
}

/// Where everything is announced. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<(Mutex<State>, Condvar)>);

impl Board {
    /// A board that announces Ctrl-C, SIGTERM and SIGHUP. Handlers, not a blocked mask: programs that
    /// are started would inherit the latter and could not be asked to end.
    pub fn watching_signals() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let board = Self::default();
        for kind in kinds {
            let _inside = runtime.enter();
            let mut signals = signal(kind).context("watching for signals")?;
            let announced = board.clone();
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    announced.state().stop = true;
                    announced.0.1.notify_all();
                }
            });
        }
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Ok(board)
    }

    /// Follows what a program prints, and copies it to `copy`.
    pub fn follow(&self, reader: PipeReader, mut copy: Option<File>) -> LogId {
        let id = {
            let mut state = self.state();
            let id = LogId(state.next);
            state.next += 1;
            state.logs.insert(id, Log::default());
            id
        };
        let board = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                // The copy is for the curious: a full disk is no reason to stop.
                let _ = copy.as_mut().map(|copy| writeln!(copy, "{text}"));
                board.announce(id, |log| log.add(text));
            }
            board.announce(id, |log| log.ended = true);
        });
        id
    }

    /// Forgets a log.
    pub fn forget(&self, id: LogId) {
        self.state().logs.remove(&id);
    }

    /// Waits until `look` finds something in a log.
    pub fn wait<T>(&self, id: LogId, what: &str, look: impl FnMut(&Log) -> Option<T>) -> Result<T> {
        self.wait_until(id, Some(Instant::now() + HANG), what, look)
    }

    /// The same, however long it takes.
    pub fn wait_for_ever<T>(&self, id: LogId, what: &str, look: impl FnMut(&Log) -> Option<T>) -> Result<T> {
        self.wait_until(id, None, what, look)
    }

    fn wait_until<T>(
        &self,
        id: LogId,
        limit: Option<Instant>,
        what: &str,
        mut look: impl FnMut(&Log) -> Option<T>,
    ) -> Result<T> {
        let mut state = self.state();
        loop {
            let log = state.logs.get(&id).context("the log was forgotten")?;
            if let Some(found) = look(log) {
                return Ok(found);
            }
            if state.stop {
                return Err(Stopped.into());
            }
            if log.ended {
                bail!("it ended without this: {what}");
            }
            let left = limit.map_or(HANG, |limit| limit.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                bail!("waited {} s in vain: {what}", HANG.as_secs());
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Looks again and again, for what announces itself nowhere.
    pub fn poll<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        while start.elapsed() < HANG {
            if let Some(found) = look()? {
                return Ok(found);
            }
            let state = self.state();
            let state = self.0.1.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
            if state.stop {
                return Err(Stopped.into());
            }
        }
        bail!("waited {} s in vain: {what}", HANG.as_secs())
    }

    /// The last lines of a log.
    pub fn tail(&self, id: LogId, count: usize) -> Vec<String> {
        let state = self.state();
        let Some(log) = state.logs.get(&id) else { return Vec::new() };
        let skipped = log.lines.len().saturating_sub(count);
        log.lines.iter().skip(skipped).map(|line| line.text.clone()).collect()
    }

    /// How many lines a log has.
    pub fn count(&self, id: LogId) -> usize {
        self.state().logs.get(&id).map_or(0, Log::count)
    }

    fn announce(&self, id: LogId, change: impl FnOnce(&mut Log)) {
        if let Some(log) = self.state().logs.get_mut(&id) {
            change(log);
        }
        self.0.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_the_latest_and_counts_all() {
        let mut log = Log::default();
        (0..=REMEMBERED).for_each(|n| log.add(n.to_string()));
        assert_eq!((log.count(), log.since(0).count()), (REMEMBERED + 1, REMEMBERED));
        let last: Vec<_> = log.since(REMEMBERED).map(|line| line.text.as_str()).collect();
        assert_eq!(last, [REMEMBERED.to_string()]);
    }

    #[test]
    fn a_wait_ends_by_its_event_or_with_the_program() -> Result<()> {
        let (reader, mut writer) = std::io::pipe()?;
        let board = Board::default();
        let log = board.follow(reader, None);
        writer.write_all(b"one\ntwo\r\n")?;
        let two = board.wait(log, "two", |log| log.since(1).next().cloned())?;
        assert_eq!(two.text, "two");
        drop(writer);
        let ended = board.wait(log, "three", |log| log.since(2).next().cloned());
        assert!(ended.expect_err("no third line").to_string().contains("without this: three"));
        Ok(())
    }
}
