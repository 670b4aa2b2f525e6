//! The one access check, and the permits that only it can make.
//! It does not fetch facts or dial; it asks the policies of one snapshot about one question.
//! Always true: without a [`Permit`] nothing is reached, and every failure to decide is a denial.

use std::{fmt, net::IpAddr, sync::Arc};

use policy::{
    decision::{Decision, PolicyId, Reason, StepUp},
    facts::{self, Action, HttpFacts, Proto, Request},
};
use protocol::{
    id::{AppId, DeviceId, ProviderId, SiteId, SubnetId, UserId},
    target::Target,
    time::Timestamp,
};

use crate::{
    reach::{Destination, Speaks},
    snapshot::Snapshot,
};

/// The unforgeable proof of a decision: its content is private and only this module makes one.
#[derive(Debug)]
pub struct Permit<K>(K);

/// What a permit to dial holds.
#[derive(Debug)]
pub struct Open {
    site: SiteId,
    proto: Proto,
    target: Target,
}

/// What a permit to reach our own HTTP front holds; every request there is decided by itself.
#[derive(Debug)]
pub struct Front {
    app: AppId,
    speaks: Speaks,
}

impl Permit<Open> {
    /// Where the permitted target stands.
    pub fn site(&self) -> &SiteId {
        &self.0.site
    }

    /// What may be spoken to it.
    pub fn proto(&self) -> Proto {
        self.0.proto
    }

    /// The one target that may be dialled.
    pub fn target(&self) -> &Target {
        &self.0.target
    }
}

impl Permit<Front> {
    /// The one app whose front may be reached.
    pub fn app(&self) -> &AppId {
        &self.0.app
    }

    /// What that front speaks there.
    pub fn speaks(&self) -> Speaks {
        self.0.speaks
    }
}

/// What is asked for, by name; owned, so that it can be asked again when a fact changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResourceId {
    /// A service.
    App(AppId),
    /// A network as a whole.
    Subnet(SubnetId),
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(id) => write!(f, "app/{id}"),
            Self::Subnet(id) => write!(f, "subnet/{id}"),
        }
    }
}

/// What the person does with the resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    /// One TCP connection, or one flow of datagrams.
    Connect {
        /// What it speaks.
        proto: Proto,
        /// The target it would open.
        target: Target,
    },
    /// One HTTP request.
    Http {
        /// Whether it may change something.
        write: bool,
        /// Upper case.
        method: Arc<str>,
        /// Lower case, without port.
        host: Arc<str>,
        /// Every reading of the path, the forwarded one first; never empty.
        paths: Arc<[String]>,
    },
}

/// One question about access, complete enough to be asked again later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Whose device asks.
    pub device: DeviceId,
    /// Its tunnel address.
    pub source: IpAddr,
    /// What for.
    pub resource: ResourceId,
    /// Doing what.
    pub ask: Ask,
}

/// Why access is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyReason {
    /// The store was not reached for so long that nothing read from it counts any more.
    StoreLost,
    /// The store was restored from a backup, and nobody has confirmed what that brought back.
    StoreClosed,
    /// The device was removed while it was asking.
    UnknownDevice,
    /// The device is disabled, or its keys are revoked.
    DeviceDisabled,
    /// The device's owner is not in the directory.
    UnknownUser,
    /// The device's owner is disabled.
    UserDisabled,
    /// Nobody has signed in on the device.
    NotSignedIn,
    /// Who had, has to do it again.
    SessionOver,
    /// The device's key is used from two places.
    SessionSuspended,
    /// No app or subnet has this address.
    NoResource,
    /// The app exists but does not declare this port.
    NoSuchPort,
    /// The app at this address speaks TCP, and this is a datagram.
    SpeaksTcp,
    /// The device gave the connection up, or it never came about.
    Abandoned,
    /// Nothing passed for the lifetime of a flow of datagrams.
    Idle,
    /// The gateway is shutting down.
    Draining,
    /// The gateway has no descriptors left for another flow.
    Exhausted,
    /// The policies say so.
    Policy(Reason),
}

impl DenyReason {
    /// A short, stable word for counters and logs.
    pub fn code(&self) -> &str {
        match self {
            Self::StoreLost => "store_lost",
            Self::StoreClosed => "store_closed",
            Self::UnknownDevice => "unknown_device",
            Self::DeviceDisabled => "device_disabled",
            Self::UnknownUser => "unknown_user",
            Self::UserDisabled => "user_disabled",
            Self::NotSignedIn => "not_signed_in",
            Self::SessionOver => "session_over",
            Self::SessionSuspended => "session_suspended",
            Self::NoResource => "no_resource",
            Self::NoSuchPort => "no_such_port",
            Self::SpeaksTcp => "app_speaks_tcp",
            Self::Abandoned => "abandoned",
            Self::Idle => "idle",
            Self::Draining => "draining",
            Self::Exhausted => "exhausted",
            Self::Policy(Reason::Forbidden { .. }) => "forbidden",
            Self::Policy(Reason::NotMet { .. }) => "condition_not_met",
            Self::Policy(Reason::NoPolicy) => "no_policy",
            Self::Policy(Reason::Error { .. }) => "policy_error",
        }
    }

    /// The policy behind it, if one is.
    pub fn policy(&self) -> Option<&PolicyId> {
        match self {
            Self::Policy(
                Reason::Forbidden { policy, .. }
                | Reason::NotMet { policy, .. }
                | Reason::Error { policy, .. },
            ) => Some(policy),
            Self::Policy(Reason::NoPolicy)
            | Self::StoreLost
            | Self::StoreClosed
            | Self::UnknownDevice
            | Self::DeviceDisabled
            | Self::UnknownUser
            | Self::UserDisabled
            | Self::NotSignedIn
            | Self::SessionOver
            | Self::SessionSuspended
            | Self::NoResource
            | Self::NoSuchPort
            | Self::SpeaksTcp
            | Self::Abandoned
            | Self::Idle
            | Self::Draining
            | Self::Exhausted => None,
        }
    }
}

impl fmt::Display for DenyReason {
    /// For the operator's log and status; the person denied gets the page of `http`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoreLost => f.write_str("the gateway has not reached its store for longer than its lease"),
            Self::StoreClosed => {
                f.write_str("the store was restored and waits for `doorward admin restore --confirm`")
            }
            Self::UnknownDevice => f.write_str("the device is not enrolled any more"),
            Self::DeviceDisabled => f.write_str("the device is disabled"),
            Self::UnknownUser => f.write_str("the device's owner is not in the directory"),
            Self::UserDisabled => f.write_str("the device's owner is disabled"),
            Self::NotSignedIn => f.write_str("nobody has signed in on the device"),
            Self::SessionOver => f.write_str("the session is over"),
            Self::SessionSuspended => {
                f.write_str("the session is suspended: two places use the device's key")
            }
            Self::NoResource => f.write_str("no app or subnet has this address"),
            Self::NoSuchPort => f.write_str("the app does not declare this port"),
            Self::SpeaksTcp => f.write_str("the app at this address speaks TCP only"),
            Self::Abandoned => f.write_str("the connection was given up"),
            Self::Idle => f.write_str("nothing passed for its lifetime"),
            Self::Draining => f.write_str("the gateway is shutting down"),
            Self::Exhausted => f.write_str("the gateway is out of file descriptors"),
            Self::Policy(Reason::Forbidden { policy, reason, advice, .. }) => {
                write!(f, "{policy}: {reason}")?;
                advice.iter().try_for_each(|advice| write!(f, " ({advice})"))
            }
            Self::Policy(Reason::NotMet { policy, conditions, .. }) => {
                write!(f, "{policy} would allow it, but {}", conditions.join("; "))
            }
            Self::Policy(Reason::NoPolicy) => f.write_str("no policy allows this person here"),
            Self::Policy(Reason::Error { policy, error }) => {
                write!(f, "policy {policy} cannot be evaluated: {error}")
            }
        }
    }
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Verdict {
    /// Go ahead.
    Allow(Allowed),
    /// Do not.
    Deny(Denied),
}

/// What an allowed question comes with.
#[derive(Debug)]
pub struct Allowed {
    /// Proof, needed to dial.
    pub permit: Permit<Open>,
    /// Who it is.
    pub user: Arc<facts::User>,
    /// On which device.
    pub device: Arc<facts::Device>,
    /// The first instant at which the answer may differ.
    pub until: Option<Timestamp>,
    /// The permits that matched.
    pub policies: Vec<PolicyId>,
}

/// What a denied question comes with.
#[derive(Debug, Clone)]
pub struct Denied {
    /// Whose device asked, if its owner is known.
    pub user: Option<UserId>,
    /// Most telling first; never empty.
    pub reasons: Vec<DenyReason>,
    /// The first instant at which the answer may differ.
    pub until: Option<Timestamp>,
    /// What the person can do at the door that would help.
    pub way_in: Option<WayIn>,
}

/// What signing in can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayIn {
    /// Anybody who signs in gets in.
    SignIn,
    /// Who signs in anew, and so, gets in.
    StepUp(StepUp),
}

impl fmt::Display for Denied {
    /// Every reason, for the operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reasons
            .iter()
            .enumerate()
            .try_for_each(|(n, reason)| write!(f, "{}{reason}", if n == 0 { "" } else { "; " }))
    }
}

impl Denied {
    /// A denial with one reason that time does not change.
    pub fn because(reason: DenyReason) -> Self {
        Self { user: None, reasons: vec![reason], until: None, way_in: None }
    }
}

/// Decides one question against one snapshot at one instant. The only maker of [`Permit<Open>`] but for
/// [`admit_through`].
pub fn check(snapshot: &Snapshot, question: &Question, now: Timestamp) -> Verdict {
    let (user, device, session) = match who(snapshot, &question.device, now) {
        Ok(who) => who,
        Err(denied) => return Verdict::Deny(denied),
    };
    let Some((resource, site, target)) = snapshot.resource(question) else {
        return Verdict::Deny(Denied::because(DenyReason::NoResource));
    };
    let request = Request {
        user: &user,
        device: Some(&device),
        session: session.as_deref(),
        resource,
        action: action(&question.ask),
        source: question.source,
    };
    let decision = snapshot.engine().decide(&request, now);
    let way_in = way_in(snapshot, &request, &decision, now);
    // Without the session the answer may be another.
    let by_session = |until: Option<Timestamp>| {
        session.as_ref().map(|session| session.expires).into_iter().chain(until).min()
    };
    match decision {
        Decision::Allow { until, policies } => {
            let permit = Permit(Open { site, proto: proto(&question.ask), target });
            let until = by_session(until);
            Verdict::Allow(Allowed { permit, user, device, until, policies })
        }
        Decision::Deny { until, reasons, .. } => Verdict::Deny(Denied {
            user: Some(user.id.clone()),
            reasons: reasons.into_iter().map(DenyReason::Policy).collect(),
            // Whoever must have a session gets in nowhere by its end.
            until: if snapshot.config().session.required { until } else { by_session(until) },
            way_in,
        }),
    }
}

/// Whether signing in would help who is denied.
fn way_in(snapshot: &Snapshot, request: &Request<'_>, decision: &Decision, now: Timestamp) -> Option<WayIn> {
    if let Some(step_up) = decision.step_up() {
        return Some(WayIn::StepUp(step_up.clone()));
    }
    if request.session.is_some() || matches!(decision, Decision::Allow { .. }) {
        return None;
    }
    let signed_in = StepUp { max_age: None, acr: None }.renewed(None, now);
    let again = snapshot.engine().decide(&Request { session: Some(&signed_in), ..*request }, now);
    matches!(again, Decision::Allow { .. }).then_some(WayIn::SignIn)
}

type Who = (Arc<facts::User>, Arc<facts::Device>, Option<Arc<facts::Session>>);

/// Who asks, if they may ask for anything.
fn who(snapshot: &Snapshot, device: &DeviceId, now: Timestamp) -> Result<Who, Denied> {
    let because = |reason| Err(Denied::because(reason));
    if !snapshot.lease().holds() {
        return because(DenyReason::StoreLost);
    }
    if !snapshot.directory().meta().closed.is_empty() {
        return because(DenyReason::StoreClosed);
    }
    let Some(device) = snapshot.device(device) else { return because(DenyReason::UnknownDevice) };
    let owner = &device.facts.owner;
    let of_owner = |reason| Denied { user: Some(owner.clone()), ..Denied::because(reason) };
    if !device.enabled || device.keys.is_empty() {
        return Err(of_owner(DenyReason::DeviceDisabled));
    }
    let user = match snapshot.user(owner) {
        Some(user) if user.enabled => user.facts.clone(),
        Some(_) => return Err(of_owner(DenyReason::UserDisabled)),
        None => return Err(of_owner(DenyReason::UnknownUser)),
    };
    match session(snapshot, &device.facts.id, owner, now) {
        Ok(session) => Ok((user, device.facts.clone(), Some(session))),
        Err(_) if !snapshot.config().session.required => Ok((user, device.facts.clone(), None)),
        Err(why) => Err(Denied { way_in: Some(WayIn::SignIn), ..of_owner(why.into()) }),
    }
}

/// Why nobody is signed in on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIn {
    /// Nobody was, or somebody else than its owner.
    Nobody,
    /// The session is over.
    Over,
    /// It counts for nothing.
    Suspended,
}

impl From<NotIn> for DenyReason {
    fn from(why: NotIn) -> Self {
        match why {
            NotIn::Nobody => Self::NotSignedIn,
            NotIn::Over => Self::SessionOver,
            NotIn::Suspended => Self::SessionSuspended,
        }
    }
}

/// Who is signed in on a device at an instant, or why nobody is.
pub fn session(
    snapshot: &Snapshot,
    device: &DeviceId,
    owner: &UserId,
    now: Timestamp,
) -> Result<Arc<facts::Session>, NotIn> {
    let directory = snapshot.directory();
    // Who says so must be one of the configuration: with a provider go its people's sessions.
    let says = |id: &ProviderId| snapshot.config().providers.iter().any(|provider| provider.spec.id == *id);
    let session = directory.session(device);
    let session = session.filter(|session| session.user == *owner && says(&session.provider));
    let Some((session, facts)) = session.zip(directory.session_facts(device)) else {
        return Err(NotIn::Nobody);
    };
    if session.suspended.is_some() {
        return Err(NotIn::Suspended);
    }
    if session.expires <= now {
        return Err(NotIn::Over);
    }
    Ok(facts.clone())
}

/// Admits a connection to an HTTP app's address without a dial: any enrolled device may be told
/// by a page why a request is denied. The only maker of [`Permit<Front>`].
pub fn admit_front(snapshot: &Snapshot, device: &DeviceId, to: &Destination) -> Option<Permit<Front>> {
    let Destination::Front { app, speaks } = to else { return None };
    snapshot.device(device).filter(|device| device.enabled)?;
    Some(Permit(Front { app: app.clone(), speaks: *speaks }))
}

/// Admits TLS to a provider's own name, so that people can sign in who have not yet: any enrolled device.
/// Nothing else makes a [`Permit<Open>`] without asking the policies.
pub fn admit_through(snapshot: &Snapshot, device: &DeviceId, to: &Destination) -> Option<Permit<Open>> {
    let Destination::Through { app, target } = to else { return None };
    let site = snapshot.app(app)?.facts.site.clone();
    snapshot.device(device).filter(|device| device.enabled)?;
    let known = snapshot.lease().holds() && snapshot.directory().meta().closed.is_empty();
    known.then(|| Permit(Open { site, proto: Proto::Tcp, target: target.clone() }))
}

/// Whether a device may knock at the door: any that is enrolled.
pub fn admit_door(snapshot: &Snapshot, device: &DeviceId) -> bool {
    snapshot.device(device).is_some_and(|device| device.enabled)
}

fn proto(ask: &Ask) -> Proto {
    match ask {
        Ask::Connect { proto, .. } => *proto,
        Ask::Http { .. } => Proto::Tcp,
    }
}

fn action(ask: &Ask) -> Action<'_> {
    match ask {
        Ask::Connect { proto, target } => Action::Connect { port: target.port, proto: *proto },
        Ask::Http { write, method, host, paths } => {
            let facts = HttpFacts { method, host, paths };
            if *write { Action::HttpWrite(facts) } else { Action::HttpRead(facts) }
        }
    }
}

#[cfg(test)]
mod tests;
