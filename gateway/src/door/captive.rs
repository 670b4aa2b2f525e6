//! One answer to everything: the portal is over there. For plain HTTP towards a network that opens only to
//! who has signed in; a browser that tries any page finds the door.
//! Always true: it reads no more than one request head, says nothing of what was asked, and ends.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a request head may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// No more of it is read.
const LARGEST: usize = 8192;

/// Answers with a redirect to the door.
pub async fn lead_to_the_door(mut socket: TcpStream, origin: &str) {
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: {origin}/\r\nContent-Length: 0\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    let answered = async {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < LARGEST {
            if socket.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await?;
        // Closing with unread bytes would take the answer back.
        tokio::io::copy(&mut (&mut socket).take(LARGEST as u64), &mut tokio::io::sink()).await.map(drop)
    };
    // Who does not wait for it has gone elsewhere.
    let _: Result<std::io::Result<()>, _> = timeout(DEADLINE, answered).await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn whatever_is_asked_the_door_is_the_answer() {
        for asked in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.0\r\n\r\nbody", "nonsense\r\n\r\n"]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            let mut client = TcpStream::connect(address).await.expect("connected");
            let (socket, _) = listener.accept().await.expect("accepted");
            let served = tokio::spawn(lead_to_the_door(socket, "https://door.corp.example"));
            client.write_all(asked.as_bytes()).await.expect("sent");
            client.shutdown().await.expect("half closed");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("an answer");
            assert!(
                answer.starts_with("HTTP/1.1 302 Found\r\nLocation: https://door.corp.example/\r\n"),
                "{answer}"
            );
            served.await.expect("it ends");
        }
    }
}
