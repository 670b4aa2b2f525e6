//! The binary as demos use it: certificates, the line that says it is ready, SIGHUP.

use std::{fs, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    browser::Browser,
    client::{refusal, text},
    world::{self, Folder},
};

const BINARY: &str = env!("CARGO_BIN_EXE_doorward-dev-provider");

/// The first line with `part` in it.
async fn line_with(lines: impl AsyncBufRead + Unpin, part: &str) -> String {
    let mut lines = lines.lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(part) {
            return line;
        }
    }
    panic!("it ended before it said {part:?}")
}

#[tokio::test]
async fn the_binary_starts_from_nothing_and_reads_people_again() {
    let folder = Folder::new();
    // An address of loopback that no other process of these tests has.
    let [.., b, c] = std::process::id().to_be_bytes();
    let (host, out) = (format!("127.90.{b}.{c}"), folder.0.join("made"));
    let make = || {
        Command::new(BINARY)
            .args(["certificate", "--names", &format!("idp.example,{host}"), "--out"])
            .arg(&out)
            .output()
    };
    assert!(make().await.unwrap().status.success());
    let again = make().await.unwrap();
    assert!(!again.status.success() && String::from_utf8(again.stderr).unwrap().contains("server.key"));

    let (file, address) = (out.join("provider.toml"), format!("{host}:8443").parse().unwrap());
    let issuer = format!("https://{host}:8443");
    let write = |disabled| {
        fs::write(&file, world::text(&format!("{host}:8443"), &issuer, address, disabled)).unwrap()
    };
    write(false);
    let mut running = Command::new(BINARY)
        .args(["run", "--config"])
        .arg(&file)
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (said, mut log) = (running.stdout.take().unwrap(), BufReader::new(running.stderr.take().unwrap()));
    assert_eq!(line_with(BufReader::new(said), "").await, format!("ready {issuer}"));

    let mut browser = Browser::at(&issuer, address, world::trust(&file.with_file_name("ca.pem")));
    let page = browser.login_page(&[]).await;
    assert_eq!(page.status, 200);
    let back = browser.fill(&page, "u-1", "countess", "").await.location();
    let tokens = browser.redeem(&crate::client::code(&back)).await;

    let id = Pid::from_raw(running.id().unwrap().try_into().unwrap());
    fs::write(&file, "listen = 1\n").unwrap();
    kill(id, Signal::SIGHUP).unwrap();
    line_with(&mut log, "reload refused").await;
    let tokens = browser.refresh(&text(&tokens, "refresh_token")).await;
    write(true);
    kill(id, Signal::SIGHUP).unwrap();
    line_with(&mut log, "the people are read again").await;
    assert_eq!(refusal(&browser.refresh(&text(&tokens, "refresh_token")).await), "invalid_grant");

    kill(id, Signal::SIGTERM).unwrap();
    assert!(running.wait().await.unwrap().success());
}

#[tokio::test]
async fn help_teaches_and_warns() {
    let help = Command::new(BINARY).arg("--help").output().await.unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for part in ["FOR DEVELOPMENT", "[[client]]", "certificate --names", "ready https://"] {
        assert!(help.contains(part), "{part} is missing in:\n{help}");
    }
}
