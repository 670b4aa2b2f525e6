//! `bench`: how long the promises take, on the real programs with a stock client in namespaces.
//! It judges no time; it fails only where something did not happen at all.
//! Always true: figures come with the machine and the commit, and those of a debug build say so.

mod client;
mod cpu;
mod cut;
mod failover;
mod figures;
mod grid;
mod hostile;
mod load;
mod machine;
mod restart;
mod stopwatch;
mod tunnel;

use std::{num::NonZeroU16, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use machine::Machine;
use tests::{harness, sandbox};

/// Measures the programs beside this one.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Options {
    #[command(subcommand)]
    what: What,
    /// What the programs beside this one were built for; must be said if it is not release
    #[arg(long, global = true, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// What was built, for the heading
    #[arg(long, global = true, default_value = "unknown")]
    commit: String,
}

/// The benchmarks. Later ones join here.
#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Kill the gateway, start it again: until a stock client works again
    Restart {
        /// How often
        #[arg(long, default_value = "10")]
        rounds: NonZeroU16,
    },
    /// Kill the chosen one of two connectors: until a new flow works
    Failover {
        /// How often
        #[arg(long, default_value = "10")]
        rounds: NonZeroU16,
    },
    /// Change a fact: until every open connection that lost its right is reset
    Cut {
        /// How often, for each cause
        #[arg(long, default_value = "5")]
        rounds: NonZeroU16,
        /// Connections open each time
        #[arg(long, default_value = "100")]
        flows: NonZeroU16,
    },
    /// Bytes, small requests and connections through the tunnel, beside other WireGuard gateways
    Tunnel(tunnel::Options),
    /// One device floods the gateway: how much slower another one gets
    Hostile(hostile::Options),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Release,
    Debug,
}

/// One `cargo build` makes this program and those it measures.
const BUILT: Profile = if cfg!(debug_assertions) { Profile::Debug } else { Profile::Release };

fn main() -> ExitCode {
    let options = Options::parse();
    match sandbox::enter().and_then(|()| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    ensure!(
        options.profile == BUILT,
        "these are {BUILT:?} programs: build for {:?}, or say --profile if that is meant",
        options.profile
    );
    let before = Machine::here()?;
    let table = harness::watch(|| measure(&options.what)).map_err(anyhow::Error::msg)?;
    if BUILT == Profile::Debug {
        println!("**DEBUG BUILD: these figures say nothing about the product's speed.**\n");
    }
    println!("{before}; load {} after\ncommit {}, {BUILT:?} build\n", machine::load()?, options.commit);
    println!("{table}");
    Ok(())
}

fn measure(what: &What) -> Result<String> {
    Ok(match what {
        What::Restart { rounds } => restart::measure(rounds.get())?.to_string(),
        What::Failover { rounds } => failover::measure(rounds.get())?.to_string(),
        What::Cut { rounds, flows } => cut::measure(rounds.get(), flows.get())?.to_string(),
        What::Tunnel(options) => tunnel::measure(options)?,
        What::Hostile(options) => hostile::measure(options)?,
    })
}
