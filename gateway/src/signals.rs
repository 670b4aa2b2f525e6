//! What the system tells a running gateway: read the files again, or end.
//! It acts on nothing. Always true: once installed, no such signal kills the process by default.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals the gateway obeys.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// SIGHUP: read every file again.
    Reload,
    /// SIGTERM of a service manager, SIGINT of a person at a terminal.
    End,
}

impl Signals {
    /// From now on the signals are ours.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
        }
    }

    /// The next one that means the end.
    pub async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}
