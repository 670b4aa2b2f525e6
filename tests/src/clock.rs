//! The wall clock of one program, moved by a test (libfaketime); its timers run on undisturbed.
//! It moves nobody else's clock.
//! Always true: the program reads the new time at its next look at the clock.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

use crate::{host::Host, programs};

/// A clock that can be set.
pub struct Clock {
    offset: PathBuf,
}

impl Clock {
    /// A clock that shows `unix`, seconds since 1970, and goes on.
    pub fn at(host: &Host, unix: u64) -> Result<Self> {
        let clock = Self { offset: host.folder().join("clock") };
        clock.set(unix)?;
        Ok(clock)
    }

    /// Sets it.
    pub fn set(&self, unix: u64) -> Result<()> {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock is before 1970")?;
        // Rounded up: the clock may be late by a part of a millisecond, never early.
        let offset = ((unix as f64 - now.as_secs_f64()) * 1e3).ceil() / 1e3;
        let fresh = self.offset.with_extension("new");
        fs::write(&fresh, format!("{offset:+.3}\n"))?;
        fs::rename(&fresh, &self.offset).context("setting the clock")
    }

    /// What to put before a command line so that the program lives by this clock.
    pub fn prefix(&self) -> Result<Command> {
        let mut command = Command::new("env");
        command
            .arg(format!("LD_PRELOAD={}", programs::faketime()?.display()))
            .arg(format!("FAKETIME_TIMESTAMP_FILE={}", self.offset.display()))
            .args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_RESET=1"]);
        Ok(command)
    }
}
