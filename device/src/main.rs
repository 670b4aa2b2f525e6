//! `doorward-device`: what the stock WireGuard app cannot do. It runs one command inside the
//! tunnel, with a network of its own, without root and without touching the computer's network,
//! and tells the person how the device stands with the gateway.
//! It enrols nobody and keeps no state. Always true: the first thing `main` does is to see whether
//! this process is the set-up helper.

mod advice;
mod allowed;
mod carrier;
mod config;
mod run;
mod signals;
mod status;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use config::Config;
use netio::device_ns::SpawnError;
use run::RunError;

/// What env(1) and container tools return for failures of their own, for a command that cannot be
/// executed, and for one that is not there.
const OUR_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

const EXAMPLES: &str = "\
Examples:
  Is the configuration good?
      doorward-device check --config wg.conf

  One command inside the tunnel; everything else on this computer stays outside:
      doorward-device run --config wg.conf -- curl http://wiki.corp.example/
      doorward-device run --config wg.conf -- psql -h db.corp.example app

  A shell in which every command is inside:
      doorward-device run --config wg.conf -- bash

  Am I signed in, what is open, and why was I refused?
      doorward-device status
      doorward-device status --watch

The configuration is the WireGuard file your administrator gave you
(`doorward device config NAME`), with your private key in it.

No root is needed. If something on this computer forbids it, the message names
the setting to change.";

const RUN_HELP: &str = "\
The command runs as you, in a network of its own: it reaches what AllowedIPs
names, resolves names by the DNS lines, and sees nothing else. Your computer's
addresses, routes and resolver are not touched, and nothing remains afterwards:
what the command left running in the background ends with it.

Exit status: the command's own; 128 and the signal's number if a signal ended
it; 127 if there is no such command, 126 if it cannot be executed, 125 if the
tunnel could not be set up.

Example:
  doorward-device run --config wg.conf -- ssh build.corp.example";

#[derive(Parser)]
#[command(name = "doorward-device", version, about = "Runs commands inside a Doorward (WireGuard) tunnel, and tells how you stand with its gateway", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a command inside the tunnel
    #[command(after_help = RUN_HELP)]
    Run {
        /// The WireGuard configuration file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Read a configuration and say what is wrong with it
    Check {
        /// The WireGuard configuration file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Tell who you are to the gateway, what is open until when, and why something was refused
    #[command(after_help = status::HELP)]
    Status(status::Options),
}

fn main() -> ExitCode {
    netio::helper::dispatch();
    ExitCode::from(match Arguments::parse().action {
        Action::Run { config, command } => run_command(&config, &command),
        Action::Check { config } => check(&config),
        Action::Status(options) => status::run(&options),
    })
}

/// A line on stderr that says who speaks, since the command speaks there too.
fn tell(text: &str) {
    eprintln!("doorward-device: {text}");
}

fn run_command(file: &Path, command: &[OsString]) -> u8 {
    let Some(config) = load(file) else { return OUR_FAILURE };
    match run::run(&config, command) {
        Ok(status) => run::exit_code(status),
        Err(error) => {
            tell(&error.to_string());
            failure_code(&error)
        }
    }
}

fn failure_code(error: &RunError) -> u8 {
    match error {
        RunError::Spawn(SpawnError::Execute { source, .. }) => {
            if source.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
        }
        RunError::Spawn(SpawnError::SetUp(_))
        | RunError::Resolve { .. }
        | RunError::Bind(_)
        | RunError::Io(_) => OUR_FAILURE,
    }
}

fn load(file: &Path) -> Option<Config> {
    match config::load(file) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| tell(warning));
            Some(config)
        }
        Err(error) => {
            eprintln!("{error}");
            None
        }
    }
}

fn check(file: &Path) -> u8 {
    let Some(config) = load(file) else { return 1 };
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let text = |items: &mut dyn Iterator<Item = String>| list(&items.collect::<Vec<_>>());
    let Config { interface, peer, .. } = &config;
    println!("{} is good", file.display());
    println!("  this device  {}", interface.private_key.public());
    println!("  addresses    {}", text(&mut interface.addresses.iter().map(ToString::to_string)));
    println!("  name servers {}", text(&mut interface.dns.iter().map(ToString::to_string)));
    println!("  search       {}", list(&interface.search));
    println!("  gateway      {} at {}", peer.public_key, peer.endpoint);
    println!("  reaches      {}", text(&mut peer.allowed_ips.iter().map(ToString::to_string)));
    0
}
