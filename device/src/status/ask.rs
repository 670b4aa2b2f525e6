//! Asks the gateway: one plain HTTP request through the tunnel, which authenticates and encrypts.
//! It sends no secret, follows no redirect and understands nothing of the answer.
//! Always true: every question ends within its limit, whatever the other end sends or does not.

use std::{convert::Infallible, error::Error, future, io, time::Duration};

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time};

use super::{gateway::Gateway, text::printable, watch::Poll};

/// For everything but the wait that we asked for.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The largest answer: some thousand open things.
const MOST_BODY: usize = 1 << 20;

/// The largest head of one.
const MOST_HEAD: usize = 16 * 1024;

const ADVICE: &str = "Check that\n\
\x20 - the tunnel is up: the WireGuard app, or `wg show`, tells of a recent handshake\n\
\x20 - this is the gateway's own address in the tunnel, the first of the DNS line in\n\
\x20   your WireGuard file: --config FILE or --gateway ADDRESS name it\n\
Without a tunnel on this computer:\n\
\x20 doorward-device run --config FILE -- doorward-device status";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection.
    #[error("no answer from {gateway}: {source}. {ADVICE}")]
    Unreachable {
        /// Who was asked.
        gateway: Gateway,
        /// What the system said.
        source: io::Error,
    },
    /// None, or not all of one, in time.
    #[error("no answer from {gateway} within {} s. {ADVICE}", limit.as_secs_f32())]
    Late {
        /// Who was asked.
        gateway: Gateway,
        /// How long it had.
        limit: Duration,
    },
    /// What came is not the whole of an HTTP answer.
    #[error("the answer of {gateway} broke off or is no HTTP: {}. {ADVICE}", printable(&source.to_string()))]
    Broken {
        /// Who was asked.
        gateway: Gateway,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another answer than one about this device.
    #[error(
        "{gateway} does not say how this device stands (HTTP status {}):\n\
         either it is not the gateway (--gateway ADDRESS names another), or it is too old for that",
        status.as_u16()
    )]
    Refused {
        /// Who was asked.
        gateway: Gateway,
        /// What it said.
        status: StatusCode,
    },
    /// More than we take.
    #[error("{gateway} answers with more than {} KiB: that is no gateway, or a broken one", MOST_BODY / 1024)]
    TooLarge {
        /// Who was asked.
        gateway: Gateway,
    },
    /// It came whole and makes no sense.
    #[error(
        "{gateway} answers with what this program does not understand: {reason}.\n\
         Either it is not the gateway (--gateway ADDRESS names another), or this program is too old for it"
    )]
    Unclear {
        /// Who was asked.
        gateway: Gateway,
        /// What is wrong with it, printable.
        reason: String,
    },
}

/// Asks, with `limit` for everything but the waiting. The answer may hold control characters.
pub async fn ask(gateway: &Gateway, poll: Option<Poll>, limit: Duration) -> Result<String, AskError> {
    let limit = limit + Duration::from_secs(poll.map_or(0, |poll| poll.wait));
    let late = |_| AskError::Late { gateway: gateway.clone(), limit };
    time::timeout(limit, exchange(gateway, poll)).await.map_err(late)?
}

async fn exchange(gateway: &Gateway, poll: Option<Poll>) -> Result<String, AskError> {
    let unreachable = |source| AskError::Unreachable { gateway: gateway.clone(), source };
    let stream = TcpStream::connect(gateway.address).await.map_err(unreachable)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(gateway, error))?;
    let talk = async {
        let request = request(gateway, poll).map_err(|error| broken(gateway, error))?;
        let response = sender.send_request(request).await.map_err(|error| broken(gateway, error))?;
        match response.status() {
            StatusCode::OK => read(gateway, response.into_body()).await,
            status => Err(AskError::Refused { gateway: gateway.clone(), status }),
        }
    };
    // What goes wrong with the connection reaches `talk`, which therefore always ends.
    let drive = async {
        let _ = connection.await;
        future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = talk => answer,
        never = drive => match never {},
    }
}

fn request(gateway: &Gateway, poll: Option<Poll>) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let query = poll.map(|Poll { since, wait }| format!("?since={since}&wait={wait}")).unwrap_or_default();
    Request::get(format!("/device{query}"))
        .header(header::HOST, gateway.host())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
}

async fn read(gateway: &Gateway, body: Incoming) -> Result<String, AskError> {
    let collected = Limited::new(body, MOST_BODY).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            AskError::TooLarge { gateway: gateway.clone() }
        } else {
            broken(gateway, error)
        }
    })?;
    String::from_utf8(collected.to_bytes().into())
        .map_err(|_| AskError::Unclear { gateway: gateway.clone(), reason: "it is no UTF-8".into() })
}

fn broken(gateway: &Gateway, error: impl Into<Box<dyn Error + Send + Sync>>) -> AskError {
    AskError::Broken { gateway: gateway.clone(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read, Write},
        net::TcpListener,
        thread,
    };

    use super::{super::gateway, *};

    /// Asks a server that, having read the question, does `serve` with the one connection it takes.
    fn asked(
        limit: Duration,
        serve: impl FnOnce(&mut std::net::TcpStream) + Send + 'static,
    ) -> Result<String, AskError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = gateway::address(&listener.local_addr().unwrap().to_string()).unwrap();
        let gateway = Gateway::find(Some(address), None).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0, "the question");
            serve(&mut stream);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(ask(&gateway, None, limit));
        server.join().unwrap();
        answer
    }

    const GENEROUS: Duration = Duration::from_secs(60);

    /// Sends until the other end has had enough.
    fn flood(stream: &mut std::net::TcpStream, head: &str, piece: &[u8]) {
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(piece).is_ok() {}
    }

    #[test]
    fn a_body_without_end_is_cut_at_the_bound() {
        let answer = asked(GENEROUS, |stream| flood(stream, "HTTP/1.1 200 OK\r\n\r\n", &[b' '; 4096]));
        assert!(matches!(answer, Err(AskError::TooLarge { .. })), "{answer:?}");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = asked(GENEROUS, |stream| flood(stream, chunked, b"8\r\n        \r\n"));
        assert!(matches!(answer, Err(AskError::TooLarge { .. })), "{answer:?}");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        for piece in ["x: y\r\n", "x"] {
            let answer =
                asked(GENEROUS, move |stream| flood(stream, "HTTP/1.1 200 OK\r\n", piece.as_bytes()));
            assert!(matches!(answer, Err(AskError::Broken { .. })), "{answer:?}");
        }
    }

    #[test]
    fn a_trickle_ends_at_the_limit() {
        let limit = Duration::from_millis(300);
        let answer = asked(limit, |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            // One byte each time nobody hung up for a while.
            loop {
                match stream.read(&mut [0; 4096]) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if stream.write_all(b" ").is_err() {
                            break;
                        }
                    }
                    Err(_) => break,
                }
            }
        });
        assert!(matches!(&answer, Err(AskError::Late { limit: told, .. }) if *told == limit), "{answer:?}");
    }

    #[test]
    fn silence_and_half_an_answer_are_told_apart_from_an_answer() {
        for said in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            "SSH-2.0-x\r\n",
        ] {
            let answer = asked(GENEROUS, move |stream| {
                let _ = stream.write_all(said.as_bytes());
            });
            assert!(matches!(answer, Err(AskError::Broken { .. })), "{said:?}: {answer:?}");
        }
    }
}
