//! Makes name resolution inside a private mount namespace use the given servers and nothing of the
//! host: resolv.conf is covered, and the sockets through which libc plug-ins would ask the host's
//! resolvers are hidden. It leaves nothing on any disk: what it writes lives in memory file
//! systems of this namespace. Always true: with no servers given, no name resolves.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{SetUpError, Step};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Folders of the sockets of nscd, nss-resolve (varlink, and the system bus in older versions) and
/// nss-mdns. A plug-in that finds no socket lets the next one in nsswitch.conf answer: dns.
const RESOLVER_SOCKETS: [&str; 8] = [
    "/run/nscd",
    "/run/systemd/resolve",
    "/run/dbus",
    "/run/avahi-daemon",
    "/var/run/nscd",
    "/var/run/systemd/resolve",
    "/var/run/dbus",
    "/var/run/avahi-daemon",
];

/// A folder every system has, covered for the moment in which the new file is made.
const WORKBENCH: &str = "/tmp";

/// Puts it all in place, in the caller's mount namespace, which must be private.
pub(crate) fn install(servers: &[IpAddr], search: &[String]) -> Result<(), SetUpError> {
    let target = real_resolv_conf().map_err(|error| {
        SetUpError::new(
            Step::Resolver,
            format!("{RESOLV_CONF}: {error}"),
            "the file must exist to be covered: create an empty one",
        )
    })?;
    hide_sockets()?;
    cover(&target, &resolv_conf(servers, search)).map_err(|error| {
        SetUpError::new(Step::Resolver, format!("covering {}: {error}", target.display()), MOUNT_REMEDY)
    })
}

const MOUNT_REMEDY: &str =
    "mounting in a private namespace must be allowed (AppArmor or a container may forbid it)";

/// Where /etc/resolv.conf leads: on many systems it is a link into /run.
fn real_resolv_conf() -> io::Result<PathBuf> {
    fs::canonicalize(RESOLV_CONF)
}

fn hide_sockets() -> Result<(), SetUpError> {
    let mut folders: Vec<_> =
        RESOLVER_SOCKETS.iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    folders.sort();
    folders.dedup();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        mount_memory(folder).map_err(|error| {
            SetUpError::new(Step::Resolver, format!("covering {}: {error}", folder.display()), MOUNT_REMEDY)
        })?;
    }
    Ok(())
}

fn cover(target: &Path, text: &str) -> io::Result<()> {
    if !target.exists() {
        // It lay in a folder just hidden (systemd-resolved's): make it anew there.
        return fs::write(target, text);
    }
    mount_memory(Path::new(WORKBENCH))?;
    let file = Path::new(WORKBENCH).join("resolv.conf");
    fs::write(&file, text)?;
    mount(Some(&file), target, None::<&Path>, MsFlags::MS_BIND, None::<&Path>)?;
    // The bind keeps the file; the folder becomes what it was.
    umount2(WORKBENCH, MntFlags::MNT_DETACH)?;
    Ok(())
}

fn mount_memory(folder: &Path) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some("size=256k,mode=0755"))
}

fn resolv_conf(servers: &[IpAddr], search: &[String]) -> String {
    let mut text = String::from("# written by doorward-device for this command alone\n");
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_lists_servers_and_search_domains() {
        let servers = ["100.64.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let text = resolv_conf(&servers, &["corp.example".into(), "example".into()]);
        assert!(text.ends_with("nameserver 100.64.0.1\nnameserver fd00::1\nsearch corp.example example\n"));
        assert!(!resolv_conf(&[], &[]).contains("nameserver"));
    }
}
