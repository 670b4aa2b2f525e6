//! `doorward-connector`: reads the command line, the configuration and the signals.
//! Everything else is the library's.
//! Always true: a reload that fails leaves the running connector as it was.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use connector::{Config, Connector, key::LinkKey, quic::MAX_STREAMS};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Opens what a Doorward gateway asks for at this site, if connector.toml allows it.
#[derive(Parser)]
#[command(name = "doorward-connector", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Dial the gateways and serve them until SIGTERM; SIGHUP reads the configuration again.
    Run {
        /// The configuration.
        #[arg(long, default_value = "connector.toml")]
        config: PathBuf,
    },
    /// Make a private key file and print the key that the gateway's configuration needs.
    Keygen {
        /// The file to make; never overwritten.
        #[arg(long, default_value = "connector.key")]
        out: PathBuf,
    },
    /// Read the configuration, tell every mistake, and print this connector's key.
    Check {
        /// The configuration.
        #[arg(long, default_value = "connector.toml")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Keygen { out } => keygen(&out),
        Command::Check { config } => check(&config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keygen(out: &Path) -> anyhow::Result<()> {
    let key = LinkKey::create(out).with_context(|| out.display().to_string())?;
    println!("{}", key.pin());
    Ok(())
}

fn check(config: &Path) -> anyhow::Result<()> {
    println!("{}", Config::load(config)?.private_key.pin());
    Ok(())
}

#[tokio::main]
async fn run(path: &Path) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let mut reload = signal(SignalKind::hangup())?;
    let mut stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let config = Config::load(path)?;
    let flows = flow_limit()?;
    tracing::info!(?config, flows, version = env!("CARGO_PKG_VERSION"), "starting");
    let mut drain = config.drain;
    let connector = Connector::start(config, flows)?;
    loop {
        tokio::select! {
            _ = reload.recv() => match reload_from(path, &connector) {
                Ok(limit) => drain = limit,
                Err(error) => tracing::error!("reload refused, everything stays as it was: {error:#}"),
            },
            () = any(&mut stop) => break,
        }
    }
    tracing::info!(?drain, "leaving: no new flows");
    tokio::select! {
        () = connector.drain(drain) => tracing::info!("left"),
        () = any(&mut stop) => tracing::warn!("told twice: leaving at once"),
    }
    Ok(())
}

fn reload_from(path: &Path, connector: &Connector) -> anyhow::Result<std::time::Duration> {
    let config = Config::load(path)?;
    let drain = config.drain;
    tracing::info!(?config, "reloading");
    connector.reload(config)?;
    Ok(drain)
}

async fn any([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Raises the limit of open files as far as allowed; nine tenths of it may be flows.
fn flow_limit() -> anyhow::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(usize::try_from(hard / 10 * 9)?.clamp(1, MAX_STREAMS as usize))
}
