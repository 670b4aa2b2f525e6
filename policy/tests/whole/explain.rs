//! What a denied person is told.

use policy::{
    decision::Reason,
    facts::{Platform, Request, Resource, Session, Source},
};

use crate::facts::{
    EXAMPLES, HOUR, Held, NOON, app, at, conditions, connect, device, engine, fact, reasons, session, user,
};

fn permit(condition: &str) -> Held {
    engine(&format!(
        "@id(\"p\") @title(\"Reach it\") @advice(\"Ask\") permit (principal, action == \
         Doorward::Action::\"connect\", resource is Doorward::App) when {{ {condition} }};"
    ))
}

/// The failing conditions of one permit, for alice on her laptop at noon.
fn told(condition: &str) -> Vec<String> {
    told_in(condition, None)
}

fn told_in(condition: &str, session: Option<&Session>) -> Vec<String> {
    let mut laptop = device("corp/alice");
    laptop.platform = Some(Platform::Linux);
    laptop.posture.os_version = fact(14_005_001, Source::Own, NOON);
    laptop.posture.disk_encrypted = fact(false, Source::Own, NOON - 26 * HOUR);
    laptop.posture.firewall = fact(true, Source::Own, NOON);
    let mut alice = user("corp/alice", &["corp/eng"]);
    alice.contract_end = Some(at(NOON - HOUR));
    let wiki = app("wiki", &[], 2);
    let request = Request { session, ..connect(&alice, Some(&laptop), Resource::App(&wiki), 22) };
    let decision = permit(condition).decide(&request, at(NOON));
    conditions(&decision).into_iter().flat_map(|(_, words)| words).map(str::to_owned).collect()
}

#[test]
fn conditions_are_put_into_words() {
    let device = "context has device && context.device";
    for (condition, words) in [
        (format!("{device} has managed && context.device.managed.value"), "device.managed is missing"),
        (
            format!("{device} has disk_encrypted && context.device.disk_encrypted.value"),
            "device.disk_encrypted is false",
        ),
        (
            format!("{device} has firewall && context.device.firewall.source == Doorward::Source::\"mdm\""),
            "device.firewall.source is self and must be mdm",
        ),
        (
            format!("{device} has os_version && context.device.os_version.value >= 15000000"),
            "device.os_version is 14.5.1 and must be at least 15.0.0",
        ),
        (
            format!(
                "{device} has disk_encrypted && \
                 context.now.durationSince(context.device.disk_encrypted.at) < duration(\"24h\")"
            ),
            "the time since device.disk_encrypted.at is 1d2h and must be less than 1d",
        ),
        ("context.zone.berlin.weekday <= 5".into(), "zone.berlin.weekday is 6 and must be at most 5"),
        ("context.port != 22".into(), "port is 22 and must not be"),
        ("443 <= context.port".into(), "port is 22 and must be at least 443"),
        ("[80, 443].contains(context.port)".into(), "port is 22 and must be one of [80, 443]"),
        (
            "principal has contract_end && context.now < principal.contract_end".into(),
            "now is 2026-11-21T12:00:00.000Z and must be before user.contract_end, 2026-11-21T11:00:00.000Z",
        ),
        ("principal in Doorward::Group::\"corp/sre\"".into(), "user is not in Group corp/sre"),
        ("resource has owners && principal in resource.owners".into(), "resource.owners is missing"),
        ("!(context has device)".into(), "device is there and must not be"),
        (
            "context.port == 80 || (resource.sensitivity < 2 || context.port > 100)".into(),
            "neither port is 22 and must be 80 nor resource.sensitivity is 2 and must be less than 2 \
             nor port is 22 and must be more than 100",
        ),
        (
            "context.source.isInRange(ip(\"10.0.0.0/8\"))".into(),
            "`context.source.isInRange(ip(\"10.0.0.0/8\"))` does not hold",
        ),
    ] {
        assert_eq!(told(&condition), [words], "{condition}");
    }
}

#[test]
fn a_session_is_put_into_words() {
    let old = Session { expires: at(NOON - HOUR), ..session(NOON - 3 * HOUR) };
    let silent = Session { auth_time: None, ..session(NOON) };
    let weak = Session { acr: Some("pin".into()), ..session(NOON) };
    let fresh = "context has session && context.session has auth_time && \
                 context.now.durationSince(context.session.auth_time) < duration(\"15m\")";
    let strong = "context has session && context.session has acr && context.session.acr == \"mfa\"";
    let keyed = "context has session && context.session.amr.contains(\"hwk\")";
    let valid = "context has session && context.now < context.session.expires";
    for (session, condition, words) in [
        (None, fresh, "session is missing"),
        (None, strong, "session is missing"),
        (None, "context has session.auth_time", "session.auth_time is missing"),
        (Some(&old), fresh, "the time since session.auth_time is 3h and must be less than 15m"),
        (Some(&silent), fresh, "session.auth_time is missing"),
        (Some(&old), strong, "session.acr is missing"),
        (Some(&weak), strong, "session.acr is \"pin\" and must be \"mfa\""),
        (Some(&weak), keyed, "session.amr does not contain \"hwk\""),
        (
            Some(&old),
            "context has session && context.now.durationSince(context.session.at) <= duration(\"1h\")",
            "the time since session.at is 3h and must be at most 1h",
        ),
        (
            Some(&old),
            valid,
            "now is 2026-11-21T12:00:00.000Z and must be before session.expires, 2026-11-21T11:00:00.000Z",
        ),
        (
            Some(&silent),
            "context has session && context.session.expires.durationSince(context.now) > duration(\"1d\")",
            "the time until session.expires is 12h and must be more than 1d",
        ),
        (
            Some(&weak),
            "context has session && context.session has acr && [\"mfa\", \"hw\"].contains(context.session.acr)",
            "session.acr is \"pin\" and must be one of [\"mfa\", \"hw\"]",
        ),
    ] {
        assert_eq!(told_in(condition, session), [words], "{condition}");
    }
}

#[test]
fn only_what_fails_is_told() {
    assert_eq!(
        told("context.port == 22 && context.port > 30 && resource.sensitivity == 1"),
        ["port is 22 and must be more than 30", "resource.sensitivity is 2 and must be 1"]
    );
}

#[test]
fn the_nearest_three_permits_are_told_nearest_first() {
    let text: String = [("a", 3), ("b", 1), ("c", 2), ("d", 4)]
        .iter()
        .map(|(id, failing)| {
            let ports: Vec<String> = (0..*failing).map(|n| format!("context.port > {}", 100 + n)).collect();
            format!(
                "@id(\"{id}\") permit (principal, action == Doorward::Action::\"connect\", resource) \
                 when {{ {} }};",
                ports.join(" && ")
            )
        })
        .collect();
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 2));
    let decision = engine(&text).decide(&connect(&alice, None, Resource::App(&wiki), 22), at(NOON));
    let names: Vec<&str> = conditions(&decision).into_iter().map(|(id, _)| id).collect();
    assert_eq!(names, ["b", "c", "a"]);
}

#[test]
fn a_policy_for_others_is_never_named() {
    let engine = engine(EXAMPLES);
    let (bob, vault) = (user("corp/bob", &[]), app("vault", &["production"], 1));
    let session = session(NOON);
    let request = Request { session: Some(&session), ..connect(&bob, None, Resource::App(&vault), 22) };
    let decision = engine.decide(&request, at(NOON));
    assert_eq!(reasons(&decision), [Reason::NoPolicy]);
}

#[test]
fn a_forbid_speaks_alone_with_its_own_words() {
    let engine = engine(EXAMPLES);
    let carol = user("corp/carol", &["corp/contractors"]);
    let (stage, laptop) = (app("stage", &["staging"], 2), device("corp/other"));
    let session = session(NOON);
    let request =
        Request { session: Some(&session), ..connect(&carol, Some(&laptop), Resource::App(&stage), 80) };
    let decision = engine.decide(&request, at(NOON));
    match reasons(&decision) {
        [
            Reason::Forbidden { policy: disk, reason, advice: Some(advice), step_up: None },
            Reason::Forbidden { policy: owner, reason: stranger, advice: None, step_up: None },
        ] => {
            assert_eq!((&**disk, &**owner), ("guard-disk", "guard-owner"));
            assert!(reason.starts_with("Disk encryption is off"));
            assert!(advice.starts_with("Turn on FileVault"));
            assert_eq!(stranger, "This device belongs to someone else");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_permit_is_told_with_its_title_and_advice() {
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 2));
    let decision =
        permit("context.port == 23").decide(&connect(&alice, None, Resource::App(&wiki), 22), at(NOON));
    let expected = Reason::NotMet {
        policy: "p".into(),
        title: Some("Reach it".into()),
        conditions: vec!["port is 22 and must be 23".into()],
        advice: Some("Ask".into()),
        step_up: None,
    };
    assert_eq!(reasons(&decision), [expected]);
}
