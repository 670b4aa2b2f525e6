//! The UDP sockets WireGuard datagrams come and go through, as batches. It never fragments by
//! refusing: no "don't fragment" bit is set, and an IPv6 socket speaks IPv6 only.
//! It knows nothing of peers. Always true: sending and receiving never block; what cannot be sent
//! is dropped and counted, as the network itself would.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use crate::sys;

/// What both socket buffers are asked to hold: 20 ms at 1.6 Gbit/s. Without CAP_NET_ADMIN the
/// kernel grants net.core.rmem_max at most.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP {address}: {source}")]
pub struct BindError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Several sockets, named by their position.
#[derive(Debug)]
pub struct UdpSockets(Vec<UdpSocket>);

/// Datagrams received at once, in buffers that are kept.
#[derive(Debug)]
pub struct RecvBatch {
    slots: Vec<Box<[u8]>>,
    received: Vec<(SocketAddr, usize)>,
    truncated: u64,
}

/// Datagrams to send at once; the memory is kept.
#[derive(Debug, Default)]
pub struct SendBatch {
    bytes: Vec<u8>,
    datagrams: Vec<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    socket: usize,
    to: SocketAddr,
    end: usize,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Given to the kernel.
    pub sent: u64,
    /// Refused by the kernel (full buffer, no route, too long), or for a socket there is not.
    pub dropped: u64,
}

impl UdpSockets {
    /// Opens a socket at each address.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let open = |address: &SocketAddr| {
            open_socket(*address).map_err(|source| BindError { address: *address, source })
        };
        Ok(Self(addresses.iter().map(open).collect::<Result<_, _>>()?))
    }

    /// The sockets, in order, to wait on.
    pub fn iter(&self) -> impl Iterator<Item = &UdpSocket> {
        self.0.iter()
    }

    /// Receives what is waiting on one socket, up to the room in `batch`; 0 when there is nothing.
    pub fn recv_batch(&self, socket: usize, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.received.clear();
        let Some(socket) = self.0.get(socket) else { return Ok(0) };
        while let Some(slot) = batch.slots.get_mut(batch.received.len()) {
            match socket.recv_from(slot) {
                // A full slot means that the rest was cut off; no WireGuard packet is that long.
                Ok((length, _)) if length == slot.len() => batch.truncated += 1,
                Ok((length, from)) => batch.received.push((from, length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                Err(_) if !batch.received.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batch.received.len())
    }

    /// Sends everything in `batch` and empties it.
    pub fn send_batch(&self, batch: &mut SendBatch) -> Sent {
        let mut result = Sent::default();
        let mut start = 0;
        for datagram in batch.datagrams.drain(..) {
            let bytes = batch.bytes.get(start..datagram.end).unwrap_or_default();
            start = datagram.end;
            let socket = self.0.get(datagram.socket);
            if socket.is_some_and(|socket| socket.send_to(bytes, datagram.to).is_ok()) {
                result.sent += 1;
            } else {
                result.dropped += 1;
            }
        }
        batch.bytes.clear();
        result
    }
}

impl RecvBatch {
    /// Room for `datagrams` datagrams of fewer than `bytes` bytes each; longer ones are dropped.
    pub fn new(datagrams: usize, bytes: usize) -> Self {
        let slot = vec![0; bytes].into_boxed_slice();
        Self { slots: vec![slot; datagrams], received: Vec::with_capacity(datagrams), truncated: 0 }
    }

    /// The datagrams of the last call, each with its real source.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.slots
            .iter_mut()
            .zip(&self.received)
            .filter_map(|(slot, (from, length))| Some((*from, slot.get_mut(..*length)?)))
    }

    /// How many datagrams were dropped for their length so far.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }
}

impl SendBatch {
    /// Adds a datagram, copied.
    pub fn push(&mut self, socket: usize, to: SocketAddr, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.datagrams.push(Outgoing { socket, to, end: self.bytes.len() });
    }

    /// How many datagrams wait; send before it grows beyond a few hundred.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }
}

fn open_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        sys::set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
    } else {
        sys::set_option(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    }
    if setsockopt(&fd, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    if setsockopt(&fd, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&fd, sockopt::SndBuf, &SOCKET_BUFFER)?;
    }
    bind(fd.as_fd().as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(fd))
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn wait(socket: &UdpSocket) {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5000u16)), Ok(1));
    }

    fn local(sockets: &UdpSockets, index: usize) -> SocketAddr {
        sockets.0[index].local_addr().unwrap()
    }

    #[test]
    fn batches_carry_the_real_source_on_both_families() {
        let both = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let (here, there) = (UdpSockets::bind(&both).unwrap(), UdpSockets::bind(&both).unwrap());
        for family in 0..2 {
            let mut out = SendBatch::default();
            out.push(family, local(&there, family), b"one");
            out.push(family, local(&there, family), b"three");
            assert_eq!(here.send_batch(&mut out), Sent { sent: 2, dropped: 0 });
            assert!(out.is_empty());

            let mut batch = RecvBatch::new(8, 2048);
            wait(&there.0[family]);
            assert_eq!(there.recv_batch(family, &mut batch).unwrap(), 2);
            let got: Vec<_> = batch.datagrams().map(|(from, bytes)| (from, bytes.to_vec())).collect();
            let source = local(&here, family);
            assert_eq!(got, [(source, b"one".to_vec()), (source, b"three".to_vec())]);
            assert_eq!(there.recv_batch(family, &mut batch).unwrap(), 0);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_counted_not_an_error() {
        let sockets = UdpSockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let mut out = SendBatch::default();
        out.push(0, "127.0.0.1:9".parse().unwrap(), &[0; 70_000]);
        out.push(7, "127.0.0.1:9".parse().unwrap(), b"no such socket");
        out.push(0, local(&sockets, 0), b"to myself");
        assert_eq!(sockets.send_batch(&mut out), Sent { sent: 1, dropped: 2 });
    }

    #[test]
    fn a_datagram_that_fills_its_slot_is_dropped_and_counted() {
        let sockets = UdpSockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let mut out = SendBatch::default();
        out.push(0, local(&sockets, 0), &[1; 64]);
        out.push(0, local(&sockets, 0), &[2; 63]);
        sockets.send_batch(&mut out);
        let mut batch = RecvBatch::new(4, 64);
        wait(&sockets.0[0]);
        assert_eq!(sockets.recv_batch(0, &mut batch).unwrap(), 1);
        assert_eq!(batch.truncated(), 1);
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = UdpSockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = local(&first, 0);
        let error = UdpSockets::bind(&[address]).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
