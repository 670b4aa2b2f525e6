//! Waiting for several descriptors at once, with a waker other threads can ring.
//! It owns no descriptor but its own. Always true: readiness is level-triggered, so nothing is
//! lost when only part of what waits is read.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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
    bell: Arc<Bell>,
    events: Vec<EpollEvent>,
}

/// Ends a wait, from any thread. Many rings before the wait are one, and cost one system call.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    fd: EventFd,
    /// Rung, and not heard yet.
    rung: AtomicBool,
}

impl Poller {
    /// A poller that waits for its waker alone.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let bell = Arc::new(Bell { fd, rung: AtomicBool::new(false) });
        Ok(Self { epoll, bell, events: vec![EpollEvent::empty(); MAX_READY] })
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
            let _ = self.bell.fd.read();
            // Last: whoever rings from here on is heard by the next wait, and what was put into a queue
            // before an earlier ring is seen by who looks into it after this.
            self.bell.rung.swap(false, Ordering::SeqCst);
        }
        Ok(events.iter().map(EpollEvent::data).filter(|token| *token != WAKE))
    }
}

impl Waker {
    /// Ends the current or the next wait.
    pub fn wake(&self) {
        if !self.0.rung.swap(true, Ordering::SeqCst) {
            // It fails only when 2^64 rings were not heard: the waiter wakes anyway.
            let _ = self.0.fd.write(1);
        }
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

    /// A ring between any two steps of the waiter is heard, though not every ring is written.
    #[test]
    fn no_ring_is_lost() {
        const RINGS: u32 = 100_000;
        let mut poller = Poller::new().unwrap();
        let (waker, (sender, queue)) = (poller.waker(), std::sync::mpsc::channel());
        let ringer = thread::spawn(move || {
            for ring in 0..RINGS {
                sender.send(ring).unwrap();
                waker.wake();
            }
        });
        let mut heard = 0;
        while heard < RINGS {
            // A lost ring would make this the last wait.
            poller.wait(None).unwrap().for_each(drop);
            heard += u32::try_from(queue.try_iter().count()).unwrap();
        }
        ringer.join().unwrap();
    }

    #[test]
    fn timeouts_round_up() {
        assert_eq!(whole_millis(Some(Duration::from_micros(1))), 1u8.into());
        assert_eq!(whole_millis(Some(Duration::from_millis(250))), 250u16.into());
        assert_eq!(whole_millis(None), EpollTimeout::NONE);
        assert_eq!(whole_millis(Some(Duration::MAX)), EpollTimeout::MAX);
    }
}
