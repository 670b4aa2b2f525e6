//! The UDP sockets WireGuard datagrams come and go through, as trains: datagrams of one size, one
//! after the other, that pass the kernel as one (UDP GRO and GSO). It never fragments by refusing:
//! no "don't fragment" bit is set, and an IPv6 socket speaks IPv6 only. It knows nothing of peers.
//! Always true: sending and receiving never block, copy or allocate; what cannot be sent is dropped
//! and counted, as the network itself would.

use std::{
    io::{
        self,
        ErrorKind::{Interrupted, WouldBlock},
    },
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt},
};

use crate::sys::{
    self,
    datagrams::{MESSAGES, Message, Receiver, Sender},
};

/// What both socket buffers are asked to hold: 20 ms at 1.6 Gbit/s. Without CAP_NET_ADMIN the
/// kernel grants net.core.rmem_max at most.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// No UDP payload and no train the kernel joins is longer.
const LONGEST: usize = 65_536;

/// Most datagrams the kernel cuts one message into (UDP_MAX_SEGMENTS of older kernels,
/// linux/udp.h).
const MAX_SEGMENTS: usize = 64;

/// Most bytes of one message: the UDP payload of the longest IPv4 packet.
const MAX_MESSAGE: usize = 65_507;

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
pub struct UdpSockets {
    sockets: Vec<Socket>,
    sender: Sender,
}

#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    offloads: Offloads,
}

/// What the kernel does for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// It joins datagrams that arrive into trains (UDP_GRO, Linux 5.0).
    pub gro: bool,
    /// It cuts trains into datagrams (UDP_SEGMENT, Linux 4.18), and no interface has refused yet.
    pub gso: bool,
}

/// Trains received at once, in buffers that are kept.
#[derive(Debug)]
pub struct RecvBatch {
    receiver: Receiver,
    truncated: u64,
}

/// Datagrams to send to one place, one after the other: all `segment` bytes long but the last, which
/// may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct Train<'a> {
    /// The position of the socket they leave by.
    pub socket: usize,
    /// Where to.
    pub to: SocketAddr,
    /// All of them.
    pub bytes: &'a [u8],
    /// The length of one.
    pub segment: usize,
}

/// What became of the datagrams of some trains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Given to the kernel.
    pub sent: u64,
    /// Refused by the kernel (full buffer, no route, too long), or for a socket there is not.
    pub dropped: u64,
    /// How often the kernel would not cut a message into datagrams, so that each was sent alone.
    pub unsegmented: u64,
}

impl UdpSockets {
    /// Opens a socket at each address.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let open = |address: &SocketAddr| {
            Socket::open(*address).map_err(|source| BindError { address: *address, source })
        };
        let sockets = addresses.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { sockets, sender: Sender::new() })
    }

    /// The sockets, in order, to wait on.
    pub fn iter(&self) -> impl Iterator<Item = &UdpSocket> {
        self.sockets.iter().map(|socket| &socket.socket)
    }

    /// What the kernel does for each socket, in order.
    pub fn offloads(&self) -> impl Iterator<Item = Offloads> {
        self.sockets.iter().map(|socket| socket.offloads)
    }

    /// Receives what is waiting on one socket, up to the room in `batch`; how many trains that is, 0
    /// when there is nothing.
    pub fn recv_batch(&self, socket: usize, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.receiver.clear();
        let Some(socket) = self.sockets.get(socket) else { return Ok(0) };
        match batch.receiver.receive(&socket.socket) {
            Ok(trains) => {
                batch.truncated += batch.receiver.truncated() as u64;
                Ok(trains)
            }
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends trains from where they are, many with one system call. A train that cannot be sent
    /// stops none behind it, unless the socket's buffer is full.
    pub fn send<'a>(&mut self, trains: impl IntoIterator<Item = Train<'a>>) -> Sent {
        let mut sent = Sent::default();
        let mut window = Window::new();
        for train in trains {
            let Some(socket) = self.sockets.get(train.socket) else {
                sent.dropped += train.bytes.len().div_ceil(train.segment()) as u64;
                continue;
            };
            for message in train.messages(socket.offloads.gso) {
                if !window.push(train.socket, message) {
                    self.flush(&window, &mut sent);
                    window = Window::new();
                    window.push(train.socket, message);
                }
            }
        }
        self.flush(&window, &mut sent);
        sent
    }

    fn flush(&mut self, window: &Window<'_>, sent: &mut Sent) {
        let Some(socket) = self.sockets.get_mut(window.socket) else { return };
        let mut rest = window.messages.get(..window.used).unwrap_or_default();
        while let [first, behind @ ..] = rest {
            let refused = match self.sender.send(&socket.socket, rest) {
                Ok(count) => {
                    let (gone, left) = rest.split_at(count.clamp(1, rest.len()));
                    sent.sent += datagrams(gone);
                    rest = left;
                    continue;
                }
                Err(error) => Refused::by(&error, first),
            };
            match refused {
                Refused::Interrupted => continue,
                Refused::Full => {
                    sent.dropped += datagrams(rest);
                    return;
                }
                Refused::Message => sent.dropped += datagrams(&[*first]),
                Refused::Segmenting { always } => {
                    socket.offloads.gso &= !always;
                    sent.unsegmented += 1;
                    socket.send_singly(first, sent);
                }
            }
            rest = behind;
        }
    }
}

impl Socket {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = open_socket(address)?;
        let ask = |option, value| sys::set_option(&socket, libc::SOL_UDP, option, value).is_ok();
        // Without a size every message says its own.
        let offloads = Offloads { gro: ask(libc::UDP_GRO, 1), gso: ask(libc::UDP_SEGMENT, 0) };
        Ok(Self { socket, offloads })
    }

    /// Sends each datagram of a message the kernel would not cut. With more than the route's MTU in
    /// each, they leave in fragments.
    fn send_singly(&self, message: &Message<'_>, sent: &mut Sent) {
        for datagram in message.bytes.chunks(message.segment.map_or(LONGEST, usize::from)) {
            match self.socket.send_to(datagram, message.to) {
                Ok(_) => sent.sent += 1,
                Err(_) => sent.dropped += 1,
            }
        }
    }
}

impl<'a> Train<'a> {
    /// Never 0: a train of datagrams of no length is one datagram.
    fn segment(&self) -> usize {
        if self.segment == 0 { self.bytes.len().max(1) } else { self.segment }
    }

    /// What the kernel takes at once, piece by piece.
    fn messages(self, gso: bool) -> impl Iterator<Item = Message<'a>> {
        let segment = self.segment();
        let most = if gso { (MAX_MESSAGE / segment).clamp(1, MAX_SEGMENTS) } else { 1 };
        self.bytes.chunks(segment.saturating_mul(most)).map(move |bytes| Message {
            to: self.to,
            bytes,
            segment: u16::try_from(segment).ok().filter(|segment| bytes.len() > usize::from(*segment)),
        })
    }
}

/// Messages for one socket that are to leave with one system call.
struct Window<'a> {
    socket: usize,
    messages: [Message<'a>; MESSAGES],
    used: usize,
}

impl<'a> Window<'a> {
    fn new() -> Self {
        let nothing = Message {
            to: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
            bytes: &[],
            segment: None,
        };
        Self { socket: 0, messages: [nothing; MESSAGES], used: 0 }
    }

    /// Whether there was room for it beside the others.
    fn push(&mut self, socket: usize, message: Message<'a>) -> bool {
        if self.used == 0 {
            self.socket = socket;
        }
        match self.messages.get_mut(self.used) {
            Some(place) if self.socket == socket => *place = message,
            _ => return false,
        }
        self.used += 1;
        true
    }
}

fn datagrams(messages: &[Message<'_>]) -> u64 {
    let count = |message: &Message<'_>| {
        message.segment.map_or(1, |segment| message.bytes.len().div_ceil(segment.into()) as u64)
    };
    messages.iter().map(count).sum()
}

/// Why the kernel does not take a message, and so what is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// A signal came: try again.
    Interrupted,
    /// There is no room for any.
    Full,
    /// It does not cut messages into datagrams, for this message or on any way this socket takes.
    Segmenting { always: bool },
    /// This message cannot be sent.
    Message,
}

impl Refused {
    /// udp(7), and udp_send_skb of net/ipv4/udp.c: EIO comes of an interface or a transformation
    /// that cannot do checksums, EMSGSIZE and EINVAL of a route with a smaller MTU.
    fn by(error: &io::Error, message: &Message<'_>) -> Self {
        let segmented = message.segment.is_some();
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EINTR) => Self::Interrupted,
            Some(Errno::EAGAIN) => Self::Full,
            Some(Errno::EIO) if segmented => Self::Segmenting { always: true },
            Some(Errno::EMSGSIZE | Errno::EINVAL) if segmented => Self::Segmenting { always: false },
            _ => Self::Message,
        }
    }
}

impl RecvBatch {
    /// Room for `trains` trains, each of up to 64 KiB; what is never used costs no memory.
    pub fn new(trains: usize) -> Self {
        Self::with_slots(trains, LONGEST)
    }

    fn with_slots(trains: usize, bytes: usize) -> Self {
        Self { receiver: Receiver::new(trains, bytes), truncated: 0 }
    }

    /// The trains of the last call: the real source, the length of one datagram (never 0), and the
    /// datagrams one after the other, of which the last may be shorter.
    pub fn trains(&mut self) -> impl Iterator<Item = (SocketAddr, usize, &mut [u8])> {
        self.receiver.messages().filter_map(|message| {
            let segment = message.segment.unwrap_or(message.bytes.len()).max(1);
            message.from.filter(|_| !message.truncated).map(|from| (from, segment, message.bytes))
        })
    }

    /// How many trains were dropped for their length so far.
    pub fn truncated(&self) -> u64 {
        self.truncated
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

    fn bind(address: &str) -> UdpSockets {
        UdpSockets::bind(&[address.parse().unwrap()]).unwrap()
    }

    fn local(sockets: &UdpSockets, index: usize) -> SocketAddr {
        sockets.sockets[index].socket.local_addr().unwrap()
    }

    fn train(to: SocketAddr, segment: usize, bytes: &[u8]) -> Train<'_> {
        Train { socket: 0, to, bytes, segment }
    }

    fn sent(sent: u64, dropped: u64) -> Sent {
        Sent { sent, dropped, unsegmented: 0 }
    }

    /// Bytes no two datagrams of a train share.
    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7) as u8).collect()
    }

    /// Reads until that many bytes have come; the datagrams of each train.
    fn receive(sockets: &UdpSockets, bytes: usize) -> Vec<Vec<Vec<u8>>> {
        let mut batch = RecvBatch::new(4);
        let mut trains: Vec<Vec<Vec<u8>>> = Vec::new();
        while trains.iter().flatten().map(Vec::len).sum::<usize>() < bytes {
            wait(&sockets.sockets[0].socket);
            sockets.recv_batch(0, &mut batch).unwrap();
            let read =
                batch.trains().map(|(_, segment, train)| train.chunks(segment).map(<[u8]>::to_vec).collect());
            trains.extend(read);
        }
        assert_eq!(batch.truncated(), 0);
        trains
    }

    #[test]
    fn trains_carry_the_real_source_on_both_families() {
        let both = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let (mut here, there) = (UdpSockets::bind(&both).unwrap(), UdpSockets::bind(&both).unwrap());
        for family in 0..2 {
            let to = local(&there, family);
            let trains = [&b"one"[..], b"three"].map(|bytes| Train {
                socket: family,
                to,
                bytes,
                segment: bytes.len(),
            });
            assert_eq!(here.send(trains), sent(2, 0));

            let mut batch = RecvBatch::new(8);
            wait(&there.sockets[family].socket);
            assert_eq!(there.recv_batch(family, &mut batch).unwrap(), 2);
            let got: Vec<_> =
                batch.trains().map(|(from, size, bytes)| (from, size, bytes.to_vec())).collect();
            let source = local(&here, family);
            assert_eq!(got, [(source, 3, b"one".to_vec()), (source, 5, b"three".to_vec())]);
            assert_eq!(there.recv_batch(family, &mut batch).unwrap(), 0);
            assert_eq!(batch.trains().count(), 0);
        }
    }

    #[test]
    fn a_train_passes_the_kernel_as_one() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut here, there) = (bind(address), bind(address));
            assert_eq!(here.offloads().next(), Some(Offloads { gro: true, gso: true }));
            // Ten whole datagrams and a shorter one.
            let bytes = pattern(1452 * 10 + 77);
            assert_eq!(here.send([train(local(&there, 0), 1452, &bytes)]), sent(11, 0));
            let expected: Vec<_> = bytes.chunks(1452).map(<[u8]>::to_vec).collect();
            assert_eq!(receive(&there, bytes.len()), [expected]);
        }
    }

    #[test]
    fn trains_of_alternating_sizes_stay_apart_and_in_order() {
        let (mut here, there) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let to = local(&there, 0);
        let bytes: Vec<_> = [1000, 60, 3000, 1, 2900].into_iter().map(pattern).collect();
        let sizes = [1000, 60, 1000, 1, 1452];
        let trains = bytes.iter().zip(sizes).map(|(bytes, size)| train(to, size, bytes));
        assert_eq!(here.send(trains), sent(8, 0));
        let all: Vec<_> = receive(&there, 6961).concat();
        let expected = bytes.iter().zip(sizes).flat_map(|(bytes, size)| bytes.chunks(size));
        assert_eq!(all, expected.map(<[u8]>::to_vec).collect::<Vec<_>>());
    }

    #[test]
    fn a_train_longer_than_a_message_is_split_at_datagrams() {
        let (mut here, there) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        for (segment, length) in
            [(1452, 1452 * 100 + 5), (10, 10 * 150), (32_753, 32_753 * 3), (65_507, 65_507)]
        {
            let bytes = pattern(length);
            let outcome = here.send([train(local(&there, 0), segment, &bytes)]);
            assert_eq!(outcome, sent(length.div_ceil(segment) as u64, 0), "{segment}");
            let all = receive(&there, length).concat();
            assert_eq!(all, bytes.chunks(segment).map(<[u8]>::to_vec).collect::<Vec<_>>());
        }
    }

    #[test]
    fn many_messages_and_sockets_leave_in_one_call_of_ours() {
        let two = ["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
        let (mut here, there) = (UdpSockets::bind(&two).unwrap(), bind("127.0.0.1:0"));
        let to = local(&there, 0);
        let bytes: Vec<_> = (0..100u8).map(|number| [number]).collect();
        let trains =
            bytes.iter().enumerate().map(|(at, bytes)| Train { socket: at / 50, to, bytes, segment: 1 });
        assert_eq!(here.send(trains), sent(100, 0));
        let got = receive(&there, 100).concat().concat();
        assert_eq!(got, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_stops_nothing_behind_it() {
        let mut sockets = bind("127.0.0.1:0");
        let to = local(&sockets, 0);
        let (long, v6) = ([0; 70_000], "[::1]:9".parse().unwrap());
        let missing = Train { socket: 7, to, bytes: b"no such socket", segment: 5 };
        let trains = [
            train(to, long.len(), &long),
            missing,
            train(to, 5, b"first"),
            train(v6, 5, b"wrong family"),
            train(to, 0, b"second"),
        ];
        let outcome = sockets.send(trains);
        assert_eq!((outcome.sent, outcome.dropped), (2, 1 + 3 + 3));
        assert_eq!(receive(&sockets, 11).concat(), [b"first".to_vec(), b"second".to_vec()]);
    }

    /// The kernel cuts nothing for a socket that leaves checksums out: EINVAL, as for a small MTU.
    #[test]
    fn a_train_the_kernel_will_not_cut_is_sent_datagram_by_datagram() {
        let (mut here, there) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        sys::set_option(&here.sockets[0].socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        let to = local(&there, 0);
        let bytes = pattern(3500);
        let outcome = here.send([train(to, 1000, &bytes), train(to, 4, b"next")]);
        assert_eq!(outcome, Sent { sent: 5, dropped: 0, unsegmented: 1 });
        assert!(here.offloads().all(|offloads| offloads.gso), "another route may do it");
        let mut expected: Vec<_> = bytes.chunks(1000).map(<[u8]>::to_vec).collect();
        expected.push(b"next".to_vec());
        assert_eq!(receive(&there, 3504).concat(), expected);
    }

    #[test]
    fn without_offloads_everything_arrives_all_the_same() {
        let (mut here, there) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        here.sockets[0].offloads.gso = false;
        sys::set_option(&there.sockets[0].socket, libc::SOL_UDP, libc::UDP_GRO, 0).unwrap();
        let bytes = pattern(4001);
        assert_eq!(here.send([train(local(&there, 0), 1000, &bytes)]), sent(5, 0));
        let expected: Vec<_> = bytes.chunks(1000).map(|bytes| vec![bytes.to_vec()]).collect();
        assert_eq!(receive(&there, 4001), expected, "one datagram each");
    }

    #[test]
    fn a_refusal_is_understood() {
        let to = "127.0.0.1:9".parse().unwrap();
        let one = Message { to, bytes: b"one", segment: None };
        let several = Message { segment: Some(1), ..one };
        let by = |errno: Errno, message| Refused::by(&io::Error::from(errno), message);
        assert_eq!(by(Errno::EIO, &several), Refused::Segmenting { always: true });
        assert_eq!(by(Errno::EMSGSIZE, &several), Refused::Segmenting { always: false });
        assert_eq!(by(Errno::EINVAL, &several), Refused::Segmenting { always: false });
        for errno in [Errno::EIO, Errno::EMSGSIZE, Errno::EINVAL, Errno::ENETUNREACH] {
            assert_eq!(by(errno, &one), Refused::Message);
        }
        assert_eq!(by(Errno::EAGAIN, &several), Refused::Full);
        assert_eq!(by(Errno::EINTR, &several), Refused::Interrupted);
    }

    #[test]
    fn what_its_slot_does_not_hold_is_dropped_and_counted() {
        let mut sockets = bind("127.0.0.1:0");
        let to = local(&sockets, 0);
        sockets.send([train(to, 65, &[1; 65]), train(to, 64, &[2; 64]), train(to, 50, &[3; 100])]);
        let mut batch = RecvBatch::with_slots(4, 64);
        wait(&sockets.sockets[0].socket);
        assert_eq!(sockets.recv_batch(0, &mut batch).unwrap(), 3);
        assert_eq!(batch.trains().map(|(_, _, bytes)| bytes.to_vec()).collect::<Vec<_>>(), [[2; 64]]);
        assert_eq!(batch.truncated(), 2);
    }

    #[test]
    fn a_datagram_of_nothing_is_a_train_of_nothing() {
        let sockets = bind("127.0.0.1:0");
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        here.send_to(b"", local(&sockets, 0)).unwrap();
        let mut batch = RecvBatch::new(1);
        wait(&sockets.sockets[0].socket);
        assert_eq!(sockets.recv_batch(0, &mut batch).unwrap(), 1);
        let (_, segment, bytes) = batch.trains().next().unwrap();
        assert_eq!((segment, bytes.len()), (1, 0));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = bind("127.0.0.1:0");
        let address = local(&first, 0);
        let error = UdpSockets::bind(&[address]).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
