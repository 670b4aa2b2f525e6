//! Takes connectors that join: one request with a one-time token, on a connection of its own.
//! It judges no token; who does is handed in as soon as it can.
//! Always true: a connection that joins never becomes a link; no token is looked at for a source that
//! has failed too often; places and waits are bounded; no token is logged.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use protocol::{
    join::{Joined, MAX, Message, VERSION},
    key::LinkPin,
    link::LinkEnd,
};
use quinn::{Connection, SendStream};
use tokio::{sync::Semaphore, time::timeout};

use super::{FAREWELL, Inner, server::pin_of_peer, sources::Sources};

/// Connections that join at a time, of all endpoints: fewer than arrive, so that links find a place.
const PLACES: usize = 16;
/// For the request.
const HEAR: Duration = Duration::from_secs(3);
/// For the store, which may be asked several times.
const REDEEM: Duration = Duration::from_secs(8);

/// Lets connectors join.
#[async_trait]
pub trait Redeem: Send + Sync {
    /// The connector with this key joins by this token. The same again is answered the same.
    async fn redeem(&self, token: &str, pin: LinkPin) -> Result<Joined, NotJoined>;
}

/// Why a connector has not joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotJoined {
    /// For the outsider: whatever is wrong with a token, the same.
    pub told: String,
    /// For the operator's log.
    pub why: String,
    /// Whether who asks is at fault, which counts against where it comes from.
    pub fault: bool,
}

impl NotJoined {
    /// It is ours to mend.
    pub fn later(told: &str, why: impl Into<String>) -> Self {
        Self { told: told.to_owned(), why: why.into(), fault: false }
    }

    fn broken(why: impl Into<String>) -> Self {
        let why = why.into();
        Self { told: why.clone(), why, fault: true }
    }
}

/// Who redeems, and what came of it so far.
pub(super) struct Joins {
    redeemer: OnceLock<Arc<dyn Redeem>>,
    places: Semaphore,
    sources: Mutex<Sources>,
    joined: AtomicU64,
    refused: AtomicU64,
}

impl Default for Joins {
    fn default() -> Self {
        Self {
            redeemer: OnceLock::new(),
            places: Semaphore::new(PLACES),
            sources: Mutex::default(),
            joined: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl Joins {
    /// From now on tokens are looked at; the first who is handed in stays.
    pub fn redeem_with(&self, redeemer: Arc<dyn Redeem>) {
        let _ = self.redeemer.set(redeemer);
    }

    /// What status tells.
    pub fn counters(&self) -> [(&'static str, u64); 3] {
        [
            ("joins", self.joined.load(Ordering::Relaxed)),
            ("joins_refused", self.refused.load(Ordering::Acquire)),
            ("join_sources_forgotten", self.sources().forgotten()),
        ]
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().expect("no code panics while it holds the sources")
    }

    async fn redeem(&self, asked: Message, pin: LinkPin) -> Result<Joined, NotJoined> {
        let token = match asked {
            Message::Join(token) => token,
            Message::Unspoken(version) => {
                return Err(NotJoined::broken(format!(
                    "the gateway speaks version {VERSION} of joining, the connector version {version}: upgrade the older"
                )));
            }
            Message::Joined(_) | Message::Refused(_) => {
                return Err(NotJoined::broken("a request to join was due"));
            }
        };
        let starting = || NotJoined::later("the gateway is starting: try again", "the gateway is starting");
        let redeemer = self.redeemer.get().ok_or_else(starting)?;
        let late = |_| {
            let why = "the store did not answer in time: the token may have been used all the same";
            NotJoined::later("the gateway cannot keep that now: try again", why)
        };
        timeout(REDEEM, redeemer.redeem(token.expose(), pin)).await.map_err(late)?
    }
}

/// Serves a connection that joins, to its end.
pub(super) async fn serve(inner: &Inner, connection: &Connection) {
    let (remote, pin) = (connection.remote_address(), pin_of_peer(connection));
    let (end, outcome) = admit(&inner.joins, connection, pin).await;
    connection.close(end.code().into(), b"");
    match outcome {
        Ok(Joined { connector, site }) => {
            inner.joins.joined.fetch_add(1, Ordering::Relaxed);
            let key = pin.map(|pin| pin.to_string());
            tracing::info!(%connector, %site, key, %remote, "connector joined");
        }
        Err(NotJoined { why, fault, .. }) => {
            let now = Instant::now();
            if fault {
                inner.joins.sources().failed(remote.ip(), now);
            }
            inner.table().strangers.turned_away(pin, remote, format!("join: {why}"), now);
            // Last: who sees it counted sees the rest as well.
            inner.joins.refused.fetch_add(1, Ordering::Release);
        }
    }
}

/// Looks at the request of whoever finds a place and has not failed too often.
async fn admit(
    joins: &Joins,
    connection: &Connection,
    pin: Option<LinkPin>,
) -> (LinkEnd, Result<Joined, NotJoined>) {
    let unheard = |end: LinkEnd| (end, Err(NotJoined::later("", end.to_string())));
    let Ok(_place) = joins.places.try_acquire() else { return unheard(LinkEnd::Crowded) };
    if joins.sources().is_shut(connection.remote_address().ip(), Instant::now()) {
        return unheard(LinkEnd::Shut);
    }
    let heard = timeout(HEAR, hear(connection)).await;
    let heard = heard.unwrap_or_else(|_| Err("no request".to_owned()));
    match (heard, pin) {
        (Ok((send, asked)), Some(pin)) => {
            let outcome = joins.redeem(asked, pin).await;
            tell(connection, send, &outcome).await;
            (LinkEnd::Shutdown, outcome)
        }
        (Err(why), _) => (LinkEnd::Protocol, Err(NotJoined::broken(why))),
        (Ok(_), None) => (LinkEnd::UnknownKey, Err(NotJoined::broken("no key"))),
    }
}

async fn hear(connection: &Connection) -> Result<(SendStream, Message), String> {
    let (send, mut recv) = connection.accept_bi().await.map_err(|error| error.to_string())?;
    let bytes = recv.read_to_end(MAX).await.map_err(|error| error.to_string())?;
    Ok((send, Message::decode(&bytes).map_err(|error| error.to_string())?))
}

/// Whoever does not take the answer asks again.
async fn tell(connection: &Connection, mut send: SendStream, outcome: &Result<Joined, NotJoined>) {
    let answer = match outcome {
        Ok(joined) => Message::Joined(joined.clone()),
        Err(not) => Message::Refused(not.told.clone()),
    };
    let told = async {
        if send.write_all(&answer.encode()).await.is_ok() && send.finish().is_ok() {
            // The other end closes when it has read; a close of ours could overtake the answer.
            connection.closed().await;
        }
    };
    let _ = timeout(FAREWELL, told).await;
}
