//! Several sockets at one address, one for each shard of the data plane, and the filter by which
//! the kernel brings a WireGuard datagram to the shard that owns its session. It owns no session.
//! Always true: the filter only helps. A shard still gets datagrams of others (a device that
//! roamed, a train that begins with another session's, all of them where filters are refused).

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use libc::{
    BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LEN, BPF_LSH, BPF_MISC,
    BPF_MOD, BPF_OR, BPF_RET, BPF_TAX, BPF_W, BPF_X, sock_filter,
};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    sys,
    udp::{BindError, UdpSockets, open_socket},
};

/// Most shards there may be.
pub const MAX_SHARDS: u8 = 16;

/// No WireGuard message is shorter: a keepalive (whitepaper §5.4.6).
const SHORTEST: u32 = 32;

/// Message types (whitepaper §5.4) and where their receiver index begins.
const RESPONSE: u32 = 2;
const COOKIE_REPLY: u32 = 3;
const DATA: u32 = 4;
const RESPONSE_INDEX: u32 = 8;
const OTHER_INDEX: u32 = 4;

/// Names no socket of a group, so that the kernel's hash of source and destination does.
const BY_HASH: u32 = u32::MAX;

/// The sockets of all shards.
#[derive(Debug)]
pub struct Sharded {
    /// One for each shard, each with a socket for every address.
    pub shards: Vec<UdpSockets>,
    /// Whether the kernel steers by `shard_of_index`; otherwise by source and destination alone.
    pub steered: bool,
}

/// The shard whose sessions have such receiver indices: the upper 24 bits name a peer, the lower
/// eight its session. An initiation names no receiver: the kernel's hash of its source and
/// destination decides, so that those of one place come to one shard.
pub fn shard_of_index(index: u32, shards: u8) -> u8 {
    let shard = (index >> 8) % u32::from(shards.max(1));
    u8::try_from(shard).unwrap_or_default()
}

/// Opens a socket at each address for each shard, of which there are 1 to 16. An address where
/// anybody listens already, be it another gateway of the same user, is refused.
pub fn bind(addresses: &[SocketAddr], shards: u8) -> Result<Sharded, BindError> {
    let mut columns = Vec::new();
    let mut steered = true;
    for address in addresses {
        let group = open_group(*address, shards.clamp(1, MAX_SHARDS));
        let (sockets, by_filter) = group.map_err(|source| BindError { address: *address, source })?;
        columns.push(sockets.into_iter());
        steered &= by_filter;
    }
    let shard = |_| UdpSockets::new(columns.iter_mut().filter_map(Iterator::next));
    Ok(Sharded { shards: (0..shards.clamp(1, MAX_SHARDS)).map(shard).collect(), steered })
}

/// The sockets of one address, in the order of their shards, which is the order of binding; and
/// whether the filter is in force.
fn open_group(address: SocketAddr, shards: u8) -> io::Result<(Vec<UdpSocket>, bool)> {
    // Shared only once it is bound: an address in use is refused to it.
    let first = open_socket(address, false)?;
    if shards == 1 {
        return Ok((vec![first], true));
    }
    setsockopt(&first, sockopt::ReusePort, &true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(open_socket(address, true)?);
    }
    let steered = sockets.first().is_some_and(|socket| sys::steer_group(socket, &filter(shards)).is_ok());
    Ok((sockets, steered))
}

/// The classic BPF program that is given the UDP payload and answers with the number of a shard.
fn filter(shards: u8) -> Vec<sock_filter> {
    let response = shard_from(RESPONSE_INDEX, shards);
    let other = shard_from(OTHER_INDEX, shards);
    let behind_other = u8::try_from(other.len()).unwrap_or(u8::MAX);
    let mut program = vec![
        plain(BPF_LD | BPF_W | BPF_LEN, 0),
        jump(BPF_JGE, SHORTEST, 0, 4),
        plain(BPF_LD | BPF_B | BPF_ABS, 0),
        jump(BPF_JEQ, DATA, 3, 0),
        jump(BPF_JEQ, COOKIE_REPLY, 2, 0),
        jump(BPF_JEQ, RESPONSE, 1 + behind_other, 0),
        plain(BPF_RET | BPF_K, BY_HASH),
    ];
    program.extend(other);
    program.extend(response);
    program
}

/// The rule of `shard_of_index` for the little-endian index that begins at `start`.
fn shard_from(start: u32, shards: u8) -> [sock_filter; 11] {
    let load = |at| plain(BPF_LD | BPF_B | BPF_ABS, start + at);
    let (shift, keep) = (plain(BPF_ALU | BPF_LSH | BPF_K, 8), plain(BPF_MISC | BPF_TAX, 0));
    let join = plain(BPF_ALU | BPF_OR | BPF_X, 0);
    let modulo = plain(BPF_ALU | BPF_MOD | BPF_K, shards.into());
    let answer = plain(BPF_RET | BPF_A, 0);
    [load(3), shift, keep, load(2), join, shift, keep, load(1), join, modulo, answer]
}

fn plain(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { jt, jf, ..plain(BPF_JMP | test | BPF_K, k) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::udp::{RecvBatch, Train};

    const LOOPBACK: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

    fn both(shards: u8) -> Sharded {
        bind(&LOOPBACK.map(|address| address.parse().unwrap()), shards).unwrap()
    }

    fn address(sharded: &Sharded, family: usize) -> SocketAddr {
        sharded.shards[0].iter().nth(family).unwrap().local_addr().unwrap()
    }

    /// A message of `length` bytes with an index where its type has it.
    fn message(kind: u8, index: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0xa5; length];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        let start = if kind == 2 { 8 } else { 4 };
        bytes[start..start + 4].copy_from_slice(&index.to_le_bytes());
        bytes
    }

    /// The shard that gets the next datagram, and the trains it gets.
    fn arrival(sharded: &Sharded, family: usize) -> (usize, Vec<(usize, Vec<u8>)>) {
        let sockets: Vec<_> = sharded.shards.iter().map(|shard| shard.iter().nth(family).unwrap()).collect();
        let mut fds: Vec<_> =
            sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        assert_eq!(poll(&mut fds, PollTimeout::from(20_000u16)), Ok(1), "one shard gets it");
        let shard = fds.iter().position(|fd| fd.any() == Some(true)).unwrap();
        let mut batch = RecvBatch::new(4);
        sharded.shards[shard].recv_batch(family, &mut batch).unwrap();
        (shard, batch.trains().map(|(_, segment, bytes)| (segment, bytes.to_vec())).collect())
    }

    #[test]
    fn the_kernel_steers_by_the_rule() {
        let indices = [0, 0x100, 0x0203_0405, 0xff00_0000, 0x00ff_ffff, 0xdead_beef, u32::MAX, 0x8000_01ff];
        for shards in [2, 3, 4, 7, 16] {
            let sharded = both(shards);
            assert!(sharded.steered);
            for (family, from) in LOOPBACK.iter().enumerate() {
                let client = UdpSocket::bind(from).unwrap();
                for (kind, length) in [(2, 92), (3, 64), (4, 32), (4, 1452)] {
                    for index in indices {
                        let message = message(kind, index, length);
                        client.send_to(&message, address(&sharded, family)).unwrap();
                        let (shard, trains) = arrival(&sharded, family);
                        assert_eq!(
                            shard,
                            usize::from(shard_of_index(index, shards)),
                            "{kind} {index:x} of {shards}"
                        );
                        assert_eq!(trains, [(length, message)]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_train_stays_whole() {
        let sharded = both(4);
        for (family, from) in LOOPBACK.iter().enumerate() {
            let mut client = UdpSockets::bind(&[from.parse().unwrap()]).unwrap();
            for index in [0x100, 0x200, 0x300, 0x400] {
                let train = message(4, index, 1452).repeat(20);
                let to = address(&sharded, family);
                client.send([Train { socket: 0, to, bytes: &train, segment: 1452 }]);
                let (shard, trains) = arrival(&sharded, family);
                assert_eq!((shard, trains), (usize::from(shard_of_index(index, 4)), vec![(1452, train)]));
            }
        }
    }

    /// An initiation, what is too short to name a session, and what is no WireGuard message.
    #[test]
    fn what_names_no_session_is_spread_by_source() {
        let sharded = both(4);
        for message in [message(1, 0x100, 148), message(4, 0x100, 31), message(5, 0x100, 148), vec![4]] {
            let mut used = [false; 4];
            for _ in 0..64 {
                let client = UdpSocket::bind(LOOPBACK[0]).unwrap();
                let [one, other] = [(), ()].map(|()| {
                    client.send_to(&message, address(&sharded, 0)).unwrap();
                    arrival(&sharded, 0).0
                });
                assert_eq!(one, other, "one source, one shard");
                used[one] = true;
            }
            assert!(used.iter().filter(|used| **used).count() > 1, "{used:?}");
        }
    }

    #[test]
    fn nobody_can_join() {
        for shards in [1, 4] {
            let sharded = both(shards);
            let taken = address(&sharded, 0);
            for more in [1, 4] {
                let error = bind(&[taken], more).unwrap_err();
                assert_eq!((error.address, error.source.kind()), (taken, io::ErrorKind::AddrInUse));
            }
        }
    }

    #[test]
    fn one_shard_needs_no_filter_and_a_refused_one_is_told() {
        let alone = both(1);
        assert!(alone.steered);
        assert_eq!(alone.shards.len(), 1);
        let first = alone.shards[0].iter().next().unwrap();
        assert!(sys::steer_group(first, &filter(4)).is_err(), "it is of no group");
        assert_eq!(both(0).shards.len(), 1);
        assert_eq!(both(200).shards.len(), 16);
    }

    #[test]
    fn the_rule_is_the_peer_modulo_the_shards() {
        assert_eq!(shard_of_index(0x0000_01ff, 4), 1);
        assert_eq!(shard_of_index(0x0001_0000, 3), 1);
        assert_eq!(shard_of_index(u32::MAX, 1), 0);
        assert_eq!(shard_of_index(u32::MAX, 0), 0);
    }
}
