//! One app, one device, one front; what was asked of the gate is written down.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use policy::{decision::Reason, facts};
use protocol::{id::SiteId, time::Timestamp};
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
    access::{Denied, DenyReason, Front, Open, Permit},
    config::app::{AppKind, AppSpec, HttpSpec, IdentityHeaders, PathMode},
    dial::Dialer,
    gate::{Gate, HttpQuestion, Passed},
    http::{FrontFlow, HttpFront},
    live::{Cut, LiveGuard},
    target::{Host, Target},
};

/// Far above anything that should happen.
const HANG: Duration = Duration::from_secs(60);

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

pub struct World {
    pub app: App,
    pub front: HttpFront,
    pub cut: Cut,
    pub shutdown: watch::Sender<bool>,
    address: SocketAddr,
    ends: mpsc::UnboundedReceiver<End>,
    questions: Arc<Mutex<Vec<Question>>>,
    open: Arc<AtomicUsize>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With the app's configuration changed.
    pub async fn with(change: impl FnOnce(&mut HttpSpec)) -> Self {
        let (app, upstream, ends) = App::start().await;
        let mut http = HttpSpec {
            upstream: Target { host: Host::Ip(upstream.ip()), port: upstream.port() },
            path: PathMode::Standard,
            read_methods: vec!["PROPFIND".to_owned()],
            allow_origins: vec!["https://portal.corp.example".to_owned()],
            identity: IdentityHeaders::default(),
        };
        change(&mut http);
        let (questions, open) = (Arc::default(), Arc::default());
        let gate = gate(Arc::new(spec(http)), Arc::clone(&questions), Arc::clone(&open));
        let front = HttpFront::new(gate, Dialer);
        let (cut, shutdown) = (Cut::default(), watch::Sender::new(false));
        let address = listen(front.clone(), cut.clone(), shutdown.subscribe()).await;
        Self { app, front, cut, shutdown, address, ends, questions, open }
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
        self.open.load(Ordering::SeqCst)
    }

    /// How the next connection to the app ends.
    pub async fn app_end(&mut self) -> End {
        soon(self.ends.recv()).await.expect("the app lives")
    }

    /// Access ends.
    pub fn revoke(&self) {
        self.cut.now(Denied::because(DenyReason::UserDisabled));
    }
}

/// The front behind a listener, as if every connection came from alice's laptop.
async fn listen(front: HttpFront, cut: Cut, shutdown: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let permit = Permit(Front { app: "wiki".parse().expect("a name") });
            let source = "100.64.0.9:50000".parse().expect("an address");
            let vip = "100.64.128.7:80".parse().expect("an address");
            let device = "laptop".parse().expect("a name");
            let flow = Arc::new(FrontFlow::new(permit, device, source, vip, cut.clone()));
            let (front, shutdown) = (front.clone(), shutdown.clone());
            tokio::spawn(async move { front.serve(stream, flow, shutdown).await });
        }
    });
    address
}

fn spec(http: HttpSpec) -> AppSpec {
    let facts = facts::App {
        id: "wiki".parse().expect("a name"),
        site: SiteId::local(),
        groups: BTreeSet::new(),
        sensitivity: 2,
        owners: None,
        tags: BTreeMap::new(),
    };
    AppSpec {
        facts: Arc::new(facts),
        hosts: vec!["wiki.corp.example".to_owned(), "docs.corp.example".to_owned()],
        ports: vec![80],
        kind: AppKind::Http(http),
        address: None,
    }
}

/// Allows everything but paths with a reading under `/denied`.
fn gate(spec: Arc<AppSpec>, questions: Arc<Mutex<Vec<Question>>>, open: Arc<AtomicUsize>) -> Gate {
    let known = spec.clone();
    let apps = move |id: &_| (known.facts.id == *id).then(|| known.clone());
    Gate::fake(apps, move |asked: HttpQuestion<'_>| {
        questions.lock().expect("no panic").push(Question {
            write: asked.write,
            method: asked.method.to_owned(),
            host: asked.host.to_owned(),
            paths: asked.paths.to_vec(),
        });
        if asked.paths.iter().any(|path| path.starts_with("/denied")) {
            return Err(denied());
        }
        let AppKind::Http(http) = &spec.kind else { return Err(Denied::because(DenyReason::NoResource)) };
        Ok(Passed {
            permit: Permit(Open { site: spec.facts.site.clone(), target: http.upstream.clone() }),
            user: Arc::new(alice()),
            device: Arc::new(laptop()),
            until: None,
            policies: vec!["everyone".into()],
            guard: LiveGuard::counted(&open),
        })
    })
}

fn denied() -> Denied {
    let reason = Reason::NotMet {
        policy: "wiki-hours".into(),
        title: Some("The wiki opens for people on encrypted devices".to_owned()),
        conditions: vec!["device.disk_encrypted is missing".to_owned()],
        advice: Some("Turn on disk encryption".to_owned()),
    };
    let until = Some(Timestamp::from_millis(1_795_254_900_000));
    Denied { user: "corp/alice".parse().ok(), reasons: vec![DenyReason::Policy(reason)], until }
}

fn alice() -> facts::User {
    facts::User {
        id: "corp/alice".parse().expect("an id"),
        groups: ["corp/dev", "corp/ops"].map(|group| group.parse().expect("an id")).into(),
        email: Some("alice@corp.example".to_owned()),
        contract_end: None,
    }
}

fn laptop() -> facts::Device {
    facts::Device {
        id: "laptop".parse().expect("a name"),
        owner: "corp/alice".parse().expect("an id"),
        key_since: Timestamp::MIN,
        groups: BTreeSet::new(),
        platform: None,
        posture: facts::Posture::default(),
    }
}
