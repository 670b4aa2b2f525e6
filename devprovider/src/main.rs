//! `doorward-dev-provider`: reads the command line, the configuration and the signals.
//! Everything else is the library's.
//! Always true: a reload that fails leaves the people as they were.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use devprovider::{Config, Running, certificate};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// An OpenID Connect provider FOR DEVELOPMENT AND TESTS ONLY: never let people depend on it.
#[derive(Parser)]
#[command(name = "doorward-dev-provider", version, after_long_help = EXAMPLE)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer until SIGTERM; SIGHUP reads the people again, and nothing else.
    #[command(after_long_help = EXAMPLE)]
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make a private CA and a server certificate: ca.pem, server.pem, server.key.
    #[command(after_long_help = "\
Clients trust ca.pem; the provider's configuration names server.pem and server.key. The CA's own key is thrown
away at once, so it never signs anything else; make a new set when these expire, in a year.")]
    Certificate {
        /// Names and addresses the server is reached by, with commas.
        #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
        names: Vec<String>,
        /// The folder for the files; none is overwritten.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

const EXAMPLE: &str = "\
FOR DEVELOPMENT ONLY: passwords lie in a plain file, one-time codes never change, everything is forgotten at
the end of the process. It is strict in all that a client must get right: codes and refresh tokens are good
once, PKCE (S256), state and nonce are needed, addresses match letter by letter.

Begin with:
    doorward-dev-provider certificate --names idp.example,127.0.0.1 --out DIR
    doorward-dev-provider run --config DIR/provider.toml
where DIR/provider.toml is:

    listen = \"127.0.0.1:8443\"
    issuer = \"https://idp.example:8443\"      # an https origin, no slash at its end
    certificate = \"server.pem\"               # paths begin at this file's folder
    key = \"server.key\"
    client_ca = \"ca.pem\"                     # verifies clients with backchannel_logout_uri
    operator_secret = \"…\"                    # optional, see below

    [lifetimes]                              # these are the defaults
    code = \"60s\"
    id_token = \"1h\"
    access_token = \"1h\"
    refresh_token = \"30d\"                    # unused
    session = \"12h\"

    [[client]]
    id = \"doorward\"
    secret = \"…\"
    redirect_uris = [\"https://door.corp.example/signin/callback\"]
    post_logout_redirect_uris = [\"https://door.corp.example/\"]
    backchannel_logout_uri = \"https://join.corp.example/logout\"   # optional
    backchannel_dial = \"127.0.0.1:443\"       # optional: dial this instead of resolving the name
    refresh_tokens = true                    # the default

    [[user]]
    sub = \"u-1\"
    name = \"Ada Lovelace\"
    email = \"ada@corp.example\"               # typed at the sign-in, as may be the sub
    password = \"…\"
    groups = [\"engineers\"]
    otp = \"123456\"                           # optional: what acr_values=mfa asks for
    email_verified = true                    # the default
    disabled = false                         # the default

Once it listens it prints one line, `ready https://idp.example:8443`. Its log goes to standard error (RUST_LOG).
To sign a person out everywhere, as the operator:

    curl --cacert DIR/ca.pem -H 'Authorization: Bearer OPERATOR_SECRET' -d sub=u-1 ISSUER/operator/sign-out";

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Certificate { names, out } => certificate::make(&names, &out).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(path: &Path) -> anyhow::Result<()> {
    log();
    let mut reload = signal(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let config = Config::load(path)?;
    let issuer = config.issuer.clone();
    let people = config.users.count();
    let (listen, version) = (config.listen, env!("CARGO_PKG_VERSION"));
    tracing::info!(%listen, people, lifetimes = ?config.lifetimes, version, "starting, for development only");
    let running = Running::start(config).await?;
    writeln!(io::stdout(), "ready {}", issuer.as_str())?;
    loop {
        tokio::select! {
            _ = reload.recv() => match Config::load(path) {
                Ok(config) => {
                    tracing::info!(people = config.users.count(), "the people are read again");
                    running.replace_users(config.users);
                }
                Err(error) => tracing::error!("reload refused, the people stay as they were: {error:#}"),
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    running.stop().await;
    Ok(())
}

/// Logs to standard error, as RUST_LOG says.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
