//! What the person in front of the demo sees: progress with the seconds that passed, prose,
//! commands, their output.
//! It keeps nothing. Always true: with `--json` nothing of it goes to standard output.

use std::{
    io::{self, IsTerminal, Write},
    time::Instant,
};

/// Where the show is.
pub struct Screen {
    out: Box<dyn Write>,
    started: Instant,
    colours: bool,
}

/// SGR sequences (ECMA-48 §8.3.117).
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

impl Screen {
    /// Standard output, or standard error if the former is for data.
    pub fn new(data_on_stdout: bool) -> Self {
        let started = Instant::now();
        if data_on_stdout {
            let colours = io::stderr().is_terminal();
            Self { out: Box::new(io::stderr()), started, colours }
        } else {
            let colours = io::stdout().is_terminal();
            Self { out: Box::new(io::stdout()), started, colours }
        }
    }

    /// What is done next.
    pub fn progress(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "[{:5.1} s] {what}", self.started.elapsed().as_secs_f64())
    }

    /// A part of the show begins.
    pub fn title(&mut self, title: &str) -> io::Result<()> {
        let line = format!("== {title}");
        let elapsed = self.started.elapsed().as_secs_f64();
        writeln!(self.out, "\n[{elapsed:5.1} s] {}", self.coloured(BOLD, &line))
    }

    /// Explains.
    pub fn say(&mut self, prose: &str) -> io::Result<()> {
        prose.lines().try_for_each(|line| writeln!(self.out, "  {line}"))
    }

    /// A command, as it is run.
    pub fn command(&mut self, line: &str) -> io::Result<()> {
        for (number, part) in line.lines().enumerate() {
            let prompt = if number == 0 { "$ " } else { "> " };
            writeln!(self.out, "{}", self.coloured(CYAN, &format!("{prompt}{part}")))?;
        }
        self.out.flush()
    }

    /// What a command printed.
    pub fn output(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// How it went.
    pub fn verdict(&mut self, ok: bool, text: &str) -> io::Result<()> {
        let word = if ok { self.coloured(GREEN, "ok") } else { self.coloured(RED, "FAILED") };
        for (number, line) in text.lines().enumerate() {
            match number {
                0 => writeln!(self.out, "{word}: {line}")?,
                _ => writeln!(self.out, "    {line}")?,
            }
        }
        self.out.flush()
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }
}
