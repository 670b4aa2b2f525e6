//! A PostgreSQL of a test's own: real, durable, started as nobody special, on 127.0.0.1 and a Unix socket.
//! It creates no tables. Always true: all its processes end with this value, or with the thread that made it;
//! the folder is copied from a template that is made once per build folder.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::{programs, wait::eventually};

/// A running server.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// Starts one with more settings: lines for `postgresql.conf`.
    pub fn start_with(settings: &str) -> Result<Self> {
        Self::start_in(&scratch()?, settings)
    }

    /// The same in a folder below `parent`, which keeps the template as well.
    pub fn start_in(parent: &Path, settings: &str) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("postgres-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        copy(&template(parent)?, &folder.join("data"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let data = folder.join("data");
        let file = data.join("postgresql.conf");
        let text = fs::read_to_string(&file)?;
        fs::write(&file, format!("{text}\n{settings}\n"))?;
        let child = run(&folder, port)?;
        let server = Self { folder, port, child };
        server.ready()?;
        Ok(server)
    }

    /// Where it is, without TLS.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The same through somebody who listens on `port` of 127.0.0.1.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://tester@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// Where it is, by its socket.
    pub fn socket_url(&self) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://tester@{folder}:{}/postgres", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps everything.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills the server with all its processes, as a power cut would end them.
    pub fn kill9(&mut self) -> Result<()> {
        // They are a process namespace, whose first is the only child of ours: the kernel ends the rest.
        self.child.kill()?;
        self.child.wait()?;
        eventually("nobody listens any more", || TcpListener::bind(("127.0.0.1", self.port)).ok().map(drop))
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) -> Result<()> {
        self.child = run(&self.folder, self.port)?;
        self.ready()
    }

    fn ready(&self) -> Result<()> {
        let log = self.folder.join("log");
        let ready = eventually("PostgreSQL accepts connections", || {
            fs::read_to_string(&log).ok().filter(|log| log.contains("ready to accept connections"))
        });
        ready.map(drop).with_context(|| fs::read_to_string(&log).unwrap_or_default())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where servers live: beside the executables, so that `cargo clean` removes what a killed test leaves.
fn scratch() -> Result<PathBuf> {
    let folder = programs::folder()?.join("postgres");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A command of PostgreSQL's, which refuses to be root: as user 1000 of a namespace, who is us outside. In
/// namespaces of their own, its processes end with the first of them and leave no shared memory.
fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--user", "--map-user=1000", "--map-group=1000"]);
    command.args(["--ipc", "--pid", "--fork", "--kill-child=KILL"]).arg(program).process_group(0);
    command
}

/// An initialised folder, made once.
fn template(parent: &Path) -> Result<PathBuf> {
    let template = parent.join("template");
    let lock = File::create(parent.join("template.lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).context("locking")?;
    if !template.is_dir() {
        let fresh = parent.join("template.fresh");
        let _ = fs::remove_dir_all(&fresh);
        let mut init = command(&programs::postgres("initdb")?);
        init.args([
            "--auth=trust",
            "--username=tester",
            "--no-instructions",
            "--no-locale",
            "--encoding=UTF8",
        ]);
        let output = init.args(["--wal-segsize=1", "-D"]).arg(&fresh).output()?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        fs::rename(&fresh, &template)?;
    }
    Ok(template)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status()?;
    ensure!(status.success(), "copying {}: {status}", from.display());
    Ok(())
}

fn run(folder: &Path, port: u16) -> Result<Child> {
    let log = File::create(folder.join("log"))?;
    let mut postgres = command(&programs::postgres("postgres")?);
    postgres.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string(), "-k"]).arg(folder);
    postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]);
    postgres.args(["-c", "shared_buffers=16MB"]);
    postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    postgres.spawn().context("starting PostgreSQL: deploy/set-up.sh installs it")
}
