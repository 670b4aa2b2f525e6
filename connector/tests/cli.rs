//! The binary as an operator meets it: keys, mistakes, reload and stop.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Lines},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("doorward-connector-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward-connector"));
        command.current_dir(&self.0).env_remove("RUST_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Writes a configuration whose gateway is nobody.
    fn configure(&self, pin: &str, extra: &str) {
        let text = format!(
            "gateways = [\"127.0.0.1:9\"]\ngateway_key = \"{pin}\"\nprivate_key = \"connector.key\"\n\
             {extra}[targets]\nallow = []\n"
        );
        fs::write(self.0.join("connector.toml"), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(folder: &Folder) -> Self {
        let mut child = folder.command().arg("run").stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Reads the log until a line has these words.
    fn logs(&mut self, words: &str) {
        let found = self.log.by_ref().any(|line| line.unwrap().contains(words));
        assert!(found, "the log ended without {words:?}");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn keygen_makes_a_private_key_once_and_check_prints_its_pin() {
    let folder = Folder::new("keygen");
    let made = folder.run(&["keygen"]);
    assert!(made.status.success());
    let pin = text(&made.stdout);
    assert!(pin.starts_with("sha256:"), "{pin}");
    let mode = fs::metadata(folder.0.join("connector.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = folder.run(&["keygen", "--out", "connector.key"]);
    assert!(!again.status.success() && text(&again.stderr).contains("connector.key"));

    folder.configure(pin.trim(), "");
    let checked = folder.run(&["check"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout), pin);
    fs::set_permissions(folder.0.join("connector.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = folder.run(&["check"]);
    assert!(!exposed.status.success() && text(&exposed.stderr).contains("chmod 600"));
}

#[test]
fn joining_is_explained_and_asks_for_what_it_needs() {
    let folder = Folder::new("join-help");
    let help = text(&folder.run(&["join", "--help"]).stdout);
    for part in
        ["doorward admin connector token SITE", "--token-file", "--gateway-key", "doorward-connector run"]
    {
        assert!(help.contains(part), "{part} is missing in:\n{help}");
    }
    assert!(!help.contains("--token "), "a command line is seen by others");
    let refused = folder.run(&["join", "--gateway", "gw.example.com:51821", "--gateway-key", "nonsense"]);
    assert!(text(&refused.stderr).contains("a link key is written sha256:"), "{refused:?}");
}

#[test]
fn a_token_is_said_nowhere() {
    let folder = Folder::new("join-token");
    let token = format!("dwt_0123456789ab_{}", "canary".repeat(7));
    fs::write(folder.0.join("token"), format!("{token}x\n")).unwrap();
    let pin = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let arguments = ["join", "--gateway", "gw.invalid:51821", "--gateway-key", pin, "--token-file", "token"];
    let mut keys = Vec::new();
    for _ in 0..2 {
        let output = folder.command().env("RUST_LOG", "trace").args(arguments).output().unwrap();
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("gw.invalid:51821: the name cannot be resolved"), "{said}");
        assert!(said.contains("run the same command again") && !said.contains("canary"), "{said}");
        keys.push(fs::read(folder.0.join("connector.key")).unwrap());
    }
    assert_eq!(keys[0], keys[1], "the token may have been used with it");
    let missing = folder.run(&[&arguments[..6], &["nowhere"]].concat());
    assert!(text(&missing.stderr).contains("cannot read the token"), "{missing:?}");
    assert!(!folder.0.join("connector.toml").exists());
}

#[test]
fn mistakes_stop_the_start_and_are_all_told() {
    let folder = Folder::new("mistakes");
    folder.configure("nonsense", "listen = 1\n");
    for command in ["check", "run"] {
        let refused = folder.run(&[command]);
        assert_eq!(refused.status.code(), Some(1));
        let told = text(&refused.stderr);
        for part in ["connector.toml:2:", "gateway_key", "private_key", "listen"] {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
    }
}

#[test]
fn a_bad_reload_changes_nothing_and_a_stop_is_clean() {
    let folder = Folder::new("signals");
    let pin = text(&folder.run(&["keygen"]).stdout).trim().to_owned();
    folder.configure(&pin, "");
    let mut running = Running::start(&folder);
    running.logs("starting");
    folder.configure("nonsense", "");
    running.signal(Signal::SIGHUP);
    running.logs("reload refused");
    folder.configure(&pin, "drain = \"1s\"\n");
    running.signal(Signal::SIGHUP);
    running.logs("reloading");
    running.signal(Signal::SIGTERM);
    running.logs("left");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}
