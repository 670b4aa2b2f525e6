//! `doorward-connector`: reads the command line, the configuration and the signals.
//! Everything else is the library's.
//! Always true: a reload that fails leaves the running connector as it was.

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Read, stdin},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use connector::{
    Config, Connector,
    join::{Joined, MAX_TOKEN, Order},
    key::LinkKey,
    quic::MAX_STREAMS,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use protocol::{
    config::Secret,
    key::LinkPin,
    target::{AllowRule, Target},
};
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
    /// Join a gateway with a one-time token, and write the files that `run` needs.
    #[command(after_long_help = JOIN_HELP)]
    Join(Join),
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

const JOIN_HELP: &str = "\
The gateway's operator makes a token with `doorward admin connector token SITE`; it is good once, and not
for long. It is read from --token-file or from standard input, never from the command line, where others
could see it:

    doorward-connector join --gateway gw.example.com:51821 --gateway-key sha256:… \\
        --allow 10.50.0.0/24 --dir /etc/doorward
    doorward-connector run --config /etc/doorward/connector.toml

It makes connector.key, which never leaves this machine, and connector.toml, which has the list of what may
be dialled from here: that list has the last word, whatever a gateway asks for. If joining is cut short, the
same command again goes on where it was.";

#[derive(Args)]
struct Join {
    /// Where connectors dial the gateway; more than one for more gateways.
    #[arg(long = "gateway", value_name = "HOST:PORT", required = true)]
    gateways: Vec<Target>,
    /// The gateway's key for connectors, from its operator: it proves that nobody stands between.
    #[arg(long, value_name = "PIN")]
    gateway_key: LinkPin,
    /// Where the files are made.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Read the token from this file instead of standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A network or address that may be dialled from here, with or without ports; without any, nothing may.
    #[arg(long, value_name = "CIDR", num_args = 1..)]
    allow: Vec<AllowRule>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Join(arguments) => join(arguments),
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

#[tokio::main(flavor = "current_thread")]
async fn join(Join { gateways, gateway_key, dir: folder, token_file, allow }: Join) -> anyhow::Result<()> {
    log("warn");
    let nothing = allow.is_empty();
    let order = Order { gateways, gateway_key, folder, allow };
    let (Joined { connector, site }, file) = order.run(|| read_token(token_file.as_deref())).await?;
    let file = file.display();
    println!("joined as {connector} at the site {site}");
    if nothing {
        println!("nothing may be dialled yet: list what may under [targets] in {file}");
    }
    println!("next: doorward-connector run --config {file}");
    Ok(())
}

fn read_token(file: Option<&Path>) -> io::Result<Secret<String>> {
    let mut text = String::new();
    match file {
        Some(file) => drop(File::open(file)?.take(MAX_TOKEN as u64 + 1).read_to_string(&mut text)?),
        None => {
            if stdin().is_terminal() {
                eprint!("The token: ");
            }
            stdin().lock().take(MAX_TOKEN as u64 + 1).read_line(&mut text)?;
        }
    }
    Ok(Secret::new(text))
}

fn check(config: &Path) -> anyhow::Result<()> {
    println!("{}", Config::load(config)?.private_key.pin());
    Ok(())
}

#[tokio::main]
async fn run(path: &Path) -> anyhow::Result<()> {
    log("info");
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

/// Logs to standard error, as RUST_LOG says or from this level on.
fn log(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

/// Raises the limit of open files as far as allowed; nine tenths of it may be flows.
fn flow_limit() -> anyhow::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(usize::try_from(hard / 10 * 9)?.clamp(1, MAX_STREAMS as usize))
}
