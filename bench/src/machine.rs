//! The machine the figures are of, and what it lets a process have. It measures nothing.

use std::{fmt, fs, thread};

// Without the colons it would be this file's own tests.
use ::tests::sandbox;
use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a reader needs to compare.
pub struct Machine {
    model: String,
    cores: usize,
    kernel: String,
    load: String,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Result<Self> {
        let processors = read("/proc/cpuinfo")?;
        Ok(Self {
            model: model(&processors).unwrap_or("unnamed processor").to_owned(),
            cores: thread::available_parallelism().context("counting cores")?.get(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load()?,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, cores, kernel, load } = self;
        let rights = if sandbox::as_root() { "root" } else { "an ordinary user" };
        write!(f, "{cores} × {model}, Linux {kernel}; programs run as {rights}; load {load} before")
    }
}

/// Lets this process open as many files as any here may; how many that is.
pub fn raise_open_files() -> Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// The load average of the last minute: others' work is in every figure.
pub fn load() -> Result<String> {
    let text = read("/proc/loadavg")?;
    text.split(' ').next().map(str::to_owned).context("/proc/loadavg is empty")
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {file}"))
}

/// Not every architecture's kernel names its processors.
fn model(processors: &str) -> Option<&str> {
    processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::model;

    #[test]
    fn the_model_is_the_first_processors_name() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Best CPU: 2\nmodel name\t: x\n"),
            Some("Best CPU: 2")
        );
        assert_eq!(model("processor\t: 0\nBogoMIPS\t: 48.00\n"), None);
    }
}
