//! People, devices and resources to ask about.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
};

use policy::{
    Engine, PolicyFile, Zone,
    decision::{Decision, Reason},
    facts::{
        Action, AdminKind, Administration, App, Device, Fact, Operator, Posture, Proto, Request, Resource,
        Session, Source, Subnet, User,
    },
};
use protocol::time::Timestamp;

pub const EXAMPLES: &str = include_str!("policies.cedar");
pub const SECOND: i64 = 1000;
pub const HOUR: i64 = 3_600 * SECOND;
/// Saturday 2026-11-21T12:00:00Z.
pub const NOON: i64 = 1_795_262_400_000;

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn file(text: &str) -> PolicyFile {
    PolicyFile { name: "a.cedar".into(), text: text.into() }
}

pub fn zones() -> Vec<Zone> {
    vec![
        Zone { name: "berlin".into(), tz: chrono_tz::Europe::Berlin },
        Zone { name: "new_york".into(), tz: chrono_tz::America::New_York },
    ]
}

/// An engine whose every decision is held against the oracle's.
pub struct Held(Engine);

impl Held {
    pub fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        let (decision, truth) = (self.0.decide(request, now), self.0.decide_by_oracle(request, now));
        assert!(same(&decision, &truth), "{request:?}\nengine {decision:?}\noracle {truth:?}");
        decision
    }

    pub fn administer(&self, command: &Administration<'_>, now: Timestamp) -> Decision {
        let (decision, truth) = (self.0.administer(command, now), self.0.administer_by_oracle(command, now));
        assert!(same(&decision, &truth), "{command:?}\nengine {decision:?}\noracle {truth:?}");
        decision
    }
}

impl Deref for Held {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

pub fn engine(text: &str) -> Held {
    match Engine::load(&[file(text)], &zones()) {
        Ok(engine) => Held(engine),
        Err(errors) => panic!("{errors}"),
    }
}

pub fn user(id: &str, groups: &[&str]) -> User {
    User {
        id: id.parse().unwrap(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        email: None,
        contract_end: None,
    }
}

pub fn device(owner: &str) -> Device {
    Device {
        id: "laptop".parse().unwrap(),
        owner: owner.parse().unwrap(),
        key_since: at(NOON - 100 * HOUR),
        groups: Default::default(),
        platform: None,
        posture: Posture::default(),
    }
}

/// Begun at `millis`, when the person signed in with a password; it ends twelve hours later.
pub fn session(millis: i64) -> Session {
    Session {
        at: at(millis),
        expires: at(millis + 12 * HOUR),
        auth_time: Some(at(millis)),
        amr: ["pwd".to_owned()].into(),
        acr: None,
    }
}

pub fn fact<T>(value: T, source: Source, millis: i64) -> Option<Fact<T>> {
    Some(Fact { value, source, at: at(millis) })
}

pub fn app(id: &str, groups: &[&str], sensitivity: u8) -> App {
    App {
        id: id.parse().unwrap(),
        site: "fra".parse().unwrap(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        sensitivity,
        owners: None,
        tags: Default::default(),
    }
}

pub fn subnet(id: &str, sensitivity: u8) -> Subnet {
    Subnet {
        id: id.parse().unwrap(),
        site: "fra".parse().unwrap(),
        groups: Default::default(),
        cidr: "10.50.0.0/24".parse().unwrap(),
        sensitivity,
    }
}

/// A TCP connection to a port.
pub fn connect<'a>(
    user: &'a User,
    device: Option<&'a Device>,
    resource: Resource<'a>,
    port: u16,
) -> Request<'a> {
    request(user, device, resource, Action::Connect { port, proto: Proto::Tcp })
}

pub fn request<'a>(
    user: &'a User,
    device: Option<&'a Device>,
    resource: Resource<'a>,
    action: Action<'a>,
) -> Request<'a> {
    let source = IpAddr::V4(Ipv4Addr::new(100, 64, 0, 2));
    Request { user, device, session: None, resource, action, source }
}

pub fn operator(name: &str, uid: u32, groups: &[&str]) -> Operator {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Operator { name: name.into(), uid, groups, root: uid == 0 }
}

/// A command that changes something.
pub fn command<'a>(operator: &'a Operator, on: AdminKind, verb: &'a str) -> Administration<'a> {
    Administration { operator, write: true, on, verb, object: None, owner: None, site: None }
}

/// The reasons of a denial.
pub fn reasons(decision: &Decision) -> &[Reason] {
    match decision {
        Decision::Deny { reasons, .. } => reasons,
        Decision::Allow { .. } => panic!("allowed: {decision:?}"),
    }
}

/// The conditions of the permits that almost matched, by policy.
pub fn conditions(decision: &Decision) -> Vec<(&str, Vec<&str>)> {
    reasons(decision).iter().filter_map(not_met).collect()
}

fn not_met(reason: &Reason) -> Option<(&str, Vec<&str>)> {
    match reason {
        Reason::NotMet { policy, conditions, .. } => {
            Some((policy, conditions.iter().map(String::as_str).collect()))
        }
        Reason::Forbidden { .. } | Reason::NoPolicy | Reason::Error { .. } => None,
    }
}

/// Whether two decisions agree on the answer and on the policies that determine it.
pub fn same(a: &Decision, b: &Decision) -> bool {
    determining(a) == determining(b)
}

fn determining(decision: &Decision) -> (bool, Vec<String>) {
    match decision {
        Decision::Allow { policies, .. } => {
            (true, policies.iter().map(|id| format!("permit {id}")).collect())
        }
        Decision::Deny { reasons, .. } => {
            let name = |reason: &Reason| match reason {
                Reason::Forbidden { policy, .. } => Some(format!("forbid {policy}")),
                Reason::Error { policy, .. } => Some(format!("error {policy}")),
                Reason::NotMet { .. } | Reason::NoPolicy => None,
            };
            (false, reasons.iter().filter_map(name).collect())
        }
    }
}
