//! Who shows another's certificate without having its key: refused on both sides (C3).

use std::sync::Arc;

use connector::quic::{PinnedGateway, SERVER_NAME, client, provider};
use gateway::connectors::LinkKey;
use protocol::link::ALPN;
use quinn::{
    ClientConfig, Endpoint, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::ring::sign::any_supported_type,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};

use super::rig::{Rig, key, until};

#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl Stolen {
    fn from(victim: &LinkKey) -> Arc<Self> {
        let ((certificate, _), (_, private)) = (victim.certified(), key().certified());
        let other_key = any_supported_type(&private).unwrap();
        Arc::new(Self(Arc::new(CertifiedKey::new(vec![certificate], other_key))))
    }
}

impl ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Stolen {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_certificate_opens_no_link() {
    let mut rig = Rig::start().await;
    let victim = LinkKey::from_pem(&rig.add("fra-1")).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedGateway::new(rig.pin)))
        .with_client_cert_resolver(Stolen::from(&victim));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    // The client's own handshake ends before the gateway has judged it.
    let connection = endpoint.connect_with(config, rig.address, SERVER_NAME).unwrap().await;
    until("the refusal", || !rig.registry.strangers().is_empty()).await;
    let stranger = &rig.registry.strangers()[0];
    assert!(stranger.key.is_none() && stranger.reason.contains("BadSignature"), "{stranger:?}");
    assert_eq!(rig.status("fra-1").connections, 0);
    drop(connection);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_certificate_makes_no_gateway() {
    let (gateway, connector) = (key(), key());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Stolen::from(&gateway));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let impostor = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = impostor.local_addr().unwrap();
    tokio::spawn(async move { impostor.accept().await.unwrap().await });
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client(&connector, gateway.pin(), ALPN).unwrap();
    let error = endpoint.connect_with(config, address, SERVER_NAME).unwrap().await.unwrap_err();
    assert!(error.to_string().contains("BadSignature"), "{error}");
}
