//! `demo`: a company with Doorward on this machine, shown by real commands and their real output.
//! It needs no root, and measures nothing that `bench/` would: its figures are of this run.
//! Always true: however it ends, no process, file or namespace of it is left (after `kill -9` a
//! folder, which the next demo removes).

mod board;
mod company;
mod files;
mod guide;
mod live;
mod net;
mod options;
mod people;
mod place;
mod record;
mod running;
mod screen;
mod signing;
mod tour;
mod visit;

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use board::{Board, Stopped};
use company::Company;
use guide::Guide;
use options::{Asked, HELP, Options};
use place::Place;
use screen::Screen;

/// As the shell says it of a program that was interrupted.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1)) {
        Ok(Asked::Demo(options)) => demo(&options),
        Ok(Asked::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprintln!("demo: {mistake}; demo --help tells more");
            ExitCode::from(2)
        }
    }
}

fn demo(options: &Options) -> ExitCode {
    match show(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<Stopped>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole demo; whether every step succeeded.
fn show(options: &Options) -> Result<bool> {
    let board = Board::watching_signals()?;
    let place = Place::make()?;
    let mut guide = Guide::new(board, place, Screen::new(options.json));
    let company = match Company::found(&mut guide, options) {
        Ok(company) => company,
        Err(error) => return guide.give_up(&error, options.json),
    };
    tour::run(&mut guide, &company)?;
    let mut ok = guide.report().ok;
    if options.json {
        print_json(&guide)?;
    }
    if !options.once {
        ok &= visit::open(&mut guide, &company)?;
    }
    Ok(ok)
}

fn print_json(guide: &Guide) -> Result<()> {
    let text = serde_json::to_string_pretty(&guide.report())?;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
