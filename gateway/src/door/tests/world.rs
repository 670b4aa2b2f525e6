//! A company whose people have to sign in, the provider that knows them, the door, and what keeps sessions,
//! over a real store and a real audit log. Nothing is dialled, no packet flows.
//! Always true: whoever is signed in here came through the door and was confirmed by the provider.

use std::sync::Arc;

use control::{
    object::Kind,
    store::{self, Engine, Lease, sqlite::Sqlite},
};
use serde_json::json;
use tokio::io::duplex;

use crate::{
    access::{self, Verdict},
    admin::{Durable, now},
    authority::{Root, Roots},
    carry::Carrier,
    dataplane::DataPlane,
    denials::Denials,
    dial::Dialer,
    door::{Door, Parts, Renewals, Visitor},
    health::Health,
    http::tests::client::{Answer, Client},
    live::{Cut, Live, LiveGuard},
    sessions::{Providers, Sessions, Turns},
    snapshot::Snapshot,
    testing::{Company, DIRECTORY, connect, provider::Fake},
    tls::{Certificates, Names},
    truth::{self, Kept, Loader, Reloader},
};

/// Alice has another device, Bob one.
const MORE: &str = r#"
[[device]]
name = "tablet"
owner = "corp/alice"
keys = ["CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg="]
[[user]]
id = "corp/bob"
email = "bob@corp.example"
groups = ["corp/dev"]
[[device]]
name = "phone"
owner = "corp/bob"
keys = ["BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]
"#;
const DESK: &str = r#"
[[app]]
name = "desk"
site = "local"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [9]
target = "127.0.0.1"
[join]
listen = ["127.0.0.1:1"]
"#;
const DEVELOPERS: &str = r#"
@id("dev")
permit (principal in Doorward::Group::"corp/dev", action in Doorward::Action::"access", resource);
"#;

pub(crate) struct World {
    pub company: Company,
    pub fake: Fake,
    pub door: Door,
    pub live: Live,
    pub sessions: Sessions,
    pub reloader: Reloader,
    pub certificates: Certificates,
}

impl World {
    pub async fn new() -> Self {
        Self::over(|engine| engine).await
    }

    /// With `wrap` between the store and its file.
    pub async fn over(wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>) -> Self {
        let fake = Fake::start().await;
        let company = company(&fake);
        let files = company.files();
        let kept = filled(&company, wrap).await;
        let engine = files.policies.engine().clone();
        let directory = kept.view().directory().clone();
        let snapshot = Snapshot::new(1, files.config.clone(), engine, directory, kept.lease.clone());
        let live = Live::new(Arc::new(snapshot));
        let certificates = Certificates::new(Names::default(), None);
        certificates.put(&files.config);
        let parts = truth::Parts {
            live: live.clone(),
            data_plane: DataPlane::ended(),
            dialer: Dialer::new(None, files.local().expect("this machine")),
            registry: None,
            certificates: certificates.clone(),
            shadow: crate::shadow::new().0,
        };
        let held = kept.held();
        let (loader, reloader) = Loader::new(company.folder().join("doorward.toml"), files, kept, parts);
        tokio::spawn(loader.run());
        let durable = Durable::new(held.store.clone(), reloader.clone(), Health::default(), held.journal);
        let durable = durable.expect("a journal");
        let (store, books) = (held.store, company.books());
        let carrier = Carrier { store, reloader: reloader.clone(), durable, books };
        let (providers, gateway) = (Providers::default(), "gw".into());
        let sessions = Sessions {
            carrier,
            live: live.clone(),
            keys: held.keys,
            providers,
            gateway,
            turns: Turns::default(),
        };
        let door = Door::new(Parts {
            live: live.clone(),
            sessions: sessions.clone(),
            denials: Denials::default(),
            roots: roots(),
            renewals: Renewals::default(),
        });
        Self { company, fake, door, live, sessions, reloader, certificates }
    }

    /// A connection of a device to the door.
    pub fn visit(&self, device: &str, secure: bool) -> Client {
        let (ours, theirs) = duplex(64 << 10);
        let device = device.parse().expect("a name");
        let visitor = Visitor { device, source: "100.64.0.9:50000".parse().expect("an address"), secure };
        let door = self.door.clone();
        tokio::spawn(async move { door.serve(theirs, visitor).await });
        Client::over(Box::new(ours))
    }

    /// The person signs in on a device, as whom the provider calls `sub`, in its session `sid`.
    pub async fn sign_in(&self, device: &str, sub: &str, sid: &str) {
        let mut client = self.visit(device, true);
        let left = ask(&mut client, "/sign-in?provider=corp", "").await;
        let [to] = left.values("location")[..] else { panic!("{left:?}") };
        let of = |name: &str| {
            let (_, query) = to.split_once('?').expect("a query");
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).expect("there").1.to_owned()
        };
        let email = format!("{sub}@corp.example");
        self.fake.gives(json!({
            "sub": sub, "nonce": of("nonce"), "sid": sid, "email": email, "email_verified": true,
            "groups": ["dev"],
        }));
        let cookie = left.values("set-cookie")[0].split(';').next().expect("a pair");
        let back = format!("/callback/corp?code=c&state={}", of("state"));
        let arrived = ask(&mut client, &back, &format!("Cookie: {cookie}\r\n")).await;
        assert_eq!(arrived.values("location"), ["https://door.corp.example/"], "{arrived:?}");
    }

    /// Whether somebody is signed in on a device now.
    pub fn is_in(&self, device: &str) -> bool {
        let (snapshot, device) = (self.live.snapshot(), device.parse().expect("a name"));
        let owner = &snapshot.device(&device).expect("enrolled").facts.owner;
        access::session(&snapshot, &device, owner, now()).is_ok()
    }

    /// A connection of a device to the desk, as a flow would have it; it must be allowed.
    pub fn open(&self, device: &str) -> (Cut, LiveGuard) {
        let cut = Cut::default();
        let device = device.parse().expect("a name");
        let question = access::Question { device, ..connect("desk", "127.0.0.1:9") };
        let (verdict, guard) = self.live.decide(question, &cut);
        assert!(matches!(verdict, Verdict::Allow(_)), "{verdict:?}");
        (cut, guard)
    }

    /// Everything in the store, as its file says.
    pub async fn kept(&self) -> store::Loaded {
        self.sessions.carrier.store.engine().load().await.expect("read")
    }

    /// How many sessions the store has.
    pub async fn kept_sessions(&self) -> usize {
        self.kept().await.objects.iter().filter(|object| object.id.kind == Kind::Session).count()
    }
}

/// Asks the door over TLS, by its name.
pub(crate) async fn ask(client: &mut Client, target: &str, headers: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nHost: door.corp.example\r\n{headers}\r\n");
    client.ask_whole(&request).await
}

fn company(fake: &Fake) -> Company {
    let company = Company::with(&format!("{DESK}{}", fake.section()), DEVELOPERS);
    company.write("provider.pem", &fake.ca);
    company.write("directory.toml", &format!("{DIRECTORY}{MORE}"));
    company
}

/// With everybody in the directory, and nobody signed in.
async fn filled(company: &Company, wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>) -> Kept {
    let config = company.files().config;
    let file = Sqlite::open(&company.folder().join("state/store.db")).expect("a store");
    let kept = Kept::over(wrap(Arc::new(file)), Lease::alone(), &config).await;
    let mut kept = kept.unwrap_or_else(|error| panic!("{error}"));
    let mut everybody = company.fill(&config);
    everybody.ops.retain(|op| op.id().kind != Kind::Session);
    kept.store.commit(everybody).await.expect("kept");
    let known = kept.view().directory().meta().clone();
    kept.take(store::news(kept.store.engine(), &known).await.expect("read").0);
    kept.take_touched();
    kept
}

fn roots() -> Roots {
    let root = Root { pem: "PEM".to_owned(), der: b"DER".to_vec(), fingerprint: "00:11".to_owned() };
    let roots = Roots::default();
    roots.store(Some(Arc::new(root)));
    roots
}
