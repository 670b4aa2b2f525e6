//! The listener over real sockets and TLS, in the company of the door's tests. Always true: a client trusts
//! the authority that signed for the listener's name, as a provider would that of a public one.

mod bounds;
mod logout;

use std::{net::SocketAddr, sync::Arc};

use control::store::Engine;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    admin::now,
    door::tests::world::World,
    http::tests::client::{Answer, Client},
    tls::Authority,
};

pub(crate) const NAME: &str = "join.corp.example";

pub(crate) struct Outdoors {
    pub world: World,
    pub outside: Outside,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    drain: watch::Sender<bool>,
}

impl Outdoors {
    pub async fn new() -> Self {
        Self::over(|engine| engine).await
    }

    /// With `wrap` between the store and its file.
    pub async fn over(wrap: impl FnOnce(Arc<dyn Engine>) -> Arc<dyn Engine>) -> Self {
        let world = World::over(wrap).await;
        let (pem, key) = Authority::create(&["corp.example".to_owned()], now()).expect("made");
        let authority = Authority::load(&pem, &key).expect("loaded");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.root_der().to_vec())).expect("a root");
        world.certificates.put_authority(Some(authority));
        let outside = Outside::new(Parts {
            name: NAME.to_owned(),
            sessions: world.sessions.clone(),
            certificates: world.certificates.clone(),
            descriptors: Descriptors::new(10_000, 0),
        });
        let outside = outside.expect("an outside");
        let listeners = bind(&["127.0.0.1:0".parse().expect("an address")]).expect("a port");
        let address = listeners[0].local_addr().expect("bound");
        let (drain, draining) = watch::channel(false);
        outside.serve(listeners, &draining);
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        Self { world, outside, address, config: Arc::new(config), drain }
    }

    /// A socket from an address of this machine.
    async fn socket(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("bound");
        socket.connect(self.address).await.expect("the kernel connects")
    }

    async fn secured(&self, from: &str, name: &'static str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name).expect("a name");
        TlsConnector::from(self.config.clone()).connect(name, self.socket(from).await).await
    }

    async fn client_from(&self, from: &str) -> Client {
        Client::over(Box::new(self.secured(from, NAME).await.expect("secured")))
    }

    pub async fn client(&self) -> Client {
        self.client_from("127.0.0.1").await
    }

    /// Says this to the usual provider's path.
    async fn post(&self, body: &str) -> Answer {
        self.post_to("corp", &["Content-Type: application/x-www-form-urlencoded"], body).await
    }

    async fn post_to(&self, provider: &str, headers: &[&str], body: &str) -> Answer {
        post_by(&mut self.client().await, provider, headers, body).await
    }

    /// Shows a logout token that has these claims beside the usual ones.
    async fn show(&self, token: &str) -> Answer {
        self.post(&format!("logout_token={token}")).await
    }

    fn refused(&self, why: &str) -> u64 {
        let mut counts = self.outside.refused();
        counts.find(|(name, _)| name == why).unwrap_or_else(|| panic!("{why} is not counted")).1
    }
}

async fn post_by(client: &mut Client, provider: &str, headers: &[&str], body: &str) -> Answer {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "POST /backchannel-logout/{provider} HTTP/1.1\r\nHost: {NAME}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    client.ask_whole(&request).await
}

/// The error of an answer that says one, as a provider's program reads it.
fn error(answer: &Answer) -> String {
    assert_eq!(answer.values("cache-control"), ["no-store"], "{answer:?}");
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(body["error_description"].is_string(), "{body}");
    body["error"].as_str().expect("an error").to_owned()
}
