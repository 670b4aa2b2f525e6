//! The provider: an HTTPS server that answers each path as it was told, and remembers who asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A name that no resolver knows; its certificate is good for it.
pub const ELSEWHERE: &str = "idp.corp.example";

/// What it answers at a path.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// What was asked.
#[derive(Clone)]
pub struct Seen {
    pub path: String,
    pub authorization: Option<String>,
    pub body: String,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    seen: Vec<Seen>,
}

pub struct Fake {
    pub issuer: String,
    pub certificate: CertificateDer<'static>,
    state: Arc<Mutex<State>>,
}

impl Answer {
    pub fn json(body: &Value) -> Self {
        Self::status(200, body)
    }

    pub fn status(status: u16, body: &Value) -> Self {
        Self::raw(status, "application/json", body.to_string())
    }

    pub fn raw(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![(header::CONTENT_TYPE.as_str(), kind.to_owned())];
        Self { status, headers, body: body.into() }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl Fake {
    /// Listens on loopback, for as long as the test's runtime lives.
    pub async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost", ELSEWHERE].map(str::to_owned)).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls =
            tls.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), state.clone()));
        Self { issuer, certificate, state }
    }

    /// From now on it answers so.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// What was asked at `path` so far.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.state.lock().unwrap().seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            // Who does not trust us hangs up.
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(|request| respond(request, state.clone()));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
    let authorization = head.headers.get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    let path = head.uri.path().to_owned();
    let mut state = state.lock().unwrap();
    let answer = state.answers.get(&path).cloned();
    state.seen.push(Seen { path, authorization, body });
    let answer = answer.unwrap_or_else(|| Answer::status(404, &Value::Null));
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(answer.body)).unwrap())
}
