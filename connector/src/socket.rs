//! A socket that exchanges datagrams with one target: UDP, or echo by an unprivileged ping socket.
//! It judges no address; `dial` does, and hands over the one to connect to.
//! Always true: connected, so that nobody but the target is heard; nothing here waits to send.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
};
use protocol::{link::Outcome, target::Proto};
use tokio::{io::Interest, net::UdpSocket, task::coop::consume_budget};

use crate::dial::outcome_of;

/// No datagram is longer.
const LONGEST: usize = 65_536;
/// Of an echo, before sequence number and data: type, code, checksum and identifier, the last two of
/// which are the kernel's (Linux, net/ipv4/ping.c).
const ECHO_HEAD: usize = 6;

thread_local! {
    /// What arrives is copied out at once, at its own size.
    static ARRIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST]);
}

/// What a socket has to tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The target answered: UDP's payload, or an echo's sequence number and data.
    Payload(Vec<u8>),
    /// The network says of an earlier datagram that it did not arrive.
    Undelivered(Outcome),
}

/// A connected socket.
#[derive(Debug)]
pub struct DatagramSocket {
    socket: UdpSocket,
    /// The type of a request, if it speaks echo.
    echo: Option<u8>,
}

impl DatagramSocket {
    /// A socket to `target`; its port is 0 for echo.
    pub(crate) async fn connect(proto: Proto, target: SocketAddr) -> Result<Self, Outcome> {
        let (socket, echo) = match (proto, target.ip()) {
            (Proto::Icmp, ip) => (ping_socket(ip)?, Some(if ip.is_ipv4() { 8 } else { 128 })),
            (Proto::Udp | Proto::Tcp, IpAddr::V4(_)) => (bind(Ipv4Addr::UNSPECIFIED.into()).await?, None),
            (Proto::Udp | Proto::Tcp, IpAddr::V6(_)) => (bind(Ipv6Addr::UNSPECIFIED.into()).await?, None),
        };
        let failed = |error: io::Error| outcome_of(&error);
        socket.connect(target).await.map_err(failed)?;
        // Until then tokio holds it for full.
        socket.writable().await.map_err(failed)?;
        Ok(Self { socket, echo })
    }

    /// Sends a payload; false if the kernel has no room for it. An error of an earlier datagram may be told
    /// here; then this one was not sent, and is sent again.
    pub fn send(&self, payload: &[u8]) -> (bool, Option<Outcome>) {
        let message;
        let bytes = match self.echo {
            Some(kind) => {
                message = [&[kind, 0, 0, 0, 0, 0], payload].concat();
                &message
            }
            None => payload,
        };
        match self.socket.try_send(bytes) {
            Ok(_) => (true, None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (false, None),
            Err(error) => (self.socket.try_send(bytes).is_ok(), Some(outcome_of(&error))),
        }
    }

    /// Waits for what comes next.
    pub async fn recv(&self) -> Heard {
        loop {
            // Or a target that never pauses would leave its thread to nobody else.
            consume_budget().await;
            let heard = match self.socket.ready(Interest::READABLE | Interest::ERROR).await {
                // An error alone is nothing to read.
                Ok(ready) if ready.is_error() => self.take_error(),
                Ok(_) => ARRIVED.with_borrow_mut(|buffer| self.take(buffer)),
                Err(error) => Err(error),
            };
            match heard {
                Ok(payload) => return Heard::Payload(payload),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Heard::Undelivered(outcome_of(&error)),
            }
        }
    }

    fn take(&self, buffer: &mut [u8]) -> io::Result<Vec<u8>> {
        let length = self.socket.try_recv(buffer)?;
        let head = if self.echo.is_some() { ECHO_HEAD } else { 0 };
        Ok(buffer.get(head..length).unwrap_or_default().to_vec())
    }

    /// The pending error; "would block" if there is none, which also makes tokio wait for the next.
    fn take_error<T>(&self) -> io::Result<T> {
        let error = || Err(self.socket.take_error()?.unwrap_or(io::ErrorKind::WouldBlock.into()));
        self.socket.try_io(Interest::ERROR, error)
    }
}

async fn bind(any: IpAddr) -> Result<UdpSocket, Outcome> {
    UdpSocket::bind((any, 0)).await.map_err(|error| outcome_of(&error))
}

/// Linux lets groups ping without privileges; both families by one setting.
fn ping_socket(target: IpAddr) -> Result<UdpSocket, Outcome> {
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    match socket(family, SockType::Datagram, flags, protocol) {
        Ok(fd) => UdpSocket::from_std(fd.into()).map_err(|error| outcome_of(&error)),
        Err(Errno::EACCES | Errno::EPERM) => Err(Outcome::NotAllowed(
            "no ping here: the sysctl net.ipv4.ping_group_range leaves out the group of this process"
                .to_owned(),
        )),
        Err(error) => Err(outcome_of(&error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn target() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn payloads_of_every_size_come_and_go() {
        let (target, address) = target().await;
        let socket = DatagramSocket::connect(Proto::Udp, address).await.unwrap();
        let mut buffer = vec![0; LONGEST];
        for size in [0, 1, 1392, 65_507] {
            assert_eq!(socket.send(&vec![7; size]), (true, None));
            let (length, from) = target.recv_from(&mut buffer).await.unwrap();
            assert_eq!(length, size);
            target.send_to(&buffer[..length], from).await.unwrap();
            assert_eq!(socket.recv().await, Heard::Payload(vec![7; size]));
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_told_and_the_next_datagram_is_sent() {
        let (first, address) = target().await;
        drop(first);
        let socket = DatagramSocket::connect(Proto::Udp, address).await.unwrap();
        socket.send(b"nobody hears");
        assert_eq!(socket.recv().await, Heard::Undelivered(Outcome::Refused));
        socket.send(b"nobody hears");
        socket.socket.ready(Interest::ERROR).await.unwrap();
        let target = UdpSocket::bind(address).await.unwrap();
        assert_eq!(socket.send(b"hello"), (true, Some(Outcome::Refused)));
        let mut buffer = [0; 9];
        assert_eq!(target.recv(&mut buffer).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn nobody_but_the_target_is_heard() {
        let ((target, address), (stranger, _)) = (target().await, target().await);
        let socket = DatagramSocket::connect(Proto::Udp, address).await.unwrap();
        let own = socket.socket.local_addr().unwrap();
        stranger.send_to(b"forged", own).await.unwrap();
        target.send_to(b"true", own).await.unwrap();
        assert_eq!(socket.recv().await, Heard::Payload(b"true".to_vec()));
    }

    #[tokio::test]
    async fn echo_works_where_the_kernel_lets_us_and_else_names_the_setting() {
        for ip in ["127.0.0.1", "::1"] {
            let target = SocketAddr::new(ip.parse().unwrap(), 0);
            match DatagramSocket::connect(Proto::Icmp, target).await {
                Ok(socket) => {
                    assert_eq!(socket.send(b"\0\x07hello"), (true, None));
                    assert_eq!(socket.recv().await, Heard::Payload(b"\0\x07hello".to_vec()));
                }
                Err(Outcome::NotAllowed(why)) => assert!(why.contains("ping_group_range")),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
