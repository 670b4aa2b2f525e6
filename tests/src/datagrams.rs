//! A UDP service of the private network, and what a plain UDP client sees of it.
//! It knows nothing of the product. Always true: a hang is an error, never an answer; a refusal is the
//! kernel's word.

use std::{
    io::{self, ErrorKind},
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{host::Host, wait::HANG};

/// No datagram is longer.
const LONGEST: usize = 65_536;

/// A service that answers a datagram that begins with a number, in text up to a blank, by as many bytes,
/// and any other by itself.
pub struct Answering {
    heard: Arc<AtomicUsize>,
}

impl Answering {
    /// Listens on one address of `host`, from which it then answers.
    pub fn listen(host: &Host, address: &str) -> Result<Self> {
        let socket = host.within(|| UdpSocket::bind(address)).with_context(|| address.to_owned())?;
        let heard = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&heard);
        thread::spawn(move || {
            let mut buffer = vec![0; LONGEST];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::Relaxed);
                let asked = buffer.get(..length).unwrap_or_default();
                // Whoever asked may be gone, which is no fault.
                let _ = socket.send_to(&answer(asked), from);
            }
        });
        Ok(Self { heard })
    }

    /// How many datagrams reached it.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

fn answer(asked: &[u8]) -> Vec<u8> {
    let number = asked.split(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok());
    match number.and_then(|word| word.parse().ok()) {
        Some(length) => vec![b'#'; length],
        None => asked.to_vec(),
    }
}

/// A connected socket on `host`.
pub struct Asking(UdpSocket);

impl Asking {
    /// Towards `target`.
    pub fn of(host: &Host, target: &str) -> Result<Self> {
        let any = if target.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = host.within(|| UdpSocket::bind(any).and_then(|s| s.connect(target).map(|()| s)))?;
        socket.set_read_timeout(Some(HANG))?;
        Ok(Self(socket))
    }

    /// Sends without waiting for an answer.
    pub fn send(&self, payload: &[u8]) -> io::Result<()> {
        self.0.send(payload).map(drop)
    }

    /// Sends, and what came back.
    pub fn ask(&self, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.send(payload)?;
        let mut buffer = vec![0; LONGEST];
        let length = self.0.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Sends, and must get the same back.
    pub fn echo(&self, payload: &[u8]) -> Result<()> {
        let answer = self.ask(payload).with_context(|| format!("{} bytes", payload.len()))?;
        ensure!(answer == payload, "sent {} bytes, got {}", payload.len(), answer.len());
        Ok(())
    }

    /// Waits for the kernel to say that the target cannot be reached; an answer is an error.
    pub fn refusal(&self) -> Result<ErrorKind> {
        match self.0.recv(&mut [0; 64]) {
            Ok(_) => bail!("an answer came where none may"),
            Err(error) => Ok(error.kind()),
        }
    }
}
