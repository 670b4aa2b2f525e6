//! One app, one device, one front over the real gate; what the gate was asked is written down.

use std::{
    fs,
    future::Future,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use connector::dial::Site;
use policy::PolicyFile;
use protocol::{id::AppId, time::Timestamp};
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
    config::{self, AppSpec, address},
    denials::Denials,
    dial::Dialer,
    gate::{Gate, HttpQuestion, Passed},
    http::{FrontFlow, HttpFront, admit::Decides},
    live::{Cut, Live},
    policies::Policies,
    reach::Destination,
    reload::Files,
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

const CONFIG: &str = r#"
[gateway]
endpoint = "gw.example.com:51820"
listen = ["127.0.0.1:51820"]
private_key = "gateway.key"
state = "state"
directory = "directory.toml"
namespace = "private"
[policy]
dir = "policies"
[tunnel]
v4 = "100.64.0.0/16"
v6 = "fd00:d00:d00::/48"
[dns]
zones = ["corp.example"]
resolvers = []
[devices]
routes = []
[local]
allow = ["127.0.0.1/32"]
[[app]]
name = "wiki"
site = "local"
kind = "http"
hosts = ["wiki.corp.example", "docs.corp.example"]
read_methods = ["PROPFIND"]
allow_origins = ["https://portal.corp.example"]
"#;

const DIRECTORY: &str = r#"
[[group]]
id = "corp/dev"
[[group]]
id = "corp/ops"
[[user]]
id = "corp/alice"
email = "alice@corp.example"
groups = ["corp/dev", "corp/ops"]
[[device]]
name = "laptop"
owner = "corp/alice"
keys = ["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="]
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
}

pub struct World {
    pub app: App,
    pub front: HttpFront,
    pub cut: Cut,
    pub shutdown: watch::Sender<bool>,
    live: Live,
    files: Files,
    folder: PathBuf,
    address: SocketAddr,
    ends: mpsc::UnboundedReceiver<End>,
    questions: Arc<Mutex<Vec<Question>>>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines in the app's section.
    pub async fn with(lines: &str) -> Self {
        let (app, upstream, ends) = App::start().await;
        let folder = folder();
        let files = files(&folder, lines, upstream);
        let live = Live::new(Arc::new(files.snapshot(1)));
        let questions: Arc<Mutex<Vec<Question>>> = Arc::default();
        let gate = Gate::new(live.clone(), Denials::default());
        let recorder = Recorder { gate, questions: questions.clone() };
        let rules = files.config.sites.local.clone().expect("a local site");
        let front =
            HttpFront::deciding(Arc::new(recorder), Dialer::new(None, Site { rules, own: Vec::new() }));
        let (cut, shutdown) = (Cut::default(), watch::Sender::new(false));
        let address = listen(front.clone(), live.clone(), cut.clone(), shutdown.subscribe()).await;
        Self { app, front, cut, shutdown, live, files, folder, address, ends, questions }
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
        let directory = DIRECTORY.replace("email =", "disabled = true\nemail =");
        let file = self.folder.join("directory.toml");
        fs::write(&file, directory).expect("written");
        let directory = config::load_directory(&file, &self.files.config.tunnel).expect("a directory");
        let files = Files { directory: Arc::new(directory), ..self.files.clone() };
        self.live.put(Arc::new(files.snapshot(2)));
    }
}

fn folder() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let unique = format!("doorward-http-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
    let folder = std::env::temp_dir().join(unique);
    fs::create_dir_all(folder.join("policies")).expect("a folder");
    folder
}

fn files(folder: &std::path::Path, lines: &str, upstream: SocketAddr) -> Files {
    let upstream = if lines.contains("upstream =") {
        String::new()
    } else {
        format!("upstream = \"http://{upstream}\"")
    };
    let text = format!("{CONFIG}{upstream}\n{lines}\n");
    let key = folder.join("gateway.key");
    fs::write(&key, "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n").expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("private");
    let (main, directory) = (folder.join("doorward.toml"), folder.join("directory.toml"));
    fs::write(&main, text).expect("written");
    fs::write(&directory, DIRECTORY).expect("written");
    fs::create_dir_all(folder.join("state")).expect("a folder");
    let config = config::load(&main).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let directory =
        config::load_directory(&directory, &config.tunnel).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let addresses =
        address::plan(&config, &directory, Timestamp::from_system(SystemTime::now())).expect("addresses");
    let policies = PolicyFile { name: "test.cedar".to_owned(), text: POLICIES.to_owned() };
    let policies = Policies::parse(vec![policies], config.policy.zones.clone())
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Files {
        config: Arc::new(config),
        directory: Arc::new(directory),
        addresses: Arc::new(addresses),
        policies,
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
