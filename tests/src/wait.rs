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

/// Between two looks at something that cannot be blocked on.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something. For what can only be polled: a program's status, a file of
/// another process, whether somebody listens.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < HANG {
        if let Some(found) = look() {
            return Ok(found);
        }
        thread::park_timeout(PAUSE);
    }
    bail!("waited {} s in vain: {what}", HANG.as_secs())
}
