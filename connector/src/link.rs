//! One connection to a gateway: greeting, answering pings, taking flows, leaving.
//! It does not dial again; who keeps it does.
//! Always true: both sides have said Hello before a flow is taken; after Goaway none is taken, and the
//! connection closes when its last flow has ended.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use protocol::link::{Frame, Hello, LinkEnd, StreamEnd};
use quinn::{ConnectError, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream};
use tokio::time::{interval, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agent::Agent,
    datagrams::Datagrams,
    flow,
    quic::{self, MAX_STREAMS, SERVER_NAME, explain},
    wire::{self, FlowStream, FrameReader, WireError},
};

/// For the handshake, and again for the greeting.
const SET_UP: Duration = Duration::from_secs(5);
/// For the last packets to leave.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// How often the gateway is told of dropped datagrams, if there are new ones.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the gateway does not answer")]
    Silent,
    #[error("{}", explain(.0))]
    Lost(#[from] ConnectionError),
    #[error("the gateway broke the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("the gateway speaks another version of the link protocol: upgrade the older side")]
    Version,
}

impl LinkError {
    /// Whether the gateway turned the link down because it has enough of them.
    pub fn is_enough(&self) -> bool {
        matches!(self, Self::Lost(ConnectionError::ApplicationClosed(close))
            if close.error_code == LinkEnd::Enough.code().into())
    }
}

/// Keeps one link until it is lost, or `leaving` and its flows have ended.
pub(crate) async fn run(
    agent: &Arc<Agent>,
    gateway: SocketAddr,
    leaving: &CancellationToken,
) -> Result<(), LinkError> {
    let endpoint = endpoint(gateway)?;
    let mut client = agent.client.clone();
    client.transport_config(quic::transport(MAX_STREAMS, gateway));
    let connecting = endpoint.connect_with(client, gateway, SERVER_NAME)?;
    let Some(connected) = leaving.run_until_cancelled(timeout(SET_UP, connecting)).await else {
        return Ok(());
    };
    let connection = connected.map_err(|_| LinkError::Silent)??;
    let result = serve(agent, &connection, leaving).await;
    let lost = connection.close_reason();
    let end = match result {
        Ok(()) => LinkEnd::Shutdown,
        Err(LinkError::Version) => LinkEnd::Version,
        Err(_) => LinkEnd::Protocol,
    };
    connection.close(end.code().into(), b"");
    // The close is lost if the endpoint goes first; a gateway that does not answer is not waited for.
    let _ = timeout(FAREWELL, endpoint.wait_idle()).await;
    match (result, lost) {
        (Err(_), Some(reason)) => Err(LinkError::Lost(reason)),
        (result, _) => result,
    }
}

/// A socket of its own for each attempt: a new port gets around a stale NAT entry.
pub(crate) fn endpoint(gateway: SocketAddr) -> io::Result<Endpoint> {
    let any: SocketAddr = match gateway {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    quic::widen(&socket);
    let mut config = EndpointConfig::default();
    quic::take_long_datagrams(&mut config);
    Endpoint::new(config, None, socket, Arc::new(quinn::TokioRuntime))
}

struct Control {
    send: SendStream,
    recv: RecvStream,
    frames: FrameReader,
}

async fn serve(
    agent: &Arc<Agent>,
    connection: &Connection,
    leaving: &CancellationToken,
) -> Result<(), LinkError> {
    let greeting = timeout(SET_UP, greet(agent, connection)).await;
    let (mut control, hello) = greeting.map_err(|_| LinkError::Silent)??;
    tracing::info!(gateway = %connection.remote_address(), version = hello.software, "linked to the gateway");
    let flows = TaskTracker::new();
    let datagrams = Datagrams::new(connection.clone());
    let mut reading = pin!(datagrams.run());
    let (mut look, mut told) = (interval(TELL_EVERY), 0);
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let stream = FlowStream::new(stream?);
                if flows.is_closed() {
                    stream.abort(StreamEnd::Leaving);
                } else {
                    flows.spawn(flow::serve(agent.clone(), datagrams.clone(), stream));
                }
            }
            frame = control.frames.next(&mut control.recv) => obey(frame?, &mut control.send).await?,
            error = &mut reading => return Err(error.into()),
            _ = look.tick() => {
                let dropped = datagrams.dropped();
                if dropped != told {
                    wire::write(&mut control.send, &Frame::Dropped(dropped)).await?;
                    told = dropped;
                }
            }
            () = leaving.cancelled(), if !flows.is_closed() => {
                flows.close();
                wire::write(&mut control.send, &Frame::Goaway).await?;
            }
            () = flows.wait() => return Ok(()),
        }
    }
}

async fn greet(agent: &Agent, connection: &Connection) -> Result<(Control, Hello), LinkError> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let mut frames = FrameReader::default();
    let hello = Hello::new(env!("CARGO_PKG_VERSION"), agent.instance);
    wire::write(&mut send, &Frame::Hello(hello)).await?;
    match frames.next(&mut recv).await? {
        Frame::Hello(hello) if hello.agreed().is_some() => Ok((Control { send, recv, frames }, hello)),
        Frame::Hello(_) => Err(LinkError::Version),
        Frame::Goaway
        | Frame::Ping(_)
        | Frame::Pong(_)
        | Frame::Open(_)
        | Frame::Accepted
        | Frame::Outcome(_)
        | Frame::Dropped(_)
        | Frame::Skipped(_) => Err(WireError::Unexpected("first frame").into()),
    }
}

async fn obey(frame: Frame, send: &mut SendStream) -> Result<(), LinkError> {
    match frame {
        Frame::Ping(number) => wire::write(send, &Frame::Pong(number)).await?,
        Frame::Goaway => tracing::info!("the gateway is shutting down: its flows end"),
        Frame::Hello(_)
        | Frame::Pong(_)
        | Frame::Open(_)
        | Frame::Accepted
        | Frame::Outcome(_)
        | Frame::Dropped(_) => {
            return Err(WireError::Unexpected("frame on the control stream").into());
        }
        // Skipped by the reader.
        Frame::Skipped(_) => {}
    }
    Ok(())
}
