//! Cuts what a kernel sends into packets as they go over the wire, in place: each header is written over
//! payload that was sent before. It completes checksums that were left to it, and judges nothing else.
//! Always true: the pieces are what the kernel would have sent without offloads (Linux `tcp_gso_segment`):
//! sequence numbers and IPv4 identifications count up, FIN and PSH are the last's, CWR is the first's.

use super::{
    Ends, Ip, TCP, UDP, checksum,
    tcp::{CWR, FIN, PSH, RST, SYN, Tcp},
};
use crate::{
    counters::Count,
    event::{Checksum, Offload},
};

/// The longest headers: IPv6 without extensions, TCP with all its options.
const LONGEST_HEAD: usize = 40 + 60;

/// A packet of a kernel on its way out.
#[derive(Debug)]
pub(crate) struct Split<'a> {
    packet: &'a mut [u8],
    cut: Option<Cut>,
    /// Where the payload of the next piece begins.
    next: Option<usize>,
}

/// What is to be written before each piece of payload.
#[derive(Debug)]
struct Cut {
    template: [u8; LONGEST_HEAD],
    ends: Ends,
    ip_head: usize,
    head: usize,
    segment: usize,
}

impl<'a> Split<'a> {
    /// A TCP packet, as `ip` and `tcp` read it. No piece is longer than `longest`.
    pub(crate) fn tcp(
        packet: &'a mut [u8],
        (ends, tcp): (Ends, &Tcp),
        offload: Offload,
        longest: usize,
    ) -> Result<Self, Count> {
        let ip_head = ends.header_len();
        let head = ip_head + usize::from(tcp.head);
        let payload = packet.len().checked_sub(head).ok_or(Count::TunNotTcp)?;
        let segment = offload.segment.map_or(payload, |segment| payload.min(segment.get().into()));
        if head + segment > longest {
            return Err(Count::TooBig);
        }
        if payload > segment && (tcp.has(SYN) || tcp.has(RST)) {
            return Err(Count::TunNotTcp);
        }
        if offload.checksum == Checksum::Complete && payload == segment {
            return Ok(Self { packet, cut: None, next: Some(0) });
        }
        let mut template = [0; LONGEST_HEAD];
        template.iter_mut().zip(packet.iter()).take(head).for_each(|(to, from)| *to = *from);
        Ok(Self { packet, cut: Some(Cut { template, ends, ip_head, head, segment }), next: Some(0) })
    }

    /// The next packet; what was lent before is overwritten.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let at = self.next.take()?;
        let Some(cut) = &self.cut else { return Some(self.packet) };
        let payload = self.packet.len() - cut.head;
        let end = (at + cut.segment).min(payload);
        self.next = (end < payload).then_some(end);
        let piece = self.packet.get_mut(at..cut.head + end)?;
        cut.write(piece, at, end == payload)?;
        Some(piece)
    }
}

impl Cut {
    /// Writes the headers of the piece that begins `at` bytes into the payload.
    fn write(&self, piece: &mut [u8], at: usize, last: bool) -> Option<()> {
        piece.get_mut(..self.head)?.copy_from_slice(self.template.get(..self.head)?);
        let total = u16::try_from(piece.len()).ok()?;
        let (ip, tcp) = piece.split_at_mut_checked(self.ip_head)?;
        match self.ends {
            Ends::V4 { .. } => {
                let id = u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]);
                let number = u16::try_from(at.checked_div(self.segment).unwrap_or(0)).ok()?;
                put(ip, 2, total.to_be_bytes())?;
                put(ip, 4, id.wrapping_add(number).to_be_bytes())?;
                put(ip, 10, [0, 0])?;
                let sum = checksum::plain(ip);
                checksum::fill(ip, 10, sum);
            }
            Ends::V6 { .. } => put(ip, 4, u16::try_from(tcp.len()).ok()?.to_be_bytes())?,
        }
        let seq = u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?);
        put(tcp, 4, seq.wrapping_add(u32::try_from(at).ok()?).to_be_bytes())?;
        let not_here = if at > 0 { CWR } else { 0 } | if last { 0 } else { FIN | PSH };
        *tcp.get_mut(13)? &= !not_here;
        put(tcp, 16, [0, 0])?;
        let sum = checksum::transport(self.ends, TCP, tcp);
        checksum::fill(tcp, 16, sum);
        Some(())
    }
}

/// Completes the checksum of any packet with nothing to cut; false if it has none to complete.
pub(crate) fn complete(packet: &mut [u8]) -> bool {
    let Ok(ip) = Ip::parse(packet) else { return false };
    let at = match ip.protocol {
        TCP => 16,
        UDP => 6,
        _ => return false,
    };
    let (ends, protocol) = (ip.ends, ip.protocol);
    let Some(message) = packet.get_mut(ends.header_len()..).filter(|message| message.len() >= at + 2) else {
        return false;
    };
    checksum::fill(message, at, 0);
    let sum = checksum::transport(ends, protocol, message);
    // UDP sends a computed zero as all ones (RFC 768).
    checksum::fill(message, at, if protocol == UDP && sum == 0 { 0xffff } else { sum });
    true
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value;
    Some(())
}
