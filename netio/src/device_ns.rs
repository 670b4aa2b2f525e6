//! Runs one command with a network of its own: private mount and network namespaces (and a user
//! namespace around them when we have no privileges), one TUN, routes for the given networks only.
//! It moves no packet. Always true: the command is the caller, with no capability the caller
//! lacks; the host's network and files are untouched; it ends when our end of it is dropped.

use std::{
    ffi::OsString,
    fmt::Display,
    fs::File,
    io::{self, Read, Seek},
    net::IpAddr,
    os::fd::AsFd,
    path::Path,
    process::{Child, ExitStatus, Stdio},
};

use ipnet::IpNet;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::CloneFlags,
    sys::signal::Signal,
    unistd::getuid,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{SetUpError, Step},
    helper::{self, Job, Report},
    keeper,
    netlink::Netlink,
    netns::{self, Identity},
    resolver, sys, sysctl,
    tun::Tun,
    wire::Channel,
};

/// The interface's name inside.
const INTERFACE: &str = "door0";

/// What the command's network looks like.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Its addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// The networks that exist for it.
    pub routes: Vec<IpNet>,
    /// MTU of the TUN.
    pub mtu: u16,
    /// Whether the TUN may leave checksums and segmentation to us.
    pub offload: bool,
    /// Its name servers; none means that no name resolves.
    pub dns: Vec<IpAddr>,
    /// Domains tried for short names.
    pub search: Vec<String>,
}

/// A command that runs, and the other end of its network.
#[derive(Debug)]
pub struct DeviceNet {
    /// What the command sends comes out; what goes in reaches it.
    pub tun: Tun,
    /// The TCP sockets inside.
    pub sockets: Sockets,
    /// The command itself.
    pub command: Running,
    /// What could not be had and what serves instead, for the log.
    pub notes: Vec<String>,
}

/// A command in our process group, under a keeper. When this is dropped, or our process ends by
/// whatever cause, the command and all it started are killed.
#[derive(Debug)]
pub struct Running {
    keeper: Child,
    /// The keeper ends the command when this is closed.
    channel: Option<Channel>,
}

impl Running {
    /// How it ended, if it has: with its own code, or 128 and the signal that ended it.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.keeper.try_wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.keeper.wait()
    }

    /// Sends it a signal, if it has not ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(channel) = &self.channel else { return Ok(()) };
        match channel.send(&(signal as i32), &[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.channel = None;
        // A keeper that cannot be waited for is gone already.
        drop(self.keeper.wait());
    }
}

/// A view of the TCP sockets inside, to see whether what the command wrote has left. While it is
/// open, they live on after the command.
#[derive(Debug)]
pub struct Sockets(Vec<File>);

impl Sockets {
    /// The kernel's tables of both families, of the caller's network namespace.
    fn open() -> Self {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        Self(tables.iter().filter_map(|table| File::open(table).ok()).collect())
    }

    /// Whether anything written, or a goodbye, is not acknowledged yet.
    pub fn unsent(&mut self) -> io::Result<bool> {
        for table in &mut self.0 {
            let mut text = String::new();
            table.rewind()?;
            table.read_to_string(&mut text)?;
            if text.lines().any(is_unsent) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// One line of /proc/net/tcp: `sl local remote st tx:rx …`, numbers in hexadecimal (proc(5)).
fn is_unsent(line: &str) -> bool {
    const SYN_SENT: &str = "02";
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(3);
    let (Some(state), Some(queues)) = (fields.next(), fields.next()) else { return false };
    let waiting = queues.split(':').next().and_then(|queue| u32::from_str_radix(queue, 16).ok());
    state != SYN_SENT && state != LISTEN && waiting.is_some_and(|bytes| bytes > 0)
}

/// Why the command does not run.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its network could not be made.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The command itself could not be executed.
    #[error("cannot run {}: {source}", program.display())]
    Execute {
        /// Its name as given.
        program: OsString,
        /// What the system said.
        source: io::Error,
    },
}

/// Starts `command` (a program, found in PATH, and its arguments) with a network of its own.
pub fn spawn(spec: &Spec, command: &[OsString]) -> Result<DeviceNet, SpawnError> {
    let helper = helper::start(&Job::Device(spec.clone()), command, Stdio::inherit())?;
    let (mut helper, report, fds) = helper.report()?;
    let lost = |cause: &dyn Display| {
        SetUpError::new(Step::Helper, format!("the command was not started: {cause}"), "try again")
    };
    match helper.channel.receive::<Result<(), i32>>() {
        Ok(Some((Ok(()), _))) => {}
        Ok(Some((Err(errno), _))) => {
            drop(helper.child.wait());
            let program = command.first().cloned().unwrap_or_default();
            return Err(SpawnError::Execute { program, source: io::Error::from_raw_os_error(errno) });
        }
        Ok(None) => return Err(helper.failed(lost(&"the helper ended")).into()),
        Err(error) => return Err(helper.failed(lost(&error)).into()),
    }
    let mut fds = fds.into_iter();
    let Some(tun) = fds.next() else { return Err(helper.failed(lost(&"the helper sent no TUN")).into()) };
    let sockets = Sockets(fds.map(File::from).collect());
    let tun = Tun::from_fd(tun, report.tun);
    let command = Running { keeper: helper.child, channel: Some(helper.channel) };
    Ok(DeviceNet { tun, sockets, command, notes: report.notes })
}

/// The helper's part; on success it becomes the command's keeper and never returns.
pub(crate) fn inside(spec: &Spec, command: &[OsString], channel: &Channel) -> Result<(), SetUpError> {
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    let in_user_namespace = netns::enter(flags, Identity::Caller)?;
    keep_mounts_private()?;
    let (tun, notes) = configure(spec)?;
    resolver::install(&spec.dns, &spec.search)?;
    let report = Report { tun: tun.agreed(), notes };
    let helper_failed = |error: io::Error| SetUpError::new(Step::Helper, error, "try again");
    let sockets = Sockets::open();
    let fds: Vec<_> = [tun.as_fd()].into_iter().chain(sockets.0.iter().map(AsFd::as_fd)).collect();
    channel.send(&Ok::<_, SetUpError>(report), &fds).map_err(helper_failed)?;
    drop((tun, sockets));
    if in_user_namespace && getuid().is_root() {
        // Executing as uid 0 would make it all-powerful inside, which it is not outside.
        sys::drop_bounding_set().map_err(helper_failed)?;
    }
    keeper::keep(command, channel)
}

/// What we mount must not show on the host; what the host mounts may show here.
fn keep_mounts_private() -> Result<(), SetUpError> {
    let none = None::<&Path>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).map_err(|errno| {
        let remedy = match errno {
            Errno::EINVAL => "the root folder must be a mount point (that of a chroot is none)".into(),
            other => netns::refusal_remedy(other),
        };
        SetUpError::new(Step::Namespace, format!("making mounts private: {errno}"), remedy)
    })
}

fn configure(spec: &Spec) -> Result<(Tun, Vec<String>), SetUpError> {
    let tun = Tun::create(INTERFACE, spec.offload)?;
    let wants_v6 = spec.addresses.iter().any(IpAddr::is_ipv6);
    let settings = ["disable_ipv6", "accept_ra", "router_solicitations"]
        .map(|name| (format!("net/ipv6/conf/{INTERFACE}/{name}"), "0"));
    let notes = if wants_v6 { sysctl::apply(settings) } else { Vec::new() };
    let netlink = Netlink::open()?;
    netlink.loopback_up()?;
    netlink.interface_up(INTERFACE, spec.mtu, Path::new("/proc/sys/net/ipv6").exists())?;
    for address in &spec.addresses {
        netlink.add_address(INTERFACE, *address)?;
    }
    // A network of a family in which the command has no address is out of reach anyway.
    let reachable = |net: &&IpNet| wants_v6 || matches!(net, IpNet::V4(_));
    for net in spec.routes.iter().filter(reachable) {
        netlink.add_route(INTERFACE, *net)?;
    }
    Ok((tun, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_connections_with_something_to_send_are_waited_for() {
        let line = |state: &str, sent: &str| format!("  0: 0200 0100 {state} {sent}:00000000 00:00 0 0");
        assert!(is_unsent(&line("01", "0000000C")) && is_unsent(&line("04", "00000001")));
        assert!(!is_unsent(&line("01", "00000000")) && !is_unsent(&line("06", "00000000")));
        assert!(!is_unsent(&line("0A", "00000001")) && !is_unsent(&line("02", "00000001")));
        assert!(!is_unsent("  sl  local_address rem_address   st tx_queue rx_queue"));
        assert!(!is_unsent(""));
    }
}
