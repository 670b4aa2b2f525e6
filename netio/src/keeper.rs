//! Keeps one command: starts it, passes signals on, and when it ends, or whoever asked for it does,
//! ends everything it left running. It is what the helper of `device_ns` becomes.
//! It moves no packet and has no threads. Always true: when the keeper is gone, so are the command
//! and its descendants, even those that made themselves daemons.

use std::{
    ffi::OsString,
    fs, io,
    process::{Command, exit},
};

use nix::{
    errno::Errno,
    sys::{
        prctl::set_child_subreaper,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};

use crate::{poll::Poller, sys, wire::Channel};

const CHANNEL: u64 = 0;
const CHILDREN: u64 = 1;

/// Starts the command, says so (or the errno of why not) over the channel, and stays until it ends.
/// Exits with its code, or 128 and the signal that ended it.
pub(crate) fn keep(command: &[OsString], channel: &Channel) -> ! {
    let kept = start(command);
    let said = kept.as_ref().map(|_| ()).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO));
    let (Ok((pid, ended)), Ok(())) = (kept, channel.send(&said, &[])) else {
        end_everyone();
        exit(127);
    };
    // A loop that breaks is as good a reason to end as any.
    let code = watch(pid, &ended, channel).unwrap_or(None).unwrap_or(128 + Signal::SIGKILL as i32);
    end_everyone();
    exit(code);
}

/// The command, and what becomes readable when a child ends.
fn start(command: &[OsString]) -> io::Result<(Pid, SignalFd)> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    set_child_subreaper(true)?;
    // No signal ends the keeper; the terminal tells the command itself.
    SigSet::all().thread_block()?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    let ended = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut command = Command::new(program);
    sys::die_with_parent(command.args(arguments));
    let pid = i32::try_from(command.spawn()?.id()).map_err(io::Error::other)?;
    Ok((Pid::from_raw(pid), ended))
}

/// Until the command ends (its code) or the other end of the channel is gone (`None`).
fn watch(pid: Pid, ended: &SignalFd, channel: &Channel) -> io::Result<Option<i32>> {
    let mut poller = Poller::new()?;
    poller.add(channel, CHANNEL)?;
    poller.add(ended, CHILDREN)?;
    loop {
        let ready: Vec<_> = poller.wait(None)?.collect();
        if ready.contains(&CHILDREN) {
            while ended.read_signal()?.is_some() {}
            if let Some(code) = reap(pid)? {
                return Ok(Some(code));
            }
        }
        if ready.contains(&CHANNEL) {
            let Some((number, _)) = channel.receive::<i32>()? else { return Ok(None) };
            // It is not reaped yet, so the id is still its own; what became of it is seen above.
            let _ = kill(pid, Signal::try_from(number)?);
        }
    }
}

/// Buries whoever has ended; the command's code if it is among them.
fn reap(command: Pid) -> nix::Result<Option<i32>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                return Ok(Some(128 + signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(other) => return Err(other),
        }
    }
}

/// Orphans become our children, so that killing children until there are none gets everyone.
fn end_everyone() {
    loop {
        let killed = children().into_iter().filter(|pid| kill(*pid, Signal::SIGKILL).is_ok()).count();
        if killed == 0 {
            return;
        }
        // One more is buried, and whoever it leaves behind is seen in the next round.
        let _ = waitpid(None, None);
    }
}

fn children() -> Vec<Pid> {
    let path = format!("/proc/self/task/{}/children", getpid());
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}
