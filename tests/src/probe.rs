//! What a plain TCP client sees: how connecting ends, and how a connection ends.
//! It uses no library between itself and the kernel, because a clean end and a reset look the same
//! through most of them.
//! Always true: an ending is told exactly; a hang is an error, never an ending.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{host::Host, wait::HANG};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A reset: nobody can mistake it for the end of the data.
    Reset,
    /// The other side said that it was done.
    Clean,
}

/// Connects from `host`; the error is the kernel's. (With a timeout it would be polled for, and a poll
/// that overtakes an ICMP error finds none. The kernel gives up after two minutes.)
pub fn dial(host: &Host, target: &str) -> io::Result<TcpStream> {
    let target: SocketAddr =
        target.parse().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    let stream = host.within(|| TcpStream::connect(target))?;
    stream.set_read_timeout(Some(HANG))?;
    stream.set_write_timeout(Some(HANG))?;
    Ok(stream)
}

/// How connecting from `host` failed; connecting is an error.
pub fn refusal(host: &Host, target: &str) -> Result<ErrorKind> {
    match dial(host, target) {
        Ok(_) => bail!("{} reached {target}, which it must not", host.name()),
        Err(error) => Ok(error.kind()),
    }
}

/// Makes the receive buffer as small as the kernel allows, so that data queues up elsewhere.
pub fn shrink_window(stream: &TcpStream) -> Result<()> {
    setsockopt(stream, sockopt::RcvBuf, &1).context("setting SO_RCVBUF")
}

/// Reads to the end; how much came, and how it ended.
pub fn drain(stream: &mut TcpStream) -> Result<(usize, Ending)> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok((total, Ending::Clean)),
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok((total, Ending::Reset)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("waiting for the connection to end"),
        }
    }
}

/// Reads until `text` has come.
pub fn read_until(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = stream.read(&mut buffer).with_context(|| format!("waiting for {text:?}"))?;
        ensure!(count > 0, "ended before {text:?}: {}", String::from_utf8_lossy(&seen));
        seen.extend(buffer.iter().take(count));
    }
    Ok(())
}

/// Sends `text` and reads as much back; for an echoing peer.
pub fn echo(stream: &mut TcpStream, text: &str) -> Result<()> {
    stream.write_all(text.as_bytes()).context("sending")?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).context("reading the echo")?;
    if answer != text.as_bytes() {
        bail!("sent {text:?}, got {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
