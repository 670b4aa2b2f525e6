//! recvmmsg(2) and sendmmsg(2) over arrays that are kept, with the control messages of UDP GRO and
//! GSO (udp(7)). It splits and joins nothing.
//! Always true: a pointer the kernel is given is made in the call that gives it, from memory
//! borrowed for that call; no call allocates or blocks.

use std::{
    io,
    mem::zeroed,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    ptr::{copy_nonoverlapping, null_mut, read_unaligned, write_unaligned},
};

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, socklen_t};
use nix::{
    errno::Errno,
    sys::socket::{SockaddrLike, SockaddrStorage},
};

/// Messages per call in either direction; with GRO and GSO each may be 64 datagrams.
pub(crate) const MESSAGES: usize = 32;

/// Room for one control message with a number in it.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

// SAFETY: CMSG_SPACE only calculates.
const CONTROL: usize = unsafe { libc::CMSG_SPACE(size_of::<c_int>() as c_uint) } as usize;

/// The kernel's view of a batch of messages.
#[derive(Debug)]
struct Headers {
    names: Box<[libc::sockaddr_storage]>,
    control: Box<[Control]>,
    vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
}

// SAFETY: the pointers inside are used only by the system call made right after they were written,
// by the thread that holds the exclusive reference.
unsafe impl Send for Headers {}

/// One message received.
pub(crate) struct Received<'a> {
    /// Where it came from; `None` if that is no IP address.
    pub(crate) from: Option<SocketAddr>,
    /// What it says.
    pub(crate) bytes: &'a mut [u8],
    /// Bytes per datagram, if the kernel joined several.
    pub(crate) segment: Option<usize>,
    /// Whether something was cut off.
    pub(crate) truncated: bool,
}

/// Receives into slots that are kept.
#[derive(Debug)]
pub(crate) struct Receiver {
    slots: Box<[u8]>,
    slot: usize,
    kernel: Headers,
    received: usize,
}

/// One message to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Where to.
    pub(crate) to: SocketAddr,
    /// One datagram, or several one after the other.
    pub(crate) bytes: &'a [u8],
    /// Bytes per datagram, when there are several.
    pub(crate) segment: Option<u16>,
}

/// Sends messages from where they are.
#[derive(Debug)]
pub(crate) struct Sender(Headers);

impl Headers {
    fn new(messages: usize) -> Self {
        // SAFETY: all of these are plain data of the kernel's for which all zeroes is a value.
        let (name, vector, header) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            names: vec![name; messages].into(),
            control: vec![Control([0; CONTROL]); messages].into(),
            vectors: vec![vector; messages].into(),
            headers: vec![header; messages].into(),
        }
    }
}

impl Receiver {
    /// Room for `messages` messages of up to `slot` bytes. What is never used costs no memory.
    pub(crate) fn new(messages: usize, slot: usize) -> Self {
        let slots = vec![0; messages * slot].into();
        Self { slots, slot, kernel: Headers::new(messages), received: 0 }
    }

    /// Forgets what was received.
    pub(crate) fn clear(&mut self) {
        self.received = 0;
    }

    /// Receives what is waiting, up to the room there is; how many messages.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.clear();
        let Headers { names, control, vectors, headers } = &mut self.kernel;
        let parts = names.iter_mut().zip(control).zip(vectors).zip(self.slots.chunks_exact_mut(self.slot));
        for (header, (((name, control), vector), slot)) in headers.iter_mut().zip(parts) {
            *vector = iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            let message = &mut header.msg_hdr;
            message.msg_name = (&raw mut *name).cast();
            message.msg_namelen = size_of_val(name) as socklen_t;
            message.msg_iov = vector;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = CONTROL as _;
            message.msg_flags = 0;
        }
        let (start, count) = (headers.as_mut_ptr(), headers.len() as c_uint);
        // SAFETY: each of the `count` headers points at memory of `self` with the length it says,
        // which nobody else touches during the call.
        let result =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), start, count, libc::MSG_DONTWAIT as _, null_mut()) };
        self.received = usize::try_from(Errno::result(result)?).unwrap_or_default();
        Ok(self.received)
    }

    /// How many messages of the last call lack their end.
    pub(crate) fn truncated(&self) -> usize {
        self.kernel.headers.iter().take(self.received).filter(|header| cut_off(&header.msg_hdr)).count()
    }

    /// What the last call received.
    pub(crate) fn messages(&mut self) -> impl Iterator<Item = Received<'_>> {
        let Headers { names, headers, .. } = &self.kernel;
        let slots = self.slots.chunks_exact_mut(self.slot);
        names.iter().zip(headers).zip(slots).take(self.received).map(|((name, header), slot)| {
            let message = &header.msg_hdr;
            let length = slot.len().min(header.msg_len as usize);
            Received {
                from: address(name, message.msg_namelen),
                bytes: slot.split_at_mut(length).0,
                segment: joined(message),
                truncated: cut_off(message),
            }
        })
    }
}

impl Sender {
    /// For up to `MESSAGES` messages at once.
    pub(crate) fn new() -> Self {
        Self(Headers::new(MESSAGES))
    }

    /// Gives the kernel as many of `messages` as it takes, in order; at least one, or the reason
    /// why it does not take the first.
    pub(crate) fn send(&mut self, socket: &UdpSocket, messages: &[Message<'_>]) -> io::Result<usize> {
        let Headers { names, control, vectors, headers } = &mut self.0;
        let parts = names.iter_mut().zip(control).zip(vectors);
        for ((header, ((name, control), vector)), message) in headers.iter_mut().zip(parts).zip(messages) {
            // The kernel only reads what an iovec of sendmmsg points at.
            *vector = iovec {
                iov_base: message.bytes.as_ptr().cast_mut().cast::<c_void>(),
                iov_len: message.bytes.len(),
            };
            let raw = &mut header.msg_hdr;
            raw.msg_namelen = write_address(name, message.to);
            raw.msg_name = (&raw mut *name).cast();
            raw.msg_iov = vector;
            raw.msg_iovlen = 1;
            raw.msg_control = null_mut();
            raw.msg_controllen = 0;
            if let Some(segment) = message.segment {
                ask_to_segment(raw, control, segment);
            }
        }
        let (start, count) = (headers.as_mut_ptr(), messages.len().min(headers.len()) as c_uint);
        // SAFETY: each of the `count` headers was written above and points at memory of `self` or
        // of `messages`, with the length it says; both outlive the call.
        let result = unsafe { libc::sendmmsg(socket.as_raw_fd(), start, count, libc::MSG_DONTWAIT as _) };
        Ok(usize::try_from(Errno::result(result)?).unwrap_or_default())
    }
}

fn cut_off(message: &libc::msghdr) -> bool {
    message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0
}

fn address(name: &libc::sockaddr_storage, length: socklen_t) -> Option<SocketAddr> {
    // SAFETY: `name` is a whole sockaddr_storage, of which the kernel wrote `length` bytes.
    let storage = unsafe { SockaddrStorage::from_raw((&raw const *name).cast(), Some(length)) }?;
    let v4 = || storage.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    let v6 = || storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()));
    v4().or_else(v6)
}

fn write_address(name: &mut libc::sockaddr_storage, address: SocketAddr) -> socklen_t {
    let storage = SockaddrStorage::from(address);
    let to: *mut libc::sockaddr_storage = name;
    // SAFETY: `len` bytes of `storage` are the address, and a sockaddr_storage has room for any.
    unsafe { copy_nonoverlapping(storage.as_ptr().cast::<u8>(), to.cast(), storage.len() as usize) };
    storage.len()
}

/// The number in the control message UDP_GRO, which the kernel adds when it joined datagrams.
fn joined(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel wrote the control data the header describes, whole messages only; we
    // enabled none longer than CONTROL.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(message).as_ref()?;
        if (control.cmsg_level, control.cmsg_type) != (libc::SOL_UDP, libc::UDP_GRO) {
            return None;
        }
        usize::try_from(read_unaligned(libc::CMSG_DATA(control).cast::<c_int>())).ok()
    }
}

fn ask_to_segment(message: &mut libc::msghdr, control: &mut Control, segment: u16) {
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE and CMSG_LEN only calculate.
    let (space, length) =
        unsafe { (libc::CMSG_SPACE(size_of::<u16>() as c_uint), libc::CMSG_LEN(size_of::<u16>() as c_uint)) };
    message.msg_controllen = space as _;
    let header =
        libc::cmsghdr { cmsg_len: length as _, cmsg_level: libc::SOL_UDP, cmsg_type: libc::UDP_SEGMENT };
    // SAFETY: `control` has room for a header and an int, is aligned for both, and is all zeroes or
    // what an earlier call wrote here.
    unsafe {
        let start = libc::CMSG_FIRSTHDR(message);
        write_unaligned(start, header);
        write_unaligned(libc::CMSG_DATA(start).cast::<u16>(), segment);
    }
}
