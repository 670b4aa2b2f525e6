//! The `doorward` command. It parses arguments and hands over; what it does is in the library.
//! Always true: the first thing it does is to let the network helper take over, if it is that.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use gateway::{
    cli, run,
    socket::{self, Question},
    status::Status,
    truth::Loaded,
};
use tracing_subscriber::EnvFilter;

/// Identity-aware access gateway: stock WireGuard in, OIDC people and Cedar policies, apps out.
///
/// Start with `doorward init DIR`, then `doorward check`, then `doorward gateway`.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The gateway's configuration
    #[arg(long, value_name = "FILE", default_value = "doorward.toml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented configuration, keys and example policies into a new folder
    Init {
        /// Where; nothing in it is ever overwritten
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Check every file without starting anything: all mistakes at once, exit status 1 if there is one
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// Ask every [[provider]] as well: what it can, what it lacks, what to enter there
        #[arg(long)]
        providers: bool,
    },
    /// Run the gateway
    ///
    /// SIGHUP (or `doorward reload`) reads every file again; SIGTERM or Ctrl-C drains: no new
    /// connections, open ones get ten seconds, then a reset; a second one resets at once. The log
    /// goes to standard error; RUST_LOG sets what is in it, for example RUST_LOG=info,decision=debug.
    Gateway {
        #[command(flatten)]
        file: ConfigFile,
        /// Log in JSON, one object per line
        #[arg(long)]
        log_json: bool,
    },
    /// Show peers, sessions, flows with their decision, denials by reason, connectors
    Status {
        #[command(flatten)]
        file: ConfigFile,
        /// As data
        #[arg(long)]
        json: bool,
    },
    /// Make the running gateway read every file again; on a mistake the old stays in force
    Reload(ConfigFile),
    /// Work with policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Administer the running gateway: people, devices, sessions, connectors, audit, backup
    Admin(Box<cli::admin::Admin>),
    /// Print what lets a shell complete these commands
    ///
    /// For example: doorward completion bash > /etc/bash_completion.d/doorward
    Completion {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Make the running gateway load the policy folder, as one unit; on a mistake the old stays
    Load(ConfigFile),
}

fn main() -> ExitCode {
    netio::helper::dispatch();
    let done = match Cli::parse().command {
        Command::Init { folder } => init(&folder),
        Command::Check { file, providers } => return check(&file, providers),
        Command::Gateway { file, log_json } => gateway(file.config, log_json),
        Command::Status { file, json } => status(&file, json),
        Command::Reload(file) => load(&file, Question::Reload),
        Command::Policy(PolicyCommand::Load(file)) => load(&file, Question::LoadPolicies),
        Command::Admin(admin) => cli::admin::run(*admin).map_err(anyhow::Error::msg),
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "doorward", &mut text);
            cli::say(&text).map_err(anyhow::Error::from)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("doorward: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init(folder: &Path) -> anyhow::Result<()> {
    print!("{}", cli::init::run(folder)?);
    Ok(())
}

fn check(file: &ConfigFile, providers: bool) -> ExitCode {
    let checked = cli::check::run(&file.config, providers);
    if checked.ok {
        print!("{}", checked.text);
        ExitCode::SUCCESS
    } else {
        eprint!("{}", checked.text);
        ExitCode::FAILURE
    }
}

/// What is logged unless RUST_LOG says otherwise. boringtun calls the end of an idle session an
/// error, and pingora a request it cannot read; both are counted or told by our own lines.
const LOGGED: &str = "info,boringtun=off,pingora_proxy=off,pingora_core=off";

fn gateway(path: PathBuf, json: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("doorward").build()?;
    runtime.block_on(run::run(path))
}

fn ask<T: serde::de::DeserializeOwned>(file: &ConfigFile, question: Question) -> anyhow::Result<T> {
    let state = socket::state_of(&file.config).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(socket::ask(&state, question)).map_err(anyhow::Error::msg)
}

fn status(file: &ConfigFile, json: bool) -> anyhow::Result<()> {
    let status: Status = ask(file, Question::Status)?;
    if json {
        cli::say(format!("{}\n", serde_json::to_string_pretty(&status)?).as_bytes())?;
    } else {
        cli::say(status.to_string().as_bytes())?;
    }
    Ok(())
}

fn load(file: &ConfigFile, question: Question) -> anyhow::Result<()> {
    let loaded: Loaded = ask(file, question)?;
    for warning in &loaded.warnings {
        println!("warning: {warning}");
    }
    for id in &loaded.forbids_removed {
        println!("warning: forbid {id} is not in force any more");
    }
    let (count, cut) = (loaded.count, loaded.cut);
    let policies = if count == 1 { "policy" } else { "policies" };
    let connections = if cut == 1 { "connection" } else { "connections" };
    println!("loaded: {count} {policies} in force, {cut} open {connections} cut");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &clap::Command) -> Vec<String> {
        let below = command.get_subcommands().flat_map(names);
        below.chain([command.get_name().to_owned()]).collect()
    }

    #[test]
    fn the_arguments_make_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "doorward", &mut text);
            let text = String::from_utf8(text).expect("UTF-8");
            for name in names(&Cli::command()) {
                assert!(text.contains(&name), "{shell}: {name}");
            }
        }
    }
}
