//! The `doorward` command. It parses arguments and hands over; what it does is in the library.
//! Always true: the first thing it does is to let the network helper take over, if it is that.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use gateway::{
    cli::{self, device_config::Options},
    reload::Loaded,
    run,
    socket::{self, Question},
    status::Status,
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
    Check(ConfigFile),
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
    /// Show peers, flows with their decision, denials by reason, connectors
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
    /// Work with devices
    #[command(subcommand)]
    Device(DeviceCommand),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Make the running gateway load the policy folder, as one unit; on a mistake the old stays
    Load(ConfigFile),
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Print a device's WireGuard configuration, for its stock WireGuard app
    ///
    /// The private key stays a placeholder: it never leaves the device. With --new-key a key pair
    /// is made here instead, and the public half to enrol is told on standard error.
    Config {
        /// The device, as in directory.toml
        name: String,
        #[command(flatten)]
        file: ConfigFile,
        /// Make a new key pair for it
        #[arg(long)]
        new_key: bool,
        /// Print a code to scan with the phone's app
        #[arg(long)]
        qr: bool,
    },
}

fn main() -> ExitCode {
    netio::helper::dispatch();
    let done = match Cli::parse().command {
        Command::Init { folder } => init(&folder),
        Command::Check(file) => return check(&file),
        Command::Gateway { file, log_json } => gateway(file.config, log_json),
        Command::Status { file, json } => status(&file, json),
        Command::Reload(file) => load(&file, Question::Reload),
        Command::Policy(PolicyCommand::Load(file)) => load(&file, Question::LoadPolicies),
        Command::Device(DeviceCommand::Config { name, file, new_key, qr }) => {
            device_config(&file, &name, Options { new_key, qr })
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

fn check(file: &ConfigFile) -> ExitCode {
    let checked = cli::check::run(&file.config);
    if checked.ok {
        print!("{}", checked.text);
        ExitCode::SUCCESS
    } else {
        eprint!("{}", checked.text);
        ExitCode::FAILURE
    }
}

fn device_config(file: &ConfigFile, name: &str, options: Options) -> anyhow::Result<()> {
    let printed = cli::device_config::run(&file.config, name, options)?;
    print!("{}", printed.out);
    eprint!("{}", printed.notes);
    Ok(())
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
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{status}");
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
