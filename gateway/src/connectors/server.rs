//! Listens for connectors: the UDP socket and the TLS of the gateway's end.
//! It admits nobody: any Ed25519 key that proves itself gets through the handshake, so that an unknown
//! one can be told apart and named; the table decides right after.
//! Always true: a client without a proven key does not get through; a link of an earlier process of
//! ours is reset at its first packet, so that connectors notice a restart.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use connector::{
    key::{LinkKey, pin_of},
    quic,
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use protocol::{join, key::LinkPin, link};
use quinn::{
    Connecting, Connection, ConnectionError, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    Incoming, ServerConfig,
    crypto::rustls::{HandshakeData, QuicServerConfig},
};
use ring::{
    hmac::{self, HMAC_SHA256},
    rand::{SecureRandom, SystemRandom},
};
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

/// A connector opens its control stream and nothing else; one that joins, that of its request.
const STREAMS_OF_CONNECTOR: u32 = 1;
/// Handshakes that may wait to be looked at.
const MAX_WAITING: usize = 1024;
/// Of connection ids, in bytes: enough that nobody guesses one.
const ID_LENGTH: usize = 8;

/// The gateway's end: shows `key`, asks for a key. The transport is chosen by [`accept`].
pub(super) fn config(key: &LinkKey) -> Result<ServerConfig, Error> {
    let (certificate, private) = key.certified();
    let provider = quic::provider();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyLinkKey { provider }))
        .with_single_cert(vec![certificate], private)?;
    tls.alpn_protocols = vec![link::ALPN.to_vec(), join::ALPN.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let tls = QuicServerConfig::try_from(tls).map_err(|error| Error::General(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.max_incoming(MAX_WAITING);
    Ok(config)
}

/// Goes on with a handshake, by a transport that suits the way to the other end.
pub(super) fn accept(incoming: Incoming, config: &ServerConfig) -> Result<Connecting, ConnectionError> {
    let mut config = config.clone();
    config.transport_config(quic::transport(STREAMS_OF_CONNECTOR, incoming.remote_address()));
    incoming.accept_with(Arc::new(config))
}

/// Listens on one address; an IPv6 one is IPv6 alone, so that the IPv4 one can be had beside it.
pub(super) fn listen(address: SocketAddr, key: &LinkKey, config: ServerConfig) -> io::Result<Endpoint> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    let socket = UdpSocket::from(fd);
    quic::widen(&socket);
    let endpoint = with_lasting_resets(key, socket.local_addr()?);
    Endpoint::new(endpoint, Some(config), socket, Arc::new(quinn::TokioRuntime))
}

/// After a restart, resets are the same and connectors believe them (RFC 9000 section 10.3.2). Each
/// address has its own, or one endpoint would give away the resets of another's links (section 21.11).
fn with_lasting_resets(key: &LinkKey, address: SocketAddr) -> EndpointConfig {
    let secret = key.derive(&format!("stateless reset {address}"));
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(HMAC_SHA256, &secret)));
    config.cid_generator(|| Box::new(RandomIds(SystemRandom::new())));
    quic::take_long_datagrams(&mut config);
    config
}

/// Ids without a mark of the process: quinn's own would not reset those of an earlier one.
struct RandomIds(SystemRandom);

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_LENGTH];
        self.0.fill(&mut id).expect("the system gives randomness");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Which words the other end of a connection wants to speak, by their ALPN name.
pub(super) fn words(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
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
