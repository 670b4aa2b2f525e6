//! The few system calls that neither std nor nix offers safely, each behind a safe function.
//! No other module of the workspace may contain `unsafe`; nothing here decides anything.
//! Always true: every block states why it is sound.
#![expect(unsafe_code, reason = "the one home of unsafe: raw socket options, ioctls and descriptors")]

pub(crate) mod datagrams;

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use nix::{
    errno::Errno,
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal},
    },
    unistd::{getpid, getppid},
};

nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_int_bad!(tun_set_offload, libc::TUNSETOFFLOAD);

/// Sets an integer socket option that nix has no name for.
pub(crate) fn set_option(fd: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}

/// Reads a socket option of any length into `buffer` and returns how many bytes there were.
pub(crate) fn option_bytes(fd: impl AsFd, level: i32, name: i32, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `buffer`, and updates `length`.
    let result = unsafe {
        libc::getsockopt(fd.as_fd().as_raw_fd(), level, name, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    Errno::result(result)?;
    Ok(length as usize)
}

/// Takes ownership of descriptors the kernel has just installed for us (SCM_RIGHTS).
pub(crate) fn adopt(fds: &[RawFd]) -> Vec<OwnedFd> {
    // SAFETY: recvmsg made these descriptors for this call alone; nobody else owns them.
    fds.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }).collect()
}

/// Takes the descriptor our parent left open for us under a number; `None` if it is not open.
/// It is closed on exec from now on.
pub(crate) fn inherit(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl on a number that is no descriptor only returns EBADF.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the descriptor is open (fcntl succeeded) and was inherited for us alone; this runs
    // first in main, before anything else in the process could own it.
    (fd > 2 && result == 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A command that runs this very program as `name`, with `fd` left open and its number as the first
/// argument.
pub(crate) fn reexec(name: &str, fd: &OwnedFd, rest: &[OsString]) -> Command {
    let number = fd.as_raw_fd();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).arg(number.to_string()).args(rest);
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe; a wrong
    // number would make it fail, and the spawn with it.
    unsafe { command.pre_exec(move || Ok(Errno::result(libc::fcntl(number, libc::F_SETFD, 0)).map(drop)?)) };
    command
}

/// Has the kernel kill the command when the calling thread ends, and gives it an empty signal mask.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let prepare = move || {
        SigSet::empty().thread_set_mask()?;
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before that.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: between fork and exec only sigprocmask, prctl and getppid are called, which are
    // async-signal-safe, and no memory is allocated.
    unsafe { command.pre_exec(prepare) };
}

/// Attaches an open /dev/net/tun to an interface called `name`, which is made if there is none.
pub(crate) fn tun_attach(file: &File, name: &str, flags: i32) -> io::Result<()> {
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: `request` is a whole ifreq and outlives the call.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Tells the kernel what it may leave to us (TUN_F_*) in packets it sends out of the interface.
pub(crate) fn tun_offload(file: &File, what: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    unsafe { tun_set_offload(file.as_raw_fd(), what.cast_signed()) }?;
    Ok(())
}

/// Gives up every capability the next exec could bring, even for uid 0.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..=63 {
        // SAFETY: PR_CAPBSET_DROP takes only integers.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            Err(Errno::EINVAL) => return Ok(()),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}
