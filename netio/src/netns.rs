//! Entering private namespaces, with a user namespace around them when we have no privileges, and
//! explaining a refusal. Only the single-threaded helper calls this.
//! It configures nothing inside. Always true: when `enter` fails, the remedy names the exact
//! setting of this machine that refused, if it can be found.

use std::{fs, io};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid},
};

use crate::error::{SetUpError, Step};

/// Who the process is inside its own user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// uid 0, so that programs it executes keep the namespace's capabilities.
    Root,
    /// The uid and gid it had outside; executing a program gives up every capability.
    Caller,
}

/// Bits of CapEff in /proc/self/status (linux/capability.h).
const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Enters new namespaces; returns whether a user namespace had to be made for it.
pub(crate) fn enter(flags: CloneFlags, identity: Identity) -> Result<bool, SetUpError> {
    let needed = CAP_NET_ADMIN | CAP_SYS_ADMIN;
    if effective_capabilities() & needed == needed {
        unshare(flags).map_err(refused)?;
        return Ok(false);
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    let (inner_uid, inner_gid) = match identity {
        Identity::Root => (0, 0),
        Identity::Caller => (uid.as_raw(), gid.as_raw()),
    };
    // The kernel accepts a gid map from the unprivileged only after setgroups is denied.
    map("setgroups", "deny")?;
    map("uid_map", &format!("{inner_uid} {uid} 1"))?;
    map("gid_map", &format!("{inner_gid} {gid} 1"))?;
    Ok(true)
}

/// The remedy for an operation refused although the namespace was granted: Ubuntu's AppArmor gives
/// an unprivileged user namespace, but no capability in it.
pub(crate) fn refusal_remedy(errno: Errno) -> String {
    remedy(errno, &read_setting)
}

fn map(file: &str, text: &str) -> Result<(), SetUpError> {
    fs::write(format!("/proc/self/{file}"), text).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
        SetUpError::new(Step::Namespace, format!("writing /proc/self/{file}: {error}"), refusal_remedy(errno))
    })
}

fn refused(errno: Errno) -> SetUpError {
    SetUpError::new(Step::Namespace, io::Error::from(errno), refusal_remedy(errno))
}

fn effective_capabilities() -> u64 {
    status_field("CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0)
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn read_setting(name: &str) -> Option<String> {
    match name {
        "Seccomp" => status_field(name),
        sysctl => fs::read_to_string(format!("/proc/sys/{sysctl}")).ok().map(|text| text.trim().to_owned()),
    }
}

fn remedy(errno: Errno, setting: &dyn Fn(&str) -> Option<String>) -> String {
    let is = |name: &str, value: &str| setting(name).is_some_and(|found| found == value);
    for sysctl in ["user/max_user_namespaces", "user/max_net_namespaces", "user/max_mnt_namespaces"] {
        if errno == Errno::ENOSPC || is(sysctl, "0") {
            let dotted = sysctl.replace('/', ".");
            return format!("raise the sysctl {dotted} (sysctl -w {dotted}=10000)");
        }
    }
    if is("kernel/unprivileged_userns_clone", "0") {
        return "set kernel.unprivileged_userns_clone=1 (sysctl -w), or run as root".into();
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "give this program an AppArmor profile with `userns,`, or set \
                kernel.apparmor_restrict_unprivileged_userns=0, or run as root"
            .into();
    }
    if is("Seccomp", "2") {
        return "a seccomp filter (a container's default) refuses namespaces: start the container with \
                --cap-add NET_ADMIN --device /dev/net/tun and use namespace = \"own\", or with \
                --security-opt seccomp=unconfined"
            .into();
    }
    "run as root, or allow unprivileged user namespaces on this machine (a chroot also forbids them)".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(errno: Errno, name: &'static str, value: &'static str) -> String {
        remedy(errno, &|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn the_remedy_names_the_setting_that_refused() {
        assert!(advice(Errno::ENOSPC, "", "").contains("user.max_user_namespaces"));
        assert!(advice(Errno::ENOSPC, "user/max_net_namespaces", "0").contains("user.max"));
        for (setting, word) in [
            ("user/max_net_namespaces", "user.max_net_namespaces"),
            ("kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone=1"),
        ] {
            assert!(advice(Errno::EPERM, setting, "0").contains(word), "{setting}");
        }
        let apparmor = advice(Errno::EPERM, "kernel/apparmor_restrict_unprivileged_userns", "1");
        assert!(apparmor.contains("kernel.apparmor_restrict_unprivileged_userns=0"));
        assert!(advice(Errno::EPERM, "Seccomp", "2").contains("seccomp"));
        assert!(advice(Errno::EPERM, "", "").contains("run as root"));
    }
}
