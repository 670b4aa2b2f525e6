//! What we need of TCP sockets beyond std: the SYN that opened a connection, how it closes, and
//! how long it may be silent. It opens no connection and copies no bytes.
//! Always true: an accepted stream comes with the address accept4 saw, even if it is dead by now.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use crate::sys;

/// include/uapi/linux/tcp.h; libc has neither.
const TCP_SAVE_SYN: i32 = 27;
const TCP_SAVED_SYN: i32 = 28;

/// The longest headers of a SYN: a chain of IPv6 extension headers and 60 bytes of TCP.
const MAX_SYN: usize = 1024;

/// The SYN a connection began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedSyn {
    /// The client's initial sequence number.
    pub isn: u32,
    /// Where it came from.
    pub from: SocketAddr,
    /// What it wanted to reach.
    pub to: SocketAddr,
}

/// How long a connection may be silent or unacknowledged before it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer before the end.
    pub probes: u32,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

/// Makes the kernel keep the SYN of every connection this listener accepts.
pub(crate) fn save_syn(listener: impl AsFd) -> io::Result<()> {
    sys::set_option(listener, libc::IPPROTO_TCP, TCP_SAVE_SYN, 1)
}

/// The SYN of an accepted connection, once: the kernel forgets it after the first call. `None` if
/// it was not kept (a SYN cookie) or is no SYN we can read.
pub fn saved_syn(stream: impl AsFd) -> io::Result<Option<SavedSyn>> {
    let mut buffer = [0; MAX_SYN];
    let length = sys::option_bytes(stream, libc::IPPROTO_TCP, TCP_SAVED_SYN, &mut buffer)?;
    Ok(parse_syn(buffer.get(..length).unwrap_or_default()))
}

/// Accepts one connection, nonblocking and closed on exec.
pub fn accept_with_addr(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, peer))
}

/// Makes the next close a reset: nothing queued is delivered and the peer sees no clean end.
pub fn set_linger_zero(stream: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?)
}

/// The name of its congestion control.
pub(crate) fn congestion(socket: impl AsFd) -> io::Result<String> {
    Ok(getsockopt(&socket, sockopt::TcpCongestion)?.to_string_lossy().into_owned())
}

/// Sends small writes at once.
pub fn set_nodelay(stream: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&stream, sockopt::TcpNoDelay, &true)?)
}

/// Ends the connection when the other side is gone without a word.
pub fn set_liveness(stream: impl AsFd, liveness: Liveness) -> io::Result<()> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1);
    let millis = u32::try_from(liveness.user_timeout.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&stream, sockopt::KeepAlive, &true)?;
    setsockopt(&stream, sockopt::TcpKeepIdle, &seconds(liveness.idle))?;
    setsockopt(&stream, sockopt::TcpKeepInterval, &seconds(liveness.interval))?;
    setsockopt(&stream, sockopt::TcpKeepCount, &liveness.probes)?;
    setsockopt(&stream, sockopt::TcpUserTimeout, &millis)?;
    Ok(())
}

fn parse_syn(packet: &[u8]) -> Option<SavedSyn> {
    let (source, target, tcp) = match packet.first()? >> 4 {
        4 => parse_v4(packet)?,
        6 => parse_v6(packet)?,
        _ => return None,
    };
    let [s0, s1, d0, d1, i0, i1, i2, i3, ..] = *tcp else { return None };
    Some(SavedSyn {
        isn: u32::from_be_bytes([i0, i1, i2, i3]),
        from: SocketAddr::new(source, u16::from_be_bytes([s0, s1])),
        to: SocketAddr::new(target, u16::from_be_bytes([d0, d1])),
    })
}

fn parse_v4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let address = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::from(Ipv4Addr::from(octets)))
    };
    let header = usize::from(packet.first()? & 0xf) * 4;
    (*packet.get(9)? == 6).then_some(())?;
    Some((address(12)?, address(16)?, packet.get(header..)?))
}

fn parse_v6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let address = |at: usize| {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(octets)))
    };
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(40..)?;
    // Hop-by-hop, routing and destination options share one layout (RFC 8200 §4).
    while let 0 | 43 | 60 = next {
        let length = 8 + usize::from(*rest.get(1)?) * 8;
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    (next == 6).then_some(())?;
    Some((address(8)?, address(24)?, rest))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const TCP: [u8; 20] = [0x9c, 0xbb, 0x14, 0x38, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];

    fn v4() -> Vec<u8> {
        let mut packet = vec![0x46, 0, 0, 44, 0, 0, 0, 0, 64, 6, 0, 0, 100, 64, 0, 2, 10, 50, 0, 7];
        packet.extend([1, 1, 1, 0]);
        packet.extend(TCP);
        packet
    }

    fn v6_with_options() -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 36, 0, 64];
        packet.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("fd50::7".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]);
        packet.extend(TCP);
        packet
    }

    #[test]
    fn a_syn_is_read_behind_options() {
        let v4 = parse_syn(&v4()).unwrap();
        assert_eq!((v4.isn, v4.from.to_string()), (0x0102_0304, "100.64.0.2:40123".into()));
        assert_eq!(v4.to.to_string(), "10.50.0.7:5176");
        let v6 = parse_syn(&v6_with_options()).unwrap();
        assert_eq!((v6.isn, v6.to.to_string()), (0x0102_0304, "[fd50::7]:5176".into()));
    }

    #[test]
    fn no_truncation_panics() {
        for whole in [v4(), v6_with_options()] {
            for length in 0..whole.len() {
                parse_syn(&whole[..length]);
            }
        }
        let mut udp = v4();
        udp[9] = 17;
        assert_eq!(parse_syn(&udp), None);
    }

    #[test]
    fn linger_zero_resets_and_options_are_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        save_syn(&listener).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, peer) = accept_with_addr(&listener).unwrap();
        assert_eq!(saved_syn(&stream).unwrap().unwrap().from, peer);
        set_nodelay(&stream).unwrap();
        let minute = Duration::from_secs(60);
        set_liveness(&stream, Liveness { idle: minute, interval: minute, probes: 3, user_timeout: minute })
            .unwrap();
        stream.write_all(b"never read").unwrap();
        set_linger_zero(&stream).unwrap();
        drop(stream);
        let end = client.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
}
