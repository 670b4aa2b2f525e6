//! One device does its worst; another goes on asking for pages. How much slower does that one get?
//! The same flood is poured through another gateway first, so that what the flooding itself takes from
//! this machine's cores is in both figures, and only what it does to ours is in their ratio.
//! Always true: the flood runs during the whole of every figure, and both sides of a ratio are one round's.

use std::{
    io::{ErrorKind, Write},
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

// Without the colons it would be this file's own tests.
use ::tests::{host::Host, sandbox::HOME};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::{
    figures::Series,
    grid::Grid,
    load::{self, Done, Page, SINK},
    tunnel::{
        Daemon,
        place::{self, Setting},
    },
};

/// How it is measured.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often each flood is poured
    #[arg(long, default_value = "5")]
    rounds: u16,
    /// Seconds of each figure
    #[arg(long, default_value = "3")]
    seconds: u64,
    /// The wireguard-go of the clients and of the other gateway
    #[arg(long, value_name = "PROGRAM", default_value = "wireguard-go")]
    wireguard_go: PathBuf,
}

/// What a hostile device sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    /// SYNs to a port nobody listens on, each from another port.
    Syns,
    /// Small datagrams to a port nobody listens on.
    Datagrams,
    /// As much data as it is let, over four connections.
    Bulk,
}

impl Flood {
    const ALL: [Self; 3] = [Self::Syns, Self::Datagrams, Self::Bulk];

    fn name(self) -> &'static str {
        match self {
            Self::Syns => "SYNs",
            Self::Datagrams => "datagrams",
            Self::Bulk => "bulk upload",
        }
    }
}

/// Where a flood begins and ends.
#[derive(Clone, Copy)]
struct Flooded<'a> {
    host: &'a Host,
    server: &'static str,
}

/// Connections of the measured device.
const CLIENTS: usize = 4;
/// Nobody is there.
const NOBODY: u16 = 9;

/// Pours every flood, elsewhere and into our gateway.
pub fn measure(options: &Options) -> Result<String> {
    let scratch = Host::new("scratch", std::path::Path::new(HOME))?;
    let daemon = Daemon::new(&scratch, &options.wireguard_go)?;
    let (ours, contenders) = place::doorward(0, &daemon, Setting::default())?;
    let (other, _) = place::forwarding(1, daemon.version.clone(), &daemon, &daemon, Setting::default())?;
    let contender = contenders.first().context("our gateway")?;
    let measured = ours.clients.first().context("a client")?;
    let here = Flooded { host: ours.clients.get(1).context("a second client")?, server: contender.server };
    let there = Flooded { host: other.clients.get(1).context("a second client")?, ..here };
    let time = Duration::from_secs(options.seconds);
    let mut grid = Grid::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        add(&mut grid, "no flood", "here", &calm(measured, contender.page, time)?, 0.0);
        for flood in Flood::ALL {
            for (to, which) in [(there, "elsewhere"), (here, "here")] {
                let (done, sent) = under(flood, to, || calm(measured, contender.page, time))?;
                add(&mut grid, flood.name(), which, &done, sent as f64 / time.as_secs_f64());
            }
        }
    }
    grid.note(format!(
        "{CLIENTS} connections ask for a small page; the flood comes from another device of the same company."
    ));
    Ok(grid.to_string())
}

fn calm(host: &Host, page: Page, time: Duration) -> Result<Done> {
    load::requests(host, page, CLIENTS, time)
}

fn add(grid: &mut Grid, row: &str, which: &str, done: &Done, rate: f64) {
    let mut series = Series::default();
    series.extend(done.times.iter().map(|time| time.as_secs_f64() * 1e3));
    for (part, name) in [(0.5, "p50"), (0.99, "p99")] {
        if let Some(figure) = series.percentile(part) {
            grid.add(row, &format!("{name} ms, flood {which}"), figure);
        }
    }
    if rate > 0.0 {
        grid.add(row, &format!("flood/s {which}"), rate);
    }
}

/// Does `work` while the flood runs; how many packets (or chunks) the flood sent meanwhile.
fn under<T>(flood: Flood, to: Flooded<'_>, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let pourer = scope.spawn(|| pour(flood, to, &stop, &sent));
        let before = sent.load(Ordering::Relaxed);
        let done = work();
        let sent = sent.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        pourer.join().map_err(|_| anyhow!("the flood panicked"))??;
        Ok((done?, sent))
    })
}

fn pour(flood: Flood, to: Flooded<'_>, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    match flood {
        Flood::Syns => syns(to, stop, sent),
        Flood::Datagrams => datagrams(to, stop, sent),
        Flood::Bulk => bulk(to, stop, sent),
    }
}

/// Opens nothing: half a handshake each, from a device that ignores the answers.
fn syns(to: Flooded<'_>, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let server: Ipv4Addr = to.server.parse()?;
    let raw =
        to.host.within(|| socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Tcp));
    let raw = raw.context("a raw socket")?;
    let at = SockaddrIn::new(10, 52, 0, 9, 0);
    let source = Ipv4Addr::new(100, 64, 0, place::SECOND);
    let mut port = 1024u16;
    while !stop.load(Ordering::Relaxed) {
        port = port.checked_add(1).unwrap_or(1024);
        let segment = syn(source, server, port);
        match sendto(raw.as_raw_fd(), &segment, &at, MsgFlags::empty()) {
            Ok(_) => sent.fetch_add(1, Ordering::Relaxed),
            Err(nix::errno::Errno::ENOBUFS) => continue,
            Err(error) => return Err(error).context("sending a SYN"),
        };
    }
    Ok(())
}

/// A SYN without options (RFC 9293 §3.1).
fn syn(source: Ipv4Addr, server: Ipv4Addr, port: u16) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[0..2].copy_from_slice(&port.to_be_bytes());
    segment[2..4].copy_from_slice(&NOBODY.to_be_bytes());
    segment[12..16].copy_from_slice(&[5 << 4, 0x02, 0xff, 0xff]);
    let pseudo = [source.octets(), server.octets(), [0, 6, 0, 20]];
    let sum: u32 = pseudo
        .iter()
        .flatten()
        .chain(&segment)
        .copied()
        .collect::<Vec<u8>>()
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn datagrams(to: Flooded<'_>, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let socket = to.host.within(|| UdpSocket::bind("0.0.0.0:0"))?;
    while !stop.load(Ordering::Relaxed) {
        match socket.send_to(&[0; 64], (to.server, NOBODY)) {
            Ok(_) => sent.fetch_add(1, Ordering::Relaxed),
            // What came back for an earlier one, or a full queue.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => continue,
            Err(error) => return Err(error).context("sending a datagram"),
        };
    }
    Ok(())
}

fn bulk(to: Flooded<'_>, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let sink = format!("{}:{SINK}", to.server).parse()?;
    let chunk = vec![b'.'; 64 * 1024];
    let one = || {
        let mut stream = load::dial(to.host, sink)?;
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&chunk).context("sending")?;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one)).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a sender panicked"))?)
    })
}
