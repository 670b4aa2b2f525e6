//! How the helper and its parent talk: one JSON value per SOCK_SEQPACKET message, descriptors
//! beside it (SCM_RIGHTS). It does not know what the messages mean.
//! Always true: a received descriptor is owned, and closed on exec, before anything else happens.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::sys::{
    socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
        setsockopt, socketpair, sockopt,
    },
    time::TimeVal,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{shards::MAX_SHARDS, sys};

/// Room for one message; a job with a thousand routes is a tenth of it.
const MAX_MESSAGE: usize = 128 * 1024;

/// Most descriptors in one message: the queues of a TUN and two of sockets.
const MAX_DESCRIPTORS: usize = MAX_SHARDS as usize + 2;

/// How long the parent waits for the helper; making namespaces takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// One end of the conversation.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends, both closed on exec.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE.as_secs().cast_signed(), 0))?;
        Ok((Self(ours), theirs))
    }

    /// The end a parent left open for us.
    pub(crate) fn from_inherited(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends one value and some descriptors.
    pub(crate) fn send<T: Serialize>(&self, value: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(value)?;
        if text.len() > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much for one message"));
        }
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(&text)];
        sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// The next value with its descriptors; `None` when the other end is closed.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut text = vec![0; MAX_MESSAGE];
        let mut control = nix::cmsg_space!([i32; MAX_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(&mut text)];
        let message =
            recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                fds.extend(sys::adopt(&raw));
            }
        }
        let length = message.bytes;
        if length == 0 {
            return Ok(None);
        }
        let value = serde_json::from_slice(text.get(..length).unwrap_or_default())?;
        Ok(Some((value, fds)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
    };

    use super::*;

    #[test]
    fn a_value_arrives_with_its_descriptors() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_inherited(theirs);
        let (reader, mut writer) = io::pipe().unwrap();
        theirs.send(&vec!["a", "b"], &[reader.as_fd()]).unwrap();
        drop(reader);

        let (value, mut fds): (Vec<String>, _) = ours.receive().unwrap().unwrap();
        assert_eq!(value, ["a", "b"]);
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(fds.remove(0)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_closed_end_is_none() {
        let (ours, theirs) = Channel::pair().unwrap();
        drop(theirs);
        assert!(ours.receive::<String>().unwrap().is_none());
    }
}
