//! What is remembered of one connection of a device, from the accepted socket to its end.
//! It moves no bytes. Always true: the latest decision stays registered until the next request of
//! the connection is registered or the connection is gone, so that it can be cut in between.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use pingora::{protocols::raw_connect::ProxyDigest, proxy::Session};
use tokio::sync::watch;

use super::upstream::Link;
use crate::{gate::FrontFlow, live::LiveGuard};

/// Where a connection stands between two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing of a next request has come.
    Quiet,
    /// A head has begun to come.
    Head,
    /// A request is being answered.
    Busy,
}

/// One connection to an app's front.
pub struct Connection {
    /// Whose it is and what stands there.
    pub flow: Arc<FrontFlow>,
    shutdown: watch::Receiver<bool>,
    phase: AtomicU8,
    broken: AtomicBool,
    guard: Mutex<Option<LiveGuard>>,
    link: Mutex<Option<Link>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("flow", &self.flow).finish_non_exhaustive()
    }
}

impl Connection {
    /// Begins quiet.
    pub fn new(flow: Arc<FrontFlow>, shutdown: watch::Receiver<bool>) -> Self {
        Self {
            flow,
            shutdown,
            phase: AtomicU8::new(Phase::Quiet as u8),
            broken: AtomicBool::new(false),
            guard: Mutex::new(None),
            link: Mutex::new(None),
        }
    }

    /// The connection a request came on.
    pub fn of(session: &Session) -> Option<Arc<Self>> {
        attached::<Arc<Self>>(session.digest()?.proxy_digest.as_deref()?)
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Quiet,
            1 => Phase::Head,
            _ => Phase::Busy,
        }
    }

    /// Says where it stands.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Whether no more requests are wanted.
    pub fn is_draining(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Keeps a decision registered; the one before it is over.
    pub fn keep(&self, guard: LiveGuard) {
        let over = lock(&self.guard).replace(guard);
        drop(over);
    }

    /// The request now uses `link`.
    pub fn uses(&self, link: Link) {
        *lock(&self.link) = Some(link);
    }

    /// The request is over; if it did not end well, its upstream is reset.
    pub fn over(&self, well: bool) {
        let link = lock(&self.link).take();
        if let Some(link) = link.filter(|_| !well) {
            link.abort();
        }
        self.enter(Phase::Quiet);
    }

    /// An answer broke off in its middle: a clean end would make it look complete.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Whether an answer broke off.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

/// What was attached to a stream of ours.
pub fn attached<T: Clone + 'static>(digest: &ProxyDigest) -> Option<T> {
    digest.user_data.as_ref()?.downcast_ref::<T>().cloned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
