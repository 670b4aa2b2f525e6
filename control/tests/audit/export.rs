//! Heads that arrive in a collector nobody of us wrote: rotel, which prints what it receives.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use control::audit::{Collector, Entry, Export, Person};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::world::{GATEWAY, World, decision, small};

/// Nothing here takes nearly as long.
const HANG: Duration = Duration::from_secs(60);

fn tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let roots = rustls::RootCertStore::empty();
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
}

/// What `deploy/set-up.sh` has installed beside this program.
fn agent() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let installed = program.ancestors().map(|folder| folder.join("rotel/lib")).find(|lib| lib.is_dir());
    let lib = installed.expect("rotel is installed: run deploy/set-up.sh");
    let version = lib.read_dir().unwrap().next().unwrap().unwrap().path();
    version.join("site-packages/rotel/rotel-agent")
}

fn rotel(world: &World, http: u16) -> Child {
    let grpc = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(agent());
    command.args([
        "start",
        "--exporter",
        "blackhole",
        "--debug-log",
        "logs",
        "--debug-log-verbosity",
        "detailed",
    ]);
    command.arg("--otlp-http-endpoint").arg(format!("127.0.0.1:{http}"));
    command.arg("--otlp-grpc-endpoint").arg(format!("127.0.0.1:{grpc}"));
    command.arg("--pid-file").arg(world.top.join("pid")).arg("--log-file").arg(world.top.join("log"));
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test]
async fn heads_reach_a_collector_that_comes_late_and_name_nobody() {
    let world = World::new("export");
    let person = Person::random();
    let (log, heads) = world.open(small());
    // The first who listens there hangs up.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = deaf.local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{http}/v1/logs");
    let export = Export::new(Collector { endpoint, tls: tls() }, GATEWAY, heads.clone()).unwrap();
    let exported = export.exported();
    let task = tokio::spawn(export.run());
    let decided = control::audit::Decided { user: Some(person.id.clone()), ..decision("canary-request") };
    log.write(vec![Entry::Decision(Box::new(decided))]).await.unwrap();
    timeout(HANG, deaf.accept()).await.unwrap().unwrap();
    drop(deaf);
    let mut sink = rotel(&world, http);
    let head = heads.borrow().clone().unwrap();
    let mut said = BufReader::new(sink.stdout.take().unwrap()).lines();
    let mut all = String::new();
    let arrived = timeout(HANG, async {
        while !all.contains(&head.signature) || !all.contains(&head.key) {
            all += &said.next_line().await.unwrap().expect("rotel goes on");
        }
    });
    arrived.await.unwrap();
    for part in ["doorward.audit.head", &head.hash.to_string(), &head.key, GATEWAY] {
        assert!(all.contains(part), "{part} not in {all}");
    }
    log.close().await.unwrap();
    timeout(HANG, task).await.unwrap().unwrap();
    let last = heads.borrow().clone().unwrap();
    assert!(last.n > head.n && exported.sent.load(Ordering::Relaxed) == 2, "the last head as well");
    assert!(exported.failed.load(Ordering::Relaxed) > 0);
    for canary in ["canary-request", &person.id, "wiki"] {
        assert!(!all.contains(canary), "{canary} in {all}");
    }
}

#[tokio::test]
async fn what_is_no_endpoint_is_refused() {
    let world = World::new("endpoint");
    let (log, heads) = world.open(small());
    for endpoint in ["", "otel.corp.example", "ftp://otel.corp.example/", "/v1/logs"] {
        let collector = Collector { endpoint: endpoint.to_owned(), tls: tls() };
        assert!(Export::new(collector, GATEWAY, heads.clone()).is_err(), "{endpoint}");
    }
    log.close().await.unwrap();
}
