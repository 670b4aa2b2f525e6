//! What we answer ourselves, and what we write down.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::{
    client::request,
    world::{World, soon},
};

#[tokio::test]
async fn a_person_denied_reads_why_and_what_helps() {
    let world = World::new().await;
    let answer = world.ask("GET", "/denied?q=%3Cscript%3E", &["Accept: text/html"]).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.values("content-type"), ["text/html; charset=utf-8"]);
    for part in [
        "You cannot open this now",
        "wiki-hours",
        "device.disk_encrypted is missing",
        "Turn on disk encryption",
        "Opens again",
    ] {
        assert!(answer.body.contains(part), "{part} not in {}", answer.body);
    }
    let id = answer.values("x-request-id").concat();
    assert!(answer.body.contains(&id) && !answer.body.contains("<script"));
    let policy = answer.values("content-security-policy").concat();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert!(answer.values("server").is_empty());
}

#[tokio::test]
async fn programs_and_terminals_are_told_the_same() {
    let world = World::new().await;
    let json = world.ask("POST", "/denied", &["Accept: application/json", "Content-Length: 0"]).await;
    let told: serde_json::Value = serde_json::from_str(&json.body).expect("JSON");
    assert_eq!((json.status, &told["error"]), (403, &"condition_not_met".into()));
    let rules: Vec<_> =
        told["reasons"].as_array().expect("reasons").iter().map(|reason| reason["rule"].clone()).collect();
    assert!(rules.contains(&"wiki-hours".into()), "{told}");
    let text = world.ask("GET", "/denied", &["Accept: */*"]).await;
    assert_eq!(text.values("content-type"), ["text/plain; charset=utf-8"]);
    assert!(text.body.contains("device.disk_encrypted is missing"), "{}", text.body);
    let head = world.ask("HEAD", "/denied", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (403, ""));
}

#[tokio::test]
async fn a_denial_leaves_the_connection_usable() {
    let world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        let denied = request("POST", "/denied", &["Content-Length: 4"]) + "body";
        assert_eq!(client.ask_whole(&denied).await.status, 403);
        assert_eq!(client.ask("GET", "/fine", &[]).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_app_is_not_the_persons_fault() {
    let world = World::with(r#"upstream = "http://127.0.0.1:1""#).await;
    let answer = world.ask("GET", "/", &["Accept: text/html"]).await;
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("The fault is at the app or its site"), "{}", answer.body);
    assert!(answer.values("server").is_empty());
    let world = World::new().await;
    assert_eq!(world.ask("GET", "/gone", &[]).await.status, 502);
}

#[tokio::test]
async fn what_is_not_http_is_refused_in_our_own_words() {
    let world = World::new().await;
    for garbage in
        ["NOT HTTP AT ALL\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"]
    {
        let answer = world.raw(garbage).await;
        assert_eq!(answer.status, 400, "{garbage}");
        assert!(!answer.head.contains("ingora"), "{}", answer.head);
        assert_eq!(answer.values("connection"), ["close"]);
    }
    let answer = world.raw("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert!(!answer.head.contains("ingora"), "{}", answer.head);
}

#[tokio::test]
async fn trace_connect_and_folded_methods_are_refused() {
    let world = World::new().await;
    for method in ["TRACE", "get", "Post"] {
        let answer = world.ask(method, "/", &[]).await;
        assert_eq!((answer.status, answer.values("server").len()), (405, 0), "{method}");
    }
    let answer =
        world.raw("CONNECT wiki.corp.example:80 HTTP/1.1\r\nHost: wiki.corp.example:80\r\n\r\n").await;
    assert_eq!((answer.status, answer.values("server").len()), (405, 0));
    assert!(world.app.seen().is_empty() && world.questions().is_empty());
}

#[tokio::test]
async fn too_large_a_head_is_refused() {
    let world = World::new().await;
    let answer = world.ask("GET", "/", &[&format!("X-Big: {}", "a".repeat(70_000))]).await;
    assert_eq!(answer.status, 431);
    assert!(world.questions().is_empty());
}

#[tokio::test]
async fn an_upload_that_nobody_reads_still_gets_its_answer() {
    let world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        client.send(request("POST", "/denied", &["Content-Length: 300000"]).as_bytes()).await;
        client.send(&vec![b'x'; 300_000]).await;
        assert_eq!(client.answer(false).await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn connections_to_the_app_are_kept_and_shared() {
    let world = World::new().await;
    soon(async {
        let mut client = world.client().await;
        for _ in 0..5 {
            assert_eq!(client.ask("GET", "/", &[]).await.status, 200);
        }
    })
    .await;
    assert_eq!(world.ask("GET", "/", &["Connection: close"]).await.values("connection"), ["close"]);
    assert_eq!(world.app.seen().len(), 6);
    assert!(world.app.connections() <= 2, "{}", world.app.connections());
}

/// Where log lines of this thread go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_request_leaves_one_decision_line_and_no_query() {
    let world = World::new().await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    for target in ["/a?secret=1", "/denied/x?secret=1", "/../?secret=1"] {
        world.ask("GET", target, &[]).await;
    }
    world.raw("GET /?secret=1 HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    drop(guard);
    let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("UTF-8");
    assert!(!text.contains("secret"), "{text}");
    let parsed = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let decisions: Vec<_> = parsed.filter(|line| line["target"] == "decision").collect();
    let told =
        |name: &str| decisions.iter().map(|line| line[name].as_str().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(told("decision"), ["allow", "deny", "refuse", "refuse"]);
    assert_eq!(told("reason"), ["-", "condition_not_met", "bad_path", "misdirected"]);
    assert_eq!(told("path"), ["/a", "/denied/x", "-", "-"]);
    assert_eq!(told("user"), ["corp/alice", "corp/alice", "-", "-"]);
    assert_eq!(told("policies").first(), Some(&"everyone"));
    assert!(
        decisions
            .iter()
            .all(|line| line["device"] == "laptop" && line["app"] == "wiki" && line["latency_us"].is_u64())
    );
}
