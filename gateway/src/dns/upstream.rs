//! One question to one resolver, over UDP or TCP, with a random port and id each time.
//! Always true: only an answer with our id, from that resolver, to that question is taken.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::op::{Message, MessageType};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// More than any resolver sends over UDP without fragments.
const LARGEST_DATAGRAM: usize = 8192;

/// An answer as it came, and parsed.
#[derive(Debug)]
pub struct Replied {
    /// With the id that the device chose.
    pub bytes: Vec<u8>,
    /// The same.
    pub message: Message,
}

/// A question on its way: the device's bytes under an id of ours.
#[derive(Debug)]
pub struct Asking {
    bytes: Vec<u8>,
    ours: [u8; 2],
    theirs: [u8; 2],
    question: Message,
}

impl Asking {
    /// `None` if the question does not parse, or there is no randomness to hide it with.
    pub fn new(query: &[u8]) -> Option<Self> {
        let question = Message::from_vec(query).ok()?;
        let mut ours = [0; 2];
        SystemRandom::new().fill(&mut ours).ok()?;
        let mut bytes = query.to_vec();
        let id = bytes.first_chunk_mut::<2>()?;
        let theirs = std::mem::replace(id, ours);
        Some(Self { bytes, ours, theirs, question })
    }

    /// Asks over UDP and waits for the answer, whatever else arrives meanwhile.
    pub async fn by_udp(&self, resolver: SocketAddr) -> io::Result<Replied> {
        let any: SocketAddr = match resolver {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(resolver).await?;
        socket.send(&self.bytes).await?;
        let mut buffer = vec![0; LARGEST_DATAGRAM];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(replied) = buffer.get(..length).and_then(|bytes| self.matching(bytes)) {
                return Ok(replied);
            }
        }
    }

    /// Asks over TCP (RFC 7766).
    pub async fn by_tcp(&self, resolver: SocketAddr) -> io::Result<Replied> {
        let mut stream = TcpStream::connect(resolver).await?;
        write_message(&mut stream, &self.bytes).await?;
        let bytes = read_message(&mut stream).await?;
        self.matching(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn matching(&self, bytes: &[u8]) -> Option<Replied> {
        if bytes.first_chunk::<2>()? != &self.ours {
            return None;
        }
        let mut bytes = bytes.to_vec();
        *bytes.first_chunk_mut::<2>()? = self.theirs;
        let message = Message::from_vec(&bytes).ok()?;
        let fits = message.metadata.message_type == MessageType::Response
            && message.queries == self.question.queries;
        fits.then_some(Replied { bytes, message })
    }
}

/// Reads one message with its length in front.
pub async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes one message with its length in front, in one piece.
pub async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let framed = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&framed).await
}
