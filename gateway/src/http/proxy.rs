//! Our side of pingora's request life cycle: judge, forward, answer for what fails, log.
//! Always true: the headers that tell the app who asks are written last, after everything a
//! client could influence has run; every request leaves exactly one decision line.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    admit::{self, Admitted, Asked, Decides, Trail},
    connection::{Connection, Phase, attached},
    cookie,
    page::{self, CONTENT_SECURITY_POLICY, Form},
    refusal::Refusal,
    upstream::{self, Link, Opener, TUNNEL_TIMEOUT},
};
use crate::{access::DenyReason, config::AppKind, dial::Dialer, limits::Descriptors, live::LiveGuard};

/// Between two requests; browsers keep connections for minutes, so we close first, and seldom.
pub const KEEP_ALIVE: Duration = Duration::from_secs(70);
/// Silence in the middle of a request body, and of a device that takes no more of an answer.
const STALL: Duration = Duration::from_secs(60);
/// How much of a refused request's body is read so that the connection can go on.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Judges requests and forwards what may pass.
pub struct Proxy {
    gate: Arc<dyn Decides>,
    dialer: Dialer,
    descriptors: Descriptors,
    random: SystemRandom,
    flows: AtomicU64,
    retired: CancellationToken,
}

/// One request, from its head to its end.
pub struct Exchange {
    id: String,
    number: u64,
    began: Instant,
    form: Form,
    host: String,
    admitted: Option<Admitted>,
    /// Keeps the decision registered while the request is under way.
    guard: Option<LiveGuard>,
}

impl Proxy {
    /// Asks `gate`, opens with `dialer` and within `descriptors`, keeps nothing open to apps once it is
    /// `retired`.
    pub fn new(
        gate: Arc<dyn Decides>,
        dialer: Dialer,
        descriptors: Descriptors,
        retired: CancellationToken,
    ) -> Self {
        let (random, flows) = (SystemRandom::new(), AtomicU64::new(0));
        Self { gate, dialer, descriptors, random, flows, retired }
    }

    /// Unguessable, so that it can be told to anyone. If the system has no randomness, unique at least.
    fn request_id(&self, number: u64) -> String {
        let mut bytes = [0; 12];
        if self.random.fill(&mut bytes).is_err() {
            return format!("n{number}");
        }
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn judge(
        &self,
        session: &Session,
        connection: &Connection,
        exchange: &mut Exchange,
    ) -> Result<(), Refusal> {
        let raw = session.to_h1_raw();
        let asked = Asked { connection, request: session.req_header(), raw: &raw, id: &exchange.id };
        let mut trail = Trail::default();
        let judged = asked.judge(&*self.gate, &mut trail);
        log(connection, exchange, &trail, judged.as_ref().err());
        let (admitted, guard) = judged?;
        // The new one is registered, and only then the one before it is over.
        exchange.guard = Some(guard);
        connection.goes_on();
        exchange.admitted = Some(admitted);
        Ok(())
    }

    async fn refuse(&self, session: &mut Session, exchange: &Exchange, refusal: &Refusal) -> Result<()> {
        let unclear = matches!(refusal, Refusal::Head(_) | Refusal::NotHttp | Refusal::Method);
        if unclear || !drained(session).await {
            session.set_keepalive(None);
        }
        let body = page::render(refusal, exchange.form, &exchange.host, &exchange.id);
        let mut answer = ResponseHeader::build(refusal.status(), Some(10))?;
        answer.insert_header(header::CONTENT_TYPE, exchange.form.content_type())?;
        answer.insert_header(header::CONTENT_LENGTH, body.len())?;
        answer.insert_header(header::CACHE_CONTROL, "no-store")?;
        answer.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        answer.insert_header(header::REFERRER_POLICY, "no-referrer")?;
        answer.insert_header(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY.as_str())?;
        answer.insert_header("X-Request-Id", exchange.id.as_str())?;
        if let Some(there) = refusal.location() {
            answer.insert_header(header::LOCATION, there)?;
        }
        if refusal.status() == 401 {
            answer.insert_header(header::WWW_AUTHENTICATE, "Doorward")?;
        }
        if matches!(refusal, Refusal::Method) {
            answer.insert_header(header::ALLOW, "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE")?;
        }
        let is_head = session.req_header().method == http::Method::HEAD;
        let session = session.as_downstream_mut();
        session.write_response_header(Box::new(answer)).await?;
        let body = if is_head { Bytes::new() } else { Bytes::from(body) };
        session.write_response_body(body, true).await
    }
}

/// Reads what is left of a small request body; whether nothing is left.
async fn drained(session: &mut Session) -> bool {
    if session.get_header(header::EXPECT).is_some() {
        return session.is_body_done();
    }
    let rest = async {
        let mut taken = 0;
        while let Some(part) = session.read_request_body().await? {
            taken += part.len();
            if taken > DRAIN_BYTES {
                return Ok(false);
            }
        }
        Ok::<_, Box<Error>>(true)
    };
    matches!(timeout(DRAIN_TIME, rest).await, Ok(Ok(true)))
}

fn log(connection: &Connection, exchange: &Exchange, trail: &Trail, refusal: Option<&Refusal>) {
    let denied = match refusal {
        Some(Refusal::Denied(denied) | Refusal::SignIn { denied, .. }) => Some(denied),
        _ => None,
    };
    let user = trail.user.as_ref().map(|user| &user.id).or(denied.and_then(|denied| denied.user.as_ref()));
    let policies = match denied {
        Some(denied) => {
            denied.reasons.iter().filter_map(DenyReason::policy).map(AsRef::as_ref).collect::<Vec<_>>()
        }
        None => trail.policies.iter().map(AsRef::as_ref).collect(),
    };
    let decision = match (refusal, denied) {
        (None, _) => "allow",
        (Some(_), Some(_)) => "deny",
        (Some(_), None) => "refuse",
    };
    tracing::info!(
        target: "decision",
        request_id = exchange.id,
        user = user.map(tracing::field::display),
        device = %connection.flow.device(),
        app = %connection.flow.app(),
        method = trail.method,
        path = trail.path,
        decision,
        policies = policies.join(","),
        reason = refusal.map(Refusal::code),
        why = denied.map(tracing::field::display),
        until = trail.until.or(denied.and_then(|denied| denied.until)).map(tracing::field::display),
        latency_us = u64::try_from(exchange.began.elapsed().as_micros()).unwrap_or(u64::MAX),
    );
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        let (number, began) = (self.flows.fetch_add(1, Ordering::Relaxed), Instant::now());
        let id = self.request_id(number);
        Exchange { id, number, began, form: Form::Text, host: String::new(), admitted: None, guard: None }
    }

    /// No compression: it would buffer, and only the app knows what may be compressed.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _: &mut Exchange) -> Result<()> {
        let Some(connection) = Connection::of(session) else { return Ok(()) };
        connection.enter(Phase::Busy);
        let last = connection.is_draining() || session.is_process_shutting_down();
        let keep_alive = session.get_keepalive().filter(|_| !last).map(|_| KEEP_ALIVE.as_secs());
        session.set_keepalive(keep_alive);
        let silence = if session.is_upgrade_req() { TUNNEL_TIMEOUT } else { STALL };
        session.set_read_timeout(Some(silence));
        session.set_write_timeout(Some(STALL));
        session.set_total_drain_timeout(Some(DRAIN_TIME));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        exchange.form = Form::of(&session.req_header().headers);
        exchange.host = admit::host(session.req_header()).unwrap_or_default().to_owned();
        let judged = match Connection::of(session) {
            Some(connection) => self.judge(session, &connection, exchange),
            None => Err(Refusal::Internal),
        };
        match judged {
            Ok(()) => Ok(false),
            Err(refusal) => self.refuse(session, exchange, &refusal).await.map(|()| true),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
        let (Some(admitted), Some(connection)) = (&exchange.admitted, Connection::of(session)) else {
            return Error::e_explain(ErrorType::InternalError, "the request was not admitted");
        };
        let AppKind::Http(http) = &admitted.app.kind else {
            return Error::e_explain(ErrorType::InternalError, "the app does not speak HTTP");
        };
        let opener = Opener {
            attempt: admitted.attempt.clone(),
            dialer: self.dialer.clone(),
            flow: exchange.number,
            upgrade: admitted.upgrade,
            cut: connection.flow.cut().token().clone(),
            descriptors: self.descriptors.clone(),
            retired: self.retired.clone(),
        };
        Ok(Box::new(upstream::peer(&admitted.app, http, self.gate.generation(), opener)))
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        digest: Option<&Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let link = digest.and_then(|digest| attached::<Link>(digest.proxy_digest.as_deref()?));
        let (Some(connection), Some(link)) = (Connection::of(session), link) else {
            // Without the link a cut could not reach the app's side.
            return Error::e_explain(ErrorType::InternalError, "the app's connection is not ours");
        };
        if !connection.uses(exchange.number, link) {
            return Error::e_explain(ErrorType::InternalError, "access was cut");
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let Some(admitted) = &exchange.admitted else {
            return Error::e_explain(ErrorType::InternalError, "the request was not admitted");
        };
        let AppKind::Http(http) = &admitted.app.kind else {
            return Error::e_explain(ErrorType::InternalError, "the app does not speak HTTP");
        };
        request.set_raw_path(admitted.forward.as_bytes())?;
        cookie::join(request)?;
        admitted.told.write(request, &http.identity)
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Exchange,
    ) -> Result<()> {
        cookie::narrow(response)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let refusal = refusal_of(error, exchange);
        let answered = session.response_written().is_some_and(|answer| !answer.status.is_informational());
        // A stream of HTTP/2 that ends without its end is reset by itself.
        if answered
            && !session.is_http2()
            && let Some(connection) = Connection::of(session)
        {
            connection.break_off();
        }
        let code = match refusal {
            Some(refusal) if !answered => {
                session.set_keepalive(None);
                tracing::warn!(target: "http", request_id = exchange.id, error = error.etype().as_str(),
                    side = error.esource().as_str(), reason = refusal.code(), "the request failed");
                // If the device is gone, nobody is there to be told.
                let _ = self.refuse(session, exchange, &refusal).await;
                refusal.status()
            }
            _ => 0,
        };
        FailToProxy { error_code: code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        let connection = Connection::of(session);
        if let Some(connection) = &connection {
            connection.over(exchange.number, error.is_none(), exchange.guard.take());
        }
        if exchange.admitted.is_some() {
            let cut = connection.as_ref().and_then(|connection| connection.flow.cut().why());
            let why = cut.map(ToString::to_string);
            let why = why.as_deref().unwrap_or(if error.is_some() { "broken off" } else { "answered" });
            let (sent, received) = (session.body_bytes_read() as u64, session.body_bytes_sent() as u64);
            self.gate.ended(&exchange.id, why, sent, received);
        }
        tracing::debug!(target: "http", request_id = exchange.id, status = session.response_written().map(|answer| answer.status.as_u16()),
            sent = session.body_bytes_sent(), received = session.body_bytes_read(), "the request is over");
    }

    /// pingora's own words would hold the query.
    fn request_summary(&self, _: &Session, exchange: &Exchange) -> String {
        exchange.id.clone()
    }

    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Exchange, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

/// Whose fault a failure is; `None` if the device went away.
fn refusal_of(error: &Error, exchange: &Exchange) -> Option<Refusal> {
    let dialled = exchange.admitted.as_ref().and_then(|admitted| admitted.attempt.failure());
    if dialled.is_some() {
        return dialled;
    }
    let timed_out = matches!(
        error.etype(),
        ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout
    );
    match error.esource() {
        ErrorSource::Upstream if timed_out => Some(Refusal::Silent),
        ErrorSource::Upstream => Some(Refusal::BrokeOff),
        ErrorSource::Downstream => {
            (*error.etype() == ErrorType::InvalidHTTPHeader).then_some(Refusal::NotHttp)
        }
        ErrorSource::Internal if *error.etype() == ErrorType::InvalidHTTPHeader => Some(Refusal::NotHttp),
        ErrorSource::Internal | ErrorSource::Unset => Some(Refusal::Internal),
    }
}
