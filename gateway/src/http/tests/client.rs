//! Clients: one on a raw socket or TLS, which writes HTTP/1 by hand, and one of HTTP/2.

use std::net::SocketAddr;

use std::sync::Arc;

use bytes::Bytes;
use h2::{RecvStream, client::ResponseFuture};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::app::End;

pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub struct Client {
    pub stream: Box<dyn Io>,
    buffer: Vec<u8>,
}

/// How TLS is asked for.
#[derive(Clone)]
pub struct Tls {
    pub name: &'static str,
    pub config: ClientConfig,
}

impl Tls {
    /// A connection on which `alpn` was agreed.
    pub async fn connect(&self, address: SocketAddr, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from(self.name).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr, tls: Option<&Tls>) -> Self {
        let stream: Box<dyn Io> = match tls {
            Some(tls) => Box::new(tls.connect(address, "http/1.1").await.expect("secured")),
            None => Box::new(TcpStream::connect(address).await.expect("connected")),
        };
        Self::over(stream)
    }

    /// On what is connected already.
    pub fn over(stream: Box<dyn Io>) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// A request with a Host of the app and no body.
    pub async fn ask(&mut self, method: &str, target: &str, headers: &[&str]) -> Answer {
        self.ask_whole(&request(method, target, headers)).await
    }

    pub async fn ask_whole(&mut self, request: &str) -> Answer {
        self.send(request.as_bytes()).await;
        self.answer(request.starts_with("HEAD ")).await
    }

    /// Reads until `mark` has come.
    pub async fn until(&mut self, mark: &[u8]) {
        while !self.buffer.windows(mark.len()).any(|part| part == mark) {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("more");
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.clear();
    }

    pub async fn answer(&mut self, headless: bool) -> Answer {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("ASCII");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: String::new() };
        let length =
            answer.values("content-length").first().and_then(|value| value.parse().ok()).unwrap_or(0);
        let length: usize = if headless { 0 } else { length };
        while self.buffer.len() < length {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("a body");
            assert!(read > 0, "closed in the body");
        }
        answer.body = String::from_utf8(self.buffer.drain(..length).collect()).expect("UTF-8");
        answer
    }

    /// How the connection ends; everything that still comes is read.
    pub async fn end(&mut self) -> End {
        loop {
            self.buffer.clear();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) => return end_by(&error),
            }
        }
    }
}

fn end_by(error: &std::io::Error) -> End {
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    End::Reset
}

/// A client of HTTP/2.
pub struct H2Client {
    requests: h2::client::SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

#[derive(Debug)]
pub struct H2Answer {
    pub status: u16,
    pub body: RecvStream,
}

impl H2Answer {
    /// The next piece; `None` at the end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let Some(piece) = self.body.data().await.transpose()? else { return Ok(None) };
        self.body.flow_control().release_capacity(piece.len())?;
        Ok(Some(piece))
    }

    pub async fn text(mut self) -> Result<String, h2::Error> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            text.extend_from_slice(&piece);
        }
        Ok(String::from_utf8(text).expect("UTF-8"))
    }
}

impl H2Client {
    pub async fn connect(address: SocketAddr, tls: &Tls) -> Self {
        let stream = tls.connect(address, "h2").await.expect("secured");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        Self { requests, connection: tokio::spawn(connection) }
    }

    /// A request without a body, to a host.
    pub async fn ask_at(
        &mut self,
        host: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> H2Answer {
        answered(self.begin(host, method, target, headers, true).await.0).await
    }

    pub async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> H2Answer {
        self.ask_at("wiki.corp.example", method, target, headers).await
    }

    /// A request whose body and answer the caller sees to.
    pub async fn begin(
        &mut self,
        host: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        ended: bool,
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let mut request = http::Request::builder()
            .version(http::Version::HTTP_2)
            .method(method)
            .uri(format!("https://{host}{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        self.requests = self.requests.clone().ready().await.expect("ready");
        self.requests.send_request(request, ended).expect("sent")
    }

    /// How the connection ends.
    pub async fn end(self) -> End {
        match self.connection.await.expect("no panic") {
            Ok(()) => End::Closed,
            Err(error) => end_by(error.get_io().unwrap_or_else(|| panic!("{error}"))),
        }
    }
}

pub async fn answered(response: ResponseFuture) -> H2Answer {
    let (head, body) = response.await.expect("an answer").into_parts();
    H2Answer { status: head.status.as_u16(), body }
}

pub fn request(method: &str, target: &str, headers: &[&str]) -> String {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: wiki.corp.example\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request + "\r\n"
}
