//! Our scripts for Node.js, with the packages `deploy/set-up.sh` has installed beside the binaries.
//! It starts nothing. Always true: a script is as old as this executable, of which it is a part.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::programs;

/// Lays a script into `folder`, where it finds the packages; where it is.
pub fn script(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    // Node.js looks for packages in the folder of the script, and in those above.
    symlink(programs::node_modules()?, folder.join("node_modules")).context("linking the packages")?;
    Ok(file)
}
