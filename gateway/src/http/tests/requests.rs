//! What reaches the app, and what never does.

use super::{client::request, world::World};

/// Headers by which a client could say who it is, what it asked for or where it comes from.
const SPOOFED: [&str; 24] = [
    "X-Forwarded-User: corp/root",
    "x-forwarded-user: corp/root",
    "X_Forwarded_User: corp/root",
    "X-Forwarded_User: corp/root",
    "X.Forwarded.User: corp/root",
    "X-FORWARDED-EMAIL: root@corp.example",
    "X_FORWARDED_EMAIL: root@corp.example",
    "X-Forwarded-Groups: corp/admins",
    "X_forwarded-groups: corp/admins",
    "X-Forwarded-For: 1.2.3.4",
    "X_Forwarded_For: 1.2.3.4",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Prefix: /x",
    "Forwarded: for=1.2.3.4",
    "X-Real-IP: 1.2.3.4",
    "X_Real_IP: 1.2.3.4",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "X_Original_URI: /admin",
    "X-Doorward-Assertion: ey",
    "X-Request-Id: mine",
    "Remote-User: root",
    "Proxy: http://evil.example",
];

#[tokio::test]
async fn h1_h3_the_app_sees_our_identity_once_whatever_the_client_sends() {
    let world = World::new().await;
    assert_eq!(world.ask("GET", "/", &SPOOFED).await.status, 200);
    let seen = world.app.last();
    for (name, value) in [
        ("x-forwarded-user", "corp/alice"),
        ("x-forwarded-email", "alice@corp.example"),
        ("x-forwarded-groups", "corp/dev,corp/ops"),
        ("x-forwarded-for", "100.64.0.9"),
        ("x-forwarded-host", "wiki.corp.example"),
        ("x-forwarded-proto", "http"),
        ("host", "wiki.corp.example"),
    ] {
        assert_eq!(seen.values(name), [value], "{name} in {}", seen.head);
    }
    assert_eq!(seen.values("x-request-id").len(), 1);
    let mut names = seen.names();
    names.sort();
    let ours = [
        "host",
        "x-forwarded-email",
        "x-forwarded-for",
        "x-forwarded-groups",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-user",
        "x-request-id",
    ];
    assert_eq!(names, ours, "nothing else came through: {}", seen.head);
    assert_eq!(seen.target(), "/");
}

#[tokio::test]
async fn h1_the_apps_own_names_are_protected_too() {
    let world = World::with(r#"identity = { user = "X-Who", email = "X-Mail", groups = "X-Teams" }"#).await;
    world
        .ask(
            "GET",
            "/",
            &["X-Who: root", "x_who: root", "X-Teams: root", "X_TEAMS: root", "X-Forwarded-User: root"],
        )
        .await;
    let seen = world.app.last();
    assert_eq!(seen.values("x-who"), ["corp/alice"]);
    assert_eq!(seen.values("x-teams"), ["corp/dev,corp/ops"]);
    assert!(!seen.head.contains("root"), "{}", seen.head);
}

#[tokio::test]
async fn h1_a_connection_header_cannot_take_our_identity_off() {
    let world = World::new().await;
    let answer = world.ask("GET", "/", &["Connection: close, X-Forwarded-User, X-Forwarded-Groups"]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.app.last().values("x-forwarded-user"), ["corp/alice"]);
    let answer = world.ask("GET", "/", &["Connection: close, X-Forwarded-For"]).await;
    assert_eq!(answer.status, 400, "{}", answer.head);
}

#[tokio::test]
async fn h2_the_decided_path_is_the_forwarded_path() {
    let pieces = [
        "a", "/", "//", "..", ".", "%2e", "%2E%2e", "%2f", "%2F", "%5c", ";x", "%3b", "%252e", "%25", "%41",
        "%c3%a9", "%", "%00", "?q=/../", "~",
    ];
    for mode in ["", "path = \"strict\"", "path = \"verbatim\""] {
        let world = World::with(mode).await;
        for first in pieces {
            for second in pieces {
                let target = format!("/{first}{second}/z");
                let (asked, seen) = (world.questions().len(), world.app.seen().len());
                let answer = world.ask("GET", &target, &[]).await;
                if answer.status == 400 {
                    assert_eq!((world.questions().len(), world.app.seen().len()), (asked, seen), "{target}");
                    continue;
                }
                assert_eq!(answer.status, 200, "{target}");
                let forwarded = world.app.last().target().to_owned();
                let path = forwarded.split('?').next().map(str::to_owned);
                assert_eq!(world.last_question().paths.first().cloned(), path, "{target}");
                if mode.contains("verbatim") {
                    assert_eq!(forwarded, target);
                }
            }
        }
    }
}

#[tokio::test]
async fn h2_apps_that_need_odd_paths_still_work() {
    let world = World::new().await;
    for target in [
        "/api/v4/projects/group%2Fproject",
        "/api/queues/%2F/jobs",
        "/b/k%20ey//x?X-Amz-Signature=a%2Fb&c=/../",
    ] {
        assert_eq!(world.ask("GET", target, &[]).await.status, 200, "{target}");
        assert_eq!(world.app.last().target(), target);
    }
    assert_eq!(
        world
            .raw("GET http://wiki.corp.example/a?b HTTP/1.1\r\nHost: wiki.corp.example\r\n\r\n")
            .await
            .status,
        200
    );
    assert_eq!(world.app.last().target(), "/a?b");
}

#[tokio::test]
async fn h2_every_reading_is_asked_about() {
    let world = World::new().await;
    for target in ["/denied/x", "//denied/x", "/%2Fdenied", "/denied%2Fx", "/denied;a=b/x", "/%64enied"] {
        assert_eq!(world.ask("GET", target, &[]).await.status, 403, "{target}");
    }
    assert!(world.app.seen().is_empty());
}

#[tokio::test]
async fn h3_forwarding_headers_change_no_decision() {
    let world = World::new().await;
    for header in SPOOFED {
        world.ask("GET", "/a", &[header]).await;
        let question = world.last_question();
        assert_eq!(
            (question.method.as_str(), question.host.as_str()),
            ("GET", "wiki.corp.example"),
            "{header}"
        );
        assert_eq!((question.paths.as_slice(), question.write), (&["/a".to_owned()][..], false), "{header}");
    }
    assert_eq!(world.ask("GET", "/denied", &["X-Original-URL: /a", "X-Rewrite-URL: /a"]).await.status, 403);
}

#[tokio::test]
async fn h4_no_attribute_of_a_request_opens_a_denied_app() {
    let world = World::new().await;
    for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "PURGE", "X-A"] {
        for header in [
            "User-Agent: kube-probe/1.2",
            "Host-Override: x",
            "Authorization: Bearer x",
            "Cookie: session=1",
            "Range: bytes=0-",
        ] {
            let answer = world.ask(method, "/denied/health?public=1", &[header]).await;
            assert_eq!(answer.status, 403, "{method} {header}");
        }
    }
    for host in [
        "localhost",
        "127.0.0.1",
        "100.64.128.7",
        "other.corp.example",
        "wiki.corp.example.evil",
        "wiki.corp.example:81",
        "[::1]",
    ] {
        let answer = world.raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, 421, "{host}");
    }
    assert!(world.app.seen().is_empty());
}

#[tokio::test]
async fn h5_the_query_never_reaches_the_policies() {
    let world = World::new().await;
    for target in ["/a?/public", "/a?x=/denied", "/a?", "/a??b"] {
        assert_eq!(world.ask("GET", target, &[]).await.status, 200);
        assert_eq!(world.last_question().paths, ["/a"], "{target}");
        assert_eq!(world.app.last().target(), target);
    }
}

#[tokio::test]
async fn h14_the_app_never_sees_a_smuggled_request() {
    let world = World::new().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: wiki.corp.example\r\n\r\n";
    let length = smuggled.len();
    for headers in [
        vec!["Content-Length: 0", "Transfer-Encoding: chunked"],
        vec!["Transfer-Encoding: chunked", "Content-Length: 0"],
        vec!["Content-Length: 0", "Content-Length: 5"],
        vec!["Content-Length: 0, 0"],
        vec!["Content-Length: +0"],
        vec!["Content-Length: 0x0"],
        vec!["Content-Length: -1"],
        vec!["Transfer-Encoding: gzip, chunked"],
        vec!["Transfer-Encoding: chunked, identity"],
        vec!["Transfer-Encoding: xchunked"],
        vec!["Transfer-Encoding: chunked", "Transfer-Encoding: cow"],
        vec!["Transfer-Encoding : chunked"],
        vec!["Transfer-Encoding: \x0bchunked"],
        vec!["X: y\r\n Transfer-Encoding: chunked"],
        vec!["Upgrade: foo", "Content-Length: 5"],
        vec!["Content-Length: 3", "Content-Length: 3"],
    ] {
        let answer = world.raw(&format!("{}0\r\n\r\n{smuggled}", request("POST", "/", &headers))).await;
        assert_eq!(answer.status, 400, "{headers:?}");
        assert!(world.app.seen().is_empty(), "{headers:?}");
    }
    for headers in [
        vec!["Upgrade: foo"],
        vec!["Content_Length: 500"],
        vec!["Transfer_Encoding: chunked"],
        vec!["Content-Length: 0"],
    ] {
        let answer = world.raw(&format!("{}{smuggled}", request("GET", "/plain", &headers))).await;
        assert_eq!(answer.status, 200, "{headers:?}");
        assert_eq!(world.app.last().target(), "/plain", "{headers:?}");
        assert!(!world.app.last().head.contains('_'), "{headers:?}");
    }
    let body = format!("Content-Length: {length}");
    assert_eq!(world.raw(&format!("{}{smuggled}", request("POST", "/plain", &[&body]))).await.status, 200);
    assert_eq!(world.app.last().body, smuggled.as_bytes());
    assert!(world.app.seen().iter().all(|seen| seen.target() == "/plain"));
}

#[tokio::test]
async fn h14_bodies_arrive_whole_and_framed_once() {
    let world = World::new().await;
    let chunked = request("POST", "/up", &["Transfer-Encoding: chunked"]) + "3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(world.raw(&chunked).await.status, 200);
    let seen = world.app.last();
    assert_eq!((seen.values("transfer-encoding"), seen.values("content-length")), (vec!["chunked"], vec![]));
    assert_eq!(seen.body, b"3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(world.raw(&(request("POST", "/up", &["Content-Length: 3"]) + "abc")).await.status, 200);
    assert_eq!(world.app.last().body, b"abc");
}

#[tokio::test]
async fn h16_a_hostile_page_acts_on_nothing() {
    let world = World::new().await;
    let cross = "Sec-Fetch-Site: cross-site";
    let hostile: [(&str, &[&str]); 9] = [
        ("GET", &[cross, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"]),
        ("GET", &[cross, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Origin: http://evil.example"]),
        ("GET", &[cross, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"]),
        ("POST", &[cross, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Origin: null"]),
        ("POST", &["Origin: http://evil.example", "Content-Length: 0"]),
        ("DELETE", &["Origin: http://other.corp.example"]),
        ("POST", &["Sec-Fetch-Site: same-site", "Origin: http://other.corp.example"]),
        ("GET", &["Connection: Upgrade", "Upgrade: websocket", "Origin: http://evil.example"]),
        ("GET", &["X-HTTP-Method-Override: DELETE", "Origin: http://evil.example"]),
    ];
    for (method, headers) in hostile {
        assert_eq!(world.ask(method, "/ws", headers).await.status, 403, "{method} {headers:?}");
    }
    assert!(world.questions().is_empty() && world.app.seen().is_empty());
    let friendly: [(&str, &[&str]); 6] = [
        ("GET", &[cross, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]),
        ("POST", &["Sec-Fetch-Site: same-origin", "Origin: http://wiki.corp.example"]),
        ("POST", &[cross, "Sec-Fetch-Mode: cors", "Origin: https://portal.corp.example"]),
        ("GET", &["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]),
        ("POST", &["User-Agent: git/2.40"]),
        ("GET", &[]),
    ];
    for (method, headers) in friendly {
        assert_eq!(world.ask(method, "/", headers).await.status, 200, "{method} {headers:?}");
    }
}

#[tokio::test]
async fn d7_h17_only_the_apps_names_are_served_and_its_cookies_stay_with_it() {
    let world = World::new().await;
    for (host, status) in [
        ("wiki.corp.example", 200),
        ("WIKI.corp.example:80", 200),
        ("wiki.corp.example.", 200),
        ("docs.corp.example", 200),
        ("evil.example", 421),
        ("wiki.corp.example:8080", 421),
        ("wiki.corp.example:", 421),
    ] {
        let answer = world.raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{host}");
    }
    assert_eq!(world.questions().len(), 4);
    let answer = world.ask("GET", "/cookies", &[]).await;
    assert_eq!(answer.values("set-cookie"), ["a=1; Secure", "b=2"]);
    let clash = "GET http://evil.example/ HTTP/1.1\r\nHost: wiki.corp.example\r\n\r\n";
    assert_eq!(world.raw(clash).await.status, 400);
}

#[tokio::test]
async fn h18_upgrades_and_overrides_are_writes() {
    let world = World::new().await;
    let cases: [(&str, &[&str], bool); 9] = [
        ("GET", &[], false),
        ("HEAD", &[], false),
        ("OPTIONS", &[], false),
        ("PROPFIND", &[], false),
        ("POST", &[], true),
        ("PURGE", &[], true),
        ("GET", &["Upgrade: h2c", "Connection: Upgrade"], true),
        ("GET", &["X-HTTP-Method-Override: DELETE"], true),
        ("GET", &["x_http_method: PUT"], true),
    ];
    for (method, headers, write) in cases {
        assert_eq!(world.ask(method, "/", headers).await.status, 200, "{method} {headers:?}");
        assert_eq!(world.last_question().write, write, "{method} {headers:?}");
        let head = world.app.last().head.to_ascii_lowercase();
        assert!(!head.contains("method") && !head.contains("upgrade"), "{head}");
    }
    world.ask("GET", "/ws", &["Upgrade: websocket", "Connection: Upgrade"]).await;
    assert!(world.last_question().write);
}
