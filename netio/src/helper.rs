//! The helper process: this program started again, single-threaded, to enter namespaces and hand
//! descriptors back. Unsharing a user namespace is impossible in a process that has threads.
//! It does no work of its own: `gateway_ns` and `device_ns` say what happens inside.
//! Always true: our own process never leaves the namespaces it started in.

use std::{
    ffi::OsString,
    io,
    os::fd::OwnedFd,
    process::{Child, Stdio},
};

use nix::sys::prctl::set_name;
use serde::{Deserialize, Serialize};

use crate::{
    device_ns,
    error::{SetUpError, Step},
    gateway_ns, sys,
    tun::Agreed,
    wire::Channel,
};

/// What argv[0] says when this process is the helper.
const NAME: &str = "netio-helper";

/// What the helper is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Gateway(gateway_ns::Spec),
    Device(device_ns::Spec),
}

/// What was set up; the descriptors travel beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What the kernel agreed to for the TUN.
    pub(crate) tun: Agreed,
    /// What could not be had and what serves instead, for the log.
    pub(crate) notes: Vec<String>,
}

/// A helper at work, and our end of the conversation with it.
#[derive(Debug)]
pub(crate) struct Helper {
    pub(crate) child: Child,
    pub(crate) channel: Channel,
}

/// Must be the first thing `main` does: when this process was started as the helper, does its job
/// and exits; otherwise returns at once.
pub fn dispatch() {
    let mut args = std::env::args_os();
    if args.next().is_none_or(|name| name != NAME) {
        return;
    }
    // Else it shows as "exe" in ps; a wrong name is no reason to stop.
    let _ = set_name(c"netio-helper");
    let fd = args.next().and_then(|text| text.to_str()?.parse().ok()).and_then(sys::inherit);
    let Some(fd) = fd else {
        eprintln!("{NAME} is an internal part of this program and is not run by hand");
        std::process::exit(2);
    };
    std::process::exit(run(&Channel::from_inherited(fd), &args.collect::<Vec<_>>()));
}

fn run(channel: &Channel, rest: &[OsString]) -> i32 {
    let outcome = match channel.receive() {
        Ok(Some((Job::Gateway(spec), _))) => gateway_ns::inside(&spec, channel),
        Ok(Some((Job::Device(spec), _))) => device_ns::inside(&spec, rest, channel),
        Ok(None) => return 2,
        Err(error) => Err(lost(error)),
    };
    let Err(error) = outcome else { return 0 };
    // If even this cannot be sent, the parent reads the end of the stream and says so.
    drop(channel.send(&Err::<Report, _>(error), &[]));
    1
}

/// Starts the helper on a job. `rest` are further arguments; `stdin` is what it reads.
pub(crate) fn start(job: &Job, rest: &[OsString], stdin: Stdio) -> Result<Helper, SetUpError> {
    let (channel, theirs) = Channel::pair().map_err(lost)?;
    let child = sys::reexec(NAME, &theirs, rest).stdin(stdin).spawn().map_err(lost)?;
    drop(theirs);
    let helper = Helper { child, channel };
    match helper.channel.send(job, &[]) {
        Ok(()) => Ok(helper),
        Err(error) => Err(helper.failed(lost(error))),
    }
}

impl Helper {
    /// Waits for the helper's report.
    pub(crate) fn report(mut self) -> Result<(Self, Report, Vec<OwnedFd>), SetUpError> {
        match self.channel.receive::<Result<Report, SetUpError>>() {
            Ok(Some((Ok(report), fds))) => Ok((self, report, fds)),
            Ok(Some((Err(error), _))) => Err(self.failed(error)),
            Ok(None) => {
                let how =
                    self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(SetUpError::new(
                    Step::Helper,
                    format!("the helper ended without a report ({how})"),
                    "see the system log for a process killed by a sandbox or the memory limit",
                ))
            }
            Err(error) => Err(self.failed(lost(error))),
        }
    }

    /// Ends a helper whose work is of no more use; gives the error back.
    pub(crate) fn failed(mut self, error: SetUpError) -> SetUpError {
        // It may have ended by itself; either way it is reaped here.
        drop(self.child.kill());
        drop(self.child.wait());
        error
    }
}

fn lost(error: io::Error) -> SetUpError {
    SetUpError::new(
        Step::Helper,
        error,
        "this program starts itself through /proc/self/exe: /proc must be mounted and process limits not reached",
    )
}
