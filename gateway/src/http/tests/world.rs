//! One app, one device, one front over the real gate; what the gate was asked is written down.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use connector::dial::Site;
use protocol::id::AppId;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    app::{App, End},
    client::{Answer, Client},
};
use crate::{
    access::{self, Denied, DenyReason},
    config::AppSpec,
    denials::Denials,
    dial::Dialer,
    gate::{Gate, HttpQuestion, Passed},
    http::{FrontFlow, HttpFront, admit::Decides},
    live::{Asked, Cut, Live},
    reach::Destination,
    testing::{Company, DIRECTORY},
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
    address: SocketAddr,
    ends: mpsc::UnboundedReceiver<End>,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl World {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines in the app's section.
    pub async fn with(lines: &str) -> Self {
        let (app, upstream, ends) = App::start().await;
        let company = Company::new(&wiki(lines, upstream), POLICIES);
        let files = company.files();
        let live = Live::new(company.snapshot(1));
        let questions: Arc<Mutex<Vec<Question>>> = Arc::default();
        let gate = Gate::new(live.clone(), Denials::default(), company.books());
        let recorder = Recorder { gate, questions: questions.clone() };
        let rules = files.config.sites.local.clone().expect("a local site");
        let front =
            HttpFront::deciding(Arc::new(recorder), Dialer::new(None, Site { rules, own: Vec::new() }));
        let (cut, shutdown) = (Cut::default(), watch::Sender::new(false));
        let address = listen(front.clone(), live.clone(), cut.clone(), shutdown.subscribe()).await;
        Self { app, front, cut, shutdown, live, company, address, ends, questions }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
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

/// The wiki's section.
fn wiki(lines: &str, upstream: SocketAddr) -> String {
    if lines.contains("upstream =") {
        format!("{WIKI}{lines}")
    } else {
        format!("{WIKI}upstream = \"http://{upstream}\"\n{lines}")
    }
}

/// The front behind a listener, as if every connection came from alice's laptop.
async fn listen(front: HttpFront, live: Live, cut: Cut, shutdown: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (device, app) = ("laptop".parse().expect("a name"), "wiki".parse().expect("a name"));
            let permit = access::admit_front(&live.snapshot(), &device, &Destination::Front { app });
            let source = "100.64.0.9:50000".parse().expect("an address");
            let vip = "100.64.128.7:80".parse().expect("an address");
            let flow = FrontFlow::new(permit.expect("enrolled"), device, source, vip, cut.clone());
            let (front, shutdown) = (front.clone(), shutdown.clone());
            tokio::spawn(async move { front.serve(stream, Arc::new(flow), shutdown).await });
        }
    });
    address
}
