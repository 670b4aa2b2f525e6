//! For tests: a folder of their own. It is not part of what ships.
//! Always true: it is gone with the test that made it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder that is gone when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one; `name` tells it from those of other tests.
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("doorward-control-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
