//! The private HTTP listener for probes and scrapers: `/healthz`, `/readyz`, `/metrics`, and nothing else.
//! It knows nobody and changes nothing; who may reach it is the network's business.
//! Always true: so many connections at most, each ended after a while whatever it does.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};

use super::{Health, metrics};
use crate::{
    routes::{Route, router},
    status::Status,
};

/// Connections open at a time, on all addresses together; a probe and a scraper need one each.
const CONNECTIONS: usize = 16;
/// A connection ends after this long, slow headers or idle or not: who asks again dials again.
const LIFETIME: Duration = Duration::from_secs(10);
/// Rest after a failed accept, so that the loop does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Opens every address.
///
/// # Errors
/// One of them cannot be bound; the error names it.
pub async fn bind(listen: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in listen {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("health.listen {address}: {error}"));
        listeners.push(TcpListener::bind(address).await.map_err(named)?);
    }
    Ok(listeners)
}

/// Serves `listeners` until the runtime ends; `status` gathers what the metrics are made of.
pub fn serve<F, S>(listeners: Vec<TcpListener>, health: &Health, status: F)
where
    F: Fn() -> S + Clone + Send + Sync + 'static,
    S: Future<Output = Result<Status, String>> + Send,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let router = router(routes(health.clone(), status));
    for listener in listeners {
        let door = Door { listener, places: places.clone(), health: health.clone() };
        let router = router.clone();
        tokio::spawn(async move { axum::serve(door, router).await });
    }
}

/// What answers.
pub(crate) fn routes<F, S>(health: Health, status: F) -> [Route<()>; 3]
where
    F: Fn() -> S + Clone + Send + Sync + 'static,
    S: Future<Output = Result<Status, String>> + Send,
{
    [
        Route::get("/healthz", || async { "ok\n" }),
        Route::get("/readyz", move || async move { readiness(&health) }),
        Route::get("/metrics", move || async move { scraped(status().await) }),
    ]
}

fn readiness(health: &Health) -> Response {
    let states = health.states_now();
    let code = if states.iter().any(|state| state.refuses) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    match serde_json::to_string(&states) {
        Ok(body) => (code, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn scraped(status: Result<Status, String>) -> Response {
    match status {
        Ok(status) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&status)).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error).into_response(),
    }
}

struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    health: Health,
}

impl axum::serve::Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, remote)) => match self.places.clone().try_acquire_owned() {
                    Ok(place) => return (Visit::new(stream, place), remote),
                    Err(_) => drop(self.health.0.turned_away.fetch_add(1, Ordering::Relaxed)),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the health listener");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with an end.
struct Visit {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Visit {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        Self { stream, end: Box::pin(tokio::time::sleep(LIFETIME)), _place: place }
    }

    /// The stream, unless its time is over.
    fn stream(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_read(cx, into)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
        Poll::Ready(closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;
    use crate::health::Degraded;

    async fn start(health: &Health) -> SocketAddr {
        let listeners = bind(&["127.0.0.1:0".parse().expect("an address")]).await.expect("a port");
        let address = listeners[0].local_addr().expect("an address");
        serve(listeners, health, || async { Ok(crate::status::example()) });
        address
    }

    /// The code, the head and the body of an answer.
    async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
        read.expect("no hang").expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
        (code, head.to_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn only_three_paths_answer_and_only_to_who_reads() {
        let address = start(&Health::default()).await;
        for path in ["/healthz", "/readyz", "/metrics"] {
            let (code, head, body) = ask(address, "GET", path).await;
            assert!(code == 200 && !body.is_empty(), "{path}: {head}");
            let (code, head, body) = ask(address, "HEAD", path).await;
            assert_eq!((code, &*body), (200, ""), "{path}: {head}");
            for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
                assert_eq!(ask(address, method, path).await.0, 405, "{method} {path}");
            }
        }
        for path in ["/", "/healthz/", "/metrics/x", "//metrics", "/debug/pprof/", "/status", "/config", "*"]
        {
            let (code, head, body) = ask(address, "GET", path).await;
            assert_eq!((code, &*body), (404, ""), "{path}: {head}");
        }
        assert_eq!(ask(address, "GET", "/healthz").await.2, "ok\n");
        assert!(ask(address, "GET", "/metrics").await.1.contains("content-type: text/plain; version=0.0.4"));
    }

    #[tokio::test]
    async fn readiness_follows_the_states() {
        let health = Health::default();
        let address = start(&health).await;
        assert_eq!(ask(address, "GET", "/readyz").await.2, "[]");
        health.set(Degraded::new("peers_file", "the disk is full", "free some"));
        let (code, head, body) = ask(address, "GET", "/readyz").await;
        assert!(code == 200 && head.contains("application/json"), "{head}");
        let states: Vec<Degraded> = serde_json::from_str(&body).expect("a list of states");
        assert_eq!(states, health.states_now());
        health.set(Degraded::new("lease", "the store is lost", "find it").refusing());
        assert_eq!(ask(address, "GET", "/readyz").await.0, 503);
        assert_eq!(ask(address, "GET", "/healthz").await.0, 200, "the process lives all the same");
        health.clear("lease");
        assert_eq!(ask(address, "GET", "/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn who_dawdles_is_let_go() {
        let address = start(&Health::default()).await;
        for sent in ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(sent.as_bytes()).await.expect("sent");
            tokio::time::pause();
            // Ended by a close or a reset; a hang would end this test.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn so_many_connections_and_no_more() {
        let health = Health::default();
        let address = start(&health).await;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
            stream.read_u8().await.expect("an answer");
            open.push(stream);
        }
        let mut more = TcpStream::connect(address).await.expect("the kernel connects");
        assert!(matches!(more.read(&mut [0]).await, Ok(0) | Err(_)));
        assert_eq!(health.turned_away(), 1);
        drop(open.pop());
        // The place is free once the gateway has seen the end.
        loop {
            let mut stream = TcpStream::connect(address).await.expect("the kernel connects");
            let sent = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            if sent.is_ok() && stream.read_u8().await.is_ok() {
                break;
            }
        }
    }
}
