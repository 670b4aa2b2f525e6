//! DNS over TCP to our own address (RFC 7766): the same answers, with a length in front.
//! Always true: one question at a time, and a connection that is silent or long is ended.

use std::time::Duration;

use protocol::id::DeviceId;
use tokio::{net::TcpStream, time::timeout};

use super::{
    Answer, DnsView, Relay, answer,
    relay::Over,
    upstream::{read_message, write_message},
};

/// How long a device may be silent, or take to read an answer (RFC 7766 §6.2.3: a few seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Questions per connection; a resolver simply connects again.
const QUESTIONS: usize = 200;

/// Serves one connection until the device is done, silent, or sends what is no question.
pub async fn serve_tcp(mut stream: TcpStream, view: &DnsView, relay: &Relay, device: &DeviceId) {
    for _ in 0..QUESTIONS {
        let Ok(Ok(query)) = timeout(IDLE, read_message(&mut stream)).await else { return };
        let reply = match answer(view, &query) {
            Answer::Reply(reply) => reply,
            Answer::Relay => relay.ask(device, view, &query, Over::Tcp).await,
            Answer::Ignore => return,
        };
        let Ok(Ok(())) = timeout(IDLE, write_message(&mut stream, &reply)).await else { return };
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, MessageType, OpCode, Query, ResponseCode},
        rr::{Name, RecordType},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn connected() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let view = DnsView { zones: vec!["corp.example".to_owned()], ..DnsView::default() };
            let device = "laptop".parse().expect("a name");
            serve_tcp(stream, &view, &Relay::default(), &device).await;
        });
        TcpStream::connect(address).await.expect("connected")
    }

    fn query(name: &str) -> Vec<u8> {
        let mut message = Message::new(9, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
        message.to_vec().expect("bytes")
    }

    async fn asked(stream: &mut TcpStream, name: &str) -> ResponseCode {
        write_message(stream, &query(name)).await.expect("sent");
        let reply = timeout(Duration::from_secs(60), read_message(stream)).await.expect("no hang");
        Message::from_vec(&reply.expect("a reply")).expect("a message").metadata.response_code
    }

    #[tokio::test]
    async fn answers_one_after_another() {
        let mut stream = connected().await;
        assert_eq!(asked(&mut stream, "x.corp.example.").await, ResponseCode::NXDomain);
        assert_eq!(asked(&mut stream, "corp.example.").await, ResponseCode::NoError);
        assert_eq!(asked(&mut stream, "example.com.").await, ResponseCode::Refused);
    }

    #[tokio::test]
    async fn ends_with_who_sends_no_question_or_nothing() {
        let mut stream = connected().await;
        stream.write_all(&[0, 3, 1, 2, 3]).await.expect("sent");
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
        assert_eq!(ended.expect("no hang").expect("a close"), 0);
        let mut stream = connected().await;
        stream.write_all(&[0]).await.expect("sent");
        tokio::time::pause();
        assert_eq!(stream.read_to_end(&mut rest).await.expect("a close"), 0);
    }
}
