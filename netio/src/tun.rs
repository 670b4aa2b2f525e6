//! A TUN interface as batches of IP packets. The descriptor carries a virtio header where the
//! kernel agreed to one; today it announces no offload, so one packet is one system call.
//! It reads no packet. Always true: reading and writing never block.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::errno::Errno;

use crate::{
    error::{SetUpError, Step},
    netns::refusal_remedy,
    sys,
};

/// struct virtio_net_hdr without the mergeable part (linux/virtio_net.h); all zeroes says that
/// checksums are complete and nothing is segmented.
const VNET_HEADER: [u8; 10] = [0; 10];

/// An interface and the descriptor its packets pass through; the interface ends with it.
#[derive(Debug)]
pub struct Tun {
    file: File,
    header: usize,
}

/// Packets read at once, in buffers that are kept.
#[derive(Debug)]
pub struct Batch {
    slots: Vec<Box<[u8]>>,
    lengths: Vec<usize>,
    header: usize,
}

impl Batch {
    /// Room for `packets` packets of up to `bytes` bytes each.
    pub fn new(packets: usize, bytes: usize) -> Self {
        let slot = vec![0; bytes + VNET_HEADER.len()].into_boxed_slice();
        Self { slots: vec![slot; packets], lengths: Vec::with_capacity(packets), header: 0 }
    }

    /// The packets of the last read.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().zip(&self.lengths).filter_map(|(slot, length)| slot.get(self.header..*length))
    }
}

impl Tun {
    /// Makes an interface in the caller's network namespace.
    pub(crate) fn create(name: &str) -> Result<Self, SetUpError> {
        let base = libc::IFF_TUN | libc::IFF_NO_PI;
        let file = open()?;
        if sys::tun_attach(&file, name, base | libc::IFF_VNET_HDR).is_ok() {
            return Ok(Self { file, header: VNET_HEADER.len() });
        }
        let file = open()?;
        sys::tun_attach(&file, name, base).map_err(attach_failed)?;
        Ok(Self { file, header: 0 })
    }

    /// A descriptor the helper passed to us.
    pub(crate) fn from_fd(fd: OwnedFd, vnet_hdr: bool) -> Self {
        Self { file: File::from(fd), header: if vnet_hdr { VNET_HEADER.len() } else { 0 } }
    }

    /// Whether packets carry a virtio header.
    pub(crate) fn has_vnet_hdr(&self) -> bool {
        self.header != 0
    }

    /// Reads what is waiting, up to the room in `batch`; 0 when there is nothing.
    pub fn read_batch(&mut self, batch: &mut Batch) -> io::Result<usize> {
        batch.lengths.clear();
        batch.header = self.header;
        for slot in &mut batch.slots {
            match self.file.read(slot) {
                Ok(length) => batch.lengths.push(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // What was read before the error is not lost; the error shows again next time.
                Err(_) if !batch.lengths.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batch.lengths.len())
    }

    /// Gives one IP packet to the kernel.
    pub fn write_packet(&mut self, packet: &[u8]) -> io::Result<()> {
        let header = VNET_HEADER.get(..self.header).unwrap_or_default();
        let written = self.file.write_vectored(&[IoSlice::new(header), IoSlice::new(packet)])?;
        if written == header.len() + packet.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
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
