//! What the HTTP front asks: may this request pass, and what is known of the app.
//! It does not look at sockets or headers. Always true: every request is registered, then decided.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use policy::{decision::PolicyId, facts};
use protocol::{
    id::{AppId, DeviceId},
    time::Timestamp,
};

use crate::{
    access::{Ask, Denied, Front, Open, Permit, Question, ResourceId, Verdict, WayIn},
    books::Books,
    config::AppSpec,
    denials::{Denial, Denials, Refused},
    door::{self, Renewals, Way},
    live::{Cut, Live, LiveGuard},
    reach::Speaks,
};

/// One accepted connection to an HTTP app's front.
#[derive(Debug)]
pub struct FrontFlow {
    device: DeviceId,
    source: SocketAddr,
    local: SocketAddr,
    app: AppId,
    speaks: Speaks,
    cut: Cut,
}

impl FrontFlow {
    /// Only a permit opens the front.
    pub fn new(
        permit: Permit<Front>,
        device: DeviceId,
        source: SocketAddr,
        local: SocketAddr,
        cut: Cut,
    ) -> Self {
        Self { device, source, local, app: permit.app().clone(), speaks: permit.speaks(), cut }
    }

    /// The device at the other end.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Its tunnel address and port.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// The address and port it asked for.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The app that stands there.
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// What is spoken there.
    pub fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// How the connection's owner learns that it must end.
    pub fn cut(&self) -> &Cut {
        &self.cut
    }
}

/// One HTTP request, canonical.
#[derive(Debug, Clone, Copy)]
pub struct HttpQuestion<'a> {
    /// The id that the person sees.
    pub id: &'a str,
    /// The connection it came on.
    pub front: &'a FrontFlow,
    /// Whether it may change something.
    pub write: bool,
    /// Upper case.
    pub method: &'a str,
    /// Lower case, without port.
    pub host: &'a str,
    /// Every reading of the path, the forwarded one first.
    pub paths: &'a [String],
}

/// A request that may pass.
#[derive(Debug)]
pub struct Passed {
    /// Opens the app's upstream.
    pub permit: Permit<Open>,
    /// Who asks.
    pub user: Arc<facts::User>,
    /// On which device.
    pub device: Arc<facts::Device>,
    /// The first instant at which the answer may differ.
    pub until: Option<Timestamp>,
    /// The permits that matched.
    pub policies: Vec<PolicyId>,
    /// Keeps the request registered until it is over.
    pub guard: LiveGuard,
}

/// Decides HTTP requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate {
    live: Live,
    denials: Denials,
    books: Books,
    renewals: Renewals,
}

impl Gate {
    /// A gate over the snapshot in force.
    pub fn new(live: Live, denials: Denials, books: Books, renewals: Renewals) -> Self {
        Self { live, denials, books, renewals }
    }

    /// The app as the configuration in force has it.
    pub fn app(&self, id: &AppId) -> Option<Arc<AppSpec>> {
        self.live.snapshot().app(id).cloned()
    }

    /// Changes with every configuration; part of every pool key.
    pub fn generation(&self) -> u64 {
        self.live.snapshot().generation()
    }

    /// Registers the request with its connection, then decides it.
    pub fn decide(&self, request: HttpQuestion<'_>) -> Result<Passed, Denied> {
        let question = Question {
            device: request.front.device.clone(),
            source: request.front.source.ip(),
            resource: ResourceId::App(request.front.app.clone()),
            ask: Ask::Http {
                write: request.write,
                method: request.method.into(),
                host: request.host.into(),
                paths: request.paths.into(),
            },
        };
        match self.live.decide_by(question.clone(), &request.front.cut) {
            (Verdict::Allow(allowed), guard, snapshot) => {
                self.books.allowed(&snapshot, &question, request.id, &allowed);
                Ok(Passed {
                    permit: allowed.permit,
                    user: allowed.user,
                    device: allowed.device,
                    until: allowed.until,
                    policies: allowed.policies,
                    guard,
                })
            }
            (Verdict::Deny(denied), _guard, snapshot) => {
                self.books.denied(&snapshot, &question, request.id, &denied);
                self.record(&request, &denied);
                Err(denied)
            }
        }
    }

    /// Where the person signs in to get what was denied, and then goes on to `to`. The same
    /// step-up is asked for once: who has just come back with it and is denied all the same is told why.
    pub fn sign_in(&self, device: &DeviceId, denied: &Denied, to: &str) -> Option<String> {
        let snapshot = self.live.snapshot();
        let way_in = denied.way_in.as_ref()?;
        let again = match way_in {
            WayIn::SignIn => false,
            WayIn::StepUp(step_up) => self.renewals.just_proven(device, step_up),
        };
        if snapshot.config().providers.is_empty() || again {
            return None;
        }
        Some(door::way_in(way_in, to.to_owned()).address(&snapshot.config().door.origin()))
    }

    /// Where a browser on the way to `to` passes by the provider, since the session ends soon.
    pub fn renewal(&self, device: &DeviceId, to: &str) -> Option<String> {
        let snapshot = self.live.snapshot();
        let is_due = self.renewals.is_due(&snapshot, device, Timestamp::from_system(SystemTime::now()));
        let way = Way { to: to.to_owned(), step_up: None, silent: true };
        is_due.then(|| way.address(&snapshot.config().door.origin()))
    }

    /// Notes how a request that passed has ended.
    pub fn ended(&self, id: &str, why: &str, sent: u64, received: u64) {
        self.books.ended(id, why, sent, received);
    }

    fn record(&self, request: &HttpQuestion<'_>, denied: &Denied) {
        let Some(first) = denied.reasons.first() else { return };
        let denial = Denial {
            at: Timestamp::from_system(SystemTime::now()),
            device: request.front.device.clone(),
            user: denied.user.clone(),
            to: format!(
                "app/{} {} {}",
                request.front.app,
                request.method,
                request.paths.first().map_or("", String::as_str)
            ),
            code: first.code().to_owned(),
            reason: denied.to_string(),
        };
        self.denials.record(denial, first.policy().map(AsRef::as_ref));
        let at = Timestamp::from_system(SystemTime::now());
        let to = format!("{} {}", request.method, request.host);
        self.denials.remember(&request.front.device, Refused { at, to, denied: denied.clone() });
    }
}
