//! Who is answered at all: by their address, their pace, the name they ask for, and how many there are.

use std::sync::Mutex;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    outside::sources::{MOST, MOST_OF_ONE},
    testing::provider::Fake,
};

/// As a proxy of ours would say it, if there were one.
const FORGED: [&str; 5] = [
    "X-Forwarded-For: 203.0.113.7",
    "Forwarded: for=203.0.113.7",
    "X-Real-IP: 203.0.113.7",
    "CF-Connecting-IP: 203.0.113.7",
    "Content-Type: application/x-www-form-urlencoded",
];

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().expect("no panic"), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Outdoors {
    /// Lets a source have said all it may for now.
    fn exhaust(&self, from: &str) {
        // In the future, so that nothing is earned until the next question.
        let ahead = Instant::now() + Duration::from_secs(3600);
        let mut rates = self.outside.0.rates.lock().expect("no panic");
        while rates.take(&from.parse().expect("an address"), ahead) {}
    }

    /// Whether a connection from there is let go without a word.
    async fn is_turned_away(&self, from: &str) -> bool {
        let mut socket = self.socket(from).await;
        matches!(socket.read(&mut [0]).await, Ok(0) | Err(_))
    }

    /// One that holds its place, and is known to.
    async fn held(&self, from: &str) -> TlsStream<TcpStream> {
        self.secured(from, NAME).await.expect("a place")
    }
}

/// Case C6.
#[tokio::test]
async fn what_a_header_says_of_the_sender_counts_for_nothing() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _caught = tracing::subscriber::set_default(subscriber);
    let outdoors = Outdoors::new().await;
    let (body, header) = ("logout_token=x", "X-Forwarded-For: 127.0.0.1");
    let status = async |from: &str, headers: &[&str]| {
        post_by(&mut outdoors.client_from(from).await, "corp", headers, body).await.status
    };
    outdoors.exhaust("127.0.0.1");
    assert_eq!(status("127.0.0.1", &FORGED).await, 429, "nobody else's allowance is used");
    outdoors.exhaust("203.0.113.7");
    let to_blame = [header, FORGED[4]];
    assert_eq!(status("127.0.0.2", &FORGED).await, 400, "nor is one's own anybody else's");
    assert_eq!(status("127.0.0.2", &to_blame).await, 400);
    assert_eq!(outdoors.refused("outside_rate"), 1);
    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("UTF-8");
    assert!(text.contains("source=127.0.0.1") && !text.contains("203.0.113.7"), "{text}");
}

#[tokio::test]
async fn who_says_too_much_is_not_verified_and_the_rest_is_served() {
    let outdoors = Outdoors::new().await;
    let fake = outdoors.world.fake.clone();
    let mut claims = fake.logout("j1");
    claims["sub"] = json!("alice");
    let token = fake.sign(&Fake::header(), &claims);
    outdoors.exhaust("127.0.0.1");
    let answer = outdoors.show(&token).await;
    assert_eq!((answer.status, &*error(&answer)), (429, "temporarily_unavailable"));
    let mut other = outdoors.client_from("127.0.0.2").await;
    let body = format!("logout_token={token}");
    let answer = post_by(&mut other, "corp", &FORGED[4..], &body).await;
    assert_eq!(answer.status, 200, "and what was not looked at is not used up");
}

#[tokio::test]
async fn so_many_connections_in_all_and_from_one_source() {
    let outdoors = Outdoors::new().await;
    let mut open = Vec::new();
    for n in 0..MOST / MOST_OF_ONE {
        let from = format!("127.0.1.{n}");
        for _ in 0..MOST_OF_ONE {
            open.push(outdoors.held(&from).await);
        }
    }
    assert!(outdoors.is_turned_away("127.0.1.0").await);
    assert_eq!((outdoors.refused("outside_source_full"), outdoors.refused("outside_full")), (1, 0));
    assert!(outdoors.is_turned_away("127.0.2.1").await);
    assert_eq!(outdoors.refused("outside_full"), 1);
    drop(open.pop());
    // The place is free once the gateway has seen the end.
    while outdoors.secured("127.0.2.1", NAME).await.is_err() {}
}

#[tokio::test]
async fn who_dawdles_is_let_go() {
    let outdoors = Outdoors::new().await;
    let head = format!("POST /backchannel-logout/corp HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 9\r\n");
    for (sent, slow) in [
        (String::new(), false),
        ("GET /healthz HT".to_owned(), false),
        (format!("{head}Content-Type: application/x-www-form-urlencoded\r\n\r\nlogout"), true),
    ] {
        let before = outdoors.refused("outside_slow");
        let mut client = outdoors.secured("127.0.0.1", NAME).await.expect("secured");
        client.write_all(sent.as_bytes()).await.expect("sent");
        tokio::time::pause();
        // Ended by a close or a reset; a hang would end this test.
        let _ = client.read_to_end(&mut Vec::new()).await;
        tokio::time::resume();
        assert_eq!(outdoors.refused("outside_slow") - before, u64::from(slow), "{sent:?}");
    }
}

#[tokio::test]
async fn too_many_at_once_wait_and_are_told_to_come_back() {
    let outdoors = Outdoors::new().await;
    let busy = outdoors.outside.0.verifying.clone();
    let all = busy.acquire_many(u32::try_from(AT_ONCE).expect("few")).await.expect("open");
    let mut client = outdoors.client().await;
    let body = "logout_token=x";
    tokio::time::pause();
    let answer = post_by(&mut client, "corp", &FORGED[4..], body).await;
    tokio::time::resume();
    assert_eq!((answer.status, &*error(&answer)), (503, "temporarily_unavailable"));
    assert_eq!(outdoors.refused("outside_busy"), 1);
    drop(all);
    assert_eq!(post_by(&mut client, "corp", &FORGED[4..], body).await.status, 400, "it is looked at now");
}

#[tokio::test]
async fn only_its_own_name_is_served() {
    let outdoors = Outdoors::new().await;
    // The portal's name is ours, but does not stand here.
    for name in ["door.corp.example", "desk.corp.example", "evil.example"] {
        assert!(outdoors.secured("127.0.0.1", name).await.is_err(), "{name}");
    }
    assert_eq!(outdoors.refused("outside_tls_unknown_name"), 3);
    let mut client = outdoors.client().await;
    for (host, status) in [
        (NAME, 200),
        ("JOIN.corp.example:8443", 200),
        ("door.corp.example", 421),
        ("evil.example", 421),
        ("", 421),
    ] {
        let answer = client.ask_whole(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.values("cache-control"), ["no-store"]);
    }
}

#[tokio::test]
async fn while_draining_nobody_is_let_in() {
    let outdoors = Outdoors::new().await;
    let mut client = outdoors.client().await;
    outdoors.drain.send(true).expect("it listens");
    // Refused, or let go by the close of the listener, once that has happened.
    while let Ok(socket) = TcpStream::connect(outdoors.address).await {
        drop(socket);
    }
    let answer = client.ask_whole(&format!("GET /healthz HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await;
    assert_eq!(answer.status, 200, "who is there already is served");
    drop(client);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("a port");
    let address = taken[0].local_addr().expect("bound");
    let error = bind(&[address]).expect_err("it is taken").to_string();
    assert!(error.starts_with(&format!("join.listen {address}: ")), "{error}");
    // Both families on one port, as the configuration suggests.
    let port = address.port();
    drop(taken);
    let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
    let both = both.map(|address| address.parse().expect("an address"));
    assert_eq!(bind(&both).expect("both").len(), 2);
}
