//! Waiting for several descriptors at once, with a waker other threads can ring.
//! It owns no descriptor but its own. Always true: readiness is level-triggered, so nothing is
//! lost when only part of what waits is read.

use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
    },
};

/// The token of the waker; not for others.
const WAKE: u64 = u64::MAX;

/// Most descriptors reported by one wait; the rest is reported by the next.
const MAX_READY: usize = 64;

/// A set of descriptors to wait for, each with a token of the caller's.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    bell: Arc<EventFd>,
    events: Vec<EpollEvent>,
}

/// Ends a wait, from any thread. Many rings before the wait are one.
#[derive(Debug, Clone)]
pub struct Waker(Arc<EventFd>);

impl Poller {
    /// A poller that waits for its waker alone.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Self { epoll, bell: Arc::new(bell), events: vec![EpollEvent::empty(); MAX_READY] })
    }

    /// Waits for `fd` to be readable, too, until it is closed. `token` is any number but
    /// `u64::MAX`.
    pub fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        if token == WAKE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Something that ends a wait.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.bell))
    }

    /// Waits until a descriptor is readable, the waker rings, a signal arrives or the time is over;
    /// returns the tokens that are ready.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<impl Iterator<Item = u64>> {
        let ready = match self.epoll.wait(&mut self.events, whole_millis(timeout)) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(other) => return Err(other.into()),
        };
        let events = self.events.get(..ready).unwrap_or_default();
        if events.iter().any(|event| event.data() == WAKE) {
            // Failing to read means that another wait has taken the ring: as good.
            let _ = self.bell.read();
        }
        Ok(events.iter().map(EpollEvent::data).filter(|token| *token != WAKE))
    }
}

impl Waker {
    /// Ends the current or the next wait.
    pub fn wake(&self) {
        // It fails only when 2^64 rings were not heard: the waiter wakes anyway.
        let _ = self.0.write(1);
    }
}

/// Rounded up, so that a timer is due when the wait ends.
fn whole_millis(timeout: Option<Duration>) -> EpollTimeout {
    let Some(time) = timeout else { return EpollTimeout::NONE };
    let millis = time.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
    i32::try_from(millis).ok().and_then(|millis| millis.try_into().ok()).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, thread};

    use super::*;

    const HANG: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn ready_descriptors_are_named_and_the_waker_is_not() {
        let mut poller = Poller::new().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        poller.add(&reader, 7).unwrap();
        assert!(poller.add(&reader, WAKE).is_err());
        writer.write_all(b"x").unwrap();
        poller.waker().wake();
        assert_eq!(poller.wait(HANG).unwrap().collect::<Vec<_>>(), [7]);
        assert_eq!(poller.wait(HANG).unwrap().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn another_thread_ends_a_wait() {
        let mut poller = Poller::new().unwrap();
        let waker = poller.waker();
        let ringer = thread::spawn(move || waker.wake());
        assert_eq!(poller.wait(None).unwrap().count(), 0);
        ringer.join().unwrap();
        assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap().count(), 0);
    }

    #[test]
    fn timeouts_round_up() {
        assert_eq!(whole_millis(Some(Duration::from_micros(1))), 1u8.into());
        assert_eq!(whole_millis(Some(Duration::from_millis(250))), 250u16.into());
        assert_eq!(whole_millis(None), EpollTimeout::NONE);
        assert_eq!(whole_millis(Some(Duration::MAX)), EpollTimeout::MAX);
    }
}
