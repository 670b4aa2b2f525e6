//! The guide leads through the demo: runs commands before everybody's eyes and keeps the record.
//! It knows nothing of what is shown. Always true: a step that fails says whose fault it is, with
//! the end of that program's log; programs are ended in the opposite order of their start.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    board::{Board, Line, Stopped},
    place::{LOGS, Place},
    record::{Command, Report, Step},
    running::{Goodbye, PATIENCE, Running},
    screen::Screen,
};

/// The gateway, in messages and among the log files.
pub const GATEWAY: &str = "doorward";
/// The connector.
pub const CONNECTOR: &str = "doorward-connector";
/// The identity provider.
pub const LOGIN: &str = "doorward-dev-provider";
/// How much of a log is shown when something went wrong.
const TAIL: usize = 15;

/// Something is not as it should be, and one program's log tells more.
#[derive(Debug, thiserror::Error)]
#[error("{text} (the fault is probably with {whose})")]
pub struct Fault {
    whose: &'static str,
    text: String,
}

/// An error that names the program to look at.
pub fn fault(whose: &'static str, text: impl Into<String>) -> anyhow::Error {
    Fault { whose, text: text.into() }.into()
}

/// A command that has ended.
#[derive(Debug)]
pub struct Done {
    /// Whether it says that it succeeded.
    pub ok: bool,
    /// What it printed.
    pub lines: Vec<Line>,
    /// When it was started.
    pub started: Instant,
    /// How long it ran.
    pub took: Duration,
}

impl Done {
    /// What it printed, as one text.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Whether it printed every one of these.
    pub fn says(&self, parts: &[&str]) -> bool {
        let text = self.text();
        parts.iter().all(|part| text.contains(part))
    }
}

/// A command that runs in the background of a step.
pub struct Background {
    /// The program.
    pub running: Running,
    line: String,
    started: Instant,
    shown: usize,
}

/// Who leads.
pub struct Guide {
    /// Where programs run.
    pub place: Place,
    /// Where the audience looks.
    pub screen: Screen,
    board: Board,
    programs: Vec<Running>,
    steps: Vec<Step>,
    step: Step,
}

/// What a command must have printed; anything else is the gateway's fault.
pub fn expect(done: &Done, parts: &[&str]) -> Result<()> {
    match parts.iter().find(|part| !done.says(&[part])) {
        None => Ok(()),
        Some(missing) => Err(fault(GATEWAY, format!("expected {missing:?} here"))),
    }
}

/// A command that must have succeeded, or it is the fault of `whose`.
pub fn must(done: &Done, whose: &'static str) -> Result<()> {
    if done.ok { Ok(()) } else { Err(fault(whose, "the command failed")) }
}

/// Milliseconds, to the microsecond.
pub fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

impl Guide {
    /// Ready to begin.
    pub fn new(board: Board, place: Place, screen: Screen) -> Self {
        Self { place, screen, board, programs: Vec::new(), steps: Vec::new(), step: Step::default() }
    }

    /// What is happening.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// What was shown so far.
    pub fn report(&self) -> Report {
        Report { ok: self.steps.iter().all(|step| step.ok), steps: self.steps.clone() }
    }

    /// Starts a program that runs to the end of the demo.
    pub fn serve(&mut self, name: &str, line: &str, goodbye: Goodbye) -> Result<&Running> {
        self.screen.progress(&format!("$ {line} &"))?;
        let copy = self.place.log_file(name)?;
        let running = Running::start(&self.board, &self.place, name, line, goodbye, Some(copy))?;
        self.programs.push(running);
        self.programs.last().context("a program was just added")
    }

    /// A program that `serve` started.
    pub fn program(&self, name: &str) -> Result<&Running> {
        self.programs
            .iter()
            .find(|running| running.name == name)
            .with_context(|| format!("{name} does not run"))
    }

    /// Kills a program before everybody's eyes, and starts it in the same place again; when it was killed.
    pub fn kill_and_restart(&mut self, name: &'static str, line: &str) -> Result<Instant> {
        let killed = self.run(&format!("sh -c 'kill -9 {}'", self.program(name)?.pid()))?;
        let place = self.programs.iter_mut().find(|running| running.name == name);
        let old = place.with_context(|| format!("{name} does not run"))?;
        old.end().with_context(|| format!("{name} outlives kill -9"))?;
        self.screen.command(&format!("{line} &"))?;
        let copy = self.place.log_file(name)?;
        *old = Running::start(&self.board, &self.place, name, line, Goodbye::Plain, Some(copy))?;
        Ok(killed.started)
    }

    /// Runs a command of the preparations, which must succeed; what it printed.
    pub fn prepare(&mut self, line: &str) -> Result<String> {
        self.screen.progress(&format!("$ {line}"))?;
        let done = self.ask(line)?;
        if done.ok { Ok(done.text()) } else { Err(anyhow::anyhow!("{line}\n{}", done.text())) }
    }

    /// Runs a command behind the scenes.
    pub fn ask(&self, line: &str) -> Result<Done> {
        let started = Instant::now();
        let mut running = Running::start(&self.board, &self.place, line, line, Goodbye::Plain, None)?;
        let (status, lines) = running.end()?;
        Ok(Done { ok: status.success(), lines, started, took: started.elapsed() })
    }

    /// Runs a command on the stage.
    pub fn run(&mut self, line: &str) -> Result<Done> {
        let background = self.begin(line, line)?;
        self.finish(background)
    }

    /// Starts a command on the stage that goes on while others run.
    pub fn start(&mut self, line: &str) -> Result<Background> {
        self.begin(line, &format!("{line} &"))
    }

    fn begin(&mut self, line: &str, shown: &str) -> Result<Background> {
        self.screen.command(shown)?;
        let started = Instant::now();
        let running = Running::start(&self.board, &self.place, line, line, Goodbye::Plain, None)?;
        Ok(Background { running, line: line.to_owned(), started, shown: 0 })
    }

    /// Waits until a background command has printed a line that holds `text`; shows what it printed.
    pub fn follow(&mut self, background: &mut Background, text: &str) -> Result<()> {
        let seen = background.running.wait_for(text);
        for line in self.board.tail(background.running.log, usize::MAX).iter().skip(background.shown) {
            self.screen.output(line)?;
            background.shown += 1;
        }
        seen.map(drop)
    }

    /// Waits for a command's end and records it.
    pub fn finish(&mut self, mut background: Background) -> Result<Done> {
        let (status, lines) = background.running.end()?;
        let took = background.started.elapsed();
        for line in lines.iter().skip(background.shown) {
            self.screen.output(&line.text)?;
        }
        let done = Done { ok: status.success(), lines, started: background.started, took };
        self.step.commands.push(Command {
            command: background.line.clone(),
            output: done.text(),
            status: status.code(),
            ms: ms(took),
        });
        Ok(done)
    }

    /// Keeps a figure of this step.
    pub fn measured(&mut self, name: &str, value: impl Into<Value>) {
        self.step.measured.insert(name.to_owned(), value.into());
    }

    /// One step: its verdict, or why it failed. Only the wish to stop and a broken terminal end the
    /// tour.
    pub fn step(
        &mut self,
        name: &str,
        title: &str,
        show: impl FnOnce(&mut Self) -> Result<String>,
    ) -> Result<()> {
        self.screen.title(title)?;
        self.step = Step { name: name.to_owned(), title: title.to_owned(), ..Step::default() };
        let started = Instant::now();
        let shown = show(self);
        self.step.ms = ms(started.elapsed());
        match shown {
            Ok(verdict) => {
                self.screen.verdict(true, &verdict)?;
                (self.step.ok, self.step.verdict) = (true, verdict);
            }
            Err(error) if error.is::<Stopped>() => return Err(error),
            Err(error) => {
                self.explain(&error)?;
                self.step.verdict = format!("{error:#}");
            }
        }
        self.steps.push(std::mem::take(&mut self.step));
        Ok(())
    }

    /// Nothing can be shown: says why, ends, and reports that it failed.
    pub fn give_up(mut self, error: &anyhow::Error, json: bool) -> Result<bool> {
        if error.is::<Stopped>() {
            return Err(Stopped.into());
        }
        self.explain(error)?;
        self.steps.push(Step {
            name: "prepare".to_owned(),
            verdict: format!("{error:#}"),
            ..Step::default()
        });
        if json {
            println!("{}", serde_json::to_string_pretty(&self.report())?);
        }
        Ok(false)
    }

    /// Says what went wrong, which programs have ended, and what the one at fault said last.
    pub fn explain(&mut self, error: &anyhow::Error) -> Result<()> {
        self.screen.verdict(false, &format!("{error:#}"))?;
        let dead: Vec<String> = self
            .programs
            .iter_mut()
            .filter_map(|running| {
                let how = running.ended()?;
                Some(format!("{} has ended: {how}", running.name))
            })
            .collect();
        dead.iter().try_for_each(|line| self.screen.say(line))?;
        let whose = error.downcast_ref::<Fault>().map_or(GATEWAY, |fault| fault.whose);
        if let Ok(log) = self.program(whose).map(|running| running.log) {
            self.screen.say(&format!("The end of {LOGS}/{whose}.log:"))?;
            for line in self.board.tail(log, TAIL).iter().filter(|line| !line.is_empty()) {
                self.screen.say(&format!("| {line}"))?;
            }
        }
        Ok(())
    }

    /// How many lines the gateway's log has.
    pub fn gateway_lines(&self) -> Result<usize> {
        Ok(self.board.count(self.program(GATEWAY)?.log))
    }

    /// Waits for a line of the gateway's log, from its line `first` on.
    pub fn gateway_says(&self, first: usize, parts: &[&str]) -> Result<Line> {
        let what = format!("{GATEWAY} logs {}", parts.join(" … "));
        let log = self.program(GATEWAY)?.log;
        self.board.wait(log, &what, |log| {
            log.since(first).find(|line| parts.iter().all(|part| line.text.contains(part))).cloned()
        })
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        // There may be nobody to read it.
        let _ = self.screen.progress("ending every program, removing the folder");
        // The last to start knows of all before it, and never the other way round.
        self.programs.iter().rev().for_each(Running::ask_to_end);
        let limit = Instant::now() + PATIENCE;
        while let Some(mut running) = self.programs.pop() {
            running.wait_or_kill(limit);
        }
    }
}
