//! The TLS handshake of one accepted connection, from the hello to a plain stream.
//! It reads no byte of what comes after. Always true: the name is judged before a certificate is sent;
//! a handshake has one deadline; one that is given up or cut is reset.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::Acceptor,
    version::{TLS12, TLS13},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::resolver::{Certificates, plain};

/// How long a handshake may take (nginx: 60 s; browsers need a few round trips).
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A fatal unrecognized_name (RFC 6066 §3, RFC 8446 §6), in a record of its own as nothing is encrypted
/// yet. rustls would say access_denied where there is no certificate.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What was agreed to be spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1, also for who asks for nothing.
    Http1,
    /// HTTP/2.
    H2,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Secured {
    /// What is inside.
    pub stream: TlsStream<TcpStream>,
    /// The name that was asked for, in lower case.
    pub name: String,
    /// What is spoken inside.
    pub alpn: Alpn,
}

/// Why there is no connection. The other end's doing, except for [`TlsError::Cut`].
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The hello names no host.
    #[error("the hello names no host")]
    NoSni,
    /// The name is not ours, or stands elsewhere.
    #[error("nothing named {0:?} stands here")]
    UnknownName(String),
    /// Something else than TLS.
    #[error("what came is not TLS")]
    NotTls,
    /// Too slow.
    #[error("the handshake took too long")]
    Timeout,
    /// Broken off, or nothing in common.
    #[error("the handshake failed: {0}")]
    Failed(io::Error),
    /// Access was cut meanwhile.
    #[error("access was cut")]
    Cut,
}

/// Does handshakes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsFront(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    config: Arc<ServerConfig>,
    certificates: Certificates,
    refused: Refused,
}

/// Handshakes that came to nothing, by why.
#[derive(Debug, Default)]
struct Refused {
    no_sni: AtomicU64,
    unknown_name: AtomicU64,
    not_tls: AtomicU64,
    timeout: AtomicU64,
    failed: AtomicU64,
}

impl TlsFront {
    /// Shows what `certificates` has.
    ///
    /// # Errors
    /// The system gives no randomness for session tickets.
    pub fn new(certificates: Certificates) -> Result<Self, rustls::Error> {
        Self::speaking(&[H2, HTTP1], certificates)
    }

    /// The same, for HTTP/1.1 alone.
    ///
    /// # Errors
    /// The system gives no randomness for session tickets.
    pub fn http1(certificates: Certificates) -> Result<Self, rustls::Error> {
        Self::speaking(&[HTTP1], certificates)
    }

    fn speaking(protocols: &[&[u8]], certificates: Certificates) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates.clone()));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A ticket is good for the name it was given for only, and its hello is judged like any other.
        config.ticketer = ring::Ticketer::new()?;
        // 0-RTT can be replayed.
        config.max_early_data_size = 0;
        let refused = Refused::default();
        Ok(Self(Arc::new(Parts { config: Arc::new(config), certificates, refused })))
    }

    /// What it shows.
    pub fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// Does the handshake on `socket`. The name asked for must be ours and `allowed`, which says what
    /// stands at the address the connection came to. `cut` ends it at once.
    pub async fn accept(
        &self,
        socket: TcpStream,
        allowed: impl Fn(&str) -> bool,
        cut: impl Future<Output = ()>,
    ) -> Result<Secured, TlsError> {
        let secured = self.handshake(socket, allowed, cut).await;
        if let Err(error) = &secured {
            self.0.refused.count(error);
        }
        secured
    }

    /// How many handshakes came to nothing, by why.
    pub fn refused(&self) -> [(&'static str, u64); 5] {
        let Refused { no_sni, unknown_name, not_tls, timeout, failed } = &self.0.refused;
        [
            ("tls_no_sni", no_sni),
            ("tls_unknown_name", unknown_name),
            ("tls_not_tls", not_tls),
            ("tls_timeout", timeout),
            ("tls_failed", failed),
        ]
        .map(|(why, count)| (why, count.load(Ordering::Relaxed)))
    }

    async fn handshake(
        &self,
        socket: TcpStream,
        allowed: impl Fn(&str) -> bool,
        cut: impl Future<Output = ()>,
    ) -> Result<Secured, TlsError> {
        let mut given_up = pin!(async {
            tokio::select! {
                biased;
                () = cut => TlsError::Cut,
                () = sleep(HANDSHAKE) => TlsError::Timeout,
            }
        });
        let mut hello = LazyConfigAcceptor::new(Acceptor::default(), socket);
        let mut start = tokio::select! {
            biased;
            why = &mut given_up => return Err(reset(hello.take_io().as_ref(), why)),
            start = &mut hello => start.map_err(of_hello)?,
        };
        let name = match start.client_hello().server_name().map(plain) {
            Some(name) if allowed(&name) && self.0.certificates.names().contains(&name) => name,
            asked => return Err(refuse(&mut start.io, asked).await),
        };
        let mut rest = start.into_stream(self.0.config.clone());
        let stream = tokio::select! {
            biased;
            why = &mut given_up => return Err(reset(rest.get_ref(), why)),
            stream = &mut rest => stream.map_err(TlsError::Failed)?,
        };
        let alpn = match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Alpn::H2,
            Some(_) | None => Alpn::Http1,
        };
        Ok(Secured { stream, name, alpn })
    }
}

/// Says that the name is none of ours, whichever it is; the hello was read to its end, so that this
/// arrives before the close.
async fn refuse(socket: &mut TcpStream, asked: Option<String>) -> TlsError {
    let farewell = async {
        socket.write_all(&UNRECOGNIZED_NAME).await?;
        socket.shutdown().await
    };
    // The other end may be gone; nobody has to be told then.
    let _ = farewell.await;
    asked.map_or(TlsError::NoSni, TlsError::UnknownName)
}

/// Makes the close that follows a reset.
fn reset(socket: Option<&TcpStream>, why: TlsError) -> TlsError {
    // A socket that is gone needs none.
    let _ = socket.map(TcpStream::set_zero_linger);
    why
}

/// What is not TLS is told from what is broken by the first thing that the parser refuses.
fn of_hello(error: io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => TlsError::NotTls,
        Some(_) | None => TlsError::Failed(error),
    }
}

impl Refused {
    fn count(&self, error: &TlsError) {
        let count = match error {
            TlsError::NoSni => &self.no_sni,
            TlsError::UnknownName(_) => &self.unknown_name,
            TlsError::NotTls => &self.not_tls,
            TlsError::Timeout => &self.timeout,
            TlsError::Failed(_) => &self.failed,
            TlsError::Cut => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
