//! `bench`: how long the promises take, on the real programs with a stock client in namespaces.
//! It judges no time; it fails only where something did not happen at all.
//! Always true: figures come with the machine and the commit, and those of a debug build say so.

mod client;
mod cores;
mod cpu;
mod decisions;
mod enrolled;
mod failover;
mod figures;
mod grid;
mod hostile;
mod load;
mod machine;
mod memory;
mod peers;
mod relay;
mod restart;
mod revoke;
mod service;
mod stopwatch;
mod store;
mod tunnel;

use std::{fmt::Display, num::NonZeroU16, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use machine::Machine;
use tests::{harness, sandbox};

/// Measures the programs beside this one.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// What the programs beside this one were built for; must be said if it is not release
    #[arg(long, global = true, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// What was built, for the heading
    #[arg(long, global = true, default_value = "unknown")]
    commit: String,
}

/// What this program does.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    #[command(flatten)]
    Measure(What),
    /// The service at the other end of `revoke`, which starts it itself
    #[command(hide = true)]
    Serve {
        /// Where it listens
        #[arg(long)]
        port: u16,
    },
    /// The gateway's end of `relay`, which starts it itself
    #[command(hide = true)]
    RelayGateway(relay::Role),
    /// What `store` loads in a process of its own, which it starts itself
    #[command(hide = true)]
    LoadStore {
        /// A file, or a URL
        place: String,
    },
    /// A path with delay, loss and a rate, wherever it is started: `relay` has one of its own
    #[command(hide = true)]
    Wan(relay::Wide),
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
    /// End a right: until every open connection that needed it is reset
    Revoke {
        /// How often, for each cause
        #[arg(long, default_value = "1")]
        rounds: NonZeroU16,
        /// Connections open each time
        #[arg(long, default_value = "10000")]
        flows: NonZeroU16,
    },
    /// Bytes, small requests and connections through the tunnel, beside other WireGuard gateways
    Tunnel(tunnel::Options),
    /// Copy a TCP connection to another, and over the connector link: rates and CPU seconds
    Relay(relay::Options),
    /// One device floods the gateway: how much slower another one gets
    Hostile(hostile::Options),
    /// Many enrolled devices: what each costs at rest, and a storm of them coming back
    Peers(peers::Options),
    /// The store under many devices: loading, committing, following, and a device that is shut out
    Store(store::Options),
    /// Ask the policy engine, and Cedar's own authorizer, in this process
    Policy {
        /// How often
        #[arg(long, default_value = "10")]
        rounds: NonZeroU16,
        /// No more policies than this
        #[arg(long, default_value = "100000")]
        largest: usize,
    },
}

impl What {
    /// Whether it needs hosts of its own.
    fn is_in_the_sandbox(&self) -> bool {
        match self {
            Self::Restart { .. } | Self::Failover { .. } | Self::Revoke { .. } => true,
            Self::Tunnel(_) | Self::Relay(_) | Self::Hostile(_) | Self::Peers(_) | Self::Store(_) => true,
            Self::Policy { .. } => false,
        }
    }

    /// Files it opens that an ordinary user may not be let.
    fn open_files(&self) -> u64 {
        match self {
            Self::Peers(options) => options.open_files(),
            Self::Restart { .. } | Self::Failover { .. } | Self::Revoke { .. } | Self::Policy { .. } => 0,
            Self::Tunnel(options) => options.open_files(),
            Self::Relay(_) | Self::Hostile(_) | Self::Store(_) => 0,
        }
    }
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
    let outcome = match &options.command {
        Command::Measure(what) => run(what, &options),
        Command::Serve { port } => service::run(*port).map(|never| match never {}),
        Command::RelayGateway(role) => relay::serve(role.clone()),
        Command::LoadStore { place } => store::load(place),
        Command::Wan(wide) => relay::wan(wide),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: &What, options: &Options) -> Result<()> {
    if what.is_in_the_sandbox() {
        machine::ask_for_open_files(what.open_files())?;
        sandbox::enter()?;
    }
    ensure!(
        options.profile == BUILT,
        "these are {BUILT:?} programs: build for {:?}, or say --profile if that is meant",
        options.profile
    );
    let before = Machine::here()?;
    let table = harness::watch(|| measure(what)).map_err(anyhow::Error::msg)?;
    if BUILT == Profile::Debug {
        println!("**DEBUG BUILD: these figures say nothing about the product's speed.**\n");
    }
    println!("{before}; load {} after\ncommit {}, {BUILT:?} build\n", machine::load()?, options.commit);
    println!("{table}");
    Ok(())
}

fn measure(what: &What) -> Result<Box<dyn Display>> {
    Ok(match what {
        What::Restart { rounds } => Box::new(restart::measure(rounds.get())?),
        What::Failover { rounds } => Box::new(failover::measure(rounds.get())?),
        What::Revoke { rounds, flows } => Box::new(revoke::measure(rounds.get(), flows.get())?),
        What::Policy { rounds, largest } => Box::new(decisions::measure(rounds.get(), *largest)?),
        What::Tunnel(options) => Box::new(tunnel::measure(options)?),
        What::Relay(options) => Box::new(relay::measure(options)?),
        What::Hostile(options) => Box::new(hostile::measure(options)?),
        What::Peers(options) => Box::new(peers::measure(options)?),
        What::Store(options) => Box::new(store::measure(options)?),
    })
}
