//! What a relayed byte costs beside the packet core: a TCP connection copied to another, and one
//! carried over the connector link. Both ends are processes of their own on this machine.
//! Always true: the gateway's end runs the very transport and copy that the gateway does; a figure is
//! of bytes that arrived, and of the processes' whole CPU time in between.

mod ends;
mod gateway;
mod load;

use std::{
    net::SocketAddr,
    num::NonZeroU16,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use ::tests::wan::{LOSSY, Path, Wan};
use anyhow::Result;
use clap::{Args, ValueEnum};

use self::{
    ends::{Ends, Way},
    load::{Kind, Target},
};
use crate::grid::Grid;

pub use self::gateway::serve;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often
    #[arg(long, default_value = "3")]
    rounds: NonZeroU16,
    /// Each figure is of this many seconds, after one to get going
    #[arg(long, default_value = "4")]
    seconds: NonZeroU16,
    /// What lies between connector and gateway
    #[arg(long, value_enum, default_value_t = Between::Nothing)]
    between: Between,
    /// Connections at a time
    #[arg(long, default_value = "1")]
    flows: NonZeroU16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Between {
    /// The machine's own loopback, its MTU set to that of an Ethernet
    Nothing,
    /// The machine's own loopback as it is
    Loopback,
    /// 40 ms there and back, 0.3 % loss, 200 Mbit/s, a queue of 50 ms
    Lossy,
    /// The same without loss
    Long,
}

impl Between {
    fn path(self) -> Option<Path> {
        match self {
            Self::Nothing | Self::Loopback => None,
            Self::Lossy => Some(LOSSY),
            Self::Long => Some(Path { loss: 0.0, ..LOSSY }),
        }
    }
}

/// The role of the gateway's end, as a process of its own.
#[derive(Debug, Clone, Args)]
pub struct Role {
    /// Where every connection is relayed to
    #[arg(long)]
    target: SocketAddr,
    /// Where to put the link's address and key; without it there is no link
    #[arg(long)]
    link: Option<PathBuf>,
}

/// Measures every way, interleaved.
pub fn measure(options: &Options) -> Result<Grid> {
    ends::loopback(if options.between == Between::Loopback { 65_536 } else { 1500 })?;
    let target = Target::start()?;
    let mut grid = Grid::default();
    let ways: &[Way] = if options.between.path().is_none() { &[Way::Tcp, Way::Link] } else { &[Way::Link] };
    for _ in 0..options.rounds.get() {
        for way in ways {
            for kind in [Kind::Up, Kind::Down, Kind::Requests] {
                let ends = Ends::start(*way, target.address(), options.between.path())?;
                let row = format!("{way}, {kind}");
                for (column, sample) in one(options, &ends, &target, kind)? {
                    grid.add(&row, column, sample);
                }
            }
        }
    }
    grid.note("Of requests: a second, and µs each. Of bytes: Mbit/s, and CPU seconds per GB.");
    Ok(grid)
}

fn one(options: &Options, ends: &Ends, target: &Target, kind: Kind) -> Result<[(&'static str, f64); 3]> {
    let load = load::start(ends.address(), target, kind, options.flows.get())?;
    thread::sleep(Duration::from_secs(1));
    let (began, before, cpu) = (Instant::now(), load.done(), ends.cpu()?);
    thread::sleep(Duration::from_secs(options.seconds.get().into()));
    let (took, done, spent) = (began.elapsed().as_secs_f64(), (load.done() - before) as f64, ends.cpu()?);
    let (rate, each) = match kind {
        Kind::Up | Kind::Down => (8e-6, 1e9),
        Kind::Requests => (1.0, 1e6),
    };
    let cost = |end: usize| (spent[end] - cpu[end]).as_secs_f64() / done * each;
    Ok([("rate", done / took * rate), ("CPU, gateway's end", cost(0)), ("CPU, connector", cost(1))])
}

/// A path for others to be measured over.
#[derive(Debug, Clone, Args)]
pub struct Wide {
    /// Where to take datagrams
    #[arg(long)]
    listen: SocketAddr,
    /// Where to carry them
    #[arg(long)]
    to: SocketAddr,
    /// Milliseconds each way
    #[arg(long, default_value_t = 20)]
    delay: u64,
    /// Lost at random, of a hundred
    #[arg(long, default_value_t = 0.3)]
    loss: f64,
    /// Mbit/s
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// What is lost
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Carries datagrams until the process ends; says where it takes them.
pub fn wan(wide: &Wide) -> Result<()> {
    let path = Path {
        delay: Duration::from_millis(wide.delay),
        loss: wide.loss / 100.0,
        rate: wide.rate * 1_000_000,
        seed: wide.seed,
        ..LOSSY
    };
    let wan = Wan::start(wide.listen, wide.to, path)?;
    println!("{}", wan.address());
    wan.serve();
    Ok(())
}
