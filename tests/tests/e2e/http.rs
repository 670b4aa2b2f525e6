//! The HTTP path under attack: forged identities, ambiguous paths, disguised writes, foreign pages.
//! The mirror shows what the app really got.

use std::io::{ErrorKind, Read, Write};

use anyhow::Result;
use tests::{
    company::{STAFF, WIKI},
    device::Device,
    mirror::fields,
    probe::drain,
    scene::{Plan, Scene},
};

tests::tests![
    forged_identity_headers_never_arrive,
    an_ambiguous_path_is_refused,
    an_ordinary_path_arrives_as_it_was,
    the_path_that_was_judged_is_the_path_that_arrives,
    a_write_in_disguise_is_a_write,
    a_foreign_page_cannot_act,
    a_request_hidden_in_another_never_arrives,
    nothing_a_client_says_makes_an_app_public,
    an_unknown_host_is_misdirected,
];

const URL: &str = "http://wiki.corp.example/";

/// H1, H3: every spelling of every header that could name a person.
fn forged_identity_headers_never_arrive() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let names = [
        "X-Forwarded-User",
        "x-forwarded-user",
        "X_Forwarded_User",
        "X-Forwarded_User",
        "X-Forwarded-Email",
        "X_FORWARDED_EMAIL",
        "X-Forwarded-Groups",
        "x_forwarded_groups",
        "X-Doorward-Assertion",
        "X_Doorward_Assertion",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Forwarded",
        "X-Real-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Preferred-Username",
    ];
    for name in names {
        let head = laptop.page(&["--header", &format!("{name}: mallory"), URL])?;
        assert!(!head.contains("mallory"), "{name} went through:\n{head}");
    }
    // Asking the proxy to drop ours as a hop-by-hop header.
    let head = laptop.page(&["--header", "Connection: X-Forwarded-User, X-Forwarded-Email", URL])?;
    assert_eq!(fields(&head, "X-Forwarded-User").collect::<Vec<_>>(), ["corp/alice"]);
    assert_eq!(fields(&head, "X-Forwarded-Email").collect::<Vec<_>>(), ["alice@corp.example"]);
    Ok(())
}

fn code_of_path(laptop: &Device, path: &str) -> Result<u16> {
    laptop.code(&["--path-as-is", "--globoff", "--request-target", path, URL])
}

/// H2: what two programs could read in two ways is refused before anybody reads it.
fn an_ambiguous_path_is_refused() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let paths = [
        "/a/../b",
        "/a/./b",
        "/a/%2e%2e/b",
        "/a/%2E./b",
        "/a/..;x=1/b",
        "/a/%252e%252e/b",
        "/a\\b",
        "/a%5cb",
        "/a%00b",
        "/a%zz",
        "/a%2",
    ];
    for path in paths {
        assert_eq!(code_of_path(&laptop, path)?, 400, "{path}");
    }
    assert!(scene.mirror.heads().is_empty());
    Ok(())
}

/// H2: GitLab, RabbitMQ and object stores need these untouched.
fn an_ordinary_path_arrives_as_it_was() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for path in ["/group%2Fproject", "/api/queues/%2F", "/a//b", "/a;v=1/b", "/A/b/", "/x?q=../..", "/a%25b"]
    {
        let head = laptop.page(&["--path-as-is", "--globoff", "--request-target", path, URL])?;
        assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{path} became\n{head}");
    }
    Ok(())
}

/// H2: a policy about a path cannot be talked around.
fn the_path_that_was_judged_is_the_path_that_arrives() -> Result<()> {
    let mut plan = Plan::new()?;
    let open = STAFF.replace("Action::\"access\"", "Action::\"http_read\"").replace("action in", "action ==");
    let open = open.trim_end().trim_end_matches(';').to_owned() + "\nwhen { context.path like \"/open/*\" };";
    plan.company.policies.insert("staff", open);
    let scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    for (path, code) in [("/open/a", 200), ("/%6fpen/a", 200), ("/secret", 403), ("/open", 403)] {
        assert_eq!(code_of_path(&laptop, path)?, code, "{path}");
    }
    for path in [
        "/open/../secret",
        "/open/..%2Fsecret",
        "/open%2F..%2Fsecret",
        "//open/a",
        "/open%2Fa",
        "/secret;/open/a",
    ] {
        assert_ne!(code_of_path(&laptop, path)?, 200, "{path}");
    }
    let arrived = scene.mirror.heads();
    assert!(arrived.iter().all(|head| head.starts_with("GET /open/a ")), "{arrived:?}");
    Ok(())
}

/// H18: who may only read does not write by another name.
fn a_write_in_disguise_is_a_write() -> Result<()> {
    let mut plan = Plan::new()?;
    let read =
        STAFF.replace("action in Doorward::Action::\"access\"", "action == Doorward::Action::\"http_read\"");
    plan.company.policies.insert("staff", read);
    let scene = Scene::with(plan)?;
    let laptop = scene.device("laptop")?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "get", "BREW"] {
        let code = laptop.code(&["--request", method, URL])?;
        assert!([400, 403, 405].contains(&code), "{method}: {code}");
    }
    let upgrade = ["--header", "Connection: Upgrade", "--header", "Upgrade: websocket", URL];
    assert_eq!(laptop.code(&upgrade)?, 403);
    for name in ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X_HTTP_Method_Override"] {
        assert_eq!(laptop.code(&["--header", &format!("{name}: DELETE"), URL])?, 403, "{name}");
    }
    assert!(scene.mirror.heads().is_empty());
    Ok(())
}

/// H16: the tunnel is with the person wherever they browse; only pages of the app may use it.
fn a_foreign_page_cannot_act() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let hostile: [&[&str]; 6] = [
        &["--request", "POST", "--header", "Sec-Fetch-Site: cross-site", URL],
        &[
            "--header",
            "Sec-Fetch-Site: cross-site",
            "--header",
            "Sec-Fetch-Mode: no-cors",
            "--header",
            "Sec-Fetch-Dest: image",
            URL,
        ],
        &[
            "--header",
            "Sec-Fetch-Site: cross-site",
            "--header",
            "Sec-Fetch-Mode: navigate",
            "--header",
            "Sec-Fetch-Dest: iframe",
            URL,
        ],
        &["--request", "POST", "--header", "Sec-Fetch-Site: same-site", URL],
        &["--request", "POST", "--header", "Origin: https://evil.example", URL],
        &[
            "--header",
            "Connection: Upgrade",
            "--header",
            "Upgrade: websocket",
            "--header",
            "Origin: https://evil.example",
            URL,
        ],
    ];
    for arguments in hostile {
        assert_eq!(laptop.code(arguments)?, 403, "{arguments:?}");
    }
    assert!(scene.mirror.heads().is_empty());
    let navigation = [
        "--header",
        "Sec-Fetch-Site: cross-site",
        "--header",
        "Sec-Fetch-Mode: navigate",
        "--header",
        "Sec-Fetch-Dest: document",
        URL,
    ];
    assert_eq!(laptop.code(&navigation)?, 200);
    assert_eq!(
        laptop.code(&["--request", "POST", "--data", "a=b", URL])?,
        200,
        "curl and git say nothing of origins"
    );
    assert_eq!(
        laptop.code(&["--request", "POST", "--header", "Origin: http://wiki.corp.example", URL])?,
        200
    );
    Ok(())
}

/// H14: whatever the front makes of these, the app never sees a second request.
fn a_request_hidden_in_another_never_arrives() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: wiki.corp.example\r\n\r\n";
    let length = hidden.len();
    let framings = [
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: 0, {length}\r\n"),
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Content-Length: +0\r\n".to_owned(),
        " folded: 1\r\n".to_owned(),
    ];
    for framing in framings {
        let mut flow = laptop.dial(&format!("{WIKI}:80"))?;
        write!(
            flow,
            "POST /outer HTTP/1.1\r\nHost: wiki.corp.example\r\nConnection: close\r\n{framing}\r\n0\r\n\r\n{hidden}"
        )?;
        let mut answer = String::new();
        match flow.read_to_string(&mut answer) {
            Ok(_) => {
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{framing:?}: {answer}")
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{framing:?}"),
        }
    }
    let arrived = scene.mirror.heads();
    assert!(arrived.iter().all(|head| !head.starts_with("GET /hidden")), "{arrived:?}");
    Ok(())
}

/// H4: no method, agent or header opens an app that is shut.
fn nothing_a_client_says_makes_an_app_public() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    let vault = "http://vault.corp.example/";
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "POST", "FOO"] {
        let code = laptop.code(&["--head", "--request", method, vault])?;
        assert!((400..500).contains(&code), "{method}: {code}");
    }
    for header in [
        "User-Agent: kube-probe/1.30",
        "User-Agent: GoogleHC/1.0",
        "X-Forwarded-For: 127.0.0.1",
        "Authorization: Bearer x",
    ] {
        assert_eq!(laptop.code(&["--header", header, vault])?, 403, "{header}");
    }
    for path in ["/health", "/ping", "/robots.txt", "/.well-known/x", "/favicon.ico", "/?allow=1"] {
        assert_eq!(laptop.code(&["--request-target", path, vault])?, 403, "{path}");
    }
    assert!(scene.mirror.heads().is_empty());
    Ok(())
}

/// H17: a name that is not the app's is answered before any policy is asked.
fn an_unknown_host_is_misdirected() -> Result<()> {
    let scene = Scene::start()?;
    let laptop = scene.device("laptop")?;
    for host in ["evil.example", "wiki.corp.example.evil.example", WIKI, "wiki.corp.example.", "corp.example"]
    {
        let code = laptop.code(&["--header", &format!("Host: {host}"), URL])?;
        // A trailing dot is the same name.
        assert!(code == 421 || (host.ends_with('.') && code == 200), "{host}: {code}");
    }
    let mut flow = laptop.dial(&format!("{WIKI}:80"))?;
    flow.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    let (count, _) = drain(&mut flow)?;
    assert!(count > 0, "a request without Host got no answer");
    Ok(())
}
