//! Every HTTP endpoint of ours on every listener, asked by who is nobody, signed out, and signed in.
//! Always true: an endpoint that is not in the table fails, as does a table that lists what is not there;
//! whoever proves nothing gets no more than the table says, and writes nothing.

use std::collections::BTreeSet;

use tokio::net::TcpStream;

use self::On::{Clear, Door, Outside, Private};
use super::Route;
use crate::{
    door,
    health::{self, Health},
    http::tests::client::{Answer, Client},
    outside::{
        self,
        tests::{NAME, Outdoors},
    },
    status,
};

/// A listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum On {
    /// The internet.
    Outside,
    /// The door over TLS.
    Door,
    /// The door in the clear, inside the tunnel.
    Clear,
    /// Probes and scrapers.
    Private,
}

const LISTENERS: [On; 4] = [Outside, Door, Clear, Private];

/// One endpoint.
struct Row {
    on: On,
    method: &'static str,
    path: &'static str,
    /// What is asked, if something in the path varies or it wants parameters.
    asked: &'static str,
    /// What a device that is not enrolled gets, one that is signed out, one that is signed in. Where no
    /// device can be told from another, all three are the same.
    gets: [u16; 3],
    /// Why somebody who proves nothing is answered with something else than a refusal.
    why: &'static str,
}

const fn row(
    on: On,
    (method, path): (&'static str, &'static str),
    asked: &'static str,
    gets: [u16; 3],
    why: &'static str,
) -> Row {
    Row { on, method, path, asked, gets, why }
}

const ROOT: &str = "the root that devices have to trust is public, and is asked for before it is trusted";
const STANDING: &str = "a device is told of itself; the tunnel has proven which it is";
const PROBE: &str = "it says nothing but that it lives";
const NETWORK: &str =
    "who reaches the private listener is the network's business; it reads, and names no person";

/// All of them. Beside these stand the front of apps, where each request is decided, and the one redirect
/// for plain HTTP into a network, which answers whatever is asked with the way to the door.
const TABLE: &[Row] = &[
    row(Outside, ("POST", "/backchannel-logout/{provider}"), "/backchannel-logout/corp", [400; 3], ""),
    row(Outside, ("GET", "/healthz"), "/healthz", [200; 3], PROBE),
    row(Door, ("GET", "/"), "/", [200; 3], "it says who one is here, or where to sign in"),
    row(Door, ("GET", "/sign-in"), "/sign-in", [303; 3], "it leads to a provider, and is where one signs in"),
    row(Door, ("GET", "/callback/{provider}"), "/callback/corp?state=s&code=c", [400; 3], ""),
    row(Door, ("POST", "/sign-out"), "/sign-out", [303, 303, 200], "there is nothing to end: it leads on"),
    row(
        Door,
        ("GET", "/signed-out"),
        "/signed-out",
        [200; 3],
        "it says what has happened, to anyone the same",
    ),
    row(Door, ("GET", "/device"), "/device", [200; 3], STANDING),
    row(Door, ("GET", "/certificate"), "/certificate", [200; 3], ROOT),
    row(Door, ("GET", "/ca.pem"), "/ca.pem", [200; 3], ROOT),
    row(Door, ("GET", "/ca.cer"), "/ca.cer", [200; 3], ROOT),
    row(Clear, ("GET", "/device"), "/device", [200; 3], STANDING),
    row(Clear, ("GET", "/certificate"), "/certificate", [200; 3], ROOT),
    row(Clear, ("GET", "/ca.pem"), "/ca.pem", [200; 3], ROOT),
    row(Clear, ("GET", "/ca.cer"), "/ca.cer", [200; 3], ROOT),
    row(Private, ("GET", "/healthz"), "/healthz", [200; 3], PROBE),
    row(Private, ("GET", "/readyz"), "/readyz", [200; 3], NETWORK),
    row(Private, ("GET", "/metrics"), "/metrics", [200; 3], NETWORK),
];

/// What programs of this kind were found to serve where they should not.
const ELSEWHERE: [&str; 16] = [
    "/debug/pprof/",
    "/debug/vars",
    "/status",
    "/config",
    "/admin",
    "/api",
    "/version",
    "/ping",
    "/robots.txt",
    "/favicon.ico",
    "/.well-known/openid-configuration",
    "/.well-known/acme-challenge/x",
    "/oauth2/auth",
    "/metrics/",
    "//healthz",
    "/backchannel-logout/",
];

const METHODS: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"];

impl On {
    /// What is really served.
    fn routes(self) -> BTreeSet<(&'static str, &'static str)> {
        fn listed<S>(routes: impl IntoIterator<Item = Route<S>>) -> BTreeSet<(&'static str, &'static str)> {
            routes.into_iter().map(|route| (route.method, route.path)).collect()
        }
        match self {
            Outside => listed(outside::routes()),
            Door => listed(door::secure_routes()),
            Clear => listed(door::plain_routes()),
            Private => listed(health::routes(Health::default(), || async { Ok(status::example()) })),
        }
    }

    fn rows(self) -> impl Iterator<Item = &'static Row> {
        TABLE.iter().filter(move |row| row.on == self)
    }

    /// What a path gets that nobody listed.
    fn nothing(self) -> u16 {
        match self {
            Outside | Door | Private => 404,
            // To https, where it is not found either.
            Clear => 308,
        }
    }
}

/// Everything that listens.
struct Everything {
    outdoors: Outdoors,
    private: std::net::SocketAddr,
}

impl Everything {
    async fn new() -> Self {
        let outdoors = Outdoors::new().await;
        let listeners = health::bind(&["127.0.0.1:0".parse().expect("an address")]).await.expect("a port");
        let private = listeners[0].local_addr().expect("bound");
        health::serve(listeners, &Health::default(), || async { Ok(status::example()) });
        Self { outdoors, private }
    }

    async fn ask(&self, on: On, device: &str, method: &str, path: &str) -> Answer {
        let (mut client, host) = match on {
            Outside => (self.outdoors.client().await, NAME),
            Door => (self.outdoors.world.visit(device, true), "door.corp.example"),
            Clear => (self.outdoors.world.visit(device, false), "door.corp.example"),
            Private => {
                let stream = TcpStream::connect(self.private).await.expect("connected");
                (Client::over(Box::new(stream)), "private")
            }
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        let body = if method == "POST" {
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b"
        } else {
            "\r\n"
        };
        client.ask_whole(&format!("{head}{body}")).await
    }
}

#[test]
fn every_endpoint_is_in_the_table_and_every_exception_has_its_reason() {
    for on in LISTENERS {
        let listed: BTreeSet<_> = on.rows().map(|row| (row.method, row.path)).collect();
        assert_eq!(on.routes(), listed, "{on:?}");
    }
    for row in TABLE {
        let [unknown, ..] = row.gets;
        assert_eq!(unknown < 400, !row.why.is_empty(), "{:?} {}: {:?}", row.on, row.path, row.why);
    }
}

#[tokio::test]
async fn every_endpoint_gives_everybody_what_the_table_says() {
    let everything = Everything::new().await;
    let world = &everything.outdoors.world;
    let before = world.kept().await.meta.revision;
    for row in TABLE {
        for (device, expected) in ["ghost", "laptop"].into_iter().zip(row.gets) {
            let answer = everything.ask(row.on, device, row.method, row.asked).await;
            assert_eq!(answer.status, expected, "{:?} {} by {device}: {answer:?}", row.on, row.path);
            assert!(!answer.body.contains("alice@corp.example"), "{} names a person: {answer:?}", row.path);
        }
    }
    assert_eq!(world.kept().await.meta.revision, before, "who is not signed in has written");
    for row in TABLE {
        if !world.is_in("laptop") {
            world.sign_in("laptop", "alice", "s1").await;
        }
        let [.., expected] = row.gets;
        let answer = everything.ask(row.on, "laptop", row.method, row.asked).await;
        assert_eq!(answer.status, expected, "{:?} {}: {answer:?}", row.on, row.path);
    }
}

#[tokio::test]
async fn a_path_answers_its_own_method_only() {
    let everything = Everything::new().await;
    for row in TABLE {
        for method in METHODS.into_iter().filter(|method| *method != row.method) {
            let answer = everything.ask(row.on, "laptop", method, row.asked).await;
            assert_eq!(answer.status, 405, "{:?} {method} {}: {answer:?}", row.on, row.path);
        }
    }
}

/// Case H13.
#[tokio::test]
async fn no_listener_answers_what_is_anothers() {
    let everything = Everything::new().await;
    for on in LISTENERS {
        let own: BTreeSet<_> = on.rows().map(|row| row.asked).collect();
        let others = TABLE.iter().map(|row| row.asked).filter(|path| !own.contains(path));
        for path in others.chain(ELSEWHERE).collect::<BTreeSet<_>>() {
            let answer = everything.ask(on, "laptop", "GET", path).await;
            assert_eq!(answer.status, on.nothing(), "{on:?} {path}: {answer:?}");
            assert!(on == Door || answer.body.is_empty(), "{on:?} {path}: {answer:?}");
        }
    }
}

/// What is served is made from a list, so that the table above is all of it.
#[test]
fn nothing_is_served_beside_the_lists() {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut made = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("Router::new(")) {
                made.insert(path.file_name().expect("a name").to_string_lossy().into_owned());
            }
        }
    }
    // The list's own maker, what looks for it, and a provider of the tests'.
    assert_eq!(made.into_iter().collect::<Vec<_>>(), ["provider.rs", "routes.rs", "walk.rs"]);
}
