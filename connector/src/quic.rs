//! QUIC and TLS as both ends of the link set them, and the connector's own end.
//! It opens no socket and decides no pin but the gateway's.
//! Always true: TLS 1.3 with ring, Ed25519 alone, signatures verified, no resumption and no 0-RTT.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use protocol::{key::LinkPin, link::LinkEnd};
use quinn::{
    ClientConfig, ConnectionError, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
    congestion::BbrConfig, crypto::rustls::QuicClientConfig,
};
use rustls::{
    DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring::default_provider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::key::{LinkKey, pin_of};

/// Streams that one connection may carry at a time; quinn's own bound is 100.
pub const MAX_STREAMS: u32 = 65_536;
/// Payloads too large for a QUIC datagram that may be under way at a time, each way.
pub const LARGE_STREAMS: u32 = 64;
/// The name in the TLS handshake; nobody looks at it, since keys are pinned.
pub const SERVER_NAME: &str = "link.doorward.internal";

/// A dead peer is noticed after this long without a word.
const IDLE: Duration = Duration::from_secs(10);
/// An idle connector learns by its next word that the gateway is another process.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// What one stream may have in flight: 200 Mbit/s at 100 ms, and as much again while a lost packet is
/// sent anew (1 MiB: 100 of 200 Mbit/s at 40 ms with 0.3 % loss; 4 MiB: 170; bench/README.md). The connection as a whole has no window
/// of its own, lest flows that nobody reads stop all others; its bound is streams times this.
const STREAM_WINDOW: u32 = 4 << 20;
/// What a connection may have unacknowledged: 1.2 Gbit/s at 100 ms.
const SEND_WINDOW: u64 = 16 << 20;
/// Datagrams that wait to be read; their reader never waits, so that this is for a busy machine.
const DATAGRAMS_IN: usize = 8 << 20;
/// Datagrams that wait to be sent: more would only make them late (42 ms at 200 Mbit/s).
const DATAGRAMS_OUT: usize = 1 << 20;
/// The longest datagram. quinn gives the kernel ten at a time, which takes 65,507 bytes at a time.
const MAX_DATAGRAM: u16 = 6_550;
/// What fits an Ethernet with IPv6.
const ETHERNET_DATAGRAM: u16 = 1_452;
/// Of IPv4 without options, and of UDP.
const HEADERS: i32 = 20 + 8;
/// Asked of the kernel, which caps it at net.core.rmem_max and wmem_max.
const SOCKET_BUFFER: usize = 4 << 20;

/// The transport towards `peer`, letting it open `streams` streams at a time. Datagrams grow as far as
/// the path proves to carry them.
pub fn transport(streams: u32, peer: SocketAddr) -> Arc<TransportConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(longest_datagram(peer));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(LARGE_STREAMS.into())
        .datagram_receive_buffer_size(Some(DATAGRAMS_IN))
        .datagram_send_buffer_size(DATAGRAMS_OUT)
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE).expect("seconds fit")))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(VarInt::MAX)
        .send_window(SEND_WINDOW)
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(BbrConfig::default()));
    Arc::new(transport)
}

/// Takes datagrams as long as the other end may send.
pub fn take_long_datagrams(endpoint: &mut EndpointConfig) {
    endpoint.max_udp_payload_size(MAX_DATAGRAM).expect("quinn takes 1200 to 65527");
}

/// The longest datagram towards `peer` that the first link carries. What the whole path carries is
/// found out by asking it, and asking for what is out of the question takes seconds.
fn longest_datagram(peer: SocketAddr) -> u16 {
    let mtu = match peer {
        SocketAddr::V4(_) => mtu_towards(peer).ok(),
        // Not told by nix.
        SocketAddr::V6(_) => None,
    };
    let longest = mtu.and_then(|mtu| u16::try_from(mtu - HEADERS).ok()).unwrap_or(ETHERNET_DATAGRAM);
    longest.min(MAX_DATAGRAM)
}

/// The route's MTU; a UDP socket that is connected has sent nothing.
fn mtu_towards(peer: SocketAddr) -> io::Result<i32> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(peer)?;
    Ok(getsockopt(&socket, sockopt::IpMtu)?)
}

/// Widens a UDP socket's buffers as far as the kernel lets us.
pub fn widen(socket: &impl AsFd) {
    for (name, result) in [
        ("receive", setsockopt(socket, sockopt::RcvBuf, &SOCKET_BUFFER)),
        ("send", setsockopt(socket, sockopt::SndBuf, &SOCKET_BUFFER)),
    ] {
        if let Err(error) = result {
            tracing::debug!(name, %error, "a socket buffer keeps its size");
        }
    }
}

/// The algorithms of the link.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Verifies a handshake signature by the key of the certificate shown.
pub fn verify_signature(
    provider: &CryptoProvider,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, certificate, signature, &provider.signature_verification_algorithms)
}

/// The signature schemes of the link.
pub fn schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ED25519]
}

/// A TLS 1.2 signature: QUIC has none.
pub fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
}

/// The connector's end: shows `key`, talks to the gateway of `pin` alone and speaks the words of this
/// ALPN name. Its transport is chosen when it dials.
pub fn client(key: &LinkKey, pin: LinkPin, words: &[u8]) -> Result<ClientConfig, Error> {
    let (certificate, private) = key.certified();
    let provider = provider();
    let verifier = Arc::new(PinnedGateway::new(pin));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![certificate], private)?;
    tls.alpn_protocols = vec![words.to_vec()];
    tls.resumption = Resumption::disabled();
    let tls = QuicClientConfig::try_from(tls).map_err(|error| Error::General(error.to_string()))?;
    Ok(ClientConfig::new(Arc::new(tls)))
}

/// Why a connection ended, for people.
pub fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            match LinkEnd::from_code(close.error_code.into_inner()) {
                Some(end) => end.to_string(),
                None => format!("the other side closed the link: {close}"),
            }
        }
        ConnectionError::LocallyClosed => "closed by this side".to_owned(),
        ConnectionError::TimedOut => "the other side does not answer".to_owned(),
        ConnectionError::TransportError(error) => error.to_string(),
        ConnectionError::VersionMismatch
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// Lets through the gateway of one key, and none other.
#[derive(Debug)]
pub struct PinnedGateway {
    pin: LinkPin,
    provider: Arc<CryptoProvider>,
}

impl PinnedGateway {
    /// The gateway of this key.
    pub fn new(pin: LinkPin) -> Self {
        Self { pin, provider: provider() }
    }
}

impl ServerCertVerifier for PinnedGateway {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match pin_of(certificate) {
            Some(pin) if pin == self.pin => Ok(ServerCertVerified::assertion()),
            Some(pin) => Err(Error::General(format!(
                "the gateway has the key {pin}, not {}: correct gateway_key, or find out who answers in its place",
                self.pin
            ))),
            None => Err(Error::General("the gateway shows no certificate of a link key".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(&self.provider, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_may_grow_to_what_the_first_link_carries() {
        let longest = |peer: &str| longest_datagram(peer.parse().unwrap());
        assert_eq!(longest("127.0.0.1:1"), MAX_DATAGRAM, "loopback carries more than ten of these");
        assert_eq!(longest("[::1]:1"), ETHERNET_DATAGRAM);
        assert_eq!(longest("255.255.255.255:1"), ETHERNET_DATAGRAM, "there is no way to it");
        assert!(10 * usize::from(MAX_DATAGRAM) <= 65_507);
    }
}
