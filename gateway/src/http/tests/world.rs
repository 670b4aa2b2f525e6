//! One app, one device, one front over the real gate; what the gate was asked is written down.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use connector::dial::Site;
use protocol::{
    id::{AppId, DeviceId},
    time::Timestamp,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider, pki_types::CertificateDer};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    app::{App, End},
    client::{Answer, Client, H2Client, Tls},
};
use crate::{
    access::{self, Denied, DenyReason},
    config::AppSpec,
    denials::Denials,
    dial::Dialer,
    gate::{Gate, HttpQuestion, Passed},
    http::{FrontFlow, HttpFront, admit::Decides},
    limits::Descriptors,
    live::{Asked, Cut, Live},
    reach::{Destination, Speaks},
    testing::{Company, DIRECTORY},
    tls::{Authority, Certificates, Names, TlsFront},
};

/// Far above anything that should happen.
const HANG: Duration = Duration::from_secs(60);

const POLICIES: &str = r#"
@id("everyone")
permit (principal, action in [Doorward::Action::"http_read", Doorward::Action::"http_write"], resource)
unless { context.path like "/denied*" };

@id("wiki-hours") @title("The wiki is open to encrypted devices") @advice("Turn on disk encryption")
permit (principal, action in [Doorward::Action::"http_read", Doorward::Action::"http_write"], resource)
when { context has device && context.device has disk_encrypted && context.device.disk_encrypted.value };

@id("later")
permit (principal, action in [Doorward::Action::"http_read", Doorward::Action::"http_write"], resource)
when { context.now >= datetime("2190-01-01T00:00:00Z") };
"#;

const WIKI: &str = r#"
[[app]]
name = "wiki"
site = "local"
kind = "http"
hosts = ["wiki.corp.example", "docs.corp.example"]
read_methods = ["PROPFIND"]
allow_origins = ["https://portal.corp.example"]
"#;

/// Fails instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(HANG, future).await.expect("no hang")
}

/// A question as the gate got it.
#[derive(Debug, Clone)]
pub struct Question {
    pub write: bool,
    pub method: String,
    pub host: String,
    pub paths: Vec<String>,
}

/// The real gate, with a pencil.
struct Recorder {
    gate: Gate,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl Decides for Recorder {
    fn app(&self, id: &AppId) -> Option<Arc<AppSpec>> {
        self.gate.app(id)
    }

    fn generation(&self) -> u64 {
        self.gate.generation()
    }

    fn decide(&self, asked: HttpQuestion<'_>) -> Result<Passed, Denied> {
        self.questions.lock().expect("no panic").push(Question {
            write: asked.write,
            method: asked.method.to_owned(),
            host: asked.host.to_owned(),
            paths: asked.paths.to_vec(),
        });
        self.gate.decide(asked)
    }

    fn sign_in(&self, device: &DeviceId, denied: &Denied, to: &str) -> Option<String> {
        self.gate.sign_in(device, denied, to)
    }

    fn renewal(&self, device: &DeviceId, to: &str) -> Option<String> {
        self.gate.renewal(device, to)
    }

    fn ended(&self, id: &str, why: &str, sent: u64, received: u64) {
        self.gate.ended(id, why, sent, received);
    }
}

pub struct World {
    pub app: App,
    pub front: HttpFront,
    pub cut: Cut,
    pub shutdown: watch::Sender<bool>,
    live: Live,
    company: Company,
    pub address: SocketAddr,
    /// How clients speak TLS, if that is what stands there.
    pub tls: Option<Tls>,
    ends: mpsc::UnboundedReceiver<End>,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl World {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines in the app's section.
    pub async fn with(lines: &str) -> Self {
        Self::make(lines, Speaks::Http, Descriptors::new(10_000, 0)).await
    }

    /// Over TLS.
    pub async fn https() -> Self {
        Self::make("", Speaks::Https, Descriptors::new(10_000, 0)).await
    }

    /// With the front's other ways, and bounds.
    pub async fn make(lines: &str, speaks: Speaks, descriptors: Descriptors) -> Self {
        let (app, upstream, ends) = App::start().await;
        let over_tls = speaks != Speaks::Http;
        let company = Company::new(&wiki(&format!("tls = {over_tls}\n{lines}"), upstream), POLICIES);
        let files = company.files();
        let live = Live::new(company.snapshot(1));
        let questions: Arc<Mutex<Vec<Question>>> = Arc::default();
        let gate = Gate::new(live.clone(), Denials::default(), company.books(), Default::default());
        let recorder = Recorder { gate, questions: questions.clone() };
        let rules = files.config.sites.local.clone().expect("a local site");
        let dialer = Dialer::new(None, Site { rules, own: Vec::new() });
        let (tls_front, tls) = tls();
        let front = HttpFront::deciding(Arc::new(recorder), dialer, descriptors, tls_front);
        let (cut, shutdown) = (Cut::default(), watch::Sender::new(false));
        let address = listen(front.clone(), live.clone(), speaks, cut.clone(), shutdown.subscribe()).await;
        let tls = (speaks == Speaks::Https).then_some(tls);
        Self { app, front, cut, shutdown, live, company, address, tls, ends, questions }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address, self.tls.as_ref()).await
    }

    pub async fn h2(&self) -> H2Client {
        H2Client::connect(self.address, self.tls.as_ref().expect("TLS")).await
    }

    /// One request on its own connection.
    pub async fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Answer {
        soon(async { self.client().await.ask(method, target, headers).await }).await
    }

    /// Bytes on their own connection, and the first answer to them.
    pub async fn raw(&self, bytes: &str) -> Answer {
        soon(async { self.client().await.ask_whole(bytes).await }).await
    }

    pub fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("no panic").clone()
    }

    pub fn last_question(&self) -> Question {
        self.questions().pop().expect("a question")
    }

    /// How many decisions are registered.
    pub fn open(&self) -> usize {
        self.live.len()
    }

    /// How the next connection to the app ends.
    pub async fn app_end(&mut self) -> End {
        soon(self.ends.recv()).await.expect("the app lives")
    }

    /// The flow is cut from outside.
    pub fn revoke(&self) {
        self.cut.now(Denied::because(DenyReason::UserDisabled));
    }

    /// Alice leaves the company: the directory says so, and everything open is asked again.
    pub fn alice_leaves(&self) {
        self.company.write("directory.toml", &DIRECTORY.replace("email =", "disabled = true\nemail ="));
        self.live.put(self.company.snapshot(2), &Asked::All);
    }
}

/// A front for the wiki's names and a sibling's, and a client that trusts it and asks for the wiki.
fn tls() -> (TlsFront, Tls) {
    let now = Timestamp::from_system(SystemTime::now());
    let (pem, key) = Authority::create(&["corp.example".to_owned()], now).expect("made");
    let authority = Authority::load(&pem, &key).expect("loaded");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.root_der().to_vec())).expect("a root");
    let names = Names::default();
    names.put(["wiki", "docs", "vault"].map(|name| format!("{name}.corp.example")).into());
    let front = TlsFront::new(Certificates::new(names, Some(authority))).expect("a front");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (front, Tls { name: "wiki.corp.example", config })
}

/// The wiki's section.
fn wiki(lines: &str, upstream: SocketAddr) -> String {
    if lines.contains("upstream =") {
        format!("{WIKI}{lines}")
    } else {
        format!("{WIKI}upstream = \"http://{upstream}\"\n{lines}")
    }
}

/// The front behind a listener, as if every connection came from alice's laptop.
async fn listen(
    front: HttpFront,
    live: Live,
    speaks: Speaks,
    cut: Cut,
    shutdown: watch::Receiver<bool>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (device, app) = ("laptop".parse().expect("a name"), "wiki".parse().expect("a name"));
            let permit = access::admit_front(&live.snapshot(), &device, &Destination::Front { app, speaks });
            let source = "100.64.0.9:50000".parse().expect("an address");
            let vip = SocketAddr::from(([100, 64, 128, 7], speaks.port()));
            let flow = FrontFlow::new(permit.expect("enrolled"), device, source, vip, cut.clone());
            let (front, shutdown) = (front.clone(), shutdown.clone());
            tokio::spawn(async move { front.serve(stream, Arc::new(flow), shutdown).await });
        }
    });
    address
}
