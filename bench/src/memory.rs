//! What a process has of the machine's memory. Always true: of a process that has ended it is an error.

use std::fs;

use anyhow::{Context, Result};

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now.
    pub now: f64,
    /// At most so far.
    pub peak: f64,
}

impl Memory {
    /// Of the process with this id.
    pub fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let bytes = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
            let kilobytes = line.trim_matches(|c: char| !c.is_ascii_digit());
            Ok(kilobytes.parse::<f64>()? * 1024.0)
        };
        Ok(Self { now: bytes("VmRSS")?, peak: bytes("VmHWM")? })
    }

    /// Of this one.
    pub fn own() -> Result<Self> {
        Self::of(std::process::id())
    }
}
