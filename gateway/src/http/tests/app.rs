//! An app on a raw socket: it frames requests naively, writes each down, and answers by its path.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// How a connection of the app ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By a close.
    Closed,
    /// By a reset.
    Reset,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line")
    }

    /// Every value of a header, names compared without case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    pub fn names(&self) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.map(|(name, _)| name.to_ascii_lowercase()).collect()
    }
}

#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    ends: mpsc::UnboundedSender<End>,
}

impl App {
    /// Listens; the receiver tells how each connection ended.
    pub async fn start() -> (Self, SocketAddr, mpsc::UnboundedReceiver<End>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (ends, ended) = mpsc::unbounded_channel();
        let app = Self(Arc::new(Shared { seen: Mutex::default(), connections: AtomicUsize::new(0), ends }));
        let serving = app.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.0.connections.fetch_add(1, Ordering::SeqCst);
                let app = serving.clone();
                tokio::spawn(async move {
                    let end = app.connection(stream).await;
                    let _ = app.0.ends.send(end);
                });
            }
        });
        (app, address, ended)
    }

    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().expect("no panic").clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }

    async fn connection(&self, mut stream: TcpStream) -> End {
        let mut buffer = Vec::new();
        loop {
            let Some(request) = read_request(&mut stream, &mut buffer).await else {
                return rest(&mut stream).await;
            };
            let target = request.target().to_owned();
            self.0.seen.lock().expect("no panic").push(request);
            match answer(&mut stream, &target).await {
                Next::Request => {}
                Next::Nothing => return rest(&mut stream).await,
                Next::Ended(end) => return end,
            }
        }
    }
}

/// What comes after an answer.
enum Next {
    Request,
    Nothing,
    Ended(End),
}

/// How the connection ends from here on.
async fn rest(stream: &mut TcpStream) -> End {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return End::Closed,
            Ok(_) => {}
            Err(_) => return End::Reset,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    buffer.drain(..head_end);
    let mut seen = Seen { head, body: Vec::new() };
    if seen.values("transfer-encoding").iter().any(|value| value.contains("chunked")) {
        while !buffer.windows(5).any(|part| part == b"0\r\n\r\n") {
            more(stream, buffer).await?;
        }
        seen.body = std::mem::take(buffer);
    } else if let Some(length) = seen.values("content-length").first().and_then(|value| value.parse().ok()) {
        while buffer.len() < length {
            more(stream, buffer).await?;
        }
        seen.body = buffer.drain(..length).collect();
    }
    Some(seen)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}

/// Answers by path.
async fn answer(stream: &mut TcpStream, target: &str) -> Next {
    let reply: &[u8] = match target.split('?').next().unwrap_or_default() {
        "/ws" => {
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(switch).await.expect("written");
            let (mut reader, mut writer) = stream.split();
            let echoed = tokio::io::copy(&mut reader, &mut writer).await;
            return Next::Ended(if echoed.is_ok() { End::Closed } else { End::Reset });
        }
        "/events" => {
            let begin = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
            stream.write_all(begin).await.expect("written");
            return Next::Nothing;
        }
        "/endless" => {
            let begin = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            stream.write_all(begin).await.expect("written");
            while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
            return Next::Ended(End::Reset);
        }
        "/half" => {
            let begin = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
            stream.write_all(begin).await.expect("written");
            stream.shutdown().await.expect("closed");
            return Next::Nothing;
        }
        "/silent" => return Next::Nothing,
        "/gone" => {
            stream.shutdown().await.expect("closed");
            return Next::Nothing;
        }
        "/cookies" => {
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Domain=corp.example; Secure\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
        }
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok",
    };
    if stream.write_all(reply).await.is_ok() { Next::Request } else { Next::Ended(End::Reset) }
}
