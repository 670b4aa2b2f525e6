//! Signals as something to wait for, and which of them the command must be told about.
//! It sends none. Always true: from `block` on, none of these signals ends this process; the
//! command's end is heard even if it comes before the first wait.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// What a person or a supervisor tells a program.
const FORWARDED: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGWINCH,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The signals of this process, blocked and readable.
pub struct Signals(SignalFd);

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A child ended or stopped: see which.
    Child,
    /// To be passed on.
    Forward(Signal),
    /// The terminal told the whole foreground group, the command included.
    Everyone,
}

impl Signals {
    /// Blocks them for the calling thread, which must be the only one.
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        FORWARDED.iter().for_each(|signal| set.add(*signal));
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next one that waits.
    pub fn next(&self) -> io::Result<Option<Heard>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).map_err(io::Error::other)?;
        Ok(Some(sort(Signal::try_from(number)?, info.ssi_code)))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn sort(signal: Signal, code: i32) -> Heard {
    match signal {
        Signal::SIGCHLD => Heard::Child,
        // A hangup may reach the session leader alone; twice does no harm.
        Signal::SIGHUP => Heard::Forward(signal),
        // Positive codes come from the kernel: a key at the terminal (sigaction(2), SI_KERNEL).
        _ if code > 0 => Heard::Everyone,
        _ => Heard::Forward(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_terminal_told_everyone_is_not_repeated() {
        const FROM_KILL: i32 = 0;
        const FROM_TERMINAL: i32 = 0x80;
        assert_eq!(sort(Signal::SIGINT, FROM_TERMINAL), Heard::Everyone);
        assert_eq!(sort(Signal::SIGINT, FROM_KILL), Heard::Forward(Signal::SIGINT));
        assert_eq!(sort(Signal::SIGHUP, FROM_TERMINAL), Heard::Forward(Signal::SIGHUP));
        assert_eq!(sort(Signal::SIGCHLD, 1), Heard::Child);
    }
}
