//! Policies and facts of many shapes, drawn from a tape of choices, so that a failure shrinks to a short tape.

use std::collections::BTreeMap;

use policy::facts::{
    Action, AdminKind, Administration, App, Device, HttpFacts, Operator, Platform, Proto, Request, Resource,
    Session, Source, Subnet, User,
};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence},
};
use protocol::time::Timestamp;

use crate::facts::{HOUR, NOON, app, at, device, fact, operator, subnet, user};

/// Choices; past its end every choice is the first.
pub struct Tape<'a> {
    choices: std::slice::Iter<'a, u16>,
}

impl<'a> Tape<'a> {
    pub fn new(choices: &'a [u16]) -> Self {
        Self { choices: choices.iter() }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.choices.next().copied().unwrap_or(0)) % bound
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }
}

pub fn tapes(length: usize) -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), length)
}

pub fn config(cases: u32) -> Config {
    let file = FileFailurePersistence::Direct("proptest-regressions/whole.txt");
    Config { cases, failure_persistence: Some(Box::new(file)), max_shrink_iters: 200, ..Config::default() }
}

/// What a policy is about: which conditions are well typed in it.
#[derive(Clone, Copy)]
struct About {
    connect: bool,
    http: bool,
    app: bool,
    subnet: bool,
}

/// Policies p0, p1, …
pub fn policies(tape: &mut Tape<'_>, count: usize, timely: bool) -> String {
    (0..count).map(|n| policy(tape, n, timely)).collect()
}

fn policy(tape: &mut Tape<'_>, n: usize, timely: bool) -> String {
    let effect = if tape.chance(35) { "forbid" } else { "permit" };
    if tape.chance(12) {
        return trust(tape, n);
    }
    if tape.chance(15) {
        return administration(tape, n, effect);
    }
    // Who and where matter less to a test of time: there most policies are about everything.
    if timely && tape.chance(60) {
        let about = About { connect: false, http: false, app: false, subnet: false };
        let when = condition(tape, about, timely, 3);
        return format!(
            "@id(\"p{n}\") {effect} (principal, action in Doorward::Action::\"access\", resource) when {{ {when} }};\n"
        );
    }
    let principal = tape.one(&[
        "principal",
        "principal in Doorward::Group::\"corp/g0\"",
        "principal in Doorward::Group::\"corp/g1\"",
        "principal == Doorward::User::\"corp/u0\"",
        "principal in Doorward::User::\"corp/u1\"",
        "principal is Doorward::User",
        "principal is Doorward::User in Doorward::Group::\"corp/g1\"",
    ]);
    let (action, connect, http) = tape.one(&[
        ("action in Doorward::Action::\"access\"", false, false),
        ("action == Doorward::Action::\"connect\"", true, false),
        ("action in [Doorward::Action::\"http_read\", Doorward::Action::\"http_write\"]", false, true),
        ("action == Doorward::Action::\"http_read\"", false, true),
        ("action in [Doorward::Action::\"connect\", Doorward::Action::\"http_write\"]", false, false),
    ]);
    let apps = [
        ("resource", http, false),
        ("resource is Doorward::App", true, false),
        ("resource == Doorward::App::\"a0\"", true, false),
        ("resource in Doorward::App::\"a1\"", true, false),
        ("resource is Doorward::App in Doorward::AppGroup::\"ag0\"", true, false),
        ("resource in Doorward::AppGroup::\"ag0\"", http, false),
        ("resource in Doorward::Site::\"fra\"", http, false),
        ("resource is Doorward::Subnet", false, true),
        ("resource == Doorward::Subnet::\"s0\"", false, true),
        ("resource is Doorward::Subnet in Doorward::Site::\"fra\"", false, true),
    ];
    let (resource, app, subnet) = if connect { tape.one(&apps) } else { tape.one(&apps[..7]) };
    let about = About { connect, http, app, subnet };
    let when = if tape.chance(15) {
        String::new()
    } else {
        format!(" when {{ {} }}", condition(tape, about, timely, 3))
    };
    let unless = if tape.chance(25) {
        format!(" unless {{ {} }}", condition(tape, about, timely, 2))
    } else {
        String::new()
    };
    format!("@id(\"p{n}\") {effect} ({principal}, {action}, {resource}){when}{unless};\n")
}

/// Few policies, most of which ask for a step-up when a session does not please them.
pub fn policies_with_step_up(tape: &mut Tape<'_>) -> String {
    let annotated: String = (0..4).map(|n| with_step_up(tape, n)).collect();
    let mut plain = String::new();
    for n in 4..6 {
        if tape.chance(40) {
            plain += &policy(tape, n, false);
        }
    }
    annotated + &plain
}

fn with_step_up(tape: &mut Tape<'_>, n: usize) -> String {
    let about = About { connect: false, http: false, app: false, subnet: false };
    let asked = tape.one(&["max_age=15m acr=mfa", "max_age=1h", "acr=mfa", "max_age=8h acr=pin"]);
    let of_session = [
        "context has session && context.now < context.session.expires",
        "context has session && context.now.durationSince(context.session.at) < duration(\"8h\")",
        "context has session && context.session has auth_time && \
         context.now.durationSince(context.session.auth_time) < duration(\"15m\")",
        "context has session && context.session has acr && context.session.acr == \"mfa\"",
        "context has session && context.session.amr.contains(\"hwk\")",
        "context has session && context.session.at > datetime(\"2026-10-31T00:00:00Z\")",
    ];
    let mut conditions = vec![tape.one(&of_session).to_owned(), tape.one(&of_session).to_owned()];
    if tape.chance(30) {
        conditions.push(condition(tape, about, false, 2));
    }
    let all = conditions.join(" && ");
    let (effect, body) = tape.one(&[("permit", "when"), ("forbid", "unless"), ("permit", "when")]);
    let body = format!("{body} {{ {all} }}");
    format!(
        "@id(\"p{n}\") @step_up(\"{asked}\") {effect} (principal, action in Doorward::Action::\"access\", resource) {body};\n"
    )
}

fn trust(tape: &mut Tape<'_>, n: usize) -> String {
    let effect = if tape.chance(20) { "forbid" } else { "permit" };
    let principal = tape.one(&["principal", "principal in Doorward::DeviceGroup::\"dg0\""]);
    let resource = tape.one(&[
        "resource == Doorward::Tier::\"high\"",
        "resource in Doorward::Tier::\"low\"",
        "resource",
    ]);
    let age = tape.one(&["1h", "3h", "30h"]);
    let condition = tape.one(&[
        "principal has managed && principal.managed.value",
        "principal has firewall && context.now.durationSince(principal.firewall.at) < duration(\"AGE\")",
        "context.now.durationSince(principal.key_since) > duration(\"AGE\")",
    ]);
    let condition = condition.replace("AGE", age);
    format!(
        "@id(\"p{n}\") {effect} ({principal}, action == Doorward::Action::\"trust\", {resource}) when {{ {condition} }};\n"
    )
}

fn administration(tape: &mut Tape<'_>, n: usize, effect: &str) -> String {
    let principal = tape.one(&[
        "principal",
        "principal is Doorward::Operator",
        "principal == Doorward::Operator::\"mia\"",
    ]);
    let action = tape.one(&[
        "action in Doorward::Action::\"admin\"",
        "action == Doorward::Action::\"admin_write\"",
        "action in [Doorward::Action::\"admin_read\", Doorward::Action::\"admin_write\"]",
        "action",
    ]);
    if action == "action" {
        return unnamed(tape, n, effect);
    }
    let resource = tape.one(&[
        "resource",
        "resource == Doorward::Admin::\"device\"",
        "resource in Doorward::Admin::\"token\"",
        "resource is Doorward::Admin",
    ]);
    let conditions = [
        "principal.root",
        "principal.uid >= 1000",
        "principal.groups.contains(\"helpdesk\")",
        "[\"disable\", \"list\"].contains(context.verb)",
        "(context has object && context.object like \"lap*\")",
        "(context has owner && context.owner in Doorward::Group::\"corp/g0\")",
        "(context has owner && context.owner has email && context.owner.email like \"*@corp.example\")",
        "(context has site && context.site == Doorward::Site::\"fra\")",
        "resource == Doorward::Admin::\"device\"",
        "action == Doorward::Action::\"admin_read\"",
        "principal.uid * 9223372036854775807 > 0",
        "context.zone.berlin.weekday <= 5",
    ];
    let (one, other) = (tape.one(&conditions), tape.one(&conditions));
    let when = match tape.below(4) {
        0 => one.to_owned(),
        1 => format!("{one} && {other}"),
        2 => format!("{one} || !({other})"),
        _ => format!("if {one} then {other} else false"),
    };
    format!("@id(\"p{n}\") {effect} ({principal}, {action}, {resource}) when {{ {when} }};\n")
}

/// A policy that names no action: it is about everything, but a permit not about administration.
fn unnamed(tape: &mut Tape<'_>, n: usize, effect: &str) -> String {
    let when = tape.one(&[
        "context.now > datetime(\"2026-10-30\")",
        "action in Doorward::Action::\"admin\"",
        "context.now.offset(duration(\"9223372036854775807ms\")) < context.now",
    ]);
    format!("@id(\"p{n}\") {effect} (principal, action, resource) when {{ {when} }};\n")
}

fn condition(tape: &mut Tape<'_>, about: About, timely: bool, depth: usize) -> String {
    let inner = |tape: &mut Tape<'_>| condition(tape, about, timely, depth - 1);
    match if depth == 0 { 0 } else { tape.below(8) } {
        3 | 4 => format!("({} && {})", inner(tape), inner(tape)),
        5 => format!("({} || {})", inner(tape), inner(tape)),
        6 => format!("!({})", inner(tape)),
        7 => format!("(if {} then {} else {})", inner(tape), inner(tape), inner(tape)),
        _ if timely && tape.chance(80) => time(tape),
        _ => fact_condition(tape, about),
    }
}

fn fact_condition(tape: &mut Tape<'_>, about: About) -> String {
    let mut choices = vec![
        "(context has device && context.device has firewall && context.device.firewall.value)",
        "(context has device && context.device has os_version && context.device.os_version.value >= 14000000)",
        "(context has device && context.device has platform && context.device.platform == Doorward::Platform::\"linux\")",
        "(context has device && context.device has managed && context.device.managed.source == Doorward::Source::\"mdm\")",
        "(context has device && context.device.owner == principal)",
        "(context has device && context.device in Doorward::Tier::\"high\")",
        "(context has device && context.device in [Doorward::Tier::\"low\", Doorward::Tier::\"high\"])",
        "principal in Doorward::Group::\"corp/g2\"",
        "principal in [Doorward::Group::\"corp/g0\", Doorward::Group::\"corp/g2\"]",
        "(context has device && context.device in Doorward::DeviceGroup::\"dg0\")",
        "(principal has email && principal.email like \"*@corp.example\")",
        "resource.sensitivity >= 2",
        "resource in Doorward::AppGroup::\"ag1\"",
        "action == Doorward::Action::\"connect\"",
        "action in Doorward::Action::\"access\"",
        "context.source.isInRange(ip(\"100.64.0.0/31\"))",
        "resource.sensitivity * 9223372036854775807 > 0",
        "(context has session && context.session.amr.contains(\"hwk\"))",
        "(context has session && context.session has acr && context.session.acr == \"mfa\")",
        "(context has session.acr && [\"mfa\", \"pin\"].contains(context.session.acr))",
        "(context has session && context.session.amr.containsAny([\"hwk\", \"pin\"]))",
        "(context has session && context.session has auth_time)",
    ];
    if about.connect {
        choices.extend([
            "context.port == 22",
            "[22, 443].contains(context.port)",
            "context.proto == Doorward::Proto::\"tcp\"",
        ]);
    }
    if about.http {
        choices.extend([
            "context.path like \"/a*\"",
            "context.method == \"GET\"",
            "context.path == \"/b/c\"",
        ]);
    }
    if about.app {
        choices.extend([
            "(resource has owners && principal in resource.owners)",
            "(resource.hasTag(\"env\") && resource.getTag(\"env\").contains(\"prod\"))",
        ]);
    }
    if about.subnet {
        choices.push("resource.cidr.isInRange(ip(\"10.0.0.0/8\"))");
    }
    tape.one(&choices).to_owned()
}

/// A condition on the time, most of them with a turn within days of [`starts`].
fn time(tape: &mut Tape<'_>) -> String {
    let hour = i64::try_from(tape.below(97)).unwrap() - 48;
    let date = at(tape.one(&starts()) + hour * HOUR + tape.one(&[0, 1, 59_999]));
    let span = tape.one(&["0s", "1ms", "8h", "1d12h", "-3h", "90m"]);
    let op = tape.one(&["<", "<=", ">", ">=", "==", "!="]);
    let zone = tape.one(&["utc", "berlin", "new_york"]);
    let number = tape.one(&[0, 1, 2, 5, 6, 7]);
    let minute = tape.one(&[0, 1, 119, 150, 480, 1140, 1439]);
    // The odd ones seldom: a policy that is asked again every 15 seconds proves little.
    match tape.below(33) % 17 {
        0 => format!("context.now {op} datetime(\"{date}\")"),
        1 => format!("datetime(\"{date}\") {op} context.now"),
        2 => format!("context.now.durationSince(datetime(\"{date}\")) {op} duration(\"{span}\")"),
        3 => format!("duration(\"{span}\") {op} datetime(\"{date}\").durationSince(context.now)"),
        4 => format!("context.now.offset(duration(\"{span}\")) {op} datetime(\"{date}\")"),
        5 => format!("context.zone.{zone}.minute {op} {minute}"),
        6 => format!("context.zone.{zone}.weekday {op} {number}"),
        7 => format!("[{number}, 3, 6].contains(context.zone.{zone}.weekday)"),
        8 => format!("context.now.toTime() {op} duration(\"{span}\")"),
        9 => format!("context.now.offset(duration(\"{span}\")).toDate() {op} datetime(\"{date}\").toDate()"),
        10 => format!("datetime(\"{date}\").durationSince(context.now).toHours() {op} {number}"),
        11 => format!("(principal has contract_end && context.now {op} principal.contract_end)"),
        12 => format!(
            "(context has device && context.device has disk_encrypted && \
             context.now.durationSince(context.device.disk_encrypted.at) {op} duration(\"{span}\"))"
        ),
        13 => format!("(context has session && context.now {op} context.session.expires)"),
        14 => format!(
            "(context has session && context.session has auth_time && \
             context.now.durationSince(context.session.auth_time) {op} duration(\"{span}\"))"
        ),
        15 => format!(
            "(context has session && \
             context.session.at.offset(duration(\"{span}\")) {op} context.now.offset(duration(\"1h\")))"
        ),
        _ => odd_time(tape, date, zone),
    }
}

/// Forms whose turn is an overflow or cannot be computed.
fn odd_time(tape: &mut Tape<'_>, date: Timestamp, zone: &str) -> String {
    match tape.below(3) {
        0 => format!("context.now.offset(duration(\"{}ms\")) > context.now", i64::MAX - date.millis()),
        1 => format!("context.now.durationSince(datetime(\"{date}\")) == context.now.toTime()"),
        _ => format!("context.zone.{zone}.minute * 2 > context.zone.utc.minute"),
    }
}

/// Instants near which something happens: a Saturday noon, and clocks changing in Berlin and New York.
pub fn starts() -> [i64; 4] {
    [NOON, 1_774_742_400_000, 1_792_886_400_000, 1_793_505_600_000]
}

/// Everything a request is about.
pub struct World {
    user: User,
    device: Option<Device>,
    session: Option<Session>,
    app: App,
    subnet: Subnet,
    paths: Vec<String>,
    kind: usize,
    port: u16,
    operator: Operator,
    write: bool,
    on: AdminKind,
    verb: &'static str,
    object: Option<&'static str>,
    owned: bool,
    placed: bool,
}

pub fn world(tape: &mut Tape<'_>) -> World {
    let groups: &[&[&str]] = &[&["corp/g0"], &[], &["corp/g0", "corp/g1"], &["corp/g1", "corp/g2"]];
    let mut person = user(tape.one(&["corp/u0", "corp/u1", "corp/u2"]), tape.one(groups));
    person.email = tape.chance(50).then(|| "u@corp.example".to_owned());
    person.contract_end = tape.chance(50).then(|| instant(tape));
    let mut service = app(tape.one(&["a0", "a1", "a2"]), tape.one(&[&["ag0"][..], &[], &["ag0", "ag1"]]), 1);
    service.sensitivity = tape.one(&[1, 1, 2, 4]);
    service.owners = tape.chance(50).then(|| "corp/g1".parse().unwrap());
    if tape.chance(50) {
        service.tags = BTreeMap::from([("env".to_owned(), [tape.one(&["prod", "dev"]).to_owned()].into())]);
    }
    let paths = tape.one(&[&["/a/b"][..], &["/b%2Fc", "/b/c"], &["/x"], &["/a//b", "/a/b", "/x"]]);
    World {
        user: person,
        device: tape.chance(80).then(|| laptop(tape)),
        session: tape.chance(75).then(|| signed_in(tape)),
        app: service,
        subnet: subnet(tape.one(&["s0", "s1"]), tape.one(&[1, 2])),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        kind: tape.below(4),
        port: tape.one(&[22, 80, 443]),
        operator: someone(tape),
        write: tape.chance(60),
        on: tape.one(&[AdminKind::Device, AdminKind::Token, AdminKind::Store]),
        verb: tape.one(&["disable", "list", "add"]),
        object: tape.one(&[None, Some("laptop"), Some("phone")]),
        owned: tape.chance(60),
        placed: tape.chance(60),
    }
}

fn someone(tape: &mut Tape<'_>) -> Operator {
    let (name, uid) = tape.one(&[("root", 0), ("mia", 1000), ("build", 101)]);
    operator(name, uid, tape.one(&[&["helpdesk"][..], &[], &["ops", "helpdesk"]]))
}

fn laptop(tape: &mut Tape<'_>) -> Device {
    let mut laptop = device(tape.one(&["corp/u0", "corp/u1"]));
    let source = tape.one(&[Source::Mdm, Source::Own, Source::Agent, Source::Attested]);
    let when = instant(tape).millis();
    laptop.key_since = instant(tape);
    if tape.chance(50) {
        laptop.groups = ["dg0".parse().unwrap()].into();
    }
    laptop.platform = tape.chance(50).then_some(tape.one(&[Platform::Linux, Platform::Macos]));
    laptop.posture.os_version = fact(14_002_000, source, when).filter(|_| tape.chance(50));
    laptop.posture.managed = fact(tape.chance(70), source, when).filter(|_| tape.chance(70));
    laptop.posture.firewall = fact(tape.chance(70), source, when).filter(|_| tape.chance(70));
    laptop.posture.disk_encrypted = fact(tape.chance(70), source, when).filter(|_| tape.chance(70));
    laptop
}

fn signed_in(tape: &mut Tape<'_>) -> Session {
    let amr: &[&str] = tape.one(&[&["pwd"][..], &["pwd", "hwk"], &[]]);
    Session {
        at: instant(tape),
        expires: instant(tape),
        auth_time: tape.chance(60).then(|| instant(tape)),
        amr: amr.iter().map(|method| (*method).to_owned()).collect(),
        acr: tape.chance(60).then(|| tape.one(&["mfa", "pin"]).to_owned()),
    }
}

/// An instant within two days of one of [`starts`].
pub fn instant(tape: &mut Tape<'_>) -> Timestamp {
    let hours = i64::try_from(tape.below(97)).unwrap() - 48;
    at(tape.one(&starts()) + hours * HOUR + tape.one(&[0, 1, 1_800_000, 3_599_999]))
}

impl World {
    pub fn command(&self) -> Administration<'_> {
        Administration {
            operator: &self.operator,
            write: self.write,
            on: self.on,
            verb: self.verb,
            object: self.object,
            owner: self.owned.then_some(&self.user),
            site: self.placed.then_some(&self.app.site),
        }
    }

    pub fn request(&self) -> Request<'_> {
        let http = HttpFacts { method: "GET", host: "wiki", paths: &self.paths };
        let connect = Action::Connect { port: self.port, proto: Proto::Tcp };
        let (resource, action) = match self.kind {
            0 => (Resource::App(&self.app), connect),
            1 => (Resource::App(&self.app), Action::HttpRead(http)),
            2 => (Resource::App(&self.app), Action::HttpWrite(http)),
            _ => (Resource::Subnet(&self.subnet), connect),
        };
        let request = crate::facts::request(&self.user, self.device.as_ref(), resource, action);
        Request { session: self.session.as_ref(), ..request }
    }
}
