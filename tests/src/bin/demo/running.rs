//! A program of the demo that runs, given as the line a person would type.
//! Always true: it ends when this is dropped and when the demo is killed, however that happens;
//! Ctrl-C in the terminal reaches only the demo, which ends programs in their order.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::{
    board::{Board, Line, LogId},
    place::Place,
};

/// How a program is asked to end, and what it gets if the demo dies without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// Ends at once when killed, with everything of it.
    Plain,
    /// PostgreSQL: asked by SIGINT it disconnects everybody and tidies up; killed it would leave
    /// shared memory behind.
    Postgres,
}

impl Goodbye {
    fn asked(self) -> Signal {
        match self {
            Self::Plain => Signal::SIGTERM,
            Self::Postgres => Signal::SIGINT,
        }
    }

    /// As `setpriv --pdeathsig` takes it.
    fn orphaned(self) -> &'static str {
        match self {
            Self::Plain => "KILL",
            Self::Postgres => "INT",
        }
    }
}

/// A running program.
#[derive(Debug)]
pub struct Running {
    /// What it is called in messages.
    pub name: String,
    /// What it prints, both streams.
    pub log: LogId,
    child: Child,
    board: Board,
    goodbye: Goodbye,
}

impl Running {
    /// Starts `line`, one command or a pipeline, as a shell would, in the demo's folder.
    pub fn start(
        board: &Board,
        place: &Place,
        name: &str,
        line: &str,
        goodbye: Goodbye,
        copy: Option<File>,
    ) -> Result<Self> {
        let (reader, writer) = io::pipe().context("making a pipe")?;
        let mut command = place.command("setpriv");
        // The kernel sends the signal when the thread that started the program ends: the demo's main one.
        command.args(["--pdeathsig", goodbye.orphaned(), "--", "sh", "-c"]);
        // In the shell's place, so that signals reach the command and not the shell.
        command.arg(format!("exec {line}"));
        command.stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        // The command holds the pipe's writing ends: only without them does the log end with the program.
        drop(command);
        let log = board.follow(reader, copy);
        Ok(Self { name: name.to_owned(), log, child, board: board.clone(), goodbye })
    }

    /// Waits for a line that holds `text`.
    pub fn wait_for(&self, text: &str) -> Result<Line> {
        let what = format!("{} says {text:?}", self.name);
        self.board.wait(self.log, &what, |log| log.since(0).find(|line| line.text.contains(text)).cloned())
    }

    /// Waits until it has ended; how, and all it printed.
    pub fn end(&mut self) -> Result<(ExitStatus, Vec<Line>)> {
        let what = format!("{} ends", self.name);
        let lines =
            self.board.wait(self.log, &what, |log| log.ended().then(|| log.since(0).cloned().collect()))?;
        // What it printed has ended, so it is ending itself.
        Ok((self.child.wait().with_context(|| format!("waiting for {}", self.name))?, lines))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) {
        // Whatever has ended by itself needs no asking.
        let _ = kill(self.pid(), self.goodbye.asked());
    }

    /// Gives it until `limit` to end by itself; kills it then, with its children.
    pub fn wait_or_kill(&mut self, limit: Instant) {
        while self.is_running() && Instant::now() < limit {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Looks without collecting it, so that its process group cannot become somebody else's yet.
    fn is_running(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let still = waitid(Id::Pid(self.pid()), flags);
        still.is_ok_and(|status| status.pid().is_none()) || still == Err(Errno::EINTR)
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids fit an i32"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.ask_to_end();
            self.wait_or_kill(Instant::now() + PATIENCE);
        }
        self.board.forget(self.log);
    }
}

/// How long a program may take to end when asked.
pub const PATIENCE: Duration = Duration::from_secs(5);
