//! Waiting for something to become true, under a limit that only a hang reaches.
//! It measures nothing: how fast things are is for `bench/`.
//! Always true: a wait that fails says what it waited for.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Generous: a loaded two-core machine is not a hang.
pub const HANG: Duration = Duration::from_secs(30);

/// The first pause between two looks at something that cannot be blocked on; each is twice the last.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Looking may mean starting a program, which should not take the time from what is waited for.
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

/// Looks until `look` finds something. For what can only be polled: a program's status, a file of
/// another process, whether somebody listens.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    let mut pause = SHORTEST_PAUSE;
    while start.elapsed() < HANG {
        if let Some(found) = look() {
            return Ok(found);
        }
        thread::park_timeout(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    bail!("waited {} s in vain: {what}", HANG.as_secs())
}
