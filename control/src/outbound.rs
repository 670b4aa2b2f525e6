//! One HTTP/1.1 exchange with a server outside, in the clear or over TLS by the configuration given.
//! It follows no redirect and keeps no connection. Always true: an answer has a bound. How long it may
//! take is the caller's to say.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::HOST};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    /// The address is none.
    #[error("the address names no host that can be asked")]
    Address,
    /// Nobody to speak with.
    #[error("{0}")]
    Connect(io::Error),
    /// No TLS, or with nobody we trust.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// Not HTTP, or not to its end.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// More than the caller takes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Sends `request` to the host its address names, over `tls` if that says https; takes `limit` bytes. With
/// `at` that is dialled, whatever the name resolves to.
pub(crate) async fn exchange(
    tls: &Arc<ClientConfig>,
    at: Option<SocketAddr>,
    request: Request<Bytes>,
    limit: usize,
) -> Result<Response<Bytes>, OutboundError> {
    let uri = request.uri().clone();
    let host = uri.host().ok_or(OutboundError::Address)?.trim_matches(['[', ']']);
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = match at {
        Some(at) => TcpStream::connect(at).await,
        None => TcpStream::connect((host, port)).await,
    };
    let stream = stream.map_err(OutboundError::Connect)?;
    if secure {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| OutboundError::Address)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
        ask(stream.map_err(OutboundError::Tls)?, request, limit).await
    } else {
        ask(stream, request, limit).await
    }
}

async fn ask<S>(
    stream: S,
    mut request: Request<Bytes>,
    limit: usize,
) -> Result<Response<Bytes>, OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let authority = request.uri().authority().ok_or(OutboundError::Address)?;
    // What stands before an @ would be credentials: not for this header.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|_| OutboundError::Address)?;
    request.headers_mut().insert(HOST, host);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| OutboundError::Address)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| broken(error, limit))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        response = &mut exchange => response,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

fn broken(error: Box<dyn std::error::Error + Send + Sync>, limit: usize) -> OutboundError {
    if error.is::<LengthLimitError>() {
        return OutboundError::TooLarge(limit);
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => OutboundError::Http(*error),
        Err(error) => OutboundError::Connect(io::Error::other(error)),
    }
}
