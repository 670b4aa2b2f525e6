//! `doorward-device status`, run for real against a stand-in for the gateway on loopback: what it
//! prints and how it ends, for a person, for a program, and with answers no gateway sends.
#![expect(clippy::unwrap_used, reason = "a test whose scene cannot be set has failed")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    process::{Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_doorward-device");

/// One zone for all tests, an hour ahead of UTC, whatever zones this computer has.
const ZONE: &str = "TST-1";

/// What the stand-in says, one connection each.
enum Reply {
    Json(Value),
    Raw(String),
}

/// Answers one connection after another, then holds the next until its other end goes. Gives its
/// address and the request lines as they come.
fn stand_in(replies: Vec<Reply>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, requests) = channel();
    thread::spawn(move || {
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = heard.send(request(&stream));
            let text = match reply {
                Reply::Raw(text) => text,
                Reply::Json(json) => {
                    let body = json.to_string();
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                }
            };
            // Who reads no further has heard enough.
            let _ = stream.write_all(text.as_bytes());
        }
        let (mut stream, _) = listener.accept().unwrap();
        let _ = heard.send(request(&stream));
        let _ = stream.read(&mut [0]);
    });
    (address, requests)
}

/// The head, all of it read: the line, and the host.
fn request(stream: &TcpStream) -> String {
    let head: Vec<String> =
        BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    let host = head.iter().find(|line| line.to_ascii_lowercase().starts_with("host:")).unwrap();
    assert!(!head.iter().any(|line| line.to_ascii_lowercase().starts_with("cookie")), "{head:?}");
    format!("{} {}", head[0], &host[6..])
}

fn status(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["status", "--gateway", &address.to_string()]).args(arguments).env("TZ", ZONE);
    command
}

fn told(reply: Reply, arguments: &[&str]) -> Output {
    status(stand_in(vec![reply]).0, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn time(of_day: &str) -> String {
    format!("2026-11-22T{of_day}:00.000Z")
}

/// Somebody signed in, with a connection open and one refused.
fn busy() -> Value {
    json!({
        "now": time("10:00"), "device": "ada-laptop", "owner": "corp/ada",
        "door": "https://door.corp.example/", "sign_in_needed": false,
        "session": {"state": "active", "user": "corp/ada",
                    "since": time("08:00"), "expires": time("20:00"), "why": null},
        "open": [
            {"resource": "app/db", "to": "db.corp.example:5432",
             "since": time("09:50"), "until": time("12:10"),
             "why_until": "the policy office-hours allows it until then"},
            {"resource": "subnet/lab", "to": "10.50.0.9:22",
             "since": time("09:00"), "until": null, "why_until": null},
        ],
        "last_refusal": {"at": time("09:58"), "to": "app/wiki", "step_up": true, "reasons": [
            {"rule": "guard-disk",
             "text": "Disk encryption is off, or nothing has confirmed it in the last day",
             "conditions": ["device.disk_encrypted is missing"],
             "remedy": "Turn on FileVault, BitLocker or LUKS, then report the device's state again"},
            {"rule": null, "text": "No policy allows it", "conditions": [], "remedy": null},
        ]},
        "a field of tomorrow": [1, 2],
    })
}

const BUSY: &str = "\
Device
  ada-laptop, of corp/ada

Session
  signed in as corp/ada since 09:00, until 21:00, in 10 h

Open
  app/db (db.corp.example:5432)
    since 10:50, until 13:10, in 2 h 10 min: the policy office-hours allows it
      until then
  subnet/lab (10.50.0.9:22)
    since 10:00, with no end set

Last refusal
  app/wiki, 10:58, 2 min ago
  - Disk encryption is off, or nothing has confirmed it in the last day
    [guard-disk]
      device.disk_encrypted is missing
      What helps: Turn on FileVault, BitLocker or LUKS, then report the device's
        state again
  - No policy allows it
  Signing in anew helps: https://door.corp.example/
";

#[test]
fn a_person_reads_how_they_stand() {
    let (address, requests) = stand_in(vec![Reply::Json(busy())]);
    let output = status(address, &[]).output().unwrap();
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), (BUSY, ""));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(requests.recv().unwrap(), format!("GET /device HTTP/1.1 {address}"));
}

#[test]
fn who_is_not_signed_in_reads_where_to() {
    let bare = json!({"now": time("10:00"), "device": "d", "owner": "o",
                      "door": "https://door.x/", "sign_in_needed": true});
    let output = told(Reply::Json(bare), &[]);
    let want = "Device\n  d, of o\n\nSession\n  not signed in\n  Sign in at https://door.x/\n\n\
                Open\n  nothing\n\nLast refusal\n  none\n";
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), (want, Some(3)));
}

#[test]
fn the_exit_status_says_whether_one_can_work() {
    for (state, needed, want) in [
        (None, false, 0),
        (None, true, 3),
        (Some("active"), false, 0),
        (Some("active"), true, 3),
        (Some("suspended"), false, 3),
        (Some("suspended"), true, 3),
    ] {
        let mut answer = busy();
        answer["sign_in_needed"] = needed.into();
        match state {
            Some(state) => answer["session"]["state"] = state.into(),
            None => answer["session"] = Value::Null,
        }
        let output = told(Reply::Json(answer), &["--json"]);
        assert_eq!(output.status.code(), Some(want), "{state:?} {needed}: {}", text(&output.stderr));
    }
}

#[test]
fn a_program_gets_the_answer_on_one_line() {
    let body = format!("{:#}\n", busy());
    let output = told(Reply::Raw(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}")), &["--json"]);
    let out = text(&output.stdout);
    assert_eq!(out.lines().count(), 1, "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), busy());
    assert!(out.contains("a field of tomorrow"), "{out}");
}

/// Runs `--watch` until a line contains `last`, ends it as Ctrl-C does, and gives all it printed.
fn watched(address: SocketAddr, arguments: &[&str], last: &str) -> (String, String) {
    let mut child = status(address, &["--watch"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains(last) {
        assert_ne!(stdout.read_line(&mut said).unwrap(), 0, "it ended: {said}");
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    stdout.read_to_string(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(Signal::SIGINT as i32));
    (said, text(&output.stderr))
}

/// `busy` at another time and version.
fn later(of_day: &str, version: u64) -> Value {
    let mut answer = busy();
    answer["now"] = time(of_day).into();
    answer["version"] = version.into();
    answer
}

#[test]
fn watching_prints_changes_and_warns_once() {
    let mut signed_out = later("12:03", 14);
    signed_out["session"] = Value::Null;
    signed_out["sign_in_needed"] = true.into();
    signed_out["open"] = json!([]);
    let mut nearly = later("11:59", 11);
    nearly["now"] = "2026-11-22T11:59:50.500Z".into();
    let replies = [later("10:00", 10), nearly, later("12:00", 12), later("12:02", 13), signed_out];
    let (address, requests) = stand_in(replies.map(Reply::Json).into());
    let (said, complaints) = watched(address, &[], "closed: subnet/lab");
    let want = format!(
        "{BUSY}\
         WARNING: app/db (db.corp.example:5432) ends at 13:10, in 10 min: \
         renew at https://door.corp.example/\n\
         13:03 not signed in\n\
         \x20     Sign in at https://door.corp.example/\n\
         13:03 closed: app/db (db.corp.example:5432)\n\
         13:03 closed: subnet/lab (10.50.0.9:22)\n"
    );
    assert_eq!((said.as_str(), complaints.as_str()), (want.as_str(), ""));
    // The third question waits no longer than until the warning is due.
    let asked: Vec<String> = requests.iter().take(5).collect();
    let want =
        ["since=0&wait=0", "since=10&wait=25", "since=11&wait=10", "since=12&wait=25", "since=13&wait=25"];
    assert_eq!(asked, want.map(|query| format!("GET /device?{query} HTTP/1.1 {address}")));
}

#[test]
fn a_program_that_watches_gets_a_line_for_each_answer() {
    let (address, _requests) = stand_in([later("10:00", 1), later("10:01", 2)].map(Reply::Json).into());
    let (said, complaints) = watched(address, &["--json"], "\"version\":2");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines, complaints.as_str()), (vec![later("10:00", 1), later("10:01", 2)], ""));
}

#[test]
fn watching_outlasts_a_gateway_that_restarts() {
    let mut ended = later("10:02", 1);
    ended["open"] = json!([]);
    let (address, _requests) =
        stand_in(vec![Reply::Json(later("10:00", 9)), Reply::Raw(String::new()), Reply::Json(ended)]);
    let (said, complaints) = watched(address, &[], "closed: subnet/lab");
    assert!(
        said.ends_with(
            "11:02 closed: app/db (db.corp.example:5432)\n11:02 closed: subnet/lab (10.50.0.9:22)\n"
        ),
        "{said}"
    );
    assert_eq!(complaints.matches("Still trying").count(), 1, "{complaints}");
    assert!(complaints.ends_with("doorward-device: the gateway answers again\n"), "{complaints}");
}

#[test]
fn watching_ends_when_nobody_reads() {
    // More than it can print before it notices; it need not hear them all.
    let replies = (1..100).map(|version| Reply::Json(later("10:00", version))).collect();
    let (address, _requests) = stand_in(replies);
    let mut child = status(address, &["--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{line}");
}

/// How it ends for an answer like this: status 1, nothing on standard output, and this in its words.
fn refuses(reply: String, words: &str) {
    for arguments in [&[][..], &["--json"], &["--watch"]] {
        let output = told(Reply::Raw(reply.clone()), arguments);
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{err}");
        assert!(err.contains(words), "{words} is not in: {err}");
        assert!(err.contains("127.0.0.1:") && err.len() < 2000, "{err}");
        assert!(!err.chars().any(|c| c.is_control() && c != '\n'), "{err:?}");
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn what_no_gateway_sends_ends_in_a_clear_error() {
    refuses("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(), "HTTP status 404");
    refuses("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n".into(), "HTTP status 302");
    refuses("\u{1b}[2J\r\n\r\n".into(), "broke off or is no HTTP");
    refuses(ok("<html>"), "does not understand");
    refuses(ok("[]"), "does not understand");
    refuses(ok(&"[".repeat(100_000)), "does not understand");
    refuses(ok(&format!("{}{}", busy(), "x")), "trailing characters");
    refuses(ok(&"x".repeat((1 << 20) + 1)), "more than 1024 KiB");
    let mut strange = busy();
    strange["session"]["state"] = "\u{1b}[31masleep\u{9b}".into();
    refuses(ok(&strange.to_string()), "asleep");
    strange["session"]["state"] = "x".repeat(100_000).into();
    refuses(ok(&strange.to_string()), "unknown variant `xxx");
    strange = busy();
    strange["now"] = "+262142-12-31T23:59:59Z".into();
    refuses(ok(&strange.to_string()), "a time like 2026-11-22T10:00:00Z");
}

#[test]
fn nothing_the_gateway_sends_drives_the_terminal() {
    let evil = "x\u{1b}]0;owned\u{7}\u{9b}2J\r\n\u{202e}\u{7f}";
    fn spoil(value: &mut Value, evil: &str) {
        match value {
            Value::String(text) if !text.starts_with("2026-") && text != "active" => *text = evil.to_owned(),
            Value::Array(values) => values.iter_mut().for_each(|value| spoil(value, evil)),
            Value::Object(fields) => fields.values_mut().for_each(|value| spoil(value, evil)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut answer = busy();
    spoil(&mut answer, evil);
    for arguments in [&[][..], &["--json"]] {
        let output = told(Reply::Json(answer.clone()), arguments);
        let out = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(!out.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{out:?}");
        assert!(out.contains("owned"), "{out}");
    }
}

#[test]
fn silence_names_the_address_and_what_to_do() {
    // The port of an outgoing connection: nobody listens there, and nobody else can begin to.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    let output = status(closed, &[]).output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for words in
        [&format!("no answer from {closed}: "), "the tunnel is up", "--gateway ADDRESS", "--config FILE"]
    {
        assert!(err.contains(words), "{words} is not in: {err}");
    }
}

#[test]
fn mistakes_in_what_was_passed_end_with_two() {
    for arguments in [
        &["--gateway", "gw.example.com"][..],
        &["--gateway", "127.0.0.1", "--config", "wg.conf"],
        &["--config", "/no/such/file"],
        &["--loud"],
    ] {
        let output = Command::new(BINARY).arg("status").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
