//! A person's browser: Chromium on a host, driven through its own debugging interface (playwright-core).
//! It judges certificates as it does everywhere, with the authorities it was opened with and no others.
//! Always true: it begins without history, cookies or cache, and all its processes end with it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    host::Host,
    node,
    process::Process,
    programs,
    wait::{HANG, eventually},
};

/// One page of a browser.
pub struct Browser {
    driver: Arc<Driver>,
    tab: u64,
}

/// What its pages share.
struct Driver {
    connection: Mutex<BufReader<UnixStream>>,
    _process: Process,
}

/// How a picture is taken.
#[derive(Clone, Copy)]
pub struct Shot {
    /// Of the window, in pixels.
    pub width: u32,
    /// Of the window, in pixels.
    pub height: u32,
    /// Whether the person likes it dark.
    pub dark: bool,
    /// Whether all of the page is in the picture, not only what the window shows.
    pub full: bool,
}

/// A desk's window, bright.
pub const DESKTOP: Shot = Shot { width: 1280, height: 800, dark: false, full: false };

/// A cookie the browser keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whom it is sent to; with a leading dot, to names below as well.
    pub domain: String,
    /// Below which path.
    pub path: String,
    /// Whether pages' scripts cannot see it.
    pub http_only: bool,
    /// Whether it is only sent over https.
    pub secure: bool,
    /// `Strict`, `Lax` or `None`.
    pub same_site: String,
    /// Seconds since 1970; -1 if it ends with the browser.
    pub expires: f64,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    value: Value,
    error: Option<String>,
}

impl Browser {
    /// A fresh browser on `host` with one empty page, which trusts these authorities (PEM files).
    pub fn open(host: &Host, authorities: &[&Path]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = host.folder().join(format!("browser-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let home = folder.join("home");
        trust(host, &home, authorities)?;
        settle(host)?;
        let temporary = folder.join("tmp");
        fs::create_dir_all(&temporary)?;
        let settings = json!({ "chromium": programs::chromium()?, "timeout": HANG.as_millis() });
        let script = node::script(&folder, "browser.mjs", include_str!("../provider/browser.mjs"))?;
        let mut command = contained(host)?;
        command.arg(programs::node()?).arg(script).env("SETTINGS", settings.to_string());
        let (ours, theirs) = UnixStream::pair().context("making a socket pair")?;
        // Longer than the driver waits, so that it can say what for.
        ours.set_read_timeout(Some(HANG * 2))?;
        command.env("HOME", &home).env("TMPDIR", &temporary).stdin(Stdio::from(OwnedFd::from(theirs)));
        let process = host.start("browser", command)?;
        let driver = Driver { connection: Mutex::new(BufReader::new(ours)), _process: process };
        Self { driver: Arc::new(driver), tab: 0 }.new_context()
    }

    /// An empty page that shares no cookies with this one.
    pub fn new_context(&self) -> Result<Self> {
        self.another("new_context")
    }

    /// An empty page that shares this one's cookies.
    pub fn new_page(&self) -> Result<Self> {
        self.another("new_page")
    }

    fn another(&self, action: &str) -> Result<Self> {
        let tab = self.ask(action, json!({}))?.as_u64().context("the driver names no page")?;
        Ok(Self { driver: Arc::clone(&self.driver), tab })
    }

    /// Opens an address and waits until it is loaded; an answer of any status is one.
    pub fn goto(&self, url: &str) -> Result<()> {
        self.ask("goto", json!({ "url": url })).map(drop)
    }

    /// Loads the page again.
    pub fn reload(&self) -> Result<()> {
        self.ask("reload", json!({})).map(drop)
    }

    /// Clicks what a CSS selector finds, once it is there.
    pub fn click(&self, selector: &str) -> Result<()> {
        self.ask("click", json!({ "selector": selector })).map(drop)
    }

    /// Types into a field.
    pub fn fill(&self, selector: &str, text: &str) -> Result<()> {
        self.ask("fill", json!({ "selector": selector, "text": text })).map(drop)
    }

    /// What a person reads there.
    pub fn text(&self, selector: &str) -> Result<String> {
        self.string("text", json!({ "selector": selector }))
    }

    /// The address of the page.
    pub fn url(&self) -> Result<String> {
        self.string("url", json!({}))
    }

    /// The title of the page.
    pub fn title(&self) -> Result<String> {
        self.string("title", json!({}))
    }

    /// Waits until a page whose address begins so is loaded.
    pub fn wait_for_url(&self, prefix: &str) -> Result<()> {
        self.ask("wait_for_url", json!({ "prefix": prefix })).map(drop)
    }

    /// Waits until something is to be seen.
    pub fn wait_for(&self, selector: &str) -> Result<()> {
        self.ask("wait_for", json!({ "selector": selector })).map(drop)
    }

    /// Writes a PNG of the page into a file; how many colours it has. One is a blank page.
    pub fn screenshot(&self, file: &Path, shot: Shot) -> Result<u64> {
        let Shot { width, height, dark, full } = shot;
        let how = json!({ "path": file, "width": width, "height": height, "dark": dark, "full": full });
        self.ask("screenshot", how)?.as_u64().context("the driver counts no colours")
    }

    /// What an expression is worth in the page; promises are awaited.
    pub fn evaluate(&self, js: &str) -> Result<Value> {
        self.ask("evaluate", json!({ "js": js }))
    }

    /// The cookies this page shares with its own kind.
    pub fn cookies(&self) -> Result<Vec<Cookie>> {
        Ok(serde_json::from_value(self.ask("cookies", json!({}))?)?)
    }

    /// The status of the answer the page came with.
    pub fn status(&self) -> Result<u16> {
        let status = self.ask("status", json!({}))?;
        let status = status.as_u64().context("the page came with no answer")?;
        Ok(u16::try_from(status)?)
    }

    /// What the page and the browser wrote on the console so far, `kind: text` each.
    pub fn console(&self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.ask("console", json!({}))?)?)
    }

    /// What the page did against its Content Security Policy so far.
    pub fn csp_violations(&self) -> Result<Vec<String>> {
        let said = self.console()?.into_iter();
        Ok(said.filter(|line| line.contains("Content Security Policy")).collect())
    }

    fn string(&self, action: &str, with: Value) -> Result<String> {
        let value = self.ask(action, with)?;
        value.as_str().map(str::to_owned).with_context(|| format!("{action}: the driver said {value}"))
    }

    fn ask(&self, action: &str, mut with: Value) -> Result<Value> {
        let what = format!("browser: {action} {with}");
        with["action"] = json!(action);
        with["tab"] = json!(self.tab);
        let mut connection = self.driver.connection.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(connection.get_mut(), "{with}").with_context(|| what.clone())?;
        let mut line = String::new();
        connection.read_line(&mut line).with_context(|| what.clone())?;
        let answer: Answer =
            serde_json::from_str(&line).with_context(|| format!("{what}: the driver said {line:?}"))?;
        match answer.error {
            Some(error) => bail!("{what}: {error}"),
            None => Ok(answer.value),
        }
    }
}

/// A command for a person without rights whose processes, which leave our process group, all end with it.
fn contained(host: &Host) -> Result<Command> {
    let mut command = host.command("unshare")?;
    command.args(["--user", "--map-user=1000", "--map-group=1000", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "--", "setpriv", "--no-new-privs", "--"]);
    Ok(command)
}

/// Waits until the host's links and addresses are what they will be: Chromium gives up on what it is loading
/// when they change. The kernel announces both late (carriers, and duplicate address detection).
fn settle(host: &Host) -> Result<()> {
    eventually(&format!("the network of {} is settled", host.name()), || {
        let links = host.ip("-oneline link show up").ok()?;
        let addresses = host.ip("-oneline address show tentative").ok()?;
        let settled = !links.contains("state DOWN") && !links.contains("state LOWERLAYERDOWN");
        (settled && addresses.is_empty()).then_some(())
    })
}

/// The database in which Chromium looks for authorities of the person's own.
fn trust(host: &Host, home: &Path, authorities: &[&Path]) -> Result<()> {
    let folder = home.join(".pki/nssdb");
    fs::create_dir_all(&folder)?;
    let database = format!("sql:{}", folder.display());
    host.sh("certutil", &["-N", "-d", &database, "--empty-password"])?;
    for (number, file) in authorities.iter().enumerate() {
        let file = file.to_str().context("a file with a plain name")?;
        let name = format!("authority {number}");
        host.sh("certutil", &["-A", "-d", &database, "-n", &name, "-t", "C,,", "-i", file])?;
    }
    Ok(())
}
