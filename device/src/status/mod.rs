//! `status`: tells the person on a device how they stand with the gateway, once or, with `--watch`,
//! whenever that changes. It asks the gateway through the tunnel and changes nothing.
//! Always true: what the gateway sends is bounded, and reaches the terminal only as printable text.

mod answer;
mod ask;
mod gateway;
mod page;
mod text;
mod watch;
mod when;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    time::Instant,
};

use clap::Args;

use crate::tell;
use answer::{Answer, Standing};
use ask::{AskError, LIMIT};
use gateway::Gateway;
use watch::{AFTER_SILENCE, Poll, Watch};

/// Exit statuses; 2 is also what a wrong command line ends with.
const GOOD: u8 = 0;
const NO_ANSWER: u8 = 1;
const USAGE: u8 = 2;
const SIGN_IN: u8 = 3;

/// What can be read below `--help`.
pub const HELP: &str = "\
The gateway is asked through the tunnel, so that must be up; no password is
needed, since the tunnel says which device asks. With neither --config nor
--gateway, the gateway is the computer's name server in 100.64.0.0/10 or
fd00::/8. Times are in this computer's zone and by the gateway's clock.

With --watch it stays, prints what changes, and warns ten minutes before
something open ends; Ctrl-C ends it.

Exit status: 0 signed in, or no sign-in is needed; 3 a sign-in is needed, or
the session is suspended; 1 no answer; 2 a mistake in what was passed.

Examples:
  doorward-device status
  doorward-device status --config wg.conf --watch
  doorward-device status --gateway 100.64.0.1 --json

  Without a tunnel on this computer:
  doorward-device run --config wg.conf -- doorward-device status";

/// What can be said on the command line.
#[derive(Debug, Args)]
pub struct Options {
    /// Stay, print changes, and warn before something open ends
    #[arg(long, short)]
    watch: bool,
    /// As data: the gateway's answer, one line each
    #[arg(long)]
    json: bool,
    /// The WireGuard configuration file: its first DNS address is the gateway's
    #[arg(long, short, value_name = "FILE", conflicts_with = "gateway")]
    config: Option<PathBuf>,
    /// The gateway's own address in the tunnel; port 80 unless it says otherwise
    #[arg(long, short, value_name = "ADDRESS", value_parser = gateway::address)]
    gateway: Option<SocketAddr>,
}

/// Why the command ends without an answer.
#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Runs the command; the exit status.
pub fn run(options: &Options) -> u8 {
    let gateway = match Gateway::find(options.gateway, options.config.as_deref()) {
        Ok(gateway) => gateway,
        Err(error) => {
            tell(&error.to_string());
            return USAGE;
        }
    };
    let standing = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StatusError::from)
        .and_then(|runtime| runtime.block_on(stand(&gateway, options)));
    match standing {
        Ok(Standing::Good) => GOOD,
        Ok(Standing::SignIn) => SIGN_IN,
        Err(error) => {
            tell(&error.to_string());
            NO_ANSWER
        }
    }
}

async fn stand(gateway: &Gateway, options: &Options) -> Result<Standing, StatusError> {
    if options.watch {
        return watch(gateway, options.json).await;
    }
    let (answer, json) = ask(gateway, None).await?;
    let standing = answer.standing();
    print(&if options.json { text::json_line(&json) } else { page::page(&answer, when::local) })?;
    Ok(standing)
}

/// Asks on and on. It ends if the first question has no answer, or nobody reads what it prints.
async fn watch(gateway: &Gateway, json: bool) -> Result<Standing, StatusError> {
    let mut watch = Watch::default();
    let mut standing = None;
    let mut silent = false;
    loop {
        let question = watch.question();
        let began = Instant::now();
        match ask(gateway, Some(question)).await {
            Ok((answer, received)) => {
                if std::mem::take(&mut silent) {
                    tell("the gateway answers again");
                }
                let now = *standing.insert(answer.standing());
                let said = watch.heard(answer, when::local);
                if print(&if json { text::json_line(&received) } else { said })? == Reader::Gone {
                    return Ok(now);
                }
                tokio::time::sleep(watch.pause(question, began.elapsed())).await;
            }
            Err(error) if standing.is_none() => return Err(error.into()),
            Err(error) => {
                if !std::mem::replace(&mut silent, true) {
                    tell(&format!("{error}\nStill trying."));
                }
                tokio::time::sleep(AFTER_SILENCE).await;
            }
        }
    }
}

async fn ask(gateway: &Gateway, poll: Option<Poll>) -> Result<(Answer, String), AskError> {
    let json = ask::ask(gateway, poll, LIMIT).await?;
    let unclear = |reason| AskError::Unclear { gateway: gateway.clone(), reason };
    Ok((Answer::read(&json).map_err(unclear)?, json))
}

/// Whether anybody reads standard output.
#[derive(Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

/// One write, so that Ctrl-C leaves no half of it.
fn print(text: &str) -> io::Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}
