//! TCP segments and an echo request made by hand, with correct checksums: the device's side of a
//! handshake. It keeps no state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

const TCP: u8 = 6;
const ICMP: u8 = 1;

/// A TCP segment without options; what it carries, if anything, is not part of it.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
}

impl Segment {
    /// The whole IP packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        let mut pseudo = octets(self.from.ip());
        pseudo.extend(octets(self.to.ip()));
        pseudo.extend([0, TCP, 0, tcp.len() as u8]);
        pseudo.extend(&tcp);
        tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        ip(self.from.ip(), self.to.ip(), TCP, &tcp)
    }

    /// The headers of a super-segment that carries `payload` bytes, with a partial checksum: the sum
    /// of the pseudo-header, not inverted.
    pub fn head(&self, payload: usize) -> Vec<u8> {
        let mut packet = self.packet();
        let (ip, length) = (packet.len() - 20, packet.len() + payload);
        if self.from.is_ipv4() {
            packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            packet[10..12].fill(0);
            let sum = checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            packet[4..6].copy_from_slice(&(20 + payload as u16).to_be_bytes());
        }
        let partial = self.pseudo_sum(20 + payload);
        packet[ip + 16..ip + 18].copy_from_slice(&partial.to_be_bytes());
        packet
    }

    /// The sum of the pseudo-header of `length` bytes of TCP, not inverted.
    pub fn pseudo_sum(&self, length: usize) -> u16 {
        let mut pseudo = octets(self.from.ip());
        pseudo.extend(octets(self.to.ip()));
        pseudo.extend([0, TCP]);
        pseudo.extend((length as u16).to_be_bytes());
        !checksum(&pseudo)
    }

    /// Reads one, ignoring options and payload.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (from, to, next, tcp) = match packet.first()? >> 4 {
            4 => {
                let at = |start: usize| {
                    Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(start..start + 4)?).ok()?))
                };
                (at(12)?, at(16)?, packet[9], packet.get(usize::from(packet[0] & 15) * 4..)?)
            }
            _ => {
                let at = |start: usize| {
                    Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(start..start + 16)?).ok()?))
                };
                (at(8)?, at(24)?, packet[6], packet.get(40..)?)
            }
        };
        let number = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
        let ports = number(0)?;
        (next == TCP).then_some(Self {
            from: SocketAddr::new(from, (ports >> 16) as u16),
            to: SocketAddr::new(to, ports as u16),
            seq: number(4)?,
            ack: number(8)?,
            flags: *tcp.get(13)?,
        })
    }
}

/// What the other side of an IPv4 connection acknowledges once it has this packet.
pub fn acknowledges(packet: &[u8]) -> Option<u32> {
    let segment = Segment::parse(packet)?;
    let headers = usize::from(packet[0] & 15) * 4 + usize::from(packet[32] >> 4) * 4;
    let flags = u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
    Some(segment.seq.wrapping_add((packet.len() - headers) as u32 + flags))
}

/// Where the TCP header begins in a packet without extension headers.
pub fn tcp_offset(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { usize::from(packet[0] & 15) * 4 } else { 40 }
}

/// Whether the TCP checksum is right.
pub fn is_complete(packet: &[u8]) -> bool {
    let tcp = &packet[tcp_offset(packet)..];
    let Some(segment) = Segment::parse(packet) else { return false };
    let mut all = segment.pseudo_sum(tcp.len()).to_be_bytes().to_vec();
    all.extend(tcp);
    checksum(&all) == 0
}

/// A ping.
pub fn echo_request(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(from.into(), to.into(), ICMP, &icmp)
}

fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u8;
    let mut packet = match from {
        IpAddr::V4(_) => vec![0x45, 0, 0, 20 + length, 0, 0, 0x40, 0, 64, protocol, 0, 0],
        IpAddr::V6(_) => vec![0x60, 0, 0, 0, 0, length, protocol, 64],
    };
    packet.extend(octets(from));
    packet.extend(octets(to));
    if from.is_ipv4() {
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::octets(&v4).to_vec(),
        IpAddr::V6(v6) => Ipv6Addr::octets(&v6).to_vec(),
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
