//! Every command to its request, and every shape of an answer to its look.
//! No gateway is asked. Always true: a new command stands in this table.

use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    admin: Admin,
}

fn asked(line: &str) -> Asked {
    let words = std::iter::once("admin").chain(line.split(' '));
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    cli.admin.noun.asked().unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn request(line: &str) -> Value {
    serde_json::to_value(asked(line).request).unwrap()
}

const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const PIN: &str = "sha256:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

#[test]
fn people_and_groups() {
    let add = json!({ "user": "corp/a", "email": "a@corp.example", "name": null, "groups": ["corp/g", "corp/h"], "contract_end": 1000 });
    let set = json!({ "user": "corp/a", "email": "clear", "name": { "to": "Ann" }, "contract_end": "keep" });
    for (line, expected) in [
        ("user list", json!({ "user": "list" })),
        ("user show corp/a", json!({ "user": { "show": { "user": "corp/a" } } })),
        (
            "user add corp/a --email a@corp.example --group corp/g --group corp/h --contract-end 1970-01-01T00:00:01Z",
            json!({ "user": { "add": add } }),
        ),
        ("user set corp/a --no-email --name Ann", json!({ "user": { "set": set } })),
        (
            "user disable corp/a --why left",
            json!({ "user": { "disable": { "user": "corp/a", "why": "left" } } }),
        ),
        ("user enable corp/a", json!({ "user": { "enable": { "user": "corp/a" } } })),
        (
            "user remove corp/a --with-devices",
            json!({ "user": { "remove": { "user": "corp/a", "with_devices": true } } }),
        ),
        ("user erase corp/a", json!({ "user": { "erase": { "user": "corp/a" } } })),
        ("group list", json!({ "group": "list" })),
        ("group show corp/g", json!({ "group": { "show": { "group": "corp/g" } } })),
        (
            "group add corp/g --in corp/h",
            json!({ "group": { "add": { "group": "corp/g", "within": ["corp/h"] } } }),
        ),
        ("group set corp/g --top", json!({ "group": { "set": { "group": "corp/g", "within": [] } } })),
        (
            "group remove corp/g",
            json!({ "group": { "remove": { "group": "corp/g", "with_members": false } } }),
        ),
        (
            "group add-member corp/g corp/a",
            json!({ "group": { "add-member": { "group": "corp/g", "user": "corp/a" } } }),
        ),
        (
            "group remove-member corp/g corp/a",
            json!({ "group": { "remove-member": { "group": "corp/g", "user": "corp/a" } } }),
        ),
    ] {
        assert_eq!(request(line), json!({ "control": expected }), "{line}");
    }
}

#[test]
fn devices() {
    let add = json!({ "device": "d", "owner": "corp/a", "key": KEY, "platform": "linux", "groups": ["lab"], "address": "100.64.0.9", "again": true });
    let change = json!({ "os_version": { "to": 14_005_001 }, "managed": { "to": true }, "disk_encrypted": "keep", "firewall": "clear", "screen_lock": "keep", "secure_boot": "keep", "edr_healthy": "keep" });
    for (line, expected) in [
        ("device list".to_owned(), json!("list")),
        ("device show d".to_owned(), json!({ "show": { "device": "d" } })),
        (
            format!(
                "device add d --owner corp/a --public-key {KEY} --platform linux --group lab --address 100.64.0.9 --again"
            ),
            json!({ "add": add }),
        ),
        (
            "device set d --platform ios --no-group".to_owned(),
            json!({ "set": { "device": "d", "platform": { "to": "ios" }, "groups": [], "address": null } }),
        ),
        (
            "device set d --address 100.64.0.9".to_owned(),
            json!({ "set": { "device": "d", "platform": "keep", "groups": null, "address": "100.64.0.9" } }),
        ),
        ("device disable d".to_owned(), json!({ "disable": { "device": "d", "why": null } })),
        ("device enable d".to_owned(), json!({ "enable": { "device": "d" } })),
        ("device remove d".to_owned(), json!({ "remove": { "device": "d" } })),
        ("device rename d e".to_owned(), json!({ "rename": { "device": "d", "name": "e" } })),
        (
            format!("device key add d {KEY}"),
            json!({ "key-add": { "device": "d", "key": KEY, "again": false } }),
        ),
        (format!("device key remove d {KEY}"), json!({ "key-remove": { "device": "d", "key": KEY } })),
        (
            "device posture d managed=true firewall=absent os_version=14.5.1 --source mdm".to_owned(),
            json!({ "posture": { "device": "d", "change": change, "source": "mdm" } }),
        ),
    ] {
        assert_eq!(request(&line), json!({ "control": { "device": expected } }), "{line}");
    }
    assert_eq!(request("device config d --qr"), json!({ "device-config": { "device": "d" } }));
}

#[test]
fn connectors_tokens_and_the_rest() {
    let control = |value: Value| json!({ "control": value });
    let grep = json!({ "text": null, "user": "corp/a", "device": null, "most": 1000 });
    for (line, expected) in [
        ("connector list".to_owned(), control(json!({ "connector": "list" }))),
        ("connector show c".to_owned(), control(json!({ "connector": { "show": { "connector": "c" } } }))),
        (
            format!("connector add c --site fra --key {PIN}"),
            control(json!({ "connector": { "add": { "connector": "c", "site": "fra", "key": PIN } } })),
        ),
        (
            "connector disable c".to_owned(),
            control(json!({ "connector": { "disable": { "connector": "c", "why": null } } })),
        ),
        (
            "connector enable c".to_owned(),
            control(json!({ "connector": { "enable": { "connector": "c" } } })),
        ),
        (
            "connector remove c".to_owned(),
            control(json!({ "connector": { "remove": { "connector": "c" } } })),
        ),
        (
            "connector token fra".to_owned(),
            control(json!({ "connector": { "token": { "site": "fra", "name": null, "seconds": 3600 } } })),
        ),
        (
            "connector token fra --name c --ttl 2d".to_owned(),
            control(json!({ "connector": { "token": { "site": "fra", "name": "c", "seconds": 172_800 } } })),
        ),
        ("token list".to_owned(), control(json!({ "token": "list" }))),
        ("token revoke ab".to_owned(), control(json!({ "token": { "revoke": { "token": "ab" } } }))),
        ("audit verify".to_owned(), json!({ "audit": "verify" })),
        (
            "audit tail -n 5 --follow".to_owned(),
            json!({ "audit": { "tail": { "lines": 5, "follow": true } } }),
        ),
        ("audit grep --user corp/a".to_owned(), json!({ "audit": { "grep": grep } })),
        ("audit explain r-1".to_owned(), json!({ "audit": { "explain": { "id": "r-1" } } })),
        ("backup /b".to_owned(), json!({ "backup": { "file": "/b" } })),
        ("restore /b".to_owned(), json!({ "restore": { "from": { "file": "/b", "yes": false } } })),
        ("restore /b --yes".to_owned(), json!({ "restore": { "from": { "file": "/b", "yes": true } } })),
        ("restore --confirm".to_owned(), json!({ "restore": "confirm" })),
        ("key list".to_owned(), json!({ "key": "list" })),
        ("key rotate".to_owned(), json!({ "key": "rotate" })),
    ] {
        assert_eq!(request(&line), expected, "{line}");
    }
}

#[test]
fn sessions_and_providers() {
    let list = |user: Value, device: Value| json!({ "list": { "user": user, "device": device } });
    for (line, expected) in [
        ("session list", list(Value::Null, Value::Null)),
        ("session list --user corp/a", list("corp/a".into(), Value::Null)),
        ("session list --device d", list(Value::Null, "d".into())),
        ("session show s1", json!({ "show": { "session": "s1" } })),
        ("session end s1", json!({ "end": { "session": "s1" } })),
        ("session end --device d", json!({ "end-on": { "device": "d" } })),
        ("session end --user corp/a", json!({ "end-of": { "user": "corp/a" } })),
        ("session end --all --yes", json!("end-all")),
    ] {
        assert_eq!(request(line), json!({ "control": { "session": expected } }), "{line}");
    }
    let check = |provider: &str, name: Value| json!({ "check": { "provider": provider, "name": name } });
    for (line, expected) in [
        ("provider list", json!("list")),
        ("provider check corp", check("corp", Value::Null)),
        ("provider check https://a.example --name a", check("https://a.example", "a".into())),
    ] {
        assert_eq!(request(line), json!({ "provider": expected }), "{line}");
    }
}

#[test]
fn an_answer_that_tells_of_a_fault_is_printed_and_fails() {
    let answer =
        Answer { text: Some("FAULT".to_owned()), failed: Some("why".to_owned()), ..Answer::default() };
    assert_eq!(show(answer, Finish::default(), false), Err("why".to_owned()));
}

#[test]
fn an_import_carries_the_file() {
    let file = std::env::temp_dir().join(format!("doorward-import-{}.toml", std::process::id()));
    std::fs::write(&file, "[[user]]\n").unwrap();
    let found = request(&format!("import {} --dry-run --prune", file.display()));
    let expected =
        json!({ "text": "[[user]]\n", "file": file, "prune": true, "again": false, "dry_run": true });
    assert_eq!(found, json!({ "import": expected }));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_typed_wrong_is_refused() {
    for line in [
        "user add alice",
        "user add corp/a --email nobody",
        "user set corp/a --email a@b.example --no-email",
        "user add corp/a --contract-end tomorrow",
        "group set corp/g",
        "device add d --owner corp/a",
        "device add d --owner corp/a --new-key --public-key BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        "device set d --platform amiga",
        "connector token fra --ttl soon",
        "restore",
        "restore /b --confirm",
        "restore --confirm --yes",
        "audit grep",
        "session end",
        "session end --all",
        "session end --yes",
        "session end s1 --yes",
        "session end s1 --all --yes",
        "session end --user corp/a --device d",
        "provider check",
        "provider check corp --name a/b",
    ] {
        let words = std::iter::once("admin").chain(line.split(' '));
        let error = Cli::try_parse_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    for facts in ["managed", "managed=maybe", "managed=true managed=false", "colour=red", "os_version=x"] {
        let words = ["admin", "device", "posture", "d"].into_iter().chain(facts.split(' '));
        let cli = Cli::try_parse_from(words).unwrap();
        assert!(cli.admin.noun.asked().is_err(), "{facts}");
    }
}

#[test]
fn a_new_private_key_stays_here() {
    let asked = asked("device add phone --owner corp/a --new-key");
    let private = asked.finish.private_key.as_ref().expect("a key").expose().clone();
    let sent = serde_json::to_string(&asked.request).unwrap();
    assert!(!sent.contains(&private) && !format!("{:?}", asked.finish).contains(&private));
    let text = format!("PrivateKey = {}\n", crate::device_config::PLACEHOLDER);
    let mut answer = Answer { data: json!({ "id": "phone" }), text: Some(text), ..Answer::default() };
    asked.finish.apply(&mut answer).unwrap();
    let expected = format!("PrivateKey = {private}\n");
    assert_eq!(print::rendered(&answer, false), expected);
    assert_eq!(answer.data["config"], expected);
    assert_eq!(answer.notes.len(), 1);
}

#[test]
fn answers_look_like_tables_lists_texts_and_json() {
    let data =
        json!([{ "id": "a", "groups": ["g", "h"], "more": 1 }, { "id": "longer\u{1b}[1m", "groups": [] }]);
    let columns = vec!["id".to_owned(), "groups".to_owned()];
    let list = Answer { data, columns, ..Answer::default() };
    assert_eq!(print::rendered(&list, false), "id          groups\na           g, h\nlonger [1m  -\n");
    let one = Answer { data: json!({ "id": "a", "disabled": null }), ..Answer::default() };
    let lines = print::rendered(&one, false);
    let lines: std::collections::BTreeSet<_> = lines.lines().collect();
    assert_eq!(lines, ["disabled  -", "id        a"].into());
    let said = Answer { text: Some("done".to_owned()), ..one };
    assert_eq!(print::rendered(&said, false), "done\n");
    let json: Value = serde_json::from_str(&print::rendered(&said, true)).unwrap();
    assert_eq!(json, said.data);
}
