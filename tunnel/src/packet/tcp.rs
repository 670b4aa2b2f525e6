//! TCP (RFC 9293) as far as a filter needs it: ports, sequence numbers, flags; and the RST.
//! Options and windows are the kernel's business.

use super::{Ends, Ip, TCP, build, checksum};
use crate::counters::Count;

const HEADER: usize = 20;
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;
pub(crate) const CWR: u8 = 128;

/// A sane segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) src: u16,
    pub(crate) dst: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// SEG.LEN: payload, plus one each for SYN and FIN.
    pub(crate) len: u32,
    /// Bytes of the header.
    pub(crate) head: u8,
    flags: u8,
}

impl Tcp {
    pub(crate) fn parse(segment: &[u8]) -> Result<Self, Count> {
        let header = segment.first_chunk::<HEADER>().ok_or(Count::TcpMalformed)?;
        let header_len = usize::from(header[12] >> 4) * 4;
        let payload = segment.len().checked_sub(header_len).ok_or(Count::TcpMalformed)?;
        let src = u16::from_be_bytes([header[0], header[1]]);
        let dst = u16::from_be_bytes([header[2], header[3]]);
        if header_len < HEADER || src == 0 || dst == 0 {
            return Err(Count::TcpMalformed);
        }
        let flags = header[13];
        if !sane(flags) {
            return Err(Count::TcpFlags);
        }
        let payload = u32::try_from(payload).map_err(|_| Count::TcpMalformed)?;
        Ok(Self {
            src,
            dst,
            seq: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ack: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            len: payload + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
            head: header[12] >> 4 << 2,
            flags,
        })
    }

    /// Reads the segment in `ip` if its checksum is right, too.
    pub(crate) fn verified(ip: &Ip<'_>) -> Result<Self, Count> {
        let tcp = Self::parse(ip.payload)?;
        if checksum::transport(ip.ends, TCP, ip.payload) == 0 { Ok(tcp) } else { Err(Count::TcpChecksum) }
    }

    /// A connection request.
    pub(crate) fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it has no flags but these.
    pub(crate) fn only(&self, flags: u8) -> bool {
        self.flags & !flags == 0
    }

    /// The sequence number after this segment.
    pub(crate) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len)
    }
}

/// What our own segments begin as.
const EMPTY: Tcp = Tcp { src: 0, dst: 0, seq: 0, ack: 0, len: 0, head: HEADER as u8, flags: 0 };

/// SYN, FIN and RST exclude each other, and only SYN and RST come without ACK (RFC 9293 §3.5, §3.10.7).
fn sane(flags: u8) -> bool {
    match flags & (SYN | FIN | RST) {
        SYN | RST => true,
        0 | FIN => flags & ACK != 0,
        _ => false,
    }
}

/// Whether `a` is not before `b`, in sequence space (RFC 9293 §3.4).
pub(crate) fn not_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) < 1 << 31
}

/// The RST that refuses `segment`, which came along `ends` (RFC 9293 §3.10.7.1); none for a RST.
pub(crate) fn reset(ends: Ends, segment: &Tcp) -> Option<Vec<u8>> {
    if segment.has(RST) {
        return None;
    }
    let reply = if segment.has(ACK) {
        Tcp { src: segment.dst, dst: segment.src, seq: segment.ack, ack: 0, flags: RST, ..EMPTY }
    } else {
        Tcp { src: segment.dst, dst: segment.src, seq: 0, ack: segment.end(), flags: RST | ACK, ..EMPTY }
    };
    write(ends.reversed(), &reply, &[])
}

/// A RST with a chosen sequence number, along `ends`.
pub(crate) fn reset_at(ends: Ends, src: u16, dst: u16, seq: u32) -> Option<Vec<u8>> {
    write(ends, &Tcp { src, dst, seq, flags: RST, ..EMPTY }, &[])
}

fn write(ends: Ends, tcp: &Tcp, payload: &[u8]) -> Option<Vec<u8>> {
    let mut segment = vec![0; HEADER];
    segment[0..2].copy_from_slice(&tcp.src.to_be_bytes());
    segment[2..4].copy_from_slice(&tcp.dst.to_be_bytes());
    segment[4..8].copy_from_slice(&tcp.seq.to_be_bytes());
    segment[8..12].copy_from_slice(&tcp.ack.to_be_bytes());
    segment[12] = 0x50;
    segment[13] = tcp.flags;
    segment.extend_from_slice(payload);
    let sum = checksum::transport(ends, TCP, &segment);
    checksum::fill(&mut segment, 16, sum);
    build(ends, TCP, &segment)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::tests::ends;

    /// A segment for tests.
    pub(crate) fn segment(
        ends: Ends,
        ports: (u16, u16),
        seq: u32,
        ack: u32,
        flags: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        write(ends, &Tcp { src: ports.0, dst: ports.1, seq, ack, flags, ..EMPTY }, payload).unwrap()
    }

    /// A SYN for tests.
    pub(crate) fn syn(ends: Ends, ports: (u16, u16), isn: u32) -> Vec<u8> {
        segment(ends, ports, isn, 0, SYN, &[])
    }

    proptest! {
        #[test]
        fn segments_read_back_with_a_good_checksum(
            ends in ends(), src in 1u16.., dst in 1u16.., seq: u32, ack: u32,
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let packet = segment(ends, (src, dst), seq, ack, SYN, &payload);
            let ip = Ip::parse(&packet).unwrap();
            prop_assert_eq!(checksum::transport(ends, TCP, ip.payload), 0);
            let tcp = Tcp::parse(ip.payload).unwrap();
            prop_assert_eq!((tcp.src, tcp.dst, tcp.seq, tcp.ack), (src, dst, seq, ack));
            prop_assert!(tcp.opens());
            // The refusal acknowledges exactly what was sent.
            let refusal = reset(ends, &tcp).unwrap();
            let ip = Ip::parse(&refusal).unwrap();
            prop_assert_eq!(checksum::transport(ends.reversed(), TCP, ip.payload), 0);
            let rst = Tcp::parse(ip.payload).unwrap();
            prop_assert_eq!((rst.src, rst.dst, rst.seq), (dst, src, 0));
            prop_assert_eq!(rst.ack, seq.wrapping_add(1).wrapping_add(payload.len() as u32));
            prop_assert!(rst.has(RST) && rst.has(ACK) && reset(ends, &rst).is_none());
        }
    }

    #[test]
    fn an_acknowledging_segment_is_reset_at_its_ack() {
        let ends = Ends::V4 { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into() };
        let tcp = Tcp { src: 1, dst: 2, seq: 100, ack: 7777, len: 5, flags: ACK, ..EMPTY };
        let packet = reset(ends, &tcp).unwrap();
        let rst = Tcp::parse(&packet[20..]).unwrap();
        assert_eq!((rst.seq, rst.ack, rst.flags), (7777, 0, RST));
    }

    #[test]
    fn flags_no_honest_stack_sends() {
        for bad in [0, SYN | FIN, SYN | RST, FIN | RST, FIN, 8, FIN | 8 | 32, SYN | FIN | ACK, 0xff] {
            assert!(!sane(bad), "{bad:#x}");
        }
        for good in [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, ACK | 8, SYN | 0xc0] {
            assert!(sane(good), "{good:#x}");
        }
    }

    #[test]
    fn sequence_space_wraps() {
        assert!(not_before(5, 5) && not_before(3, u32::MAX) && !not_before(u32::MAX, 3));
    }
}
