//! Many enrolled devices: what each costs the gateway at rest, and how long all of them take to come back
//! after a restart. It knows no flows: what connections cost is for the other benches.
//! Always true: the gateway is the real program, and a device is back only when a packet it sent since the
//! restart was answered through its tunnel.

mod rest;
mod storm;
mod swarm;

use anyhow::Result;
use clap::{Args, ValueEnum};

/// How it is measured.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only one of the two
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Devices enrolled and idle, in steps
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    enrolled: Vec<u32>,
    /// Seconds over which an idle gateway's processor time is counted
    #[arg(long, default_value = "20")]
    idle: u64,
    /// Devices with live sessions when the gateway is killed
    #[arg(long, default_value = "10000")]
    devices: u16,
    /// How often it is killed
    #[arg(long, default_value = "3")]
    rounds: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Devices at rest
    Rest,
    /// Devices that come back
    Storm,
}

impl Options {
    /// Files this process has open at most: a socket for each device of the storm.
    pub fn open_files(&self) -> u64 {
        u64::from(self.devices) + swarm::OTHER_FILES
    }
}

/// Measures both; the tables as text.
pub fn measure(options: &Options) -> Result<String> {
    let wanted = |part| options.only.is_none_or(|only| only == part);
    let mut tables = Vec::new();
    if wanted(Part::Rest) {
        tables.push(rest::measure(&options.enrolled, options.idle)?.to_string());
    }
    if wanted(Part::Storm) {
        tables.push(storm::measure(options.devices, options.rounds)?.to_string());
    }
    Ok(tables.join("\n\n"))
}
