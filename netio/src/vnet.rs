//! struct virtio_net_hdr (linux/virtio_net.h, without the mergeable part): what the kernel says
//! before each packet it gives us, and what we say before each packet we give it.
//! It reads of a packet only what a header must agree with. Always true: what `decode` lets pass
//! needs no more than TCP or UDP checksums and TCP segments of one family; no input panics.

use std::num::NonZeroU16;

/// Bytes of the header; numbers in it have the machine's order, as a TUN has by default.
pub(crate) const HEADER: usize = 10;

/// Nothing is left to do: checksums are complete, nothing is to be cut.
const PLAIN: [u8; HEADER] = [0; HEADER];

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// IP protocol numbers, and where in their headers the checksum is (RFC 9293 §3.1, RFC 768).
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

/// Bytes of the fixed headers (RFC 791 §3.1, RFC 8200 §3).
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// What the kernel left to us for one packet it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// Whether the transport checksum is there.
    pub checksum: Checksum,
    /// TCP payload bytes per segment, if the packet is to be cut into segments of that size.
    pub segment: Option<NonZeroU16>,
}

/// The transport checksum of a packet the kernel sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Right, or not needed.
    Complete,
    /// The field of the TCP or UDP header holds the sum of the pseudo-header, not inverted.
    Partial,
}

/// A packet that is as it will be on the wire.
pub(crate) const COMPLETE: Offload = Offload { checksum: Checksum::Complete, segment: None };

/// Why a packet is dropped: the header and the packet do not agree, or it asks for what we did not
/// offer. It is the kernel's fault, or that of who plays the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the virtio header does not fit the packet behind it")]
pub struct Malformed;

/// Reads a header and what it says of the packet behind it, which begins at byte 10.
pub fn decode(bytes: &[u8]) -> Result<Offload, Malformed> {
    let (header, packet) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed)?;
    // hdr_len (2..4) is a hint for who copies; the packet itself tells.
    let [flags, kind, _, _, size0, size1, start0, start1, offset0, offset1] = *header;
    let start = u16::from_ne_bytes([start0, start1]);
    let offset = u16::from_ne_bytes([offset0, offset1]);
    let partial = flags & NEEDS_CSUM != 0;
    if partial {
        check_transport(packet, start.into(), offset)?;
    }
    let version = packet.first().ok_or(Malformed)? >> 4;
    let segment = match (kind, version) {
        (GSO_NONE, 4 | 6) => None,
        (GSO_TCPV4, 4) | (GSO_TCPV6, 6) if partial && offset == TCP_CHECKSUM => {
            Some(NonZeroU16::new(u16::from_ne_bytes([size0, size1])).ok_or(Malformed)?)
        }
        _ => return Err(Malformed),
    };
    let checksum = if partial { Checksum::Partial } else { Checksum::Complete };
    Ok(Offload { checksum, segment })
}

/// Whether a checksum field `offset` bytes into what starts at `start` is that of the packet's
/// transport header.
fn check_transport(packet: &[u8], start: usize, offset: u16) -> Result<(), Malformed> {
    let first = *packet.first().ok_or(Malformed)?;
    // An IPv6 extension header is not looked behind: nobody here carries a packet that has one.
    let (header, protocol) = match first >> 4 {
        4 => (usize::from(first & 0xf) * 4, packet.get(9)),
        6 => (V6_HEADER, packet.get(6)),
        _ => return Err(Malformed),
    };
    let expected = checksum_of(*protocol.ok_or(Malformed)?);
    let agree = header >= V4_HEADER && start == header && expected == Some(offset);
    let end = start + usize::from(offset) + 2;
    if agree && end <= packet.len() { Ok(()) } else { Err(Malformed) }
}

fn checksum_of(protocol: u8) -> Option<u16> {
    match protocol {
        TCP => Some(TCP_CHECKSUM),
        UDP => Some(UDP_CHECKSUM),
        _ => None,
    }
}

/// The header of a packet we give: plain, or TCP payload of `segment` bytes per segment behind
/// `head` bytes of headers, of which `ip_head` are IP's, with a partial checksum.
pub(crate) fn encode(v6: bool, ip_head: u16, head: u16, segment: Option<NonZeroU16>) -> [u8; HEADER] {
    let Some(segment) = segment else { return PLAIN };
    let kind = if v6 { GSO_TCPV6 } else { GSO_TCPV4 };
    let numbers = [head, segment.get(), ip_head, TCP_CHECKSUM].map(u16::to_ne_bytes);
    let [[h0, h1], [s0, s1], [i0, i1], [c0, c1]] = numbers;
    [NEEDS_CSUM, kind, h0, h1, s0, s1, i0, i1, c0, c1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of `version` with `protocol`, whose transport header begins at `start`.
    fn packet(version: u8, protocol: u8, start: usize, length: usize) -> Vec<u8> {
        let mut packet = vec![0; length];
        packet[0] = if version == 4 { 0x40 | (start / 4) as u8 } else { 0x60 };
        packet[if version == 4 { 9 } else { 6 }] = protocol;
        packet
    }

    fn header(flags: u8, kind: u8, [hdr_len, size, start, offset]: [u16; 4]) -> Vec<u8> {
        let numbers = [hdr_len, size, start, offset].map(u16::to_ne_bytes);
        [flags, kind].into_iter().chain(numbers.into_iter().flatten()).collect()
    }

    fn read(header: &[u8], packet: &[u8]) -> Result<Offload, Malformed> {
        decode(&[header, packet].concat())
    }

    fn partial(segment: u16) -> Result<Offload, Malformed> {
        Ok(Offload { checksum: Checksum::Partial, segment: NonZeroU16::new(segment) })
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        let (v4, options) = (packet(4, TCP, 20, 1000), packet(4, TCP, 24, 1000));
        let (v6, udp) = (packet(6, TCP, 40, 1000), packet(6, UDP, 40, 100));
        assert_eq!(read(&PLAIN, &v4), Ok(COMPLETE));
        assert_eq!(read(&PLAIN, &udp), Ok(COMPLETE));
        // VIRTIO_NET_HDR_F_DATA_VALID: the kernel looked already.
        assert_eq!(read(&header(2, 0, [0; 4]), &v4), Ok(COMPLETE));
        assert_eq!(read(&header(1, 0, [0, 0, 20, 16]), &v4), partial(0));
        assert_eq!(read(&header(1, 1, [40, 536, 20, 16]), &v4), partial(536));
        assert_eq!(read(&header(1, 1, [44, 1380, 24, 16]), &options), partial(1380));
        assert_eq!(read(&header(1, 4, [60, 1360, 40, 16]), &v6), partial(1360));
        assert_eq!(read(&header(1, 0, [0, 0, 40, 6]), &udp), partial(0));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (v4, v6) = (packet(4, TCP, 20, 60), packet(6, TCP, 40, 80));
        let (udp, extended) = (packet(4, UDP, 20, 60), packet(6, 0, 40, 100));
        let refused: [(&str, Vec<u8>, &[u8]); 14] = [
            ("the checksum is not at the transport header", header(1, 0, [0, 0, 24, 16]), &v4),
            ("nor at TCP's place in it", header(1, 0, [0, 0, 20, 6]), &v4),
            ("nor at UDP's", header(1, 0, [0, 0, 20, 16]), &udp),
            ("the checksum is in the IPv6 header", header(1, 0, [0, 0, 20, 16]), &v6),
            ("the checksum is behind the end", header(1, 0, [0, 0, 20, 16]), &v4[..37]),
            ("far behind the end", header(1, 0, [0, 0, u16::MAX, u16::MAX]), &v4),
            ("segments of nothing", header(1, 1, [40, 0, 20, 16]), &v4),
            ("segments without a checksum to make", header(0, 1, [40, 536, 20, 16]), &v4),
            ("segments of UDP", header(1, 1, [28, 536, 20, 6]), &udp),
            ("IPv6 segments of an IPv4 packet", header(1, 4, [40, 536, 20, 16]), &v4),
            ("IPv4 segments of an IPv6 packet", header(1, 1, [60, 536, 40, 16]), &v6),
            ("segments of what is behind an extension", header(1, 4, [68, 8, 48, 16]), &extended),
            ("ECN, which was not offered", header(1, 0x81, [40, 536, 20, 16]), &v4),
            ("UDP segmentation, which was not offered", header(1, 5, [28, 536, 20, 6]), &udp),
        ];
        for (what, header, packet) in refused {
            assert_eq!(read(&header, packet), Err(Malformed), "{what}");
        }
        assert_eq!(read(&PLAIN, &[]), Err(Malformed));
        assert_eq!(read(&PLAIN, &[0x50; 60]), Err(Malformed), "no IP version");
        assert_eq!(read(&header(1, 0, [0, 0, 8, 16]), &packet(4, TCP, 8, 60)), Err(Malformed));
    }

    #[test]
    fn no_length_and_no_byte_panics() {
        let whole = [header(1, 4, [60, 1360, 40, 16]), packet(6, TCP, 40, 80)].concat();
        for length in 0..whole.len() {
            let cut = decode(&whole[..length]);
            assert!(length >= HEADER + 58 || cut == Err(Malformed), "{length}: {cut:?}");
        }
        for at in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut garbage = whole.clone();
                garbage[at] = byte;
                // Any answer will do.
                let _ = decode(&garbage);
            }
        }
    }

    #[test]
    fn what_we_say_reads_back() {
        for (v6, version, ip_head) in [(false, 4, 20u16), (true, 6, 40)] {
            let packet = packet(version, TCP, ip_head.into(), 3000);
            let segment = NonZeroU16::new(1380);
            assert_eq!(read(&encode(v6, ip_head, ip_head + 20, segment), &packet), partial(1380));
            assert_eq!(read(&encode(v6, ip_head, ip_head + 20, None), &packet), Ok(COMPLETE));
        }
        let expected = header(1, 4, [72, 1340, 40, 16]);
        assert_eq!(encode(true, 40, 72, NonZeroU16::new(1340)).to_vec(), expected);
    }
}
