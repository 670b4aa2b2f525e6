//! Asks gateways, one after the other, to let a key join.
//! It touches no file.
//! Always true: only a gateway of the pinned key is shown the token; every wait has an end.

use std::{io, net::SocketAddr, time::Duration};

use protocol::{
    config::Secret,
    join::{Joined, MAX, Message, VERSION},
    link::{FrameError, LinkEnd},
    target::Target,
};
use quinn::{ClientConfig, ConnectError, Connection, ConnectionError, ReadToEndError, TransportErrorCode};
use tokio::time::timeout;

use super::JoinError;
use crate::{
    gateways::addresses,
    link::{FAREWELL, endpoint},
    quic::{self, SERVER_NAME, explain},
};

/// For the handshake.
const SET_UP: Duration = Duration::from_secs(5);
/// For the answer: longer than the gateway waits for its store.
const ANSWER: Duration = Duration::from_secs(15);
/// The TLS alert of a gateway that knows nothing of joining (RFC 7301 section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Why a gateway has not answered.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its name leads nowhere.
    #[error("the name cannot be resolved")]
    Unresolved,
    /// Nothing came back.
    #[error(
        "no answer within {} s: see that it runs, and that UDP gets from here to that port",
        SET_UP.as_secs()
    )]
    Silent,
    /// There is no socket to ask from.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// It cannot be dialled.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The handshake failed; a wrong key is told by both keys.
    #[error("{}", explain(.0))]
    Handshake(ConnectionError),
    /// It does not know these words.
    #[error("the gateway does not let connectors join by themselves: upgrade it")]
    Old,
    /// It turned us away before it looked at the token, or is ending.
    #[error("{}", explain(.0))]
    Closed(ConnectionError),
    /// It took the token, perhaps, and what it said was lost.
    #[error("its answer was lost ({0})")]
    Lost(String),
    /// Its answer is none.
    #[error("its answer makes no sense ({0}): upgrade the older side")]
    Senseless(#[from] FrameError),
    /// It answered what was not asked.
    #[error("it does not speak version {VERSION} of joining: upgrade the older side")]
    Unexpected,
}

/// The first gateway that answers decides.
pub(super) async fn first(
    client: &ClientConfig,
    gateways: &[Target],
    token: &Secret<String>,
) -> Result<Joined, JoinError> {
    let mut failures = Vec::new();
    for gateway in gateways {
        let Some(addresses) = addresses(gateway).await else {
            failures.push((gateway.clone(), Failure::Unresolved));
            continue;
        };
        for address in addresses {
            match ask(client, address, token).await {
                Ok(Message::Joined(joined)) => return Ok(joined),
                Ok(Message::Refused(why)) => return Err(JoinError::Refused(gateway.clone(), why)),
                Ok(Message::Join(_) | Message::Unspoken(_)) => {
                    failures.push((gateway.clone(), Failure::Unexpected));
                }
                Err(failure) => failures.push((gateway.clone(), failure)),
            }
        }
    }
    Err(JoinError::Unanswered(failures))
}

async fn ask(client: &ClientConfig, gateway: SocketAddr, token: &Secret<String>) -> Result<Message, Failure> {
    let endpoint = endpoint(gateway)?;
    let mut client = client.clone();
    client.transport_config(quic::transport(0, gateway));
    let connecting = endpoint.connect_with(client, gateway, SERVER_NAME)?;
    let connection = timeout(SET_UP, connecting).await.map_err(|_| Failure::Silent)?.map_err(of_handshake)?;
    let answer = timeout(ANSWER, converse(&connection, token)).await;
    let closed = connection.close_reason();
    connection.close(LinkEnd::Shutdown.code().into(), b"");
    // The close is lost if the endpoint goes first; a gateway that does not answer is not waited for.
    let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
    match (answer, closed) {
        (Ok(Ok(bytes)), _) => Ok(Message::decode(&bytes)?),
        (Ok(Err(_)), Some(reason @ ConnectionError::ApplicationClosed(_))) => Err(Failure::Closed(reason)),
        (Ok(Err(_)), Some(reason)) => Err(Failure::Lost(explain(&reason))),
        (Ok(Err(error)), None) => Err(Failure::Lost(error.to_string())),
        (Err(_), _) => Err(Failure::Lost(format!("none within {} s", ANSWER.as_secs()))),
    }
}

async fn converse(connection: &Connection, token: &Secret<String>) -> Result<Vec<u8>, ReadToEndError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(quinn::ReadError::ConnectionLost)?;
    // If this fails so does reading, which tells why.
    if send.write_all(&Message::Join(token.clone()).encode()).await.is_ok() {
        let _ = send.finish();
    }
    recv.read_to_end(MAX).await
}

fn of_handshake(error: ConnectionError) -> Failure {
    let old = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match &error {
        ConnectionError::ConnectionClosed(close) if close.error_code == old => Failure::Old,
        _ => Failure::Handshake(error),
    }
}
