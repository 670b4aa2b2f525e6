//! The running provider: https in front of it, the courier behind it.
//! Always true: it speaks TLS or nothing; connections, bodies and waits have bounds.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    answer::{Answer, page},
    config::Config,
    courier::{self, Notice},
    page::message,
    provider::Provider,
    user::Users,
};

/// Further connections wait in the kernel.
const CONNECTIONS: usize = 256;
/// Further notices are dropped, and that is logged.
const NOTICES: usize = 1024;
/// Larger than any form of ours.
const BODY: usize = 16 * 1024;
/// For a handshake, for the head of a request, for its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the provider does not run; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened at.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, io::Error),
}

/// A provider that answers until this is dropped.
pub struct Running {
    state: Arc<State>,
    tasks: JoinSet<()>,
}

struct State {
    provider: Mutex<Provider>,
    notices: mpsc::Sender<Notice>,
}

impl Running {
    /// Listens where the configuration says.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let at = config.listen;
        let listener = TcpListener::bind(at).await.map_err(|error| StartError::Listen(at, error))?;
        Ok(Self::start_at(listener, config))
    }

    /// Answers at a listener that is there already.
    pub fn start_at(listener: TcpListener, config: Config) -> Self {
        let (tls, client_tls) = (TlsAcceptor::from(config.tls.clone()), config.client_tls.clone());
        let (notices, inbox) = mpsc::channel(NOTICES);
        let state = Arc::new(State { provider: Mutex::new(Provider::new(config)), notices });
        let mut tasks = JoinSet::new();
        tasks.spawn(courier::run(inbox, client_tls));
        tasks.spawn(accept(listener, tls, state.clone()));
        Self { state, tasks }
    }

    /// From now on these people, and nobody else.
    pub fn replace_users(&self, users: Users) {
        self.state.provider().replace_users(users);
    }

    /// Ends everything at once.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl State {
    /// Held for one answer; never across an await.
    fn provider(&self) -> MutexGuard<'_, Provider> {
        self.provider.lock().expect("nobody panics while answering")
    }

    fn answer(&self, request: &Request<String>) -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (answer, notices) = {
            let mut provider = self.provider();
            (provider.answer(request, now), provider.take_notices())
        };
        for notice in notices {
            if let Err(error) = self.notices.try_send(notice) {
                tracing::warn!("a client is not told that a session has ended: {error}");
            }
        }
        answer
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        if open.len() >= CONNECTIONS {
            open.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(open.spawn(serve(stream, tls.clone(), state.clone()))),
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    let stream = match timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::info!("no TLS: {error}"),
        Err(_) => return tracing::info!("no TLS in time"),
    };
    let service = service_fn(|request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond(&state, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a connection ended: {error}");
    }
}

async fn respond(state: &State, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = timeout(PATIENCE, Limited::new(body, BODY).collect()).await;
    let text = body.ok().and_then(Result::ok).and_then(|all| String::from_utf8(all.to_bytes().into()).ok());
    match text {
        Some(text) => state.answer(&Request::from_parts(head, text)),
        None => {
            let told = "It was too long, too slow, or no text.";
            page(StatusCode::BAD_REQUEST, message("Not understood", told))
        }
    }
}
