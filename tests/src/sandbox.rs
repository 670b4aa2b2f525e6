//! Puts the test executable into namespaces of its own before any test runs, so that a test can
//! make hosts, mounts and processes without rights on the machine and leaves nothing behind.
//! Unprivileged unless `DOORWARD_TESTS_AS=root`: started by root, it becomes a user who is nobody.
//! Always true: when this process ends, however it ends, everything it started ends with it.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};

use crate::programs;

/// How far this process has come on its way into the sandbox.
const STAGE: &str = "DOORWARD_TESTS_STAGE";
/// Set to `root` to run the product with root's rights.
const AS: &str = "DOORWARD_TESTS_AS";
/// A user and group id no distribution hands out (Debian policy §9.2.2 reserves 60000-64999).
const NOBODY: &str = "64990";
/// Every system has this folder and none of our programs needs it: the binaries' place for a user
/// who may not enter the folder they were built in.
const LENT: &str = "/mnt";

/// Whether the product runs with root's rights here.
pub fn as_root() -> bool {
    env::var_os(AS).is_some_and(|who| who == "root")
}

/// Returns once inside; before that, replaces this process by one that is a step further in.
pub fn enter() -> Result<()> {
    match env::var(STAGE).as_deref() {
        Ok("inside") => furnish(),
        Ok("lending") => step_down(),
        _ if as_root() => {
            ensure!(is_privileged()?, "{AS}=root, but this process lacks root's capabilities");
            Err(exec(unshare(&own_path()?, false)))
        }
        _ if is_privileged()? => {
            let mut lend = Command::new("unshare");
            lend.arg("--mount").arg(own_path()?).args(arguments()).env(STAGE, "lending");
            Err(exec(lend))
        }
        _ => Err(exec(unshare(&own_path()?, true))),
    }
}

/// Root's part of becoming nobody: shows the binaries where anybody may read them.
fn step_down() -> Result<()> {
    let folder = programs::folder()?;
    bind(&folder, Path::new(LENT))?;
    let own = own_path()?;
    let below = own.strip_prefix(&folder).context("this executable left its folder")?;
    let inside = unshare(&Path::new(LENT).join(below), true);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"])
        .arg(inside.get_program())
        .args(inside.get_args())
        .env(STAGE, "inside");
    Err(exec(command))
}

fn unshare(executable: &Path, new_user: bool) -> Command {
    let mut command = Command::new("unshare");
    if new_user {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(executable)
        .args(arguments())
        .env(STAGE, "inside");
    command
}

fn exec(mut command: Command) -> anyhow::Error {
    let error = command.exec();
    anyhow::Error::from(error).context(format!("starting {command:?}"))
}

fn own_path() -> Result<PathBuf> {
    env::current_exe().context("finding this executable")
}

fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os().skip(1)
}

/// Whether this process may make namespaces without a user namespace: CAP_SYS_ADMIN, bit 21.
fn is_privileged() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.context("no CapEff in /proc/self/status")?.trim();
    let effective = u64::from_str_radix(effective, 16).context("CapEff is not hexadecimal")?;
    Ok(effective & (1 << 21) != 0)
}

/// Inside: folders of our own where programs expect to write, and the people services ask for.
fn furnish() -> Result<()> {
    for folder in ["/run", "/dev/shm"] {
        tmpfs(Path::new(folder))?;
    }
    fs::create_dir_all(HOME)?;
    let people = [
        ("/etc/passwd", "root:x:0:0:root:/run/home:/bin/sh\ntester:x:1000:1000::/run/home:/bin/sh\n"),
        ("/etc/group", "root:x:0:\ntester:x:1000:\n"),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("/etc/hosts", &format!("127.0.0.1 localhost {TWO_FACED}\n::1 localhost\n10.50.0.7 {TWO_FACED}\n")),
    ];
    for (place, text) in people {
        let own = Path::new("/run").join(place.replace('/', "-"));
        fs::write(&own, text)?;
        bind(&own, Path::new(place))?;
    }
    let tun = fs::File::options().read(true).write(true).open("/dev/net/tun");
    if let Err(error) = tun {
        bail!(
            "/dev/net/tun: {error}: `sudo modprobe tun; sudo chmod 0666 /dev/net/tun` (deploy/set-up.sh does)"
        );
    }
    Ok(())
}

/// A name with two addresses, the first of them loopback.
pub const TWO_FACED: &str = "two-faced.example";

/// The home of everybody inside.
pub const HOME: &str = "/run/home";

/// Mounts an empty folder.
pub fn tmpfs(place: &Path) -> Result<()> {
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .with_context(|| format!("mounting a tmpfs on {}", place.display()))
}

/// Shows `what` at `place` too.
pub fn bind(what: &Path, place: &Path) -> Result<()> {
    mount(Some(what), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("binding {} to {}", what.display(), place.display()))
}
