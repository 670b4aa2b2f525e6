//! Pictures of pages: every page a person meets is looked at bright, dark and on a phone.
//! It judges no taste. Always true: a page that is blank, wider than its window, or that breaks its own
//! Content Security Policy fails; pictures are kept only where `DOORWARD_SCREENSHOTS` says so.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::browser::{Browser, Shot};

/// Names a folder in which pictures are kept.
const KEPT: &str = "DOORWARD_SCREENSHOTS";

const SHOTS: [(&str, Shot); 3] = [
    ("light", Shot { width: 1100, height: 800, dark: false, full: true }),
    ("dark", Shot { width: 1100, height: 800, dark: true, full: true }),
    ("phone", Shot { width: 390, height: 844, dark: false, full: true }),
];

/// Where pictures are taken.
pub struct Album {
    folder: PathBuf,
}

impl Album {
    /// One that lays its pictures into `folder` first.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Looks at the page a browser shows.
    pub fn look(&self, browser: &Browser, name: &str) -> Result<()> {
        for (manner, shot) in SHOTS {
            let file = self.folder.join(format!("{name}-{manner}.png"));
            ensure!(browser.screenshot(&file, shot)? > 1, "{name}, {manner}: a blank page");
            let wide = browser.evaluate("document.documentElement.scrollWidth - innerWidth")?;
            ensure!(wide.as_i64().context("a width")? <= 0, "{name}, {manner}: {wide} pixels too wide");
            if let Some(kept) = env::var_os(KEPT) {
                fs::create_dir_all(&kept)?;
                fs::copy(&file, Path::new(&kept).join(format!("{name}-{manner}.png")))?;
            }
        }
        let broken = browser.csp_violations()?;
        ensure!(broken.is_empty(), "{name}: {broken:?}");
        if let Some(kept) = env::var_os(KEPT) {
            let page = browser.evaluate("document.documentElement.outerHTML")?;
            fs::write(Path::new(&kept).join(format!("{name}.html")), page.as_str().unwrap_or_default())?;
        }
        Ok(())
    }
}
