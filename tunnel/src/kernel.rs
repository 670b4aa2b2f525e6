//! Packets on their way to a kernel, decrypted straight into their place. Neighbouring segments of a TCP
//! flow become one super-segment: one set of headers and the payloads where they lie, so that the kernel
//! is called once for many. The rules are those of Linux GRO (`tcp_gro_receive`, `inet_gro_receive`).
//! Always true: a super-segment holds segments of one flow whose headers say the same but sequence number
//! and PSH, in order, all equally long but the last; what does not fit ends it, so that order is kept.

use std::num::NonZeroU16;

use crate::{
    packet::{
        Ends, TCP, checksum,
        tcp::{ACK, PSH, Tcp},
    },
    trains,
};

/// Most parts of a packet for the kernel: a little more than segments of an ordinary line fit into 64 KiB.
pub const MAX_PARTS: usize = 64;
/// What the length field of an IPv4 packet can say.
const LONGEST: usize = 65_535;
const NONE: usize = usize::MAX;

/// A packet for the kernel's TUN.
#[derive(Debug, Clone, Copy)]
pub struct ToKernel<'a> {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Bytes of the IP header.
    pub ip_head: usize,
    /// Bytes of the IP and TCP headers; just the packet if it is not TCP.
    pub head: usize,
    /// TCP payload bytes per segment of a super-segment, whose checksum field holds the sum of the
    /// pseudo-header. None for an ordinary packet, complete with its checksum.
    pub segment: Option<NonZeroU16>,
    queue: &'a Kernel,
    first: usize,
}

impl<'a> ToKernel<'a> {
    /// The packet, in at most [`MAX_PARTS`] parts; the headers are in the first.
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let queue = self.queue;
        let part = move |at: usize| queue.parts.get(at);
        std::iter::successors(part(self.first), move |before| part(before.next))
            .filter_map(|part| queue.bytes.get(part.begin..part.end))
    }
}

/// A flow's super-segment that may still grow; nothing by default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Open {
    /// Counted from one: what was cleared is not open.
    round: u64,
    item: usize,
}

/// The queue; the memory is kept.
#[derive(Debug)]
pub(crate) struct Kernel {
    bytes: Vec<u8>,
    end: usize,
    items: Vec<Item>,
    parts: Vec<Part>,
    round: u64,
    limit: usize,
    /// Whether super-segments may be made.
    pub(crate) offload: bool,
}

#[derive(Debug)]
struct Item {
    shape: Shape,
    first: usize,
    last: usize,
    parts: usize,
    len: usize,
    next_seq: u32,
}

#[derive(Debug)]
struct Part {
    begin: usize,
    end: usize,
    next: usize,
}

/// What a packet looks like from outside.
#[derive(Debug, Clone, Copy)]
struct Shape {
    ends: Option<Ends>,
    v6: bool,
    ip_head: usize,
    head: usize,
    payload: usize,
}

impl Kernel {
    pub(crate) fn new(limit: usize) -> Self {
        let (bytes, items, parts) = (Vec::new(), Vec::new(), Vec::new());
        Self { bytes, end: 0, items, parts, round: 1, limit, offload: false }
    }

    /// Room for a packet of `len` bytes, to be filled, looked at and then [`push`](Self::push)ed or left;
    /// none if full.
    pub(crate) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        trains::room(&mut self.bytes, self.end, len, self.limit)
    }

    /// Lends the packet of `len` bytes in the room given last; to be [given back](Self::give_back) before
    /// anything else.
    pub(crate) fn lend(&mut self, len: usize) -> Lent {
        Lent { begin: self.end, len, bytes: std::mem::take(&mut self.bytes) }
    }

    pub(crate) fn give_back(&mut self, lent: Lent) {
        self.bytes = lent.bytes;
    }

    /// Queues a copy of a packet that belongs to no super-segment; false if full.
    pub(crate) fn push_copy(&mut self, packet: &[u8]) -> bool {
        let Some(room) = self.room(packet.len()) else { return false };
        room.copy_from_slice(packet);
        self.push(packet.len());
        true
    }

    /// Queues the packet of `len` bytes in the room given last, as it is.
    pub(crate) fn push(&mut self, len: usize) {
        let end = self.end + len;
        let v6 = self.bytes.get(self.end).is_some_and(|first| first >> 4 == 6);
        let shape = Shape { ends: None, v6, ip_head: if v6 { 40 } else { 20 }, head: len, payload: 0 };
        self.add(shape, end, 0);
    }

    /// Queues the segment in the room given last, whose checksum is right and which was read as `tcp`.
    /// `open` is its flow's.
    pub(crate) fn push_segment(&mut self, (ends, tcp): (Ends, &Tcp), len: usize, open: &mut Open) {
        let before = std::mem::take(open);
        let end = self.end + len;
        let Some(packet) = self.bytes.get(self.end..end) else { return };
        let shape = Shape::of(packet, ends, tcp);
        if !self.offload || !may_join(tcp, shape.payload) {
            self.add(shape, end, 0);
            return;
        }
        let item = if self.continues(before, packet, &shape, tcp) {
            self.append(before.item, end, shape.payload, tcp.has(PSH));
            before.item
        } else {
            self.add(shape, end, tcp.end())
        };
        let whole = self.items.get(item).is_some_and(|item| item.shape.payload == shape.payload);
        if whole && !tcp.has(PSH) {
            *open = Open { round: self.round, item };
        }
    }

    /// Everything, in order. What was open is closed.
    pub(crate) fn iter(&mut self) -> impl Iterator<Item = ToKernel<'_>> {
        self.round += 1;
        let Self { bytes, items, parts, .. } = self;
        for item in items.iter().filter(|item| item.parts > 1) {
            if let Some(part) = parts.get(item.first) {
                item.seal(bytes.get_mut(part.begin..).unwrap_or(&mut []));
            }
        }
        let queue = &*self;
        queue.items.iter().map(move |item| {
            let Shape { v6, ip_head, head, payload, .. } = item.shape;
            let several = u16::try_from(payload).ok().filter(|_| item.parts > 1);
            ToKernel {
                v6,
                ip_head,
                head,
                segment: several.and_then(NonZeroU16::new),
                queue,
                first: item.first,
            }
        })
    }

    pub(crate) fn clear(&mut self) {
        self.round += 1;
        self.items.clear();
        self.parts.clear();
        self.end = 0;
    }

    /// Whether the packet goes on where the open super-segment ends.
    fn continues(&self, open: Open, packet: &[u8], shape: &Shape, tcp: &Tcp) -> bool {
        let Some(item) = self.items.get(open.item).filter(|_| open.round == self.round) else { return false };
        let first = self.parts.get(item.first).and_then(|part| self.bytes.get(part.begin..part.end));
        tcp.seq == item.next_seq
            && shape.payload <= item.shape.payload
            && item.len + shape.payload <= LONGEST
            && item.parts < MAX_PARTS
            && first.is_some_and(|first| shape.same_headers(first, packet))
    }

    /// Queues what ends at `end`.
    fn add(&mut self, shape: Shape, end: usize, next_seq: u32) -> usize {
        let begin = std::mem::replace(&mut self.end, end);
        let part = self.parts.len();
        self.parts.push(Part { begin, end, next: NONE });
        self.items.push(Item { shape, first: part, last: part, parts: 1, len: end - begin, next_seq });
        self.items.len() - 1
    }

    /// Lets the payload that ends at `end` follow.
    fn append(&mut self, item: usize, end: usize, payload: usize, push: bool) {
        let Some(item) = self.items.get_mut(item) else { return };
        self.end = end;
        let part = self.parts.len();
        self.parts.push(Part { begin: end - payload, end, next: NONE });
        if let Some(last) = self.parts.get_mut(item.last) {
            last.next = part;
        }
        item.last = part;
        item.parts += 1;
        item.len += payload;
        item.next_seq = item.next_seq.wrapping_add(payload as u32);
        let flags = self.parts.get(item.first).map(|part| part.begin + item.shape.ip_head + 13);
        if let Some(flags) = flags.and_then(|at| self.bytes.get_mut(at)).filter(|_| push) {
            *flags |= PSH;
        }
    }
}

impl Item {
    /// Writes length and checksums of the whole into the first segment's headers.
    fn seal(&self, first: &mut [u8]) {
        let Some((ip, tcp)) = first.split_at_mut_checked(self.shape.ip_head) else { return };
        let Some(ends) = self.shape.ends else { return };
        let behind = self.len - self.shape.ip_head;
        match ends {
            Ends::V4 { .. } => {
                checksum::fill(ip, 2, self.len as u16);
                checksum::fill(ip, 10, 0);
                let sum = checksum::plain(ip);
                checksum::fill(ip, 10, sum);
            }
            Ends::V6 { .. } => checksum::fill(ip, 4, behind as u16),
        }
        checksum::fill(tcp, 16, checksum::pseudo(ends, TCP, behind));
    }
}

impl Shape {
    fn of(packet: &[u8], ends: Ends, tcp: &Tcp) -> Self {
        let ip_head = ends.header_len();
        let head = ip_head + usize::from(tcp.head);
        let v6 = matches!(ends, Ends::V6 { .. });
        Self { ends: Some(ends), v6, ip_head, head, payload: packet.len().saturating_sub(head) }
    }

    /// Whether two packets, this one and another, differ at most in lengths, identification, sequence
    /// number, flags and checksums.
    fn same_headers(&self, a: &[u8], b: &[u8]) -> bool {
        let tcp = self.ip_head;
        let same = |from: usize, to: usize| a.get(from..to).is_some_and(|part| b.get(from..to) == Some(part));
        let ip = if self.v6 { same(0, 4) && same(6, 40) } else { same(0, 2) && same(6, 10) && same(12, 20) };
        ip && same(tcp, tcp + 4)
            && same(tcp + 8, tcp + 13)
            && same(tcp + 14, tcp + 16)
            && same(tcp + 18, self.head)
    }
}

/// Data and nothing else.
fn may_join(tcp: &Tcp, payload: usize) -> bool {
    payload > 0 && tcp.only(ACK | PSH)
}

/// The packet in the room, lent.
#[derive(Debug)]
pub(crate) struct Lent {
    bytes: Vec<u8>,
    begin: usize,
    len: usize,
}

impl Lent {
    pub(crate) fn packet(&self) -> &[u8] {
        self.bytes.get(self.begin..self.begin + self.len).unwrap_or(&[])
    }
}
