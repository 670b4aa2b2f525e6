//! Where the programs under test and the tools the tests drive are found.
//! It builds and installs nothing: the Makefile and `deploy/set-up.sh` do.
//! Always true: what is missing is named together with the command that supplies it.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, bail};

/// The folder cargo puts binaries in: this executable is in it, or in its `deps` if it is a test.
pub fn folder() -> Result<PathBuf> {
    let own = env::current_exe().context("finding this executable")?;
    let folder = own.parent().context("this executable is in no folder")?;
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    Ok(above.unwrap_or(folder).to_owned())
}

/// One of our binaries.
pub fn ours(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    if !path.is_file() {
        bail!(
            "{} is not built: run `cargo build --workspace --bins` first (`make test` does)",
            path.display()
        );
    }
    Ok(path)
}

/// The search path for tools: unpacked openresolv first, then the folders of administrators' tools,
/// which are missing from some users' paths.
pub fn search_path() -> Result<String> {
    let unpacked = folder()?.join("openresolv/sbin");
    let inherited = env::var("PATH").unwrap_or_default();
    Ok(format!("{}:{inherited}:/usr/sbin:/sbin", unpacked.display()))
}

/// A program of PostgreSQL that Debian keeps out of the path, the newest version installed.
pub fn postgres(name: &str) -> Result<PathBuf> {
    newest("/usr/lib/postgresql", &format!("bin/{name}"), "postgresql")
}

/// The OTLP collector that `deploy/set-up.sh` has installed beside our programs.
pub fn rotel() -> Result<PathBuf> {
    let lib = folder()?.join("rotel/lib");
    let parent = lib.to_str().context("a folder with a plain name")?;
    newest(parent, "site-packages/rotel/rotel-agent", "rotel")
}

/// The packages for Node.js that `deploy/set-up.sh` has installed beside our programs.
pub fn node_modules() -> Result<PathBuf> {
    there(folder()?.join("provider/node_modules"), "oidc-provider")
}

/// The Node.js they are made for, which is one of them.
pub fn node() -> Result<PathBuf> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    there(node_modules()?.join(format!("node-linux-{architecture}/bin/node")), "Node.js")
}

/// The Python that has `oidc-provider-mock`.
pub fn provider_mock() -> Result<PathBuf> {
    there(folder()?.join("provider-mock/bin/python3"), "oidc-provider-mock")
}

/// A browser: Debian's, or where the distribution has none that can be driven, the vendor's.
pub fn chromium() -> Result<PathBuf> {
    let vendors = PathBuf::from("/usr/bin/google-chrome-stable");
    there("/usr/bin/chromium".into(), "chromium")
        .or_else(|missing| if vendors.exists() { Ok(vendors) } else { Err(missing) })
}

/// The library that fakes the clock of the process it is loaded into.
pub fn faketime() -> Result<PathBuf> {
    newest("/usr/lib", "faketime/libfaketimeMT.so.1", "libfaketime")
}

fn there(path: PathBuf, package: &str) -> Result<PathBuf> {
    if !path.exists() {
        bail!("no {}: deploy/set-up.sh installs {package}", path.display());
    }
    Ok(path)
}

fn newest(parent: &str, below: &str, package: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join(below))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop().with_context(|| format!("no {below} below {parent}: deploy/set-up.sh installs {package}"))
}
