//! The demo's command line.
//! Always true: what is not understood is an error, never ignored.

use std::net::{IpAddr, Ipv4Addr};

/// What `--help` says.
pub const HELP: &str = "\
A company with Doorward on this machine, shown by real commands and their real output.

Usage: make demo [ARGS='OPTIONS']      (or, once built, target/debug/demo OPTIONS)

It starts, as you and without root: a private site (nginx as the apps `wiki` and `admin`, PostgreSQL as
the app `db`), a connector that dials out of it, an identity provider, and a gateway. Two devices of one
person then use the apps: one is healthy, one has its disk encryption off. All of it is added by
commands. You see
  1  a device with nobody signed in reaching nothing, and being told what helps
  2  a person signing in on the way to a page, and the identity the app saw
  3  the unhealthy device refused, with the reason and what would help
  4  a page that asks for a one-time code as well
  5  a live connection cut because the device's posture changed, with the milliseconds
  6  a device shut out and let in again
  7  a live connection that ends because its time ends
  8  a policy edit opening what was closed
  9  signing out, which cuts what is open
 10  the gateway killed and started again, with nothing lost and nobody signed out
Every command is printed as it is run: repeat it in another terminal while the demo is up.

Then the demo stays up until Ctrl-C, and prints a WireGuard configuration and a QR code so that you can
join with your own WireGuard app and sign in with your own browser.

Options:
  --listen IP   where your devices reach this machine [default: 127.0.0.1, this machine only]. For
                a phone: an address of this machine in the phone's network
  --port PORT   the UDP port to listen on [default: 51820, or a free one if that is taken]
  --once        end after the tour; the exit status is 1 if any step failed
  --json        print the tour as one JSON object {\"ok\", \"steps\": [{\"name\", \"ok\", \"ms\", \"commands\",
                \"measured\"}]} on standard output, and the progress on standard error
  --help        this text

It keeps everything in one private folder below $TMPDIR, removed at the end.
If a program is missing: make set-up
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The demo.
    Demo(Options),
    /// An explanation of it.
    Help,
}

/// How the demo should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// Where devices reach the gateway.
    pub listen: IpAddr,
    /// Its UDP port, if it matters.
    pub port: Option<u16>,
    /// Whether it ends after the tour.
    pub once: bool,
    /// Whether the tour is printed as data.
    pub json: bool,
}

/// Reads the arguments; the error is for the person who typed them.
pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut options = Options { listen: Ipv4Addr::LOCALHOST.into(), port: None, once: false, json: false };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => options.listen = listen(&value()?)?,
            "--port" => options.port = Some(port(&value()?)?),
            "--once" => options.once = true,
            "--json" => options.json = true,
            "--help" | "-h" => return Ok(Asked::Help),
            other => return Err(format!("{other:?} is not an option")),
        }
    }
    Ok(Asked::Demo(options))
}

fn listen(text: &str) -> Result<IpAddr, String> {
    match text.parse() {
        Ok(ip) if !IpAddr::is_unspecified(&ip) => Ok(ip),
        _ => {
            Err(format!("--listen {text}: name one address of this machine, the one your devices will dial"))
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|port| *port != 0);
    number.ok_or_else(|| format!("--port {text}: a number from 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let expected = Options { listen: [192, 0, 2, 1].into(), port: Some(5000), once: true, json: true };
        assert_eq!(asked("--once --json --listen 192.0.2.1 --port 5000"), Ok(Asked::Demo(expected)));
        assert_eq!(asked("--once --help"), Ok(Asked::Help));
    }

    #[test]
    fn mistakes_are_told() {
        for (line, part) in [
            ("--twice", "--twice"),
            ("--listen", "needs a value"),
            ("--listen 0.0.0.0", "one address"),
            ("--listen door", "one address"),
            ("--port 0", "65535"),
            ("--port 65536", "65535"),
        ] {
            let told = asked(line).expect_err(line);
            assert!(told.contains(part), "{line}: {told}");
        }
    }
}
