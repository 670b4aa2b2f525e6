//! What is remembered of one connection of a device, from the accepted socket to its end.
//! It moves no bytes. Always true: every decision stays registered while its request is under way, and the
//! last one until the next is registered or the connection is gone, so that it can be cut in between;
//! after a cut no request gets hold of an app's connection.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use pingora::{protocols::raw_connect::ProxyDigest, proxy::Session};
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::upstream::Link;
use crate::{gate::FrontFlow, live::LiveGuard};

/// Where a connection of HTTP/1 stands between two requests.
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
    last: Mutex<Option<LiveGuard>>,
    links: Mutex<Links>,
    /// So that a drain waits for requests of HTTP/2, which are tasks of their own.
    _under_way: TaskTrackerToken,
}

/// The apps' connections that requests use: one at a time in HTTP/1, one for each stream in HTTP/2.
#[derive(Default)]
struct Links {
    /// Access was cut: none is added any more.
    cut: bool,
    /// By the request's number.
    used: Vec<(u64, Link)>,
}

impl Links {
    fn take(&mut self, request: u64) -> Option<Link> {
        let at = self.used.iter().position(|(number, _)| *number == request)?;
        Some(self.used.swap_remove(at).1)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("flow", &self.flow).finish_non_exhaustive()
    }
}

impl Connection {
    /// Begins quiet.
    pub fn new(flow: Arc<FrontFlow>, shutdown: watch::Receiver<bool>, under_way: TaskTrackerToken) -> Self {
        Self {
            flow,
            shutdown,
            phase: AtomicU8::new(Phase::Quiet as u8),
            broken: AtomicBool::new(false),
            last: Mutex::default(),
            links: Mutex::default(),
            _under_way: under_way,
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

    /// A request was registered: the last one that is over need not be any more.
    pub fn goes_on(&self) {
        let over = lock(&self.last).take();
        drop(over);
    }

    /// The request now uses `link`; `false` if access was cut meanwhile, and then it must not.
    pub fn uses(&self, request: u64, link: Link) -> bool {
        let mut links = lock(&self.links);
        if links.cut {
            link.abort();
            return false;
        }
        links.take(request);
        links.used.push((request, link));
        true
    }

    /// The request is over; if it did not end well, its upstream is reset. Its decision, if there was
    /// one, stays registered as the last.
    pub fn over(&self, request: u64, well: bool, guard: Option<LiveGuard>) {
        let link = lock(&self.links).take(request);
        if let Some(link) = link.filter(|_| !well) {
            link.abort();
        }
        if let Some(guard) = guard {
            let before = lock(&self.last).replace(guard);
            drop(before);
        }
        self.enter(Phase::Quiet);
    }

    /// Access is cut: every upstream is reset.
    pub fn cut(&self) {
        let mut links = lock(&self.links);
        links.cut = true;
        for (_, link) in links.used.drain(..) {
            link.abort();
        }
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

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::{
        access,
        live::Cut,
        reach::{Destination, Speaks},
        testing::{Company, address},
    };

    const WIKI: &str = r#"
[[app]]
name = "wiki"
site = "local"
kind = "http"
hosts = ["wiki.corp.example"]
upstream = "http://127.0.0.1:8080"
"#;

    #[test]
    fn after_a_cut_no_request_gets_hold_of_an_app() {
        let (device, app) = ("laptop".parse().expect("a name"), "wiki".parse().expect("a name"));
        let to = Destination::Front { app, speaks: Speaks::Https };
        let permit = access::admit_front(&Company::new(WIKI, "").snapshot(1), &device, &to);
        let (source, vip) = (address("100.64.0.9:50000"), address("100.64.128.7:443"));
        let flow = FrontFlow::new(permit.expect("enrolled"), device, source, vip, Cut::default());
        let under_way = TaskTracker::new().token();
        let connection = Connection::new(Arc::new(flow), watch::channel(false).1, under_way);
        let links = [(); 3].map(|()| Link::default());
        let [first, second, late] = links.clone();
        assert!(connection.uses(1, first) && connection.uses(2, second));
        connection.over(1, true, None);
        connection.cut();
        assert!(!connection.uses(3, late));
        assert_eq!(links.map(|link| link.is_aborted()), [false, true, true]);
    }
}
