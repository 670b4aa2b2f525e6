//! A web application that shows what reached it: the answer's body is the request, byte for byte.
//! It also holds a response open (`/hold`) and echoes WebSocket messages; it is no HTTP library.
//! Always true: every request head it ever received is kept.

use std::{
    io::{self, Cursor, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use tungstenite::Message;

use crate::host::Host;

/// Heads longer than this are nobody's.
const LONGEST_HEAD: usize = 64 * 1024;

/// A running mirror.
pub struct Mirror {
    heads: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    /// Listens on `host` on every address.
    pub fn listen(host: &Host, port: u16) -> Result<Self> {
        let listener =
            host.within(|| TcpListener::bind(("::", port))).with_context(|| format!("port {port}"))?;
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A client that leaves in the middle ends its thread, nothing more.
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Ok(Self { heads })
    }

    /// The request heads so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    while let Some(head) = read_head(&mut stream)? {
        heads.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
        if field(&head, "upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")) {
            return echo_messages(Rewound { head: Cursor::new(head.into_bytes()), stream });
        }
        let length = field(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        Read::by_ref(&mut stream).take(length).read_to_end(&mut body)?;
        if head.split(' ').nth(1).is_some_and(|path| path.starts_with("/hold")) {
            return hold(&mut stream);
        }
        let total = head.len() + body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {total}\r\n\r\n{head}"
        )?;
        stream.write_all(&body)?;
    }
    Ok(())
}

/// Byte by byte, so that nothing beyond the head is taken; speed is of no interest here.
fn read_head(stream: &mut impl Read) -> io::Result<Option<String>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while head.len() < LONGEST_HEAD && stream.read(&mut byte)? == 1 {
        head.extend(byte);
        if head.ends_with(b"\r\n\r\n") {
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
    }
    Ok(None)
}

/// Reads one whole answer, head and body, and not a byte more.
pub fn read_answer(stream: &mut impl Read) -> Result<String> {
    let head = read_head(stream)?.context("the connection ended before an answer")?;
    let length: u64 = field(&head, "content-length").context("the answer says no length")?.parse()?;
    let mut answer = head;
    let count = stream.take(length).read_to_string(&mut answer).context("reading the answer")?;
    ensure!(count as u64 == length, "the answer broke off: {answer}");
    Ok(answer)
}

/// The first value of a header.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    fields(head, name).next()
}

/// Every value of a header, in any letter case.
pub fn fields<'a>(head: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    head.lines().filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Begins a response and never ends it.
fn hold(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbegun\n\r\n")?;
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

fn echo_messages(stream: Rewound) -> io::Result<()> {
    let mut socket = tungstenite::accept(stream).map_err(|error| io::Error::other(error.to_string()))?;
    loop {
        match socket.read().map_err(io::Error::other)? {
            message @ (Message::Text(_) | Message::Binary(_)) => {
                socket.send(message).map_err(io::Error::other)?
            }
            Message::Close(_) => {}
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// A stream whose first bytes were read already.
struct Rewound {
    head: Cursor<Vec<u8>>,
    stream: TcpStream,
}

impl Read for Rewound {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 => self.stream.read(buffer),
            count => Ok(count),
        }
    }
}

impl Write for Rewound {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_number() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-User: 1\r\nx-user:2\r\n\r\n";
        assert_eq!(field(head, "host"), Some("a"));
        assert_eq!(fields(head, "X-USER").collect::<Vec<_>>(), ["1", "2"]);
    }
}
