//! The gateway under test: `doorward` on its host, with its files, and its command line.
//! It runs without any right unless the sandbox is told to be root.
//! Always true: after `start` it answers `doorward status`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitStatus, Output},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    clock::Clock,
    company::{Company, write_secret},
    connector,
    device::KeyPair,
    host::Host,
    process::Process,
    programs, sandbox,
    wait::eventually,
};

/// A command of the product on `host`: as nobody, or as root where the whole run is about that.
pub fn product(host: &Host, program: &str) -> Result<Command> {
    let program = programs::ours(program)?;
    if sandbox::as_root() { host.command(program) } else { host.unprivileged(program) }
}

/// A gateway and its files.
pub struct Gateway {
    folder: PathBuf,
    /// The pin connectors hold it to.
    pub pin: String,
    clock: Option<Clock>,
    /// How many files it may have open, its hard limit; before it is started.
    pub files: Option<u32>,
    process: Option<Process>,
}

impl Gateway {
    /// Makes the gateway's keys and starts nothing.
    pub fn prepare(host: &Host) -> Result<Self> {
        let folder = host.folder().join("doorward");
        fs::create_dir_all(&folder)?;
        write_secret(&folder.join("gateway.key"), &KeyPair::fresh()?.private)?;
        write_secret(&folder.join("store.key"), &format!("first {}\n", KeyPair::fresh()?.private))?;
        let pin = connector::make_key(host, &folder.join("link.key"))?;
        Ok(Self { folder, pin, clock: None, files: None, process: None })
    }

    /// Lets it live by a clock that shows `unix`; before it is started.
    pub fn set_clock(&mut self, host: &Host, unix: u64) -> Result<()> {
        match &self.clock {
            Some(clock) => clock.set(unix),
            None => {
                self.clock = Some(Clock::at(host, unix)?);
                Ok(())
            }
        }
    }

    /// Its folder: `doorward.toml`, `directory.toml`, `policies/`, keys, `state/`.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Writes the company's files.
    pub fn write(&self, company: &Company) -> Result<()> {
        company.write(&self.folder)
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self, host: &Host) -> Result<()> {
        self.launch(host)?;
        let ready = eventually("doorward answers `doorward status`", || {
            let ended = self.process.as_mut().is_none_or(Process::ended);
            if ended { Some(false) } else { self.status(host).ok().map(|_| true) }
        })?;
        ensure!(ready, "doorward ended at once");
        Ok(())
    }

    /// Makes the store what `directory.toml` lists, and nothing else.
    pub fn import(&self, host: &Host) -> Result<String> {
        let file = self.folder.join("directory.toml");
        let file = file.to_str().context("a folder with a plain name")?;
        self.ask(host, &["admin", "import", file, "--prune", "--again"])
    }

    /// Starts it and waits for nothing.
    pub fn launch(&mut self, host: &Host) -> Result<()> {
        let mut command = match &self.clock {
            Some(clock) => {
                let prefix = clock.prefix()?;
                let mut command = product_with(host, &prefix)?;
                command.arg(programs::ours("doorward")?);
                command
            }
            None => product(host, "doorward")?,
        };
        command.arg("gateway").arg("--config").arg(self.folder.join("doorward.toml"));
        if let Some(files) = self.files {
            let mut limited = host.command("prlimit")?;
            limited.arg(format!("--nofile={files}:{files}")).arg("--");
            limited.arg(command.get_program()).args(command.get_args());
            command = limited;
        }
        self.process = Some(host.start("doorward", command)?.strict());
        Ok(())
    }

    /// Runs `doorward` with its configuration.
    pub fn cli(&self, host: &Host, arguments: &[&str]) -> Result<Output> {
        let mut command = product(host, "doorward")?;
        command.args(arguments).arg("--config").arg(self.folder.join("doorward.toml"));
        host.run(&command)
    }

    /// The same; it must succeed.
    pub fn ask(&self, host: &Host, arguments: &[&str]) -> Result<String> {
        let output = self.cli(host, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "doorward {arguments:?}: {}\n{said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `doorward admin` with these words, parted by blanks; it must succeed. What it printed.
    pub fn admin(&self, host: &Host, words: &str) -> Result<String> {
        self.ask(host, &admin(words))
    }

    /// The same; it must fail. What it said.
    pub fn admin_refused(&self, host: &Host, words: &str) -> Result<String> {
        let output = self.cli(host, &admin(words))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "admin {words}: {}\n{said}", output.status);
        Ok(said)
    }

    /// What `doorward status --json` says.
    pub fn status(&self, host: &Host) -> Result<Value> {
        let text = self.ask(host, &["status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("status is not JSON: {text}"))
    }

    /// A counter of the status, wherever it stands in it.
    pub fn counter(&self, host: &Host, name: &str) -> Result<u64> {
        let status = self.status(host)?;
        find(&status, name).with_context(|| format!("no counter {name} in {status}"))
    }

    /// The running program.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("the gateway is not running")
    }

    /// Asks it to read its files again, the way service managers do.
    pub fn hang_up(&self) -> Result<()> {
        self.process()?.signal(Signal::SIGHUP)
    }

    /// Asks it to end: by SIGTERM as service managers do, or by SIGINT as a person at a terminal does.
    pub fn ask_to_end(&self, signal: Signal) -> Result<()> {
        self.process()?.signal(signal)
    }

    /// Waits until it has ended by itself; how it did.
    pub fn outcome(&mut self) -> Result<ExitStatus> {
        self.process.take().context("the gateway is not running")?.outcome()
    }

    /// Kills it without warning.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the gateway is not running")?.kill()
    }
}

fn product_with(host: &Host, prefix: &Command) -> Result<Command> {
    let env = prefix.get_program();
    let mut command = if sandbox::as_root() { host.command(env) } else { host.unprivileged(env) }?;
    command.args(prefix.get_args());
    Ok(command)
}

fn admin(words: &str) -> Vec<&str> {
    ["admin"].into_iter().chain(words.split_whitespace()).collect()
}

fn find(value: &Value, name: &str) -> Option<u64> {
    match value {
        Value::Object(map) => {
            map.get(name).and_then(Value::as_u64).or_else(|| map.values().find_map(|value| find(value, name)))
        }
        Value::Array(rows) => rows.iter().find_map(|value| find(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
