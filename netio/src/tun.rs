//! A TUN interface as batches of IP packets, with the offloads the kernel agreed to: super-packets
//! it has not cut and checksums it has not made come out, super-segments go in.
//! It reads no packet beyond what `vnet` checks. Always true: reading and writing never block; a
//! packet whose virtio header makes no sense is dropped and counted.

use std::{
    fs::{File, OpenOptions},
    io::{
        self,
        ErrorKind::{Interrupted, InvalidInput, WouldBlock, WriteZero},
        IoSlice, Read, Write,
    },
    num::NonZeroU16,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use crate::vnet::{Checksum, Offload};
use crate::{
    error::{SetUpError, Step},
    netns::refusal_remedy,
    sys, vnet,
};

/// The longest IP packet (IPv6 without jumbograms, RFC 8200 §3), a virtio header and one byte that
/// tells a packet of that length from a longer one.
const SLOT: usize = 40 + 65_535 + vnet::HEADER + 1;

/// Most parts of a packet to write: as many as a train has datagrams, twice.
pub const MAX_PARTS: usize = 128;

/// What the kernel may leave to us: TCP and UDP checksums, and cutting TCP into segments.
const OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

/// A queue of an interface; the interface ends with its last queue.
#[derive(Debug)]
pub struct Tun {
    file: File,
    agreed: Agreed,
}

/// What the kernel agreed to for an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agreed {
    /// A virtio header before each packet.
    pub(crate) vnet_hdr: bool,
    /// Packets with work left to us, and from us.
    pub(crate) offload: bool,
}

/// Packets read at once, in buffers that are kept.
#[derive(Debug)]
pub struct Batch {
    slots: Box<[u8]>,
    /// For each slot what is left to do and where the packet ends; `None` if it makes no sense.
    read: Vec<Option<(Offload, usize)>>,
    header: usize,
    malformed: u64,
}

/// An IP packet to write, in parts that need not lie together.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Bytes of the IP header, extensions included.
    pub ip_head: usize,
    /// Bytes of the IP and TCP headers together.
    pub head: usize,
    /// TCP payload bytes per segment of a super-segment. Its checksum field holds the sum of the
    /// pseudo-header, not inverted, and the kernel verifies nothing: whoever joined the segments has.
    /// `None` for an ordinary packet, whose checksum the kernel verifies.
    pub segment: Option<NonZeroU16>,
    /// The packet; at most `MAX_PARTS`.
    pub parts: &'a [IoSlice<'a>],
}

impl Batch {
    /// Room for `packets` packets of any length; what is never used costs no memory.
    pub fn new(packets: usize) -> Self {
        let slots = vec![0; packets * SLOT].into();
        Self { slots, read: Vec::with_capacity(packets), header: 0, malformed: 0 }
    }

    /// The packets of the last read, and what is left to do for each.
    pub fn packets(&mut self) -> impl Iterator<Item = (Offload, &mut [u8])> {
        let header = self.header;
        self.slots.chunks_exact_mut(SLOT).zip(&self.read).filter_map(move |(slot, read)| {
            let (offload, end) = (*read)?;
            Some((offload, slot.get_mut(header..end)?))
        })
    }

    /// How many packets were dropped because their virtio header made no sense, so far.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

impl Tun {
    /// Makes an interface in the caller's network namespace, with offloads if they are wanted and
    /// the kernel has them; its queues, at least one. What the kernel sends of a flow comes out of
    /// the queue that was last written to for it; out of any comes the answer to a flow's first
    /// packet, and what follows three seconds in which nothing was written for it or belongs to no
    /// one of 4096 flows (TUN_FLOW_EXPIRE, MAX_TAP_FLOWS, drivers/net/tun.c).
    pub(crate) fn create(name: &str, queues: u8, offload: bool) -> Result<Vec<Self>, SetUpError> {
        let shared = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let plain = libc::IFF_TUN | libc::IFF_NO_PI | shared;
        let with_header = plain | libc::IFF_VNET_HDR;
        // An interface there is already belongs to another; its queues could be joined.
        let make = |flags| attach(name, flags | libc::IFF_TUN_EXCL);
        let (first, flags) = match make(with_header) {
            Ok(file) => (file, with_header),
            Err(_) => (make(plain)?, plain),
        };
        let vnet_hdr = flags == with_header;
        let offload = offload && vnet_hdr && sys::tun_offload(&first, OFFLOADS).is_ok();
        if !offload {
            // A kernel that refuses even this has nothing to leave to us.
            let _ = sys::tun_offload(&first, 0);
        }
        let more = (1..queues).map(|_| attach(name, flags));
        let files: Result<Vec<_>, _> = [Ok(first)].into_iter().chain(more).collect();
        let agreed = Agreed { vnet_hdr, offload };
        Ok(files?.into_iter().map(|file| Self { file, agreed }).collect())
    }

    /// A descriptor the helper passed to us.
    pub(crate) fn from_fd(fd: OwnedFd, agreed: Agreed) -> Self {
        Self { file: File::from(fd), agreed }
    }

    /// What the kernel agreed to.
    pub(crate) fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// Whether packets with work left come out and super-segments may go in.
    pub fn offload(&self) -> bool {
        self.agreed.offload
    }

    /// Reads what is waiting, up to the room in `batch`; how many packets, those included that make
    /// no sense, 0 when there is nothing.
    pub fn read_batch(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.read.clear();
        batch.header = self.header();
        for slot in batch.slots.chunks_exact_mut(SLOT) {
            let length = match self.file.read(slot) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => break,
                // What was read before the error is not lost; the error shows again next time.
                Err(_) if !batch.read.is_empty() => break,
                Err(error) => return Err(error),
            };
            let offload = self.left_to_do(slot.get(..length).unwrap_or_default());
            batch.malformed += u64::from(offload.is_none());
            batch.read.push(offload.map(|offload| (offload, length)));
        }
        Ok(batch.read.len())
    }

    fn header(&self) -> usize {
        if self.agreed.vnet_hdr { vnet::HEADER } else { 0 }
    }

    fn left_to_do(&self, read: &[u8]) -> Option<Offload> {
        // A full slot means that the rest was cut off.
        match (read.len() < SLOT, self.agreed.vnet_hdr) {
            (false, _) => None,
            (true, true) => vnet::decode(read).ok(),
            (true, false) => Some(vnet::COMPLETE),
        }
    }

    /// Gives one IP packet to the kernel, or one super-segment of many with one system call.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let lengths = (u16::try_from(packet.ip_head), u16::try_from(packet.head));
        let (Ok(ip_head), Ok(head)) = lengths else { return Err(InvalidInput.into()) };
        if packet.segment.is_some() && !self.agreed.offload {
            return Err(InvalidInput.into());
        }
        let header = vnet::encode(packet.v6, ip_head, head, packet.segment);
        let header = header.get(..self.header()).unwrap_or_default();
        let mut room = [IoSlice::new(&[]); 1 + MAX_PARTS];
        let Some((first, parts)) = room.get_mut(..=packet.parts.len()).and_then(<[_]>::split_first_mut)
        else {
            return Err(InvalidInput.into());
        };
        *first = IoSlice::new(header);
        parts.copy_from_slice(packet.parts);
        let length = header.len() + packet.parts.iter().map(|part| part.len()).sum::<usize>();
        let written = self.file.write_vectored(room.get(..=packet.parts.len()).unwrap_or_default())?;
        if written == length { Ok(()) } else { Err(WriteZero.into()) }
    }

    /// Gives one ordinary packet to the kernel.
    pub fn write_packet(&mut self, packet: &[u8]) -> io::Result<()> {
        let parts = [IoSlice::new(packet)];
        self.write(&Packet { v6: false, ip_head: 0, head: 0, segment: None, parts: &parts })
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A new queue of an interface, which is made if there is none or the flags say that there is none.
fn attach(name: &str, flags: i32) -> Result<File, SetUpError> {
    let file = open()?;
    sys::tun_attach(&file, name, flags).map_err(attach_failed)?;
    Ok(file)
}

fn open() -> Result<File, SetUpError> {
    let options =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    options.map_err(|error| {
        let remedy = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES) => "chmod 0666 /dev/net/tun (every user may make interfaces it owns)",
            Some(Errno::EPERM) => "start the container with --device /dev/net/tun",
            _ => "modprobe tun; in a container start it with --device /dev/net/tun",
        };
        SetUpError::new(Step::Tun, format!("/dev/net/tun: {error}"), remedy)
    })
}

fn attach_failed(error: io::Error) -> SetUpError {
    let remedy = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => refusal_remedy(Errno::EPERM),
        Some(Errno::EBUSY) => "another gateway is running in this network namespace: stop it".into(),
        _ => "modprobe tun".into(),
    };
    SetUpError::new(Step::Tun, format!("TUNSETIFF: {error}"), remedy)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    /// A TUN whose other end we are.
    fn pair(vnet_hdr: bool, offload: bool) -> (Tun, File) {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        (Tun::from_fd(ours, Agreed { vnet_hdr, offload }), File::from(theirs))
    }

    fn read(tun: &mut Tun, batch: &mut Batch) -> (usize, Vec<(Offload, Vec<u8>)>) {
        let count = tun.read_batch(batch).unwrap();
        (count, batch.packets().map(|(offload, packet)| (offload, packet.to_vec())).collect())
    }

    #[test]
    fn what_makes_no_sense_is_dropped_and_hides_nothing_behind_it() {
        let (mut tun, mut kernel) = pair(true, true);
        let good = [&[0; 10][..], &[0x45; 40]].concat();
        let gso_without_checksum = [&[0, 1, 0, 0, 0, 5, 0, 0, 0, 0][..], &[0x45; 40]].concat();
        let cut_off = [&[0; 10][..], &[0x45; SLOT]].concat();
        let messages = [&good, &gso_without_checksum, &good, &vec![0; 9], &cut_off];
        messages.iter().for_each(|message| assert_eq!(kernel.write(message).unwrap(), message.len()));
        let mut batch = Batch::new(8);
        let packet = (vnet::COMPLETE, vec![0x45; 40]);
        assert_eq!(read(&mut tun, &mut batch), (5, vec![packet.clone(), packet]));
        assert_eq!(batch.malformed(), 3);
        assert_eq!(read(&mut tun, &mut batch), (0, vec![]));
    }

    #[test]
    fn a_batch_takes_what_it_has_room_for() {
        let (mut tun, mut kernel) = pair(false, false);
        for number in 0..3 {
            kernel.write_all(&[number]).unwrap();
        }
        let mut batch = Batch::new(2);
        let packet = |number| (vnet::COMPLETE, vec![number]);
        assert_eq!(read(&mut tun, &mut batch), (2, vec![packet(0), packet(1)]));
        assert_eq!(read(&mut tun, &mut batch), (1, vec![packet(2)]));
    }

    #[test]
    fn a_packet_is_written_whole_behind_its_header() {
        let (head, payload) = ([0x45; 40], [7; 3000]);
        let parts = [IoSlice::new(&head), IoSlice::new(&payload[..2000]), IoSlice::new(&payload[2000..])];
        let packet =
            Packet { v6: false, ip_head: 20, head: 40, segment: NonZeroU16::new(1000), parts: &parts };
        let mut got = vec![0; 65_536];
        for (vnet_hdr, header) in [(true, &[0; 10][..]), (false, &[])] {
            let (mut tun, mut kernel) = pair(vnet_hdr, false);
            assert_eq!(tun.write(&packet).unwrap_err().kind(), InvalidInput, "it was not agreed to");
            tun.write(&Packet { segment: None, ..packet }).unwrap();
            let length = kernel.read(&mut got).unwrap();
            assert_eq!(got[..length], [header, &head, &payload].concat());
        }
        let (mut tun, mut kernel) = pair(true, true);
        tun.write(&packet).unwrap();
        let length = kernel.read(&mut got).unwrap();
        assert_eq!(got[..10], vnet::encode(false, 20, 40, NonZeroU16::new(1000)));
        assert_eq!(got[10..length], [&head[..], &payload].concat());
    }

    #[test]
    fn more_parts_than_there_is_room_for_are_refused() {
        let (mut tun, _kernel) = pair(true, true);
        let parts = [IoSlice::new(&[0x45]); MAX_PARTS + 1];
        let packet = Packet { v6: false, ip_head: 20, head: 40, segment: None, parts: &parts };
        assert_eq!(tun.write(&packet).unwrap_err().kind(), InvalidInput);
        tun.write(&Packet { parts: &parts[1..], ..packet }).unwrap();
        let long = Packet { head: 70_000, parts: &parts[1..], ..packet };
        assert_eq!(tun.write(&long).unwrap_err().kind(), InvalidInput);
    }
}
