//! Handshakes over loopback: who gets in, who is told no, and how.

use std::{
    collections::VecDeque,
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use protocol::time::Timestamp;
use rustls::{
    AlertDescription, ClientConfig, Error, HandshakeKind, NamedGroup, RootCertStore,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
    version::TLS12,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client};

use super::{super::*, authority, trusting};

const OURS: [&str; 2] = ["wiki.corp.example", "vault.corp.example"];

/// A front at the address of the wiki, which stands in a network with the vault.
struct World {
    front: TlsFront,
    roots: RootCertStore,
    client: ClientConfig,
    listener: TcpListener,
}

impl World {
    async fn new() -> Self {
        let authority = authority(Timestamp::from_system(SystemTime::now()));
        let roots = trusting(&authority);
        let client = super::client(roots.clone());
        let names = Names::default();
        names.put(OURS.map(str::to_owned).into());
        let front = TlsFront::new(Certificates::new(names, Some(authority))).expect("a front");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { front, roots, client, listener }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// One connection at which `allowed` stands, from both ends.
    async fn meet(
        &self,
        name: &'static str,
        allowed: &str,
        config: ClientConfig,
    ) -> (io::Result<client::TlsStream<TcpStream>>, Result<Secured, TlsError>) {
        let theirs = async {
            let socket = TcpStream::connect(self.address()).await.expect("connected");
            let name = ServerName::try_from(name).expect("a name");
            TlsConnector::from(Arc::new(config)).connect(name, socket).await
        };
        let ours = async {
            let (socket, _) = self.listener.accept().await.expect("accepted");
            self.front.accept(socket, |name| name == allowed, pending()).await
        };
        timeout(Duration::from_secs(60), async { tokio::join!(theirs, ours) }).await.expect("no hang")
    }

    fn refused(&self, why: &str) -> u64 {
        self.front.refused().into_iter().find(|(name, _)| *name == why).expect("counted").1
    }
}

fn alert(refused: io::Result<client::TlsStream<TcpStream>>) -> Option<AlertDescription> {
    let error = refused.err()?.into_inner()?;
    match error.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn a_name_that_stands_here_gets_a_certificate_of_its_own() {
    let world = World::new().await;
    for (offered, agreed) in [
        (vec![], Alpn::Http1),
        (vec!["http/1.1"], Alpn::Http1),
        (vec!["h2", "http/1.1"], Alpn::H2),
        (vec!["http/1.1", "h2"], Alpn::H2),
    ] {
        let mut config = world.client.clone();
        config.alpn_protocols = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let (theirs, ours) = world.meet("WIKI.corp.example", "wiki.corp.example", config).await;
        theirs.expect("trusted");
        let ours = ours.expect("secured");
        assert_eq!((ours.name.as_str(), ours.alpn), ("wiki.corp.example", agreed), "{offered:?}");
    }
    assert!(world.front.refused().iter().all(|(_, count)| *count == 0));
}

#[tokio::test]
async fn other_names_are_not_recognised_and_see_no_certificate() {
    let world = World::new().await;
    // Not ours, though the address would have it; ours, but not here; below ours.
    for (name, here) in [
        ("desk.corp.example", "desk.corp.example"),
        ("vault.corp.example", "wiki.corp.example"),
        ("a.wiki.corp.example", "wiki.corp.example"),
    ] {
        let (theirs, ours) = world.meet(name, here, world.client.clone()).await;
        assert_eq!(alert(theirs), Some(AlertDescription::UnrecognisedName), "{name}");
        assert!(matches!(ours, Err(TlsError::UnknownName(asked)) if asked == name));
    }
    assert_eq!(world.refused("tls_unknown_name"), 3);
}

#[tokio::test]
async fn a_hello_without_a_name_is_refused() {
    let world = World::new().await;
    let (theirs, ours) = world.meet("127.0.0.1", "wiki.corp.example", world.client.clone()).await;
    assert_eq!(alert(theirs), Some(AlertDescription::UnrecognisedName));
    assert!(matches!(ours, Err(TlsError::NoSni)));
    assert_eq!(world.refused("tls_no_sni"), 1);
}

#[tokio::test]
async fn the_version_before_is_spoken_too() {
    let world = World::new().await;
    let old = super::client_speaking(&[&TLS12], world.roots.clone());
    let (theirs, ours) = world.meet("wiki.corp.example", "wiki.corp.example", old).await;
    assert!(theirs.is_ok() && ours.is_ok());
}

#[tokio::test]
async fn what_is_not_tls_is_counted_as_such() {
    let world = World::new().await;
    let mut socket = TcpStream::connect(world.address()).await.expect("connected");
    socket.write_all(b"GET / HTTP/1.1\r\nHost: wiki.corp.example\r\n\r\n").await.expect("sent");
    let (accepted, _) = world.listener.accept().await.expect("accepted");
    let ours = world.front.accept(accepted, |_| true, pending()).await;
    assert!(matches!(ours, Err(TlsError::NotTls)), "{ours:?}");
    assert_eq!(world.refused("tls_not_tls"), 1);
}

#[tokio::test]
async fn a_handshake_that_stops_is_given_up_with_a_reset() {
    let world = World::new().await;
    for begun in [&b""[..], &[22, 3, 1, 2, 0, 1, 0]] {
        let mut socket = TcpStream::connect(world.address()).await.expect("connected");
        socket.write_all(begun).await.expect("sent");
        let (accepted, _) = world.listener.accept().await.expect("accepted");
        // The clock jumps to the next timer whenever nothing else is to do.
        tokio::time::pause();
        let ours = world.front.accept(accepted, |_| true, pending()).await;
        tokio::time::resume();
        assert!(matches!(ours, Err(TlsError::Timeout)), "{ours:?}");
        assert_eq!(socket.read(&mut [0]).await.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset));
    }
    assert_eq!(world.refused("tls_timeout"), 2);
}

#[tokio::test]
async fn a_cut_ends_a_handshake_with_a_reset() {
    let world = World::new().await;
    let mut socket = TcpStream::connect(world.address()).await.expect("connected");
    let (accepted, _) = world.listener.accept().await.expect("accepted");
    let ours = world.front.accept(accepted, |_| true, async {}).await;
    assert!(matches!(ours, Err(TlsError::Cut)));
    assert_eq!(socket.read(&mut [0]).await.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset));
    assert!(world.front.refused().iter().all(|(_, count)| *count == 0), "it is nobody's fault");
}

/// Hands out any ticket for any name, as no honest client does.
#[derive(Debug, Default)]
struct Mixed(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Mixed {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.lock().expect("no panic").push_back(ticket);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().expect("no panic").pop_front()
    }
}

#[tokio::test]
async fn a_session_is_resumed_for_its_own_name_only() {
    let world = World::new().await;
    let mut config = world.client.clone();
    config.resumption = Resumption::store(Arc::new(Mixed::default()));
    let mut kinds = Vec::new();
    for name in [OURS[0], OURS[0], OURS[1]] {
        let (theirs, ours) = world.meet(name, name, config.clone()).await;
        let (mut theirs, mut ours) = (theirs.expect("trusted"), ours.expect("secured"));
        kinds.push(theirs.get_ref().1.handshake_kind());
        // The tickets come before the first byte.
        ours.stream.write_all(b"x").await.expect("sent");
        ours.stream.flush().await.expect("sent");
        theirs.read_exact(&mut [0]).await.expect("read");
    }
    let [full, resumed] = [HandshakeKind::Full, HandshakeKind::Resumed].map(Some);
    assert_eq!(kinds, [full, resumed, full]);
}
