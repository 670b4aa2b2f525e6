//! The two ends of what is relayed: a target that takes, gives or answers, and clients that ask it.
//! Always true: what is counted has arrived at the other end.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt};

/// Written or read at a time.
const CHUNK: usize = 128 * 1024;
/// A request's and an answer's length.
const REQUEST: usize = 100;
const ANSWER: usize = 1000;

/// What the connections carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To the target, without end.
    Up,
    /// From the target, without end.
    Down,
    /// A small request, its answer, and so on.
    Requests,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Requests => "requests of 100 B, answers of 1 kB",
        })
    }
}

/// Does whatever the first byte of a connection says.
pub struct Target {
    address: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Target {
    /// Serves until the process ends.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, taken) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                // An error is the load's end.
                thread::spawn(move || drop(serve(stream, &count)));
            }
        });
        Ok(Self { address, taken })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(mut stream: TcpStream, taken: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    match kind {
        [b'u'] => take(&mut stream, taken),
        [b'd'] => give(&mut stream),
        _ => loop {
            stream.read_exact(&mut [0; REQUEST])?;
            stream.write_all(&[0; ANSWER])?;
        },
    }
}

fn take(stream: &mut TcpStream, count: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => count.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}

fn give(stream: &mut TcpStream) -> io::Result<()> {
    let buffer = vec![0; CHUNK];
    loop {
        stream.write_all(&buffer)?;
    }
}

fn ask(stream: &mut TcpStream, count: &AtomicU64) -> io::Result<()> {
    loop {
        stream.write_all(&[0; REQUEST])?;
        stream.read_exact(&mut [0; ANSWER])?;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connections at work; dropped, they are reset.
pub struct Load {
    streams: Vec<TcpStream>,
    done: Arc<AtomicU64>,
}

impl Load {
    /// Bytes that arrived, or requests answered.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for stream in &self.streams {
            // What is still queued is of no interest to anybody.
            let _ = setsockopt(stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Opens `flows` connections to `relay` and sets them to work.
pub fn start(relay: SocketAddr, target: &Target, kind: Kind, flows: u16) -> Result<Load> {
    let done = if kind == Kind::Up { Arc::clone(&target.taken) } else { Arc::default() };
    let mut streams = Vec::new();
    for _ in 0..flows {
        let mut stream = TcpStream::connect(relay)?;
        stream.set_nodelay(true)?;
        streams.push(stream.try_clone()?);
        let done = Arc::clone(&done);
        thread::spawn(move || {
            let began = stream.write_all(match kind {
                Kind::Up => b"u",
                Kind::Down => b"d",
                Kind::Requests => b"r",
            });
            // An error is the load's end.
            let _ = began.and_then(|()| match kind {
                Kind::Up => give(&mut stream),
                Kind::Down => take(&mut stream, &done),
                Kind::Requests => ask(&mut stream, &done),
            });
        });
    }
    Ok(Load { streams, done })
}
