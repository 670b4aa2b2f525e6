//! The binary, run for real without a gateway: the command has a private network, is the caller,
//! and the host stays as it was. Each test runs as the user who started it, and as nobody without
//! privileges when that is root.
#![expect(clippy::unwrap_used, reason = "a test whose scene cannot be set has failed")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

const BINARY: &str = env!("CARGO_BIN_EXE_doorward-device");

/// The discard port of this very host: datagrams leave and nobody answers.
const CONFIG: &str = "\
[Interface]
PrivateKey = oK56DE9Ue9zK76rAc8pBl6opph+1v36lm7cXXsQKrQM=
Address = 100.64.0.2/32, fd00:d00:d00:1::2/128
DNS = 100.64.0.1, corp.example
PostUp = touch /tmp/never
[Peer]
PublicKey = GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=
AllowedIPs = 100.64.0.0/16, fd00:d00:d00::/48
Endpoint = 127.0.0.1:9
";

/// A configuration file that is removed at the end.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("device-{}-{serial}.conf", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Caller,
    Nobody,
}

/// As root, both; otherwise there is nobody else to be.
fn everyone() -> Vec<Who> {
    if geteuid().is_root() { vec![Who::Caller, Who::Nobody] } else { vec![Who::Caller] }
}

fn device(who: Who) -> Command {
    if who == Who::Caller {
        return Command::new(BINARY);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set=-all"]);
    command.args(["--inh-caps=-all", "--no-new-privs", BINARY]);
    command
}

fn run(who: Who, script: &str) -> Output {
    let config = File::new(CONFIG);
    device(who).arg("run").arg("--config").arg(&config.0).args(["--", "sh", "-c", script]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts a script that says `ready` first, and waits for it.
fn start(who: Who, script: &str) -> (Child, ChildStdout, File) {
    let config = File::new(CONFIG);
    let mut child = device(who)
        .arg("run")
        .arg("--config")
        .arg(&config.0)
        .args(["--", "sh", "-c", &format!("echo ready; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    (child, stdout, config)
}

#[test]
fn the_command_is_the_caller_in_a_network_of_its_own() {
    let host = || {
        let addresses = text(&Command::new("ip").arg("-br").arg("addr").output().unwrap().stdout);
        let rules = text(&Command::new("ip").arg("rule").output().unwrap().stdout);
        (addresses, rules, fs::read_to_string("/etc/resolv.conf").unwrap())
    };
    let before = host();
    for who in everyone() {
        let script = "id -u; cat /etc/resolv.conf; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | sort";
        let output = run(who, script);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let uid = if who == Who::Nobody { 65534 } else { geteuid().as_raw() };
        assert!(out.starts_with(&format!("{uid}\n")), "{out}{err}");
        assert!(out.contains("nameserver 100.64.0.1\nsearch corp.example\n"), "{out}");
        assert!(out.ends_with("door0\nlo\n"), "{out}");
        assert!(err.contains("line 5: PostUp is not run"), "{err}");
        assert_eq!(host(), before);
    }
}

#[test]
fn exit_codes_are_the_commands_own() {
    for who in everyone() {
        assert_eq!(run(who, "exit 7").status.code(), Some(7));
        assert_eq!(run(who, "kill -KILL $$").status.code(), Some(128 + 9));
    }
    let config = File::new(CONFIG);
    let missing =
        device(Who::Caller).arg("run").arg("-c").arg(&config.0).args(["--", "/no/such"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127), "{}", text(&missing.stderr));
    let folder =
        device(Who::Caller).arg("run").arg("-c").arg(&config.0).args(["--", "/etc"]).output().unwrap();
    assert_eq!(folder.status.code(), Some(126), "{}", text(&folder.stderr));
}

#[test]
fn signals_reach_the_command() {
    for who in everyone() {
        let (mut child, _stdout, _config) = start(who, "exec cat");
        // Waiting for a child closes its standard input, at whose end cat would end by itself.
        let _stdin = child.stdin.take();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    }
}

#[test]
fn the_command_has_our_standard_input() {
    let (mut child, mut stdout, _config) = start(Who::Caller, "exec cat");
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let mut copy = String::new();
    stdout.read_to_string(&mut copy).unwrap();
    assert_eq!((copy.as_str(), child.wait().unwrap().code()), ("through", Some(0)));
}

#[test]
fn killing_us_kills_the_command_and_its_daemons() {
    for who in everyone() {
        let (mut child, mut stdout, _config) = start(who, "setsid sleep 1000 & exec cat");
        let _stdin = child.stdin.take();
        child.kill().unwrap();
        child.wait().unwrap();
        // They held the other end of this pipe; when all are dead the stream ends.
        assert_eq!(stdout.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
}

#[test]
fn what_the_command_left_behind_ends_with_it() {
    for who in everyone() {
        // Reading its output ends only when nobody holds it any more.
        assert_eq!(run(who, "(setsid sleep 1000 &) & exit 7").status.code(), Some(7));
    }
}

#[test]
fn a_silent_gateway_is_explained() {
    let config = File::new(CONFIG);
    let mut child = device(Who::Caller)
        .arg("run")
        .arg("--config")
        .arg(&config.0)
        .args(["--", "cat"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while !said.contains("clock") {
        let count = stderr.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "it ended: {said}");
        said += &text(&buffer[..count]);
    }
    assert!(said.contains("no answer from 127.0.0.1:9") && said.contains("public key"), "{said}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn check_says_what_is_good_and_what_is_not() {
    let good = File::new(CONFIG);
    let output = device(Who::Caller).arg("check").arg("--config").arg(&good.0).output().unwrap();
    let out = text(&output.stdout);
    assert!(
        output.status.success() && out.contains("reaches      100.64.0.0/16, fd00:d00:d00::/48"),
        "{out}"
    );
    assert!(!out.contains("oK56DE9Ue9zK76rAc8pBl6opph"), "the private key shows");

    let bad = File::new("[Interface]\nAdress = 1\n[Peer]\n");
    let output = device(Who::Caller).arg("check").arg("--config").arg(&bad.0).output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(".conf:2: [Interface] has no key Adress") && err.lines().count() >= 5, "{err}");
}
