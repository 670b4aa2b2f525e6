//! The door: the portal inside the tunnel, where a person signs in and sees how they stand. A device is
//! known by its key before it knocks; nothing here needs a cookie to know whose it is.
//! Always true: a sign-in is finished only on the device and in the browser that began it; every redirect
//! goes to a provider of the configuration, an app of ours, or the door.

mod back;
mod captive;
mod cookie;
mod home;
mod parts;
mod renewal;
mod sign_in;
mod sign_out;
mod standing;
#[cfg(test)]
pub(crate) mod tests;
mod trust;
mod words;

use std::{net::SocketAddr, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use protocol::id::DeviceId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

pub use self::{
    captive::lead_to_the_door,
    parts::{Door, Parts},
    renewal::Renewals,
    sign_in::{Way, way_in},
};
use crate::{
    http::{Asked, guard},
    page,
    routes::{Route, router},
};

/// Forms here hold a word or two.
const LARGEST_BODY: usize = 4096;
/// How long a request head may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a request may take: longer than any wait for news or for a provider.
const LONGEST: Duration = Duration::from_secs(60);
/// A connection's requests under way at once (HTTP/2).
const STREAMS: u32 = 32;

/// Whose connection it is.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The device.
    pub device: DeviceId,
    /// Its tunnel address and port.
    pub source: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl Door {
    /// Answers a visitor's requests until the connection ends.
    pub async fn serve<S>(&self, stream: S, visitor: Visitor)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let routes = if visitor.secure {
            router(secure_routes()).fallback(nothing)
        } else {
            router(plain_routes()).fallback(to_https)
        };
        let routes = routes
            .layer(middleware::from_fn_with_state(self.clone(), admit))
            .layer(Extension(visitor))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(self.clone());
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
        // A visitor who goes away has seen enough.
        let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
    }
}

/// What answers over TLS.
pub(crate) fn secure_routes() -> Vec<Route<Door>> {
    let only = [
        Route::get("/", home::home),
        Route::get("/sign-in", sign_in::begin),
        Route::get("/callback/{provider}", sign_in::finish),
        Route::post("/sign-out", sign_out::sign_out),
        Route::get("/signed-out", sign_out::signed_out),
    ];
    only.into_iter().chain(plain_routes()).collect()
}

/// What needs no certificate to be trusted: the tunnel proves and hides it.
pub(crate) fn plain_routes() -> [Route<Door>; 4] {
    [
        Route::get("/device", standing::device),
        Route::get("/certificate", trust::page),
        Route::get("/ca.pem", trust::pem),
        Route::get("/ca.cer", trust::der),
    ]
}

async fn nothing() -> Response {
    (StatusCode::NOT_FOUND, words::nothing_here()).into_response()
}

/// Everything else is said over TLS.
async fn to_https(State(door): State<Door>) -> Response {
    Redirect::permanent(&format!("{}/", door.origin())).into_response()
}

/// Is it meant for the door, and is no other site asking?
async fn admit(
    State(door): State<Door>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
    next: Next,
) -> Response {
    if !door.is_meant(&request, &visitor) {
        return (StatusCode::MISDIRECTED_REQUEST, words::misdirected()).into_response();
    }
    let origin = if visitor.secure { door.origin() } else { format!("http://{}", door.name()) };
    let asked = Asked {
        method: request.method().as_str(),
        upgrade: request.headers().contains_key(header::UPGRADE),
        overridden: false,
        headers: request.headers(),
        own: &origin,
        allow: &[],
    };
    if let Err(error) = guard(&asked) {
        return (StatusCode::FORBIDDEN, words::cross_site(error)).into_response();
    }
    let Ok(mut response) = timeout(LONGEST, next.run(request)).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Without any referrer our own forms would say no origin either, and be refused like a stranger's.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if visitor.secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if let Ok(policy) = HeaderValue::from_str(&page::content_security_policy("'self'")) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// A page as an answer.
fn html(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], Body::from(text)).into_response()
}

/// One that is not the usual answer.
fn html_with(status: StatusCode, text: String) -> Response {
    (status, html(text)).into_response()
}

/// What a handler is given.
type Given = (State<Door>, Extension<Visitor>);
