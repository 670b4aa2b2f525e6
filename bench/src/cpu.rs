//! What a process has cost so far: the CPU time of all its threads, user and system.
//! Kernel work on its behalf that runs elsewhere (softirqs) is not in it, for anybody.
//! Always true: nanosecond resolution; a process that has ended is an error, not zero.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// A process to be watched.
#[derive(Debug, Clone, Copy)]
pub struct Watched(Pid);

impl Watched {
    /// By its process id.
    pub fn new(id: u32) -> Result<Self> {
        Ok(Self(Pid::from_raw(i32::try_from(id).context("process id")?)))
    }

    /// CPU time it has used.
    pub fn used(self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.0).with_context(|| format!("process {} is gone", self.0))?;
        Ok(clock_gettime(clock)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_and_an_ended_process_is_an_error() -> Result<()> {
        let own = Watched::new(std::process::id())?;
        let before = own.used()?;
        while own.used()? < before + Duration::from_millis(5) {}
        let mut child = std::process::Command::new("true").spawn()?;
        let ended = Watched::new(child.id())?;
        child.wait()?;
        assert!(ended.used().is_err());
        Ok(())
    }
}
