//! The tour as data, for `--json`.
//! Always true: a time is in milliseconds and its name ends in `ms`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// The whole tour.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every step was.
    pub ok: bool,
    /// In their order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Step {
    /// A word for it.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// Whether it showed that.
    pub ok: bool,
    /// How long it took.
    pub ms: f64,
    /// What was run.
    pub commands: Vec<Command>,
    /// What was measured.
    pub measured: BTreeMap<String, Value>,
    /// What it came to, or what went wrong.
    pub verdict: String,
}

/// One command.
#[derive(Debug, Clone, Serialize)]
pub struct Command {
    /// As a person would type it in the demo's folder.
    pub command: String,
    /// What it printed, on both streams.
    pub output: String,
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// How long it ran.
    pub ms: f64,
}
