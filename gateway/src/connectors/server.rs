//! Listens for connectors: the UDP socket and the TLS of the gateway's end.
//! It admits nobody: any Ed25519 key that proves itself gets through the handshake, so that an unknown
//! one can be told apart and named; the table decides right after.
//! Always true: a client without a proven key does not get through.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::Arc,
};

use connector::{
    key::{LinkKey, pin_of},
    quic,
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use protocol::{key::LinkPin, link::ALPN};
use quinn::{Connection, Endpoint, EndpointConfig, ServerConfig, crypto::rustls::QuicServerConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// A connector opens its control stream and nothing else.
const STREAMS_OF_CONNECTOR: u32 = 1;
/// Handshakes that may wait to be looked at.
const MAX_WAITING: usize = 1024;

/// The gateway's end: shows `key`, asks for a key.
pub(super) fn config(key: &LinkKey) -> Result<ServerConfig, Error> {
    let (certificate, private) = key.certified();
    let provider = quic::provider();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyLinkKey { provider }))
        .with_single_cert(vec![certificate], private)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let tls = QuicServerConfig::try_from(tls).map_err(|error| Error::General(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(quic::transport(STREAMS_OF_CONNECTOR)).max_incoming(MAX_WAITING);
    Ok(config)
}

/// Listens on one address; an IPv6 one is IPv6 alone, so that the IPv4 one can be had beside it.
pub(super) fn listen(address: SocketAddr, config: ServerConfig) -> io::Result<Endpoint> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    let socket = UdpSocket::from(fd);
    quic::widen(&socket);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(quinn::TokioRuntime))
}

/// The key that the other end of a connection has proven.
pub(super) fn pin_of_peer(connection: &Connection) -> Option<LinkPin> {
    let identity = connection.peer_identity()?;
    let certificates = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    pin_of(certificates.first()?)
}

#[derive(Debug)]
struct AnyLinkKey {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyLinkKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match pin_of(certificate) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        quic::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        quic::verify_signature(&self.provider, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        quic::schemes()
    }
}
