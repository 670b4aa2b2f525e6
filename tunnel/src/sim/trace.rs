//! What happened in a run: a hash of all of it, and, when a failed run is repeated, its last lines.

use std::{
    cell::RefCell,
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    time::Duration,
};

/// How many lines are kept.
const LINES: usize = 80;

/// The last lines of a run, readable after it panicked.
pub(super) type Log = Rc<RefCell<VecDeque<String>>>;

/// One run's trace.
pub(super) struct Trace {
    hash: DefaultHasher,
    pub(super) steps: u64,
    log: Option<Log>,
}

impl Trace {
    pub(super) fn new(log: Option<Log>) -> Self {
        Self { hash: DefaultHasher::new(), steps: 0, log }
    }

    /// One thing that happened; `more` is only called for the log.
    pub(super) fn note(&mut self, now: Duration, what: &str, bytes: &[u8], more: impl FnOnce() -> String) {
        (now, what, bytes).hash(&mut self.hash);
        self.steps += 1;
        if let Some(log) = &self.log {
            let mut log = log.borrow_mut();
            if log.len() == LINES {
                log.pop_front();
            }
            log.push_back(format!("{:>9.3} {what:<10} {}", now.as_secs_f64(), more()));
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.finish()
    }
}
