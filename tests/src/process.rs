//! A program that runs beside the test, with everything it says.
//! It restarts nothing and judges nothing; what was said is kept for the harness, which prints it
//! when the test fails and fails the test for an ERROR in the log of a program of ours.
//! Always true: when it is dropped, the program and its children are gone.

use std::{
    cell::RefCell,
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{
    host::Host,
    wait::{HANG, eventually},
};

/// How long the last lines of an ended program may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running program.
pub struct Process {
    child: Child,
    log: Arc<Log>,
}

/// What one program said; outlives it.
struct Log {
    name: String,
    said: Mutex<Said>,
    grown: Condvar,
    strict: AtomicBool,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The logs of every program this test started; a test is one thread.
    static JOURNAL: RefCell<Vec<Arc<Log>>> = const { RefCell::new(Vec::new()) };
}

/// What a test's programs said, for the harness.
pub(crate) struct Journal {
    /// Every line, under its program's name.
    pub text: String,
    /// The lines that fail a test.
    pub errors: Vec<String>,
}

/// Takes what this test's programs said, and forgets it.
pub(crate) fn take_journal() -> Journal {
    let logs = JOURNAL.take();
    let text = logs.iter().map(|log| format!("--- {} said:\n{}\n", log.name, log.text())).collect();
    let strict = logs.iter().filter(|log| log.strict.load(Ordering::Relaxed));
    let errors = strict
        .flat_map(|log| log.lock().lines.iter().filter(|line| is_error(line)).cloned().collect::<Vec<_>>())
        .collect();
    Journal { text, errors }
}

impl Process {
    /// Starts `command` on `host`, in a process group of its own.
    pub(crate) fn start(host: &Host, name: &str, mut command: Command) -> Result<Self> {
        let name = format!("{name}@{}", host.name());
        let (reader, writer) = io::pipe().context("making a pipe")?;
        command.stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let child = host.within(|| command.spawn()).with_context(|| format!("starting {command:?}"))?;
        // The command holds the pipe's writing ends: only without them does the log end with the program.
        drop(command);
        let log = Arc::new(Log {
            name,
            said: Mutex::default(),
            grown: Condvar::new(),
            strict: AtomicBool::new(false),
        });
        JOURNAL.with_borrow_mut(|logs| logs.push(Arc::clone(&log)));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                kept.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                kept.grown.notify_all();
            }
            kept.lock().ended = true;
            kept.grown.notify_all();
        });
        Ok(Self { child, log })
    }

    /// From now on an ERROR line fails the test.
    pub fn strict(self) -> Self {
        self.log.strict.store(true, Ordering::Relaxed);
        self
    }

    /// The test provokes errors on purpose.
    pub fn expect_errors(&self) {
        self.log.strict.store(false, Ordering::Relaxed);
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds `text`.
    pub fn wait_for(&self, text: &str) -> Result<String> {
        let deadline = Instant::now() + HANG;
        let mut said = self.log.lock();
        loop {
            if let Some(line) = said.lines.iter().find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended || left.is_zero() {
                drop(said);
                bail!("{} never said {text:?}", self.log.name);
            }
            said = self.log.grown.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything it said so far.
    pub fn text(&self) -> String {
        self.log.text()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself; how it did.
    pub fn outcome(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        eventually(&format!("{} ends", self.log.name), || child.try_wait().ok().flatten())
    }

    /// Sends a signal to the program and its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let group = Pid::from_raw(i32::try_from(self.child.id()).context("process id")?);
        killpg(group, signal).with_context(|| format!("sending {signal} to {}", self.log.name))
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().with_context(|| format!("waiting for {}", self.log.name))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended() {
            let _ = self.kill();
        }
        // What it said last is often what matters. A grandchild that left the group may keep the pipe.
        let said = self.log.lock();
        let _ = self.log.grown.wait_timeout_while(said, LAST_WORDS, |said| !said.ended);
    }
}

fn is_error(line: &str) -> bool {
    line.contains("panicked at") || line.split(|c: char| !c.is_alphanumeric()).any(|word| word == "ERROR")
}

#[cfg(test)]
mod tests {
    use super::is_error;

    #[test]
    fn an_error_line_is_told_from_words_about_errors() {
        assert!(is_error("2026-11-21T09:00:00Z ERROR gateway: the TUN is gone"));
        assert!(is_error(r#"{"level":"ERROR","message":"x"}"#));
        assert!(is_error("thread 'main' panicked at src/main.rs"));
        assert!(!is_error("INFO errors=0 ERRORS_SEEN no error"));
    }
}
