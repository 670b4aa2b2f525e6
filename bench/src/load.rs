//! Work for a gateway: bulk in either direction, requests one after the other, connections opened and
//! closed, connections that idle. It runs on threads of this program with sockets of the hosts.
//! Always true: what is counted has arrived at its receiver; a failure in the middle fails the bench.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

// Without the colons it would be this file's own tests.
use ::tests::{host::Host, wait::HANG};
use anyhow::{Context, Result, anyhow, ensure};

/// Bytes given to or taken from a socket at once.
const CHUNK: usize = 128 * 1024;

/// The services of the bench, on every address of a host.
#[derive(Debug)]
pub struct Services {
    idle: Arc<Mutex<Vec<TcpStream>>>,
}

/// Takes everything until the sender is done, then answers how much that was.
pub const SINK: u16 = 7101;
/// Sends until the receiver has had enough.
pub const POUR: u16 = 7102;
/// Greets by one byte and closes when the client did.
pub const GREET: u16 = 7103;
/// Greets by one byte and keeps the connection.
pub const KEEP: u16 = 7104;

impl Services {
    /// Starts all of them.
    pub fn start(host: &Host) -> Result<Self> {
        let idle = Arc::<Mutex<Vec<TcpStream>>>::default();
        serve(host, SINK, sink)?;
        serve(host, POUR, pour)?;
        serve(host, GREET, greet)?;
        let listener = host.within(|| TcpListener::bind(("::", KEEP)))?;
        let kept = Arc::clone(&idle);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if stream.write_all(b"!").is_ok() {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                }
            }
        });
        Ok(Self { idle })
    }

    /// Closes what [`KEEP`] kept.
    pub fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A thread per connection; a client that leaves in the middle ends its thread, nothing more.
fn serve(host: &Host, port: u16, act: fn(TcpStream) -> std::io::Result<()>) -> Result<()> {
    let listener = host.within(|| TcpListener::bind(("::", port))).with_context(|| format!("port {port}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || act(stream));
        }
    });
    Ok(())
}

fn sink(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&total.to_be_bytes()),
            count => total += count as u64,
        }
    }
}

fn pour(mut stream: TcpStream) -> std::io::Result<()> {
    let buffer = vec![b'.'; CHUNK];
    loop {
        stream.write_all(&buffer)?;
    }
}

fn greet(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"!")?;
    stream.read(&mut [0]).map(drop)
}

/// What arrived, and in what time.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// Bytes that the receiver took.
    pub bytes: u64,
    /// From the first to the last of them.
    pub took: Duration,
}

impl Moved {
    /// In 10^9 bits per second.
    pub fn gigabits(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e9 / self.took.as_secs_f64()
    }

    /// In 10^9 bytes.
    pub fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

/// Connects from a host, under the bench's limits on hanging.
pub fn dial(host: &Host, to: SocketAddr) -> Result<TcpStream> {
    let stream = host.within(|| TcpStream::connect(to)).with_context(|| format!("connecting to {to}"))?;
    stream.set_read_timeout(Some(HANG))?;
    stream.set_write_timeout(Some(HANG))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends to [`SINK`] for `time`.
pub fn up(host: &Host, to: SocketAddr, time: Duration) -> Result<Moved> {
    let mut stream = dial(host, to)?;
    let buffer = vec![b'.'; CHUNK];
    let start = Instant::now();
    while start.elapsed() < time {
        stream.write_all(&buffer).context("sending")?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total).context("waiting for what the receiver took")?;
    Ok(Moved { bytes: u64::from_be_bytes(total), took: start.elapsed() })
}

/// Receives from [`POUR`] for `time`.
pub fn down(host: &Host, to: SocketAddr, time: Duration) -> Result<Moved> {
    let mut stream = dial(host, to)?;
    let mut buffer = vec![0; CHUNK];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < time {
        let count = stream.read(&mut buffer).context("receiving")?;
        ensure!(count > 0, "a source without end has ended");
        bytes += count as u64;
    }
    Ok(Moved { bytes, took: start.elapsed() })
}

/// Finished pieces of work, and how long each took.
#[derive(Debug, Default)]
pub struct Done {
    /// Of each, in the order they ended on their thread.
    pub times: Vec<Duration>,
}

/// Opens a connection to [`GREET`], waits for its byte and closes it, again and again on `threads`.
pub fn connections(host: &Host, to: SocketAddr, threads: usize, time: Duration) -> Result<Done> {
    host.within(|| {
        in_parallel(
            threads,
            time,
            |_| Ok(()),
            |()| {
                let mut stream = TcpStream::connect(to).context("connecting")?;
                stream.set_read_timeout(Some(HANG))?;
                stream.read_exact(&mut [0]).context("waiting for the greeting")
            },
        )
    })
}

/// A small page and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The front.
    pub at: SocketAddr,
    /// Its name.
    pub host: &'static str,
}

/// Asks for `page`, one request after the other on each of `clients` kept connections.
pub fn requests(host: &Host, page: Page, clients: usize, time: Duration) -> Result<Done> {
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench\r\n\r\n", page.host);
    host.within(|| {
        let dial = |_| {
            let stream = TcpStream::connect(page.at).context("connecting")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(HANG))?;
            Ok(stream)
        };
        in_parallel(clients, time, dial, |stream| {
            stream.write_all(request.as_bytes()).context("asking")?;
            answer(stream)
        })
    })
}

/// Reads one whole answer, which must be a 200 with a length.
fn answer(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        let count =
            stream.read(buffer.get_mut(filled..).unwrap_or_default()).context("reading the answer")?;
        ensure!(count > 0, "the answer ended early, or is too long");
        filled += count;
        let text = std::str::from_utf8(&buffer[..filled]).context("an answer that is no text")?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        ensure!(head.starts_with("HTTP/1.1 200"), "not a page: {}", head.lines().next().unwrap_or_default());
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.context("an answer without a length")? {
            return Ok(());
        }
    }
}

/// Does `act` again and again on each of `threads`, each with its own state, until `time` is over.
fn in_parallel<S>(
    threads: usize,
    time: Duration,
    state: impl Fn(usize) -> Result<S> + Sync,
    act: impl Fn(&mut S) -> Result<()> + Sync,
) -> Result<Done> {
    let work = |number| {
        let mut state = state(number)?;
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let begun = Instant::now();
            act(&mut state)?;
            times.push(begun.elapsed());
        }
        anyhow::Ok(times)
    };
    let work = &work;
    let times = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Result<Vec<Duration>>>| {
            worker.join().map_err(|_| anyhow!("a client panicked"))?
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    Ok(Done { times: times.into_iter().flatten().collect() })
}

/// Opens `count` connections to [`KEEP`] that then idle.
pub fn idle(host: &Host, to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let open = |_| {
        let mut stream = dial(host, to)?;
        match stream.read_exact(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(anyhow!("no greeting in time")),
            other => Ok(other.map(|()| stream)?),
        }
    };
    (0..count).map(open).collect()
}
