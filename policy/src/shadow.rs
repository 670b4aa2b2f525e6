//! One in so many decisions, kept to be compared with the oracle by whoever has the time: nobody waits for it.
//! It starts no thread; the shell hands what it receives to [`Sample::compare`].
//! Always true: a sample holds all that its comparison needs; once one was contradicted, no engine under
//! the same shadow answers from its index again.

use std::{
    net::IpAddr,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use protocol::{id::SiteId, time::Timestamp};

use crate::{
    answer::Answer,
    decision::PolicyId,
    facts::{
        Action, AdminKind, Administration, App, Device, HttpFacts, Matter, Operator, Proto, Request,
        Resource, Session, Subnet, User,
    },
    oracle::Oracle,
};

/// Samples that may wait; more are dropped and counted.
const WAITING: usize = 4;

/// Picks the decisions to be compared and knows what came of them; one for all engines of a process,
/// because what it finds is a fault of the program, which no load of other policies mends.
#[derive(Debug, Clone)]
pub struct Shadow {
    every: NonZeroU64,
    sink: SyncSender<Sample>,
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    decisions: AtomicU64,
    compared: AtomicU64,
    dropped: AtomicU64,
    mismatches: AtomicU64,
}

/// What the comparisons came to so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Decisions that were compared.
    pub compared: u64,
    /// Decisions that should have been, but too many were waiting.
    pub dropped: u64,
    /// Those that the oracle contradicted: must be 0.
    pub mismatches: u64,
}

impl Shadow {
    /// Keeps one in `every` decisions, beginning with the first; the other end receives them.
    pub fn new(every: NonZeroU64) -> (Self, Receiver<Sample>) {
        let (sink, samples) = sync_channel(WAITING);
        (Self { every, sink, tally: Arc::default() }, samples)
    }

    /// What the comparisons came to so far.
    pub fn tallied(&self) -> Tallied {
        let Tally { compared, dropped, mismatches, .. } = &*self.tally;
        let [compared, dropped, mismatches] =
            [compared, dropped, mismatches].map(|count| count.load(Ordering::Relaxed));
        Tallied { compared, dropped, mismatches }
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.tally.mismatches.load(Ordering::Acquire) > 0
    }

    pub(crate) fn see(&self, oracle: &Arc<Oracle>, matter: &Matter<'_>, now: Timestamp, answer: &Answer) {
        if !self.tally.decisions.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every.get()) {
            return;
        }
        let (tally, oracle) = (Arc::clone(&self.tally), Arc::clone(oracle));
        let sample = Sample { matter: Kept::of(matter), now, answer: answer.clone(), oracle, tally };
        // Full, or nobody compares any more: either way this one is not.
        if self.sink.try_send(sample).is_err() {
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A decision that waits to be compared with the oracle.
#[derive(Debug)]
pub struct Sample {
    matter: Kept,
    now: Timestamp,
    answer: Answer,
    oracle: Arc<Oracle>,
    tally: Arc<Tally>,
}

/// The index and Cedar's own authorizer do not answer the same: a fault of the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy:?}: {reason}")]
pub struct Mismatch {
    /// A policy that only one of the two names; empty if no single one is at fault.
    pub policy: PolicyId,
    /// What differs.
    pub reason: String,
}

impl Sample {
    /// Asks the oracle the same; slow (it looks at every policy).
    ///
    /// # Errors
    /// The two differ. From now on every engine under this shadow decides by the oracle; the caller
    /// must have everything that is open asked again.
    pub fn compare(self) -> Result<(), Mismatch> {
        self.tally.compared.fetch_add(1, Ordering::Relaxed);
        let (policy, reason) = match self.oracle.answer(&self.matter.matter(), self.now) {
            Ok(truth) if truth.agrees(&self.answer) => return Ok(()),
            Ok(truth) => {
                (truth.difference(&self.answer), "the index and Cedar's authorizer disagree on it".to_owned())
            }
            Err(error) => (None, format!("Cedar's authorizer refuses the question: {error}")),
        };
        self.tally.mismatches.fetch_add(1, Ordering::Release);
        Err(Mismatch { policy: policy.unwrap_or_default(), reason })
    }
}

/// A matter that outlives its asker.
#[derive(Debug)]
enum Kept {
    Access(Box<KeptAccess>),
    Administration(Box<KeptCommand>),
}

#[derive(Debug)]
struct KeptCommand {
    operator: Operator,
    write: bool,
    on: AdminKind,
    verb: String,
    object: Option<String>,
    owner: Option<User>,
    site: Option<SiteId>,
}

#[derive(Debug)]
struct KeptAccess {
    user: User,
    device: Option<Device>,
    session: Option<Session>,
    resource: KeptResource,
    action: KeptAction,
    source: IpAddr,
}

#[derive(Debug)]
enum KeptResource {
    App(App),
    Subnet(Subnet),
}

#[derive(Debug)]
enum KeptAction {
    Connect { port: u16, proto: Proto },
    Http { write: bool, method: String, host: String, paths: Vec<String> },
}

impl Kept {
    fn of(matter: &Matter<'_>) -> Self {
        match matter {
            Matter::Access(request) => Self::Access(Box::new(KeptAccess::of(request))),
            Matter::Administration(command) => Self::Administration(Box::new(KeptCommand::of(command))),
        }
    }

    fn matter(&self) -> Matter<'_> {
        match self {
            Self::Access(kept) => Matter::Access(kept.request()),
            Self::Administration(kept) => Matter::Administration(kept.command()),
        }
    }
}

impl KeptCommand {
    fn of(command: &Administration<'_>) -> Self {
        let Administration { operator, write, on, verb, object, owner, site } = *command;
        Self {
            operator: operator.clone(),
            write,
            on,
            verb: verb.to_owned(),
            object: object.map(str::to_owned),
            owner: owner.cloned(),
            site: site.cloned(),
        }
    }

    fn command(&self) -> Administration<'_> {
        Administration {
            operator: &self.operator,
            write: self.write,
            on: self.on,
            verb: &self.verb,
            object: self.object.as_deref(),
            owner: self.owner.as_ref(),
            site: self.site.as_ref(),
        }
    }
}

impl KeptAccess {
    fn of(request: &Request<'_>) -> Self {
        let http = |write, http: &HttpFacts<'_>| KeptAction::Http {
            write,
            method: http.method.to_owned(),
            host: http.host.to_owned(),
            paths: http.paths.to_vec(),
        };
        Self {
            user: request.user.clone(),
            device: request.device.cloned(),
            session: request.session.cloned(),
            resource: match request.resource {
                Resource::App(app) => KeptResource::App(app.clone()),
                Resource::Subnet(subnet) => KeptResource::Subnet(subnet.clone()),
            },
            action: match &request.action {
                Action::Connect { port, proto } => KeptAction::Connect { port: *port, proto: *proto },
                Action::HttpRead(facts) => http(false, facts),
                Action::HttpWrite(facts) => http(true, facts),
            },
            source: request.source,
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            user: &self.user,
            device: self.device.as_ref(),
            session: self.session.as_ref(),
            resource: match &self.resource {
                KeptResource::App(app) => Resource::App(app),
                KeptResource::Subnet(subnet) => Resource::Subnet(subnet),
            },
            action: match &self.action {
                KeptAction::Connect { port, proto } => Action::Connect { port: *port, proto: *proto },
                KeptAction::Http { write, method, host, paths } => {
                    let facts = HttpFacts { method, host, paths };
                    if *write { Action::HttpWrite(facts) } else { Action::HttpRead(facts) }
                }
            },
            source: self.source,
        }
    }
}
