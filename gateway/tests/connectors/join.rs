//! Joining beside linking: which connections are looked at, and that neither passes for the other.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use connector::{
    join::{JoinError, Order},
    quic,
};
use gateway::connectors::{LinkKey, NotJoined, Redeem};
use protocol::{
    config::Secret,
    join::{ALPN, Joined, MAX, Message},
    key::LinkPin,
    link::{self, Frame, Hello, LinkEnd},
};
use quinn::{Connection, ConnectionError, Endpoint};
use tokio::{sync::Semaphore, time::timeout};

use super::rig::{Fake, HANG, Rig, key, until};

const TOKEN: &str = "dwt_token";

/// Lets nobody join but by [`TOKEN`], and answers only when it may.
struct Door {
    asked: AtomicUsize,
    may: Semaphore,
}

#[async_trait]
impl Redeem for Door {
    async fn redeem(&self, token: &str, _: LinkPin) -> Result<Joined, NotJoined> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _may = self.may.acquire().await.unwrap();
        if token == TOKEN {
            return Ok(Joined { connector: "fra-1".parse().unwrap(), site: "fra".parse().unwrap() });
        }
        Err(NotJoined { told: "no good".to_owned(), why: "guessed".to_owned(), fault: true })
    }
}

impl Door {
    fn of(rig: &Rig, answers: usize) -> Arc<Self> {
        let door = Arc::new(Self { asked: AtomicUsize::new(0), may: Semaphore::new(answers) });
        rig.registry.redeem_with(door.clone());
        door
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A connection that wants to speak `words`, from an address of this machine.
async fn connect(rig: &Rig, from: [u8; 4], pem: &str, words: &[u8]) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::from(from), 0))).unwrap();
    let client = quic::client(&LinkKey::from_pem(pem).unwrap(), rig.pin, words).unwrap();
    let connection = endpoint.connect_with(client, rig.address, quic::SERVER_NAME).unwrap().await;
    (endpoint, connection.unwrap())
}

/// How the gateway closed a connection.
async fn closed(connection: &Connection) -> u64 {
    match timeout(HANG, connection.closed()).await.unwrap() {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("not closed by the gateway but {other}"),
    }
}

/// Says `bytes` on a connection that joins; the answer.
async fn say(rig: &Rig, from: [u8; 4], bytes: &[u8]) -> Result<Message, u64> {
    let (_endpoint, connection) = connect(rig, from, &LinkKey::generate(), ALPN).await;
    let Ok((mut send, mut recv)) = connection.open_bi().await else { return Err(closed(&connection).await) };
    // It may be closed already; then so is the answer.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    match timeout(HANG, recv.read_to_end(MAX)).await.unwrap() {
        Ok(answer) => Ok(Message::decode(&answer).unwrap()),
        Err(_) => Err(closed(&connection).await),
    }
}

fn ask(token: &str) -> Vec<u8> {
    Message::Join(Secret::new(token.to_owned())).encode()
}

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_link_does_not_by_joining() {
    let mut rig = Rig::start().await;
    let door = Door::of(&rig, 9);
    let pem = rig.add("fra-1");
    let (_endpoint, connection) = connect(&rig, HERE, &pem, ALPN).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&Frame::Hello(Hello::new("fake", [1; 16])).encode()).await.unwrap();
    send.finish().unwrap();
    assert_eq!(closed(&connection).await, u64::from(LinkEnd::Protocol.code()));
    until("the refusal", || rig.registry.joins()[1].1 == 1).await;
    assert_eq!((rig.status("fra-1").connections, door.asked()), (0, 0));
    assert!(rig.registry.strangers()[0].reason.contains("join: "), "{:?}", rig.registry.strangers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_no_greeting_of_a_link() {
    let mut rig = Rig::start().await;
    let door = Door::of(&rig, 9);
    for pem in [rig.add("fra-1"), LinkKey::generate()] {
        let (_endpoint, connection) = connect(&rig, HERE, &pem, link::ALPN).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&ask(TOKEN)).await.unwrap();
        assert_eq!(closed(&connection).await, u64::from(LinkEnd::Protocol.code()));
    }
    assert_eq!((rig.status("fra-1").connections, door.asked()), (0, 0));
    let fake = Fake::greet(&rig, &LinkKey::generate(), Hello::new(TOKEN, [1; 16])).await;
    assert_eq!(fake.closed().await, u64::from(LinkEnd::UnknownKey.code()));
    assert_eq!(rig.registry.joins()[..2], [("joins", 0), ("joins_refused", 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_is_answered_nothing_more() {
    let mut rig = Rig::start().await;
    let early = say(&rig, HERE, &ask(TOKEN)).await;
    assert!(matches!(early, Ok(Message::Refused(ref why)) if why.contains("starting")), "{early:?}");
    let door = Door::of(&rig, 9);
    for guess in 0..5 {
        let told = say(&rig, HERE, &ask(&format!("dwt_{guess}"))).await;
        assert_eq!(told, Ok(Message::Refused("no good".to_owned())));
        until("the count", || rig.registry.joins()[1].1 == guess + 2).await;
    }
    assert_eq!(say(&rig, HERE, &ask(TOKEN)).await, Err(LinkEnd::Shut.code().into()));
    assert_eq!(door.asked(), 5, "the token is not looked at");
    let other = say(&rig, THERE, &ask(TOKEN)).await;
    assert!(matches!(other, Ok(Message::Joined(_))), "{other:?}");
    rig.connector("fra-1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_joins_keeps_no_link_out() {
    let mut rig = Rig::start().await;
    let door = Door::of(&rig, 0);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (endpoint, connection) = connect(&rig, HERE, &LinkKey::generate(), ALPN).await;
        waiting.spawn(async move {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(&ask(TOKEN)).await.unwrap();
            send.finish().unwrap();
            let read = recv.read_to_end(MAX).await.is_ok();
            drop((endpoint, connection));
            read
        });
    }
    until("all of them", || door.asked() == 16).await;
    assert_eq!(say(&rig, THERE, &ask(TOKEN)).await, Err(LinkEnd::Crowded.code().into()));
    rig.connector("fra-1").await;
    door.may.add_permits(16);
    assert_eq!(timeout(HANG, waiting.join_all()).await.unwrap(), [true; 16]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_of_joining_is_told() {
    let rig = Rig::start().await;
    let door = Door::of(&rig, 9);
    let told = say(&rig, HERE, &Message::Unspoken(7).encode()).await;
    assert!(matches!(told, Ok(Message::Refused(ref why)) if why.contains("version 7")), "{told:?}");
    assert_eq!(say(&rig, HERE, &[0; MAX + 1]).await, Err(LinkEnd::Protocol.code().into()));
    assert_eq!(door.asked(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_another_key_is_shown_no_token() {
    let rig = Rig::start().await;
    let door = Door::of(&rig, 9);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("join-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let gateways = vec![rig.address.to_string().parse().unwrap()];
    let order = Order { gateways, gateway_key: key().pin(), folder: folder.clone(), allow: Vec::new() };
    let refused = order.run(|| Ok(Secret::new(TOKEN.to_owned()))).await.unwrap_err();
    assert!(matches!(refused, JoinError::Unanswered(_)), "{refused}");
    assert!(refused.to_string().contains(&format!("the gateway has the key {}", rig.pin)), "{refused}");
    assert_eq!(door.asked(), 0);
    let order = Order { gateway_key: rig.pin, ..order };
    let (joined, _) = order.run(|| Ok(Secret::new(TOKEN.to_owned()))).await.unwrap();
    assert_eq!((joined.connector.as_str(), door.asked()), ("fra-1", 1));
    std::fs::remove_dir_all(folder).unwrap();
}
