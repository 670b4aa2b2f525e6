//! One beginning, in the clock of this program and in the clock other programs write into their logs.
//! Always true: nothing here waits; a wall clock that is stepped meanwhile spoils only what logs tell.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

/// A moment from which others are counted.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    monotonic: Instant,
    wall: DateTime<Utc>,
}

impl Stopwatch {
    /// From now.
    pub fn start() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now().into() }
    }

    /// Milliseconds until `moment`.
    pub fn until(&self, moment: Instant) -> f64 {
        milliseconds(moment.saturating_duration_since(self.monotonic))
    }

    /// Milliseconds until a log line was written, by the time it begins with.
    pub fn until_line(&self, line: &str) -> Result<f64> {
        let time = line.split_whitespace().next().unwrap_or_default();
        let time = DateTime::parse_from_rfc3339(time).with_context(|| format!("no time before: {line}"))?;
        let passed =
            time.signed_duration_since(self.wall).num_microseconds().context("a log of another age")?;
        Ok(passed as f64 / 1e3)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_counted_by_its_own_time() -> Result<()> {
        let wall = "2026-11-21T09:00:00Z".parse()?;
        let watch = Stopwatch { monotonic: Instant::now(), wall };
        assert_eq!(watch.until_line("2026-11-21T09:00:01.250500Z  INFO gateway: ready")?, 1250.5);
        assert!(watch.until_line("ready").is_err());
        assert_eq!(watch.until(watch.monotonic + Duration::from_millis(3)), 3.0);
        Ok(())
    }
}
