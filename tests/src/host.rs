//! A host: a network namespace and a mount namespace with its own `resolv.conf`
//! and its own state of WireGuard and openresolv.
//! It has no life of its own: it exists while somebody holds it, and closures and programs run in it.
//! Always true: what runs on one host cannot reach another except over the links between them.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    panic,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

use crate::{
    process::Process,
    programs,
    sandbox::{HOME, bind, tmpfs},
    wait::HANG,
};

/// A machine of the world.
pub struct Host {
    name: String,
    net: File,
    mounts: File,
    folder: PathBuf,
}

impl Host {
    /// A host with nothing but loopback; `folder` is for its files and is seen by every host.
    pub fn new(name: &str, folder: &Path) -> Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let (net, mounts) = own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("making namespaces")?;
            furnish(&folder)?;
            let open = |kind: &str| File::open(format!("/proc/thread-self/ns/{kind}"));
            anyhow::Ok((open("net")?, open("mnt")?))
        })
        .with_context(|| format!("making host {name}"))?;
        let host = Self { name: name.to_owned(), net, mounts, folder };
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name for its network namespace that `ip link … netns` understands.
    pub fn netns(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.net.as_raw_fd())
    }

    /// Runs `act` on this host. Sockets it makes belong to this host wherever they are used.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        own_thread(|| {
            // A mount namespace can only be entered by a thread that shares its working folder with no other.
            unshare(CloneFlags::CLONE_FS).expect("a thread may stop sharing its working folder");
            setns(&self.net, CloneFlags::CLONE_NEWNET).expect("the host's network namespace is open");
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("the host's mount namespace is open");
            act()
        })
    }

    /// A command with the environment every program of the world gets, to be run or started here.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", programs::search_path()?)
            .env("HOME", HOME)
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// The same, as a user without any right: uid 1000 in a user namespace of its own.
    pub fn unprivileged(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut command = self.command("unshare")?;
        command
            .args(["--user", "--map-user=1000", "--map-group=1000", "--"])
            .args(["setpriv", "--no-new-privs", "--"])
            .arg(program.as_ref());
        Ok(command)
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &Command) -> Result<Output> {
        let mut limited = Command::new("timeout");
        limited.arg("--kill-after=1").arg(HANG.as_secs().to_string());
        limited.arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
        limited.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        self.within(|| limited.output()).with_context(|| format!("running {command:?} on {}", self.name))
    }

    /// Runs a program that must succeed; what it printed.
    pub fn sh(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program)?;
        command.args(arguments);
        self.expect_success(&command)
    }

    /// Runs a command that must succeed; what it printed.
    pub fn expect_success(&self, command: &Command) -> Result<String> {
        let output = self.run(command)?;
        ensure!(
            output.status.success(),
            "{command:?} on {}: {}\n{}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `ip` with arguments parted by blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.sh("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Starts a program that runs until it is dropped.
    pub fn start(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(self, name, command)
    }
}

/// Runs `act` on a thread that ends with it, because namespaces belong to threads.
fn own_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(act).join()).unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

/// In the new namespaces: mounts that reach nobody else, no state of other hosts, and a resolver file that
/// openresolv takes for its own (else it would leave a backup beside the machine's).
fn furnish(folder: &Path) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)
        .context("making mounts private")?;
    let resolver = folder.join("resolv.conf");
    fs::write(&resolver, "# Generated by resolvconf\n")?;
    match fs::read_link("/etc/resolv.conf") {
        // systemd-resolved: a link into /run, or to a file that we can cover.
        Ok(link) => {
            let target = Path::new("/etc").join(link);
            if !target.exists() {
                fs::create_dir_all(target.parent().context("resolv.conf links to /")?)?;
                fs::write(&target, "")?;
            }
            bind(&resolver, &target)?;
        }
        Err(_) => bind(&resolver, Path::new("/etc/resolv.conf"))?,
    }
    for state in ["/run/resolvconf", "/run/wireguard"].map(Path::new) {
        fs::create_dir_all(state)?;
        tmpfs(state)?;
    }
    Ok(())
}
