//! Reads datagrams of the model cipher and plain inner packets, on its own terms: nothing here uses the
//! core's parsers, so that a mistake of theirs is not made twice.

use std::net::{IpAddr, SocketAddr};

use crate::{
    FlowKey,
    packet::tcp::{ACK, RST, SYN},
};

/// What names a flow of datagrams: whether it is of echo, and its ends. An echo's identifier stands for the
/// device's port, and 0 for the target's.
pub(super) type Line = (bool, FlowKey);

/// The kind of a datagram, by its first byte: initiation, response, cookie, data.
pub(super) fn kind(datagram: &[u8]) -> u8 {
    datagram.first().copied().unwrap_or(0)
}

/// The inner packet of a data message; none in a keepalive.
pub(super) fn plaintext(datagram: &[u8]) -> Option<&[u8]> {
    let inner = datagram.get(16..datagram.len().checked_sub(16)?)?;
    (kind(datagram) == 4 && !inner.is_empty()).then_some(inner)
}

/// The label of an initiation.
pub(super) fn label(initiation: &[u8]) -> [u8; 12] {
    initiation[40..52].try_into().unwrap()
}

/// An inner packet without options, extensions or fragmentation. For what has no ports they are zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inner<'a> {
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) protocol: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    /// What follows the transport header of TCP, or the IP header of anything else.
    pub(super) data: &'a [u8],
}

impl<'a> Inner<'a> {
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let (src, dst, protocol, rest): (IpAddr, IpAddr, u8, &[u8]) = match packet.first()? {
            0x45 if packet.len() >= 20 && packet[6] & 0x3f == 0 && packet[7] == 0 => {
                let addr = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
                (addr(12), addr(16), packet[9], &packet[20..])
            }
            0x60..=0x6f if packet.len() >= 40 => {
                let addr = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
                (addr(8), addr(24), packet[6], &packet[40..])
            }
            _ => return None,
        };
        let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
        let (ports, seq, ack, flags, data) = match protocol {
            6 if rest.len() >= 20 => {
                let data = rest.get(usize::from(rest[12] >> 4) * 4..)?;
                ((port(0), port(2)), word(4), word(8), rest[13], data)
            }
            17 if rest.len() >= 8 => ((port(0), port(2)), 0, 0, 0, rest),
            1 | 58 => ((0, 0), 0, 0, 0, rest),
            _ => return None,
        };
        Some(Self { src: (src, ports.0).into(), dst: (dst, ports.1).into(), protocol, seq, ack, flags, data })
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.protocol == 6
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// A connection request.
    pub(super) fn opens(&self) -> bool {
        self.is_tcp() && self.flags & (SYN | ACK) == SYN
    }

    /// What a device says in a datagram, and along which line.
    pub(super) fn asks(&self) -> Option<(Line, &'a [u8])> {
        self.says([8, 128]).map(|(echo, port, said)| {
            let device = if echo { (self.src.ip(), port).into() } else { self.src };
            ((echo, FlowKey { device, target: self.dst }), said)
        })
    }

    /// What a target says in a datagram, and along which line.
    pub(super) fn answers(&self) -> Option<(Line, &'a [u8])> {
        self.says([0, 129]).map(|(echo, port, said)| {
            let device = if echo { (self.dst.ip(), port).into() } else { self.dst };
            ((echo, FlowKey { device, target: self.src }), said)
        })
    }

    /// What UDP carries, or an echo message of these types behind its identifier.
    fn says(&self, [v4, v6]: [u8; 2]) -> Option<(bool, u16, &'a [u8])> {
        match (self.protocol, self.data) {
            (17, [_, _, _, _, _, _, _, _, said @ ..]) => Some((false, 0, said)),
            (1, [kind, 0, _, _, high, low, said @ ..]) if *kind == v4 => {
                Some((true, u16::from_be_bytes([*high, *low]), said))
            }
            (58, [kind, 0, _, _, high, low, said @ ..]) if *kind == v6 => {
                Some((true, u16::from_be_bytes([*high, *low]), said))
            }
            _ => None,
        }
    }

    /// What an ICMP destination-unreachable message quotes.
    pub(super) fn quote(&self) -> Option<&'a [u8]> {
        let refuses = matches!((self.protocol, self.data.first()), (1, Some(3)) | (58, Some(1)));
        if refuses { self.data.get(8..) } else { None }
    }

    /// Anything of TCP but a reset.
    pub(super) fn carries(&self) -> bool {
        self.is_tcp() && !self.has(RST)
    }
}

/// A part of a packet that was cut in fragments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    /// Bytes before it.
    pub(super) offset: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        match packet.first()? {
            0x45 if packet.len() >= 20 && word(6) & 0x3fff != 0 => {
                let addr = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
                let offset = usize::from(word(6) & 0x1fff) * 8;
                Some(Self { src: addr(12), dst: addr(16), protocol: packet[9], offset, bytes: &packet[20..] })
            }
            0x60 if packet.len() >= 48 && packet[6] == 44 => {
                let addr = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
                let offset = usize::from(word(42) & !7);
                Some(Self { src: addr(8), dst: addr(24), protocol: packet[40], offset, bytes: &packet[48..] })
            }
            _ => None,
        }
    }
}

/// The address a packet goes to.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    let piece = Piece::read(packet).map(|piece| piece.dst);
    piece.or_else(|| Inner::read(packet).map(|inner| inner.dst.ip()))
}
