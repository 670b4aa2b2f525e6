//! Connections to PostgreSQL: how one is made, lent to one user at a time, and given up.
//! It sends nothing but what prepares a session. Always true: a connection that met an error, or whose
//! user was interrupted, is closed and not lent again; without TLS only if the URL says so, or by socket.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use protocol::config::Secret;
use rustls::{
    ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer, pki_types::pem::PemObject,
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_postgres::{
    AsyncMessage, Client, Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::LARGE;
use crate::store::StoreError;

/// The pause before the second attempt to connect; each is twice the last.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where the database is, and how to speak with it.
pub struct Address {
    config: Config,
    tls: MakeRustlsConnect,
    deadline: Duration,
}

impl fmt::Debug for Address {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Address {
    /// What `url` says. TLS is verified against the certificates in the file `root_ca`.
    pub fn new(url: &Secret<String>, root_ca: Option<&Path>, deadline: Duration) -> Result<Self, StoreError> {
        let parsed = url.expose().parse::<Config>();
        // The driver's words may quote the URL.
        let mut config = parsed.map_err(|_| unreachable("the URL in its file is not a PostgreSQL URL"))?;
        let by_socket = |host: &Host| matches!(host, Host::Unix(_));
        let plain = config.get_ssl_mode() == SslMode::Disable
            || (!config.get_hosts().is_empty() && config.get_hosts().iter().all(by_socket));
        config.ssl_mode(if plain { SslMode::Disable } else { SslMode::Require });
        config.connect_timeout(deadline).tcp_user_timeout(deadline).keepalives_idle(deadline);
        let roots = match root_ca {
            Some(file) => roots(file)?,
            None if plain => RootCertStore::empty(),
            None => {
                return Err(unreachable("TLS needs the file of its CA's certificate, or sslmode=disable"));
            }
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unreachable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), deadline })
    }

    /// A new session; `heard` is told of every notification it gets.
    pub async fn connect(&self, heard: &Arc<Notify>) -> Result<Session, StoreError> {
        let (client, mut connection) = self.config.connect(self.tls.clone()).await?;
        let heard = Arc::clone(heard);
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            while let Some(Ok(message)) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(_) = message {
                    heard.notify_one();
                }
            }
        });
        let session = Session { client, driver };
        // The server lets go of what we do not: else a lost connection could hold the order of commits up.
        let (millis, large) = (self.deadline.as_millis(), (self.deadline * LARGE).as_millis());
        let prepare = format!(
            "set statement_timeout = {large}; set idle_in_transaction_session_timeout = {millis};
             select set_config('synchronous_commit', 'on', false)
             where current_setting('synchronous_commit') = 'off'"
        );
        session.client.batch_execute(&prepare).await?;
        Ok(session)
    }
}

fn roots(file: &Path) -> Result<RootCertStore, StoreError> {
    let fault = |why: &dyn fmt::Display| unreachable(format!("{}: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|why| fault(&why))? {
        roots.add(certificate.map_err(|why| fault(&why))?).map_err(|why| fault(&why))?;
    }
    if roots.is_empty() { Err(fault(&"no certificate is in it")) } else { Ok(roots) }
}

pub fn unreachable(why: impl ToString) -> StoreError {
    StoreError::Unreachable { why: why.to_string() }
}

/// A connection with the task that moves its bytes.
pub struct Session {
    /// For statements.
    pub client: Client,
    driver: JoinSet<()>,
}

impl Session {
    /// Returns when the connection is lost.
    pub async fn lost(&mut self) {
        self.driver.join_next().await;
    }
}

/// One connection, for one user at a time, made again when it is lost.
pub struct Line {
    turn: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Option<Session>,
    failures: u32,
    /// Not before this is it tried again.
    not_before: Option<Instant>,
}

impl Default for Line {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), state: Mutex::default() }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// The connection, once it is this caller's turn.
    pub async fn lend(&self, address: &Address, heard: &Arc<Notify>) -> Result<Lent<'_>, StoreError> {
        let turn = self.turn.acquire().await.map_err(unreachable)?;
        let (idle, not_before) = self.with(|state| (state.idle.take(), state.not_before));
        if let Some(session) = idle.filter(|session| !session.client.is_closed()) {
            return Ok(Lent { session, line: self, _turn: turn });
        }
        if let Some(time) = not_before {
            sleep_until(time).await;
        }
        let session = address.connect(heard).await;
        self.with(|state| {
            state.failures = if session.is_ok() { 0 } else { state.failures + 1 };
            state.not_before = session.is_err().then(|| Instant::now() + pause(state.failures));
        });
        Ok(Lent { session: session?, line: self, _turn: turn })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long to wait after so many failures.
pub fn pause(failures: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE)
}

/// A connection that is ours until it is given back; dropped, it is closed.
pub struct Lent<'a> {
    session: Session,
    line: &'a Line,
    _turn: SemaphorePermit<'a>,
}

impl Lent<'_> {
    /// For statements.
    pub fn client(&self) -> &Client {
        &self.session.client
    }

    /// Gives it back: nothing is under way on it.
    pub fn done(self) {
        let Self { session, line, _turn } = self;
        line.with(|state| state.idle = Some(session));
    }
}
