//! A wide-area path in user space: a UDP relay with a delay, a rate, a short queue and random loss.
//! It neither reorders nor duplicates, and knows nothing of what it carries.
//! Always true: one seed loses the same datagrams of one sequence; a datagram longer than the path's
//! MTU is lost, none is fragmented; what is lost is counted by its reason.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{setsockopt, sockopt},
        time::TimeSpec,
    },
};

/// Clients whose answers find back; datagrams of more are lost.
const MAX_CLIENTS: usize = 64;
/// Datagrams of one socket that are taken in before others have their turn.
const TURN: usize = 64;
/// How long it takes at most to notice that the path is no longer wanted.
const IDLE: Duration = Duration::from_millis(100);
/// Of IPv4 and UDP, in bytes.
const HEADERS: usize = 20 + 8;
/// The longest datagram there is.
const LONGEST: usize = 65_535;
/// Asked of the kernel, which caps it: a burst of a sender must not be lost before the queue.
const SOCKET_BUFFER: usize = 4 << 20;

/// What the path is like, the same each way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// From one end to the other, beside the time in the queue.
    pub delay: Duration,
    /// The part of the datagrams that is lost at random, in 0..=1.
    pub loss: f64,
    /// Bits per second, IP headers included.
    pub rate: u64,
    /// How long a datagram may wait for those before it; one that would wait longer is lost.
    pub queue: Duration,
    /// The longest IP packet, in bytes.
    pub mtu: usize,
    /// Which datagrams are lost.
    pub seed: u64,
}

/// The path of the tables in `bench/README.md`: 40 ms there and back, 0.3 % lost, 200 Mbit/s.
pub const LOSSY: Path = Path {
    delay: Duration::from_millis(20),
    loss: 0.003,
    rate: 200_000_000,
    queue: Duration::from_millis(50),
    mtu: 1500,
    seed: 1,
};

/// What became of the datagrams of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came out at the other end.
    pub passed: u64,
    /// Lost at random.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because they are longer than the path's MTU.
    pub too_long: u64,
}

/// A running path; it ends when dropped.
#[derive(Debug)]
pub struct Wan {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<[Counts; 2]>>,
}

impl Wan {
    /// Takes datagrams at `listen` and carries them over `path` to `to`, and the answers back.
    pub fn start(listen: SocketAddr, to: SocketAddr, path: Path) -> io::Result<Self> {
        let front = open(listen)?;
        let (address, stop) = (front.local_addr()?, Arc::new(AtomicBool::new(false)));
        let mut relay = Relay {
            front,
            to,
            clients: BTreeMap::new(),
            there: Lane::new(path, path.seed),
            back: Lane::new(path, !path.seed),
            began: Instant::now(),
        };
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Relaxed) {
                relay.turn();
            }
            [relay.there.counts, relay.back.counts]
        };
        let thread = thread::Builder::new().name("wan".to_owned()).spawn(run)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it takes datagrams.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; what became of the datagrams there, and back.
    pub fn end(mut self) -> [Counts; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }

    /// Carries until the process ends.
    pub fn serve(mut self) {
        if let Some(thread) = self.thread.take() {
            // An error is a panic of the thread, which has been told already.
            let _ = thread.join();
        }
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
    Ok(socket)
}

struct Relay {
    front: UdpSocket,
    to: SocketAddr,
    clients: BTreeMap<SocketAddr, UdpSocket>,
    /// With the client each datagram is from, or for.
    there: Lane<SocketAddr>,
    back: Lane<SocketAddr>,
    began: Instant,
}

impl Relay {
    fn turn(&mut self) {
        self.wait();
        let mut buffer = [0; LONGEST];
        for _ in 0..TURN {
            let Ok((length, client)) = self.front.recv_from(&mut buffer) else { break };
            if self.knows(client) {
                self.there.offer(client, &buffer[..length], self.began.elapsed());
            }
        }
        for (client, socket) in &self.clients {
            for _ in 0..TURN {
                let Ok(length) = socket.recv(&mut buffer) else { break };
                self.back.offer(*client, &buffer[..length], self.began.elapsed());
            }
        }
        // What a socket does not take is lost, as on any path.
        while let Some((client, datagram)) = self.there.due(self.began.elapsed()) {
            let _ = self.clients.get(&client).map(|socket| socket.send(&datagram));
        }
        while let Some((client, datagram)) = self.back.due(self.began.elapsed()) {
            let _ = self.front.send_to(&datagram, client);
        }
    }

    /// Until a datagram comes, or is due.
    fn wait(&self) {
        let next = [self.there.next(), self.back.next()].into_iter().flatten().min();
        let wait = next.map_or(IDLE, |at| at.saturating_sub(self.began.elapsed()).min(IDLE));
        let sockets = self.clients.values().chain([&self.front]);
        let mut waiting: Vec<_> =
            sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        // A signal ends the wait early, which does no harm.
        let _ = ppoll(&mut waiting, Some(TimeSpec::from_duration(wait)), None);
    }

    /// Whether the client has a socket of its own, now.
    fn knows(&mut self, client: SocketAddr) -> bool {
        if self.clients.contains_key(&client) {
            return true;
        }
        let any: SocketAddr = match self.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        if self.clients.len() == MAX_CLIENTS {
            return false;
        }
        let Ok(socket) = open(any).and_then(|socket| socket.connect(self.to).map(|()| socket)) else {
            return false;
        };
        self.clients.insert(client, socket);
        true
    }
}

/// One direction: pure, the clock is an argument.
#[derive(Debug)]
struct Lane<T> {
    path: Path,
    random: u64,
    /// When the last datagram has left the queue.
    free: Duration,
    under_way: VecDeque<(Duration, T, Vec<u8>)>,
    counts: Counts,
}

impl<T> Lane<T> {
    fn new(path: Path, seed: u64) -> Self {
        Self {
            path,
            random: seed,
            free: Duration::ZERO,
            under_way: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a datagram in, or loses it.
    fn offer(&mut self, tag: T, datagram: &[u8], now: Duration) {
        let begins = self.free.max(now);
        let length = datagram.len() + HEADERS;
        if length > self.path.mtu {
            self.counts.too_long += 1;
        } else if self.draw() < self.path.loss {
            self.counts.lost += 1;
        } else if begins - now > self.path.queue {
            self.counts.overflowed += 1;
        } else {
            self.free = begins + Duration::from_secs_f64(length as f64 * 8.0 / self.path.rate as f64);
            self.under_way.push_back((self.free + self.path.delay, tag, datagram.to_vec()));
        }
    }

    /// When the next datagram comes out.
    fn next(&self) -> Option<Duration> {
        self.under_way.front().map(|(at, ..)| *at)
    }

    /// A datagram that has come out by now.
    fn due(&mut self, now: Duration) -> Option<(T, Vec<u8>)> {
        self.under_way.front().filter(|(at, ..)| *at <= now)?;
        let (_, tag, datagram) = self.under_way.pop_front()?;
        self.counts.passed += 1;
        Some((tag, datagram))
    }

    /// A number in 0..1 (splitmix64: Steele, Lea, Flood, 2014).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// 1000 bytes take one millisecond.
    const PATH: Path = Path { loss: 0.0, rate: 8_000_000, ..LOSSY };

    #[test]
    fn a_datagram_takes_its_time_and_those_before_it_theirs() {
        let mut lane = Lane::new(PATH, 1);
        lane.offer('a', &[0; 972], Duration::ZERO);
        lane.offer('b', &[0; 972], Duration::ZERO);
        assert_eq!(lane.next(), Some(21 * MILLI));
        assert_eq!(lane.due(21 * MILLI - Duration::from_nanos(1)), None);
        assert_eq!(lane.due(21 * MILLI).unwrap().0, 'a');
        assert_eq!((lane.due(21 * MILLI), lane.next()), (None, Some(22 * MILLI)));
        assert_eq!(lane.due(MILLI * 30).unwrap().0, 'b');
        assert_eq!((lane.next(), lane.counts.passed), (None, 2));
    }

    #[test]
    fn a_full_queue_and_a_long_datagram_lose() {
        let mut lane = Lane::new(PATH, 1);
        (0..60).for_each(|_| lane.offer((), &[0; 972], Duration::ZERO));
        assert_eq!((lane.under_way.len(), lane.counts.overflowed), (51, 9));
        lane.offer((), &[0; 972], 2 * MILLI);
        assert_eq!(lane.under_way.len(), 52, "what has left makes room");
        lane.offer((), &[0; 1473], MILLI * 1000);
        lane.offer((), &[0; 1472], MILLI * 1000);
        assert_eq!((lane.under_way.len(), lane.counts.too_long), (53, 1));
    }

    #[test]
    fn loss_is_as_said_and_of_the_seed() {
        let lossy = |seed| {
            let mut lane = Lane::new(Path { loss: 0.01, queue: Duration::MAX, ..PATH }, seed);
            (0..100_000).for_each(|number| lane.offer(number, b"x", Duration::ZERO));
            assert!((800..1200).contains(&lane.counts.lost), "{:?}", lane.counts);
            lane.under_way.into_iter().map(|(_, number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(lossy(7), lossy(7));
        assert_ne!(lossy(7), lossy(8));
    }

    #[test]
    fn it_carries_there_and_back() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (server, clients) =
            (UdpSocket::bind(any).unwrap(), [(); 2].map(|()| UdpSocket::bind(any).unwrap()));
        let path = Path { delay: MILLI, loss: 0.0, ..LOSSY };
        let wan = Wan::start(any, server.local_addr().unwrap(), path).unwrap();
        let mut buffer = [0; 16];
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(crate::wait::HANG)).unwrap();
            client.send_to(&[b'0' + number as u8], wan.address()).unwrap();
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&[b'0' + number as u8][..], wan.address()));
        }
        assert_eq!(wan.end().map(|counts| counts.passed), [2, 2]);
    }
}
