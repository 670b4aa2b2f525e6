//! Our gateway, which terminates TCP and asks its policies, beside WireGuard daemons that only forward:
//! bulk both ways, small requests with and without idle connections, connections opened and closed.
//! Always true: one run interleaves everybody, so what else the machine does meets all of them.

mod end;
pub mod place;

use std::{net::TcpStream, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
pub use end::Daemon;
use place::{Contender, Place, Setting};
// Without the colons it would be this file's own tests.
use ::tests::{host::Host, sandbox::HOME, wan::LOSSY};

use crate::{
    cpu::Watched,
    grid::Grid,
    load::{self, GREET, KEEP, Moved, POUR, SINK},
    machine,
};

/// How it is measured, and beside whom.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often everybody is measured
    #[arg(long, default_value = "5")]
    rounds: u16,
    /// Seconds of each figure
    #[arg(long, default_value = "3")]
    seconds: u64,
    /// A wireguard-go to compare with; may be repeated (the one in PATH if none is named)
    #[arg(long, value_name = "PROGRAM")]
    wireguard_go: Vec<PathBuf>,
    /// A boringtun-cli to compare with; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    boringtun: Vec<PathBuf>,
    /// The clients' wireguard-go, the same for everybody (the last one named to compare with, or the one in PATH)
    #[arg(long, value_name = "PROGRAM")]
    client: Option<PathBuf>,
    /// Idle connections beside the small requests, in steps
    #[arg(long, value_delimiter = ',', default_value = "0,1000,10000")]
    idle: Vec<usize>,
    /// Data-plane threads of our gateway; it chooses if not given
    #[arg(long)]
    shards: Option<u8>,
    /// Only bulk, with 40 ms, 0.3 % loss and 200 Mbit/s between clients and gateways
    #[arg(long)]
    lossy: bool,
}

impl Options {
    /// Files a process of this bench has open at most.
    pub fn open_files(&self) -> u64 {
        let idle = self.idle.iter().max().copied().unwrap_or_default() as u64;
        let contenders = 2 + self.wireguard_go.len().max(1) + self.boringtun.len();
        (FILES_EACH.max(2 * contenders as u64) * idle + OTHER_FILES) / 9 * 10
    }

    fn setting(&self) -> Setting {
        Setting { shards: self.shards, between: self.lossy.then_some(LOSSY) }
    }
}

/// Our gateway opens two for each connection that it dials itself and one for each that a connector does;
/// both are kept at a time.
const FILES_EACH: u64 = 3;
/// What else it opens; a tenth of all stays free.
const OTHER_FILES: u64 = 500;
/// Over a lossy path a figure takes this long at least.
const LOSSY_TIME: Duration = Duration::from_secs(8);

/// Clients that ask for pages, or open connections, at once.
const AT_ONCE: usize = 16;

/// Measures everybody; the tables as text.
pub fn measure(options: &Options) -> Result<String> {
    let time = Duration::from_secs(options.seconds);
    let (places, contenders, mut bulk) = set_up(options)?;
    if options.lossy {
        lossy(options, &places, &contenders, &mut bulk)?;
        return Ok(format!("{bulk}\n\n{}", bulk.ratios(BASE)));
    }
    let mut small = Grid::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for contender in &contenders {
            let client = client(&places, contender)?;
            bytes(contender, client, time, &mut bulk).with_context(|| contender.name.clone())?;
        }
    }
    eprintln!("{bulk}");
    let most = most_idle(contenders.len())?;
    for &idle in &options.idle {
        if idle > most {
            small.note(format!(
                "{most} idle connections instead of {idle}: a process may not open more files."
            ));
        }
        let idle = idle.min(most);
        eprintln!("small requests beside {idle} idle connections");
        let kept = contenders.iter().map(|contender| keep(&places, contender, idle));
        let kept = kept.collect::<Result<Vec<_>>>()?;
        for _ in 0..options.rounds {
            for contender in &contenders {
                let client = client(&places, contender)?;
                pages(contender, client, idle, time, &mut small).with_context(|| contender.name.clone())?;
            }
        }
        drop(kept);
        places.iter().for_each(|place| place.services.forget_idle());
    }
    Ok(format!("{bulk}\n\n{}\n{small}\n\n{}", bulk.ratios(BASE), small.ratios(BASE)))
}

/// Idle connections that everybody can have: the clients of all and their services are this process.
fn most_idle(contenders: usize) -> Result<usize> {
    let files = machine::raise_open_files()? / 10 * 9;
    Ok(usize::try_from(files.saturating_sub(OTHER_FILES) / FILES_EACH.max(2 * contenders as u64))?)
}

/// What the others are compared with.
const BASE: &str = "doorward";

/// What a connection of each carries.
fn lossy(options: &Options, places: &[Place], contenders: &[Contender], grid: &mut Grid) -> Result<()> {
    let time = LOSSY_TIME.max(Duration::from_secs(options.seconds));
    grid.note(
        "40 ms, 0.3 % lost, 200 Mbit/s between client and gateway. Clients and servers have CUBIC or Reno.",
    );
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for contender in contenders {
            let client = client(places, contender)?;
            let megabits = |moved: Moved| moved.gigabits() * 1e3;
            let up = load::up(client, contender.service(SINK)?, time)?;
            grid.add(&contender.name, "up Mbit/s", megabits(up));
            let down = load::down(client, contender.service(POUR)?, time)?;
            grid.add(&contender.name, "down Mbit/s", megabits(down));
        }
    }
    Ok(())
}

fn set_up(options: &Options) -> Result<(Vec<Place>, Vec<Contender>, Grid)> {
    let mut grid = Grid::default();
    let scratch = Host::new("scratch", std::path::Path::new(HOME))?;
    let stock = vec![PathBuf::from("wireguard-go")];
    let go = if options.wireguard_go.is_empty() { &stock } else { &options.wireguard_go };
    let client = options.client.as_ref().or(go.last()).context("no client")?;
    let client = Daemon::new(&scratch, client)?;
    grid.note(format!("Clients of everybody: {}.", client.version));
    let (place, mut contenders) =
        place::doorward(0, &client, options.setting()).context("setting up doorward")?;
    let mut places = vec![place];
    for path in go.iter().chain(&options.boringtun) {
        let daemon = Daemon::new(&scratch, path)?;
        let (place, own) =
            place::forwarding(places.len(), daemon.version.clone(), &daemon, &client, options.setting())
                .with_context(|| format!("setting up {}", daemon.version))?;
        places.push(place);
        contenders.extend(own);
    }
    Ok((places, contenders, grid))
}

fn client<'a>(places: &'a [Place], contender: &Contender) -> Result<&'a Host> {
    places.get(contender.place).and_then(|place| place.clients.first()).context("a place has clients")
}

/// Does `work` and tells what each watched process has spent on it, in seconds.
fn costing<T>(
    contender: &Contender,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<(&'static str, f64)>)> {
    let used = |(name, process): &(&'static str, Watched)| Ok((*name, process.used()?.as_secs_f64()));
    let before = contender.watched.iter().map(used).collect::<Result<Vec<_>>>()?;
    let done = work()?;
    let after = contender.watched.iter().map(used).collect::<Result<Vec<_>>>()?;
    let spent = after.into_iter().zip(before).map(|((name, after), (_, before))| (name, after - before));
    Ok((done, spent.collect()))
}

fn bytes(contender: &Contender, client: &Host, time: Duration, grid: &mut Grid) -> Result<()> {
    let name = &contender.name;
    let mut bulk = |way: &str, moved: Moved, spent: Vec<(&str, f64)>| {
        grid.add(name, &format!("{way} Gbit/s"), moved.gigabits());
        let total: f64 = spent.iter().map(|(_, seconds)| seconds).sum();
        grid.add(name, &format!("{way} CPU-s/GB"), total / moved.gigabytes());
        for (process, seconds) in spent.iter().filter(|(process, _)| *process != "gateway") {
            grid.add(name, &format!("{way}, of that the {process}"), seconds / moved.gigabytes());
        }
    };
    let (moved, spent) = costing(contender, || load::up(client, contender.service(SINK)?, time))?;
    bulk("up", moved, spent);
    let (moved, spent) = costing(contender, || load::down(client, contender.service(POUR)?, time))?;
    bulk("down", moved, spent);
    let greet = contender.service(GREET)?;
    let (done, spent) = costing(contender, || load::connections(client, greet, AT_ONCE, time))?;
    let count = done.times.len() as f64;
    grid.add(name, "connections/s", count / time.as_secs_f64());
    grid.add(name, "CPU µs/connection", micros(&spent) / count);
    Ok(())
}

fn pages(contender: &Contender, client: &Host, idle: usize, time: Duration, grid: &mut Grid) -> Result<()> {
    let (done, spent) = costing(contender, || load::requests(client, contender.page, AT_ONCE, time))?;
    let count = done.times.len() as f64;
    grid.add(&contender.name, &format!("requests/s, {idle} idle"), count / time.as_secs_f64());
    grid.add(&contender.name, &format!("CPU µs/request, {idle} idle"), micros(&spent) / count);
    Ok(())
}

fn micros(spent: &[(&str, f64)]) -> f64 {
    spent.iter().map(|(_, seconds)| seconds * 1e6).sum()
}

/// Connections that idle, spread over the clients that do nothing else.
fn keep(places: &[Place], contender: &Contender, count: usize) -> Result<Vec<TcpStream>> {
    let place = places.get(contender.place).context("a contender has a place")?;
    let holders = place.clients.get(1..).unwrap_or_default();
    let to = contender.service(KEEP)?;
    let mut kept = Vec::with_capacity(count);
    for holder in holders {
        kept.extend(load::idle(holder, to, count / holders.len()).with_context(|| contender.name.clone())?);
    }
    Ok(kept)
}
