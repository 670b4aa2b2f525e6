//! What a person's programs would notice: from when new connections work, and when old ones are reset.
//! Always true: a clean end never counts as a reset, and what does not happen within `HANG` is told.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

// Without the colons it would be this file's own tests.
use ::tests::{host::Host, probe, wait::HANG};
use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Between two attempts, so that refusals do not make the client the load.
const PAUSE: Duration = Duration::from_millis(5);
/// How often an open connection is used.
const PACE: Duration = Duration::from_millis(100);

/// How it went until a new connection worked.
pub struct FirstEcho {
    /// When the first attempt was answered at all, be it by a refusal.
    pub answered: Instant,
    /// When the first echo was back.
    pub echoed: Instant,
    /// Attempts before the one that worked.
    pub failed: u32,
}

/// Connects from `host` again and again until what it sends comes back; an attempt without an answer
/// is given up after `patience`.
pub fn first_echo(host: &Host, target: &str, patience: Duration) -> Result<FirstEcho> {
    let target: SocketAddr = target.parse().context("a target is address:port")?;
    host.within(|| attempt(target, patience))
}

fn attempt(target: SocketAddr, patience: Duration) -> Result<FirstEcho> {
    let deadline = Instant::now() + HANG;
    let (mut answered, mut failed) = (None, 0);
    loop {
        let result = TcpStream::connect_timeout(&target, patience);
        let now = Instant::now();
        if result.as_ref().err().is_none_or(|error| error.kind() != ErrorKind::TimedOut) {
            answered.get_or_insert(now);
        }
        match result.map_err(Into::into).and_then(echo) {
            Ok(echoed) => return Ok(FirstEcho { answered: answered.unwrap_or(echoed), echoed, failed }),
            Err(error) if now > deadline => return Err(error).context("no connection ever worked again"),
            Err(_) => failed += 1,
        }
        thread::sleep(PAUSE);
    }
}

fn echo(mut flow: TcpStream) -> Result<Instant> {
    flow.set_read_timeout(Some(HANG))?;
    probe::echo(&mut flow, "again")?;
    Ok(Instant::now())
}

/// Uses an echoing connection until it is reset; when that was.
pub fn use_until_reset(mut flow: TcpStream) -> Result<Instant> {
    let deadline = Instant::now() + HANG;
    let mut next = Instant::now();
    while Instant::now() < deadline {
        if Instant::now() >= next {
            next = Instant::now() + PACE;
            if is_reset(flow.write_all(b"."))? {
                return Ok(Instant::now());
            }
        }
        // A timeout of zero would mean none.
        let rest = next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        flow.set_read_timeout(Some(rest))?;
        if is_reset(read(&mut flow))? {
            return Ok(Instant::now());
        }
    }
    bail!("an open connection was never reset")
}

/// Waits until all of them are reset; when each was.
pub fn all_reset(flows: Vec<TcpStream>) -> Result<Vec<Instant>> {
    let deadline = Instant::now() + HANG;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (at, flow) in flows.iter().enumerate() {
        flow.set_nonblocking(true)?;
        epoll.add(flow, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
    }
    let mut resets = Vec::with_capacity(flows.len());
    let mut ready = [EpollEvent::empty(); 64];
    while resets.len() < flows.len() && Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        let count = epoll.wait(&mut ready, EpollTimeout::try_from(left)?)?;
        for event in ready.iter().take(count) {
            let flow = flows.get(event.data() as usize).context("an event of no connection")?;
            if is_reset(read(&mut &*flow))? {
                resets.push(Instant::now());
                epoll.delete(flow)?;
            }
        }
    }
    if resets.len() < flows.len() {
        bail!("MISSED: {} of {} connections were never reset", flows.len() - resets.len(), flows.len());
    }
    Ok(resets)
}

/// Takes what is there; a clean end is an error of its own.
fn read(flow: &mut impl Read) -> io::Result<()> {
    match flow.read(&mut [0; 1024])? {
        0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "ended cleanly, which is no reset")),
        _ => Ok(()),
    }
}

/// Whether the connection was reset; any other fault is an error, having to wait is none.
fn is_reset(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionReset => Ok(true),
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
            _ => Err(error).context("using an open connection"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(kind: ErrorKind) -> Result<bool> {
        is_reset(Err(kind.into()))
    }

    #[test]
    fn only_a_reset_is_a_reset() -> Result<()> {
        assert!(is(ErrorKind::ConnectionReset)?);
        assert!(!is(ErrorKind::WouldBlock)?);
        assert!(!is_reset(read(&mut &b"data"[..]))?);
        assert!(is_reset(read(&mut &b""[..])).is_err(), "a clean end");
        Ok(())
    }
}
