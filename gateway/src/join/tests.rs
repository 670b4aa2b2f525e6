//! Connectors join over real QUIC by tokens of a real store, and link: security case C2.
//! Always true: a wait has a generous limit; nothing is listened on but loopback.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use connector::{
    Config, Connector,
    join::{JoinError, Order},
    quic,
};
use control::{
    admin::{ConnectorRequest, Context, Request, TokenRequest},
    object::{self, Body},
    store::{Commit, sqlite::Sqlite},
};
use protocol::{config::Secret, id::SiteId, join, link::LinkEnd};
use quinn::Endpoint;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};

use super::*;
use crate::{
    connectors::{LinkKey, Registry},
    dataplane::DataPlane,
    dial::Dialer,
    live::Live,
    snapshot::Snapshot,
    testing::Company,
    tls::{Certificates, Names},
    truth::{Kept, Loader, Parts},
};

/// Longer than anything takes; what hangs fails.
const HANG: Duration = Duration::from_secs(60);
const SITE: &str = "[[site]]\nname = \"fra\"\n";
const OWN: &str = "[store]\nkey = \"store.key\"";
const SHARED: &str = "[store]\nkey = \"store.key\"\n[store.postgres]\nurl = \"store.url\"";

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let mut often = interval(Duration::from_millis(2));
    let wait = async {
        while !so() {
            often.tick().await;
        }
    };
    timeout(HANG, wait).await.unwrap_or_else(|_| panic!("waited too long for {what}"));
}

/// A gateway in so far as connectors see it.
struct Gateway {
    company: Company,
    registry: Registry,
    pin: LinkPin,
    redeemer: Redeemer,
    sites: BTreeSet<SiteId>,
}

impl Gateway {
    async fn start() -> Self {
        Self::of(Company::new(SITE, "")).await
    }

    /// One of several over one database, with the same keys.
    async fn sharing(url: &str, name: &str, keys: Option<&Self>) -> Self {
        let company = Company::new(SITE, "");
        let text = fs::read_to_string(company.folder().join("doorward.toml")).unwrap();
        let named = text.replace(OWN, SHARED).replace("[gateway]", &format!("[gateway]\nname = \"{name}\""));
        company.write("doorward.toml", &named);
        company.write("store.url", url);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(company.folder().join("store.url"), private).unwrap();
        if let Some(other) = keys {
            let file = "store.key";
            fs::copy(other.company.folder().join(file), company.folder().join(file)).unwrap();
        }
        Self::of(company).await
    }

    async fn of(company: Company) -> Self {
        let files = company.files();
        let kept = Kept::open(&files.config).await.unwrap_or_else(|error| panic!("{error}"));
        let key = LinkKey::from_pem(&LinkKey::generate()).unwrap();
        let pin = key.pin();
        let registry = Registry::start(&["127.0.0.1:0".parse().unwrap()], key).await.unwrap();
        let (engine, directory) = (files.policies.engine().clone(), kept.view().directory().clone());
        let snapshot = Snapshot::new(1, files.config.clone(), engine, directory, kept.lease.clone());
        let parts = Parts {
            live: Live::new(Arc::new(snapshot)),
            data_plane: DataPlane::ended(),
            dialer: Dialer::new(None, files.local().unwrap()),
            registry: Some(registry.clone()),
            certificates: Certificates::new(Names::default(), None),
            shadow: crate::shadow::new().0,
        };
        let (store, sites) = (kept.store.clone(), files.config.sites.names.clone());
        let (loader, reloader) = Loader::new(company.folder().join("doorward.toml"), files, kept, parts);
        tokio::spawn(loader.run());
        let books = company.books();
        let redeemer = Redeemer { store, reloader, books };
        registry.redeem_with(Arc::new(redeemer.clone()));
        Self { company, registry, pin, redeemer, sites }
    }

    /// What an administrator does; what is told as text.
    async fn does(&self, request: Request) -> String {
        let random = || {
            let mut bytes = [0; 32];
            SystemRandom::new().fill(&mut bytes).unwrap();
            bytes
        };
        let context = Context {
            now: Timestamp::from_system(SystemTime::now()),
            actor: "test",
            sites: &self.sites,
            devices: 2..=9,
            index_of: &|_| None,
            random: &random,
            seal: &|_, _| String::new(),
            may_see: &|_| true,
        };
        let plan = admin::plan(&self.redeemer.reloader.view(), &request, &context).unwrap();
        self.commit(plan.commit.unwrap()).await;
        plan.answer.text.unwrap()
    }

    async fn token(&self) -> String {
        let (site, name) = ("fra".parse().unwrap(), None);
        self.does(Request::Connector(ConnectorRequest::Token { site, name, seconds: 3600 })).await
    }

    async fn commit(&self, commit: Commit) {
        self.redeemer.store.commit(commit).await.unwrap();
        self.redeemer.reloader.catch_up().await.unwrap();
    }

    fn connectors(&self) -> Vec<Arc<object::Connector>> {
        self.redeemer.reloader.view().objects().all::<object::Connector>().cloned().collect()
    }

    /// A fresh folder, and the order to join from it.
    fn order(&self, name: &str) -> Order {
        let folder = self.company.folder().join(name);
        fs::create_dir_all(&folder).unwrap();
        let gateways = vec![self.registry.addresses()[0].to_string().parse().unwrap()];
        Order { gateways, gateway_key: self.pin, folder, allow: Vec::new() }
    }
}

async fn join(order: &Order, token: &str) -> Result<(Joined, PathBuf), JoinError> {
    timeout(HANG, order.run(|| Ok(Secret::new(token.to_owned())))).await.expect("it hangs")
}

fn pin(n: u8) -> LinkPin {
    LinkPin([n; 32])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_joined_links() {
    let gateway = Gateway::start().await;
    let token = gateway.token().await;
    let (joined, file) = join(&gateway.order("new"), &format!("{token}\n")).await.unwrap();
    assert_eq!(joined.site.as_str(), "fra");
    let connector = Connector::start(Config::load(&file).unwrap(), 10).unwrap();
    let linked = || gateway.registry.status().first().is_some_and(|status| status.connections == 2);
    until("its links", linked).await;
    assert_eq!(gateway.registry.status()[0].id, joined.connector);

    let second = join(&gateway.order("second"), &token).await.unwrap_err();
    assert!(second.to_string().contains("this token is no good"), "{second}");
    let other = join(&gateway.order("new"), &token).await.unwrap_err();
    assert!(matches!(other, JoinError::Standing(_)), "{other}");
    assert_eq!(gateway.registry.joins()[..2], [("joins", 1), ("joins_refused", 1)]);
    connector.drain(HANG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_repaired_by_asking_again() {
    let gateway = Gateway::start().await;
    let token = gateway.token().await;
    let order = gateway.order("new");
    let key = LinkKey::create(&order.folder.join("connector.key")).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = quic::client(&key, gateway.pin, join::ALPN).unwrap();
    let address = gateway.registry.addresses()[0];
    let connection = endpoint.connect_with(client, address, quic::SERVER_NAME).unwrap().await.unwrap();
    let (mut send, _unread) = connection.open_bi().await.unwrap();
    send.write_all(&join::Message::Join(Secret::new(token.clone())).encode()).await.unwrap();
    send.finish().unwrap();
    until("the commit", || gateway.connectors().len() == 1).await;
    connection.close(LinkEnd::Shutdown.code().into(), b"");

    let (joined, file) = join(&order, &token).await.unwrap();
    fs::remove_file(file).unwrap();
    let (same, file) = join(&order, &token).await.unwrap();
    assert_eq!((&joined, gateway.connectors().len()), (&same, 1));
    assert_eq!(Config::load(&file).unwrap().private_key.pin(), key.pin());
    assert_eq!(gateway.connectors()[0].pin, key.pin());
}

/// A hundred keys at once, each at one of the gateways; who has joined.
async fn race(gateways: &[&Gateway], token: &str) -> Vec<LinkPin> {
    let mut all = JoinSet::new();
    for (n, gateway) in (0..100).zip(gateways.iter().cycle()) {
        let (redeemer, token) = (gateway.redeemer.clone(), token.to_owned());
        all.spawn(async move { (pin(n), redeemer.redeem(&token, pin(n)).await) });
    }
    let outcomes = timeout(HANG, all.join_all()).await.expect("it hangs");
    assert_eq!(outcomes.len(), 100);
    let mut winners = Vec::new();
    for (pin, outcome) in outcomes {
        match outcome {
            Ok(_) => winners.push(pin),
            Err(NotJoined { told, fault, .. }) => {
                assert_eq!((told, fault), (RedeemError::Unknown.to_string(), true));
            }
        }
    }
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_keys_one_joins() {
    let gateway = Gateway::start().await;
    let token = gateway.token().await;
    let winners = race(&[&gateway], &token).await;
    let connectors = gateway.connectors();
    let joined: Vec<_> = connectors.iter().map(|connector| connector.pin).collect();
    assert_eq!((winners.len(), &winners), (1, &joined));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_keys_at_two_gateways_one_joins() {
    let database = ::tests::postgres::Postgres::start().unwrap();
    let one = Gateway::sharing(&database.url(), "one", None).await;
    let two = Gateway::sharing(&database.url(), "two", Some(&one)).await;
    let token = one.token().await;
    two.redeemer.reloader.catch_up().await.unwrap();
    let winners = race(&[&one, &two], &token).await;
    for gateway in [&one, &two] {
        gateway.redeemer.reloader.catch_up().await.unwrap();
        let connectors = gateway.connectors();
        let joined: Vec<_> = connectors.iter().map(|connector| connector.pin).collect();
        assert_eq!((winners.len(), &winners), (1, &joined));
        assert!(gateway.redeemer.redeem(&token, winners[0]).await.is_ok(), "the same again, anywhere");
    }
}

#[tokio::test]
async fn an_outsider_is_told_one_thing() {
    let gateway = Gateway::start().await;
    let (good, used, revoked, expired) =
        (gateway.token().await, gateway.token().await, gateway.token().await, gateway.token().await);
    gateway.redeemer.redeem(&used, pin(1)).await.unwrap();
    let id = |token: &str| admin::parse_token(token).unwrap().0.to_owned();
    gateway.does(Request::Token(TokenRequest::Revoke { token: id(&revoked) })).await;
    let view = gateway.redeemer.reloader.view();
    let late = (**view.objects().get::<Token>(&id(&expired)).unwrap()).clone();
    let op = Token { expires: Timestamp::MIN, ..late }.put();
    gateway.commit(Commit { ops: vec![op], ..Commit::default() }).await;

    let wrong = format!("dwt_{}_{}", id(&good), "A".repeat(43));
    let unknown = format!("dwt_0123456789ab_{}", "A".repeat(43));
    let forged = format!("dwt_line\nbreak!!_{}", "A".repeat(43));
    let mut told = BTreeSet::new();
    let mut logged = BTreeSet::new();
    for token in [&used, &revoked, &expired, &wrong, &unknown, &forged, "dwt_", "", &used[4..]] {
        let not = gateway.redeemer.redeem(token, pin(2)).await.unwrap_err();
        assert!(not.fault && !not.why.contains('\n'), "{not:?}");
        told.insert(not.told);
        logged.insert(not.why);
    }
    let taken = gateway.redeemer.redeem(&good, pin(1)).await.unwrap_err();
    told.insert(taken.told);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(logged.len(), 6, "the operator is told what: {logged:?}");
    assert!(gateway.redeemer.redeem(&good, pin(2)).await.is_ok());
}

#[tokio::test]
async fn a_store_that_does_not_keep_is_nobodys_fault_outside() {
    let gateway = Gateway::start().await;
    let token = gateway.token().await;
    let file = gateway.company.folder().join("other.db");
    let lost = std::thread::spawn(move || {
        // Its writer ends with this runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        Store::new(Arc::new(Sqlite::open(&file).unwrap()))
    });
    let store = lost.join().unwrap();
    let redeemer = Redeemer { store, ..gateway.redeemer.clone() };
    let not = redeemer.redeem(&token, pin(1)).await.unwrap_err();
    assert_eq!((&*not.told, not.fault), (BUSY, false));
    assert!(not.why.contains("the store cannot be reached"), "{not:?}");
    assert!(gateway.redeemer.redeem(&token, pin(1)).await.is_ok(), "the token is as good as before");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything runs in this thread, and everything that is logged here is caught.
#[tokio::test]
async fn no_token_is_logged_on_either_side() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _caught = tracing::subscriber::set_default(subscriber);

    let gateway = Gateway::start().await;
    let token = gateway.token().await;
    let (id, secret) = admin::parse_token(&token).unwrap();
    let (_, file) = join(&gateway.order("new"), &token).await.unwrap();
    let refused = join(&gateway.order("second"), &token).await.unwrap_err();
    let misspelt = join(&gateway.order("third"), &token.replacen('_', "-", 2)).await.unwrap_err();
    let cut = join(&gateway.order("fourth"), &token[..token.len() - 1]).await.unwrap_err();
    let connector = Connector::start(Config::load(&file).unwrap(), 10).unwrap();
    until("a link", || gateway.registry.status()[0].connections > 0).await;
    connector.drain(HANG).await;

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let status = format!("{:?}{:?}", gateway.registry.strangers(), gateway.registry.status());
    let said = format!("{refused} {refused:?} {misspelt} {misspelt:?} {cut} {cut:?}");
    assert!(logged.contains("connector joined") && logged.contains(&format!("token {id}")), "{logged}");
    for text in [logged, status, said, fs::read_to_string(file).unwrap()] {
        assert!(!text.contains(&secret[..16]), "the secret is in: {text}");
    }
}
