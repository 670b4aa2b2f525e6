//! The demo's folder and the environment its programs get.
//! It starts nothing. Always true: only the caller can look into the folder; it goes when this is
//! dropped, and what a killed demo left goes at the next start.

use std::{
    env,
    fs::{self, DirBuilder, File},
    io::{ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::stat::{Mode, umask},
    unistd::geteuid,
};
use tests::programs;

/// What the demo's folders are called, before a number.
const NAME: &str = "doorward-demo-";
/// Held as long as a demo lives.
const LOCK: &str = "lock";
/// What `curl` trusts, within the folder.
pub const TRUSTED: &str = "trusted.pem";
/// Where a folder has its programs' logs.
pub const LOGS: &str = "logs";

/// Programs the demo runs, with the Debian package that brings each.
const NEEDED: [(&str, &str); 10] = [
    ("nginx", "nginx-light"),
    ("initdb", "postgresql"),
    ("psql", "postgresql-client"),
    ("curl", "curl"),
    ("nft", "nftables"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("grep", "grep"),
    ("cat", "coreutils"),
    ("sed", "sed"),
];

/// Where the demo lives.
#[derive(Debug)]
pub struct Place {
    /// The private folder, in which every command runs.
    pub folder: PathBuf,
    /// Where our programs are.
    pub bin: PathBuf,
    path: String,
    _lock: Flock<File>,
}

impl Place {
    /// Checks that every program is there, and makes the folder.
    pub fn make() -> Result<Self> {
        // Whatever we and our programs write, keys among it, is for us alone.
        umask(Mode::from_bits_truncate(0o077));
        let bin = programs::folder()?;
        for name in ["doorward", "doorward-connector", "doorward-device", "doorward-dev-provider"] {
            programs::ours(name)?;
        }
        let path = search_path(&bin)?;
        check_programs(&path)?;
        let parent = env::temp_dir();
        sweep(&parent);
        let (folder, lock) =
            make_folder(&parent).with_context(|| format!("a folder in {}", parent.display()))?;
        fs::create_dir(folder.join(LOGS))?;
        Ok(Self { folder, bin, path, _lock: lock })
    }

    /// A command as every program of the demo is run: in the folder, with nothing of the caller's
    /// environment that could change what it does.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null()).env_clear().env("PATH", &self.path);
        command.env("HOME", &self.folder).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("NO_COLOR", "1");
        command.env("CURL_CA_BUNDLE", self.folder.join(TRUSTED));
        command
    }

    /// Writes one of the demo's files.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.folder.join(name), text).with_context(|| format!("writing {name}"))
    }

    /// The log file of a program.
    pub fn log_file(&self, name: &str) -> Result<File> {
        File::create(self.folder.join(LOGS).join(format!("{name}.log"))).context("making a log file")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("demo: {} could not be removed: {error}", self.folder.display());
        }
    }
}

/// Makes a folder that is never seen without its lock being held.
fn make_folder(parent: &Path) -> Result<(PathBuf, Flock<File>)> {
    let mut number = [0; 6];
    File::open("/dev/urandom")?.read_exact(&mut number)?;
    let number: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    let (new, folder) = (parent.join(format!(".{NAME}{number}")), parent.join(format!("{NAME}{number}")));
    DirBuilder::new().mode(0o700).create(&new)?;
    let lock = Flock::lock(File::create(new.join(LOCK))?, FlockArg::LockExclusiveNonblock);
    let lock = lock.map_err(|(_, errno)| errno).context("locking it")?;
    fs::rename(&new, &folder)?;
    Ok((folder, lock))
}

/// Removes what demos left that were killed: folders of ours whose lock nobody holds.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(NAME);
        // The entry's own metadata: a link that somebody else put there is not followed.
        let ours = entry.metadata().is_ok_and(|kind| kind.is_dir() && kind.uid() == geteuid().as_raw());
        if named && ours && is_abandoned(&entry.path()) {
            // What cannot be removed now is left for the next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(LOCK)) else { return false };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
}

/// Ours, those of PostgreSQL's server, which Debian keeps out of the path, and all others.
fn search_path(bin: &Path) -> Result<String> {
    let initdb = programs::postgres("initdb").unwrap_or_default();
    let server = initdb.parent().unwrap_or(bin);
    Ok(format!("{}:{}:{}", bin.display(), programs::search_path()?, server.display()))
}

fn check_programs(path: &str) -> Result<()> {
    let there = |name: &str| path.split(':').any(|folder| Path::new(folder).join(name).is_file());
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|(name, _)| !there(name))
        .map(|(name, package)| format!("{name} (package {package})"))
        .collect();
    if !missing.is_empty() {
        bail!("missing here: {}. `make set-up` installs what is needed", missing.join(", "));
    }
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no /dev/net/tun: `make set-up` makes it (in a container: --device /dev/net/tun)")
        }
        Err(error) => bail!("/dev/net/tun cannot be opened: {error}; `make set-up` repairs that"),
    }
}
