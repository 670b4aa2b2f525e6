//! A flow through a connector, as a byte stream.
//! It opens nothing.
//! Always true: shutting down ends one direction cleanly; dropped before both directions have ended,
//! the flow is reset, never ended; a reset or lost link is an error, never an end.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use connector::{
    relay::{self, Places, Side, Traffic},
    wire::FlowStream,
};
use protocol::{id::ConnectorId, link::StreamEnd};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// An open flow to a target.
pub struct LinkStream {
    stream: FlowStream,
    connector: ConnectorId,
    read_ended: bool,
    write_ended: bool,
    _counted: Counted,
    flows: TaskTracker,
    _open: TaskTrackerToken,
}

impl LinkStream {
    /// `counted` by its link; `flows` are what a drain waits for.
    pub(super) fn new(
        stream: FlowStream,
        connector: ConnectorId,
        counted: Counted,
        flows: &TaskTracker,
    ) -> Self {
        let (read_ended, write_ended) = (false, false);
        let (flows, open) = (flows.clone(), flows.token());
        Self { stream, connector, read_ended, write_ended, _counted: counted, flows, _open: open }
    }

    /// Who carries it.
    pub fn connector(&self) -> &ConnectorId {
        &self.connector
    }

    /// Copies between `device` and it until both have ended, or one was reset; should the device not take
    /// what comes, it goes on only in one of `places`.
    pub async fn relay(
        &mut self,
        device: &mut TcpStream,
        traffic: &Traffic,
        places: &Places,
    ) -> Result<(), Side> {
        relay::link(device, &mut self.stream, traffic, places).await?;
        (self.read_ended, self.write_ended) = (true, true);
        self.stream.conclude();
        Ok(())
    }

    /// Resets both directions; the target sees a reset.
    pub fn abort(self) {
        self.stream.abort(StreamEnd::Cut);
    }

    fn conclude(&mut self) {
        if self.read_ended && self.write_ended {
            self.stream.conclude();
            // Our end has come through when it is acknowledged: a drain waits for that too.
            let acknowledged = self.stream.send.stopped();
            self.flows.spawn(async move {
                let _ = acknowledged.await;
            });
        }
    }
}

impl fmt::Debug for LinkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkStream({}, {})", self.connector, self.stream.send.id())
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (room, before) = (buffer.remaining(), buffer.filled().len());
        let recv = Pin::new(&mut self.stream.recv);
        ready!(AsyncRead::poll_read(recv, context, buffer)).map_err(reset)?;
        if room > 0 && buffer.filled().len() == before && !self.read_ended {
            self.read_ended = true;
            self.conclude();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        AsyncWrite::poll_write(Pin::new(&mut self.stream.send), context, bytes).map_err(reset)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_ended {
            self.stream
                .send
                .finish()
                .map_err(|error| io::Error::new(io::ErrorKind::ConnectionReset, error))?;
            self.write_ended = true;
            self.conclude();
        }
        Poll::Ready(Ok(()))
    }
}

/// To who reads or writes, a lost link is a reset like any other.
fn reset(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotConnected => io::Error::new(io::ErrorKind::ConnectionReset, error),
        _ => error,
    }
}

/// Counts one while it lives.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
