//! A client on a raw socket.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::app::End;

pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("connected"), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// A request with a Host of the app and no body.
    pub async fn ask(&mut self, method: &str, target: &str, headers: &[&str]) -> Answer {
        self.ask_whole(&request(method, target, headers)).await
    }

    pub async fn ask_whole(&mut self, request: &str) -> Answer {
        self.send(request.as_bytes()).await;
        self.answer(request.starts_with("HEAD ")).await
    }

    /// Reads until `mark` has come.
    pub async fn until(&mut self, mark: &[u8]) {
        while !self.buffer.windows(mark.len()).any(|part| part == mark) {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("more");
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.clear();
    }

    pub async fn answer(&mut self, headless: bool) -> Answer {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("ASCII");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: String::new() };
        let length =
            answer.values("content-length").first().and_then(|value| value.parse().ok()).unwrap_or(0);
        let length: usize = if headless { 0 } else { length };
        while self.buffer.len() < length {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("a body");
            assert!(read > 0, "closed in the body");
        }
        answer.body = String::from_utf8(self.buffer.drain(..length).collect()).expect("UTF-8");
        answer
    }

    /// How the connection ends; everything that still comes is read.
    pub async fn end(&mut self) -> End {
        loop {
            self.buffer.clear();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(_) => return End::Reset,
            }
        }
    }
}

pub fn request(method: &str, target: &str, headers: &[&str]) -> String {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: wiki.corp.example\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request + "\r\n"
}
