//! The ways in which Cedar fails open, each kept shut.

use policy::{
    decision::{Decision, Reason},
    facts::{Action, HttpFacts, Proto, Resource},
};

use crate::facts::{NOON, app, at, connect, device, engine, fact, reasons, request, same, user};

const OPEN: &str = "@id(\"open\") permit (principal, action, resource);\n";

/// Cedar itself skips a policy that errors; a guard that errors must not let anyone pass.
#[test]
fn an_erroring_forbid_denies_and_is_named() {
    let engine = engine(&format!(
        "{OPEN}@id(\"broken\") forbid (principal, action == Doorward::Action::\"connect\", resource)\n\
         when {{ context.now.offset(duration(\"9223372036854775807ms\")) < context.now }};"
    ));
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let request = connect(&alice, None, Resource::App(&wiki), 22);
    for decision in [engine.decide(&request, at(NOON)), engine.decide_by_oracle(&request, at(NOON))] {
        match reasons(&decision) {
            [Reason::Error { policy, error }] => {
                assert_eq!(&**policy, "broken");
                assert!(error.contains("overflow"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The same of a permit: another permit that matches does not hide the operator's mistake.
#[test]
fn an_erroring_permit_denies_and_is_named() {
    let engine = engine(&format!(
        "{OPEN}@id(\"broken\") permit (principal, action, resource is Doorward::App)\n\
         when {{ resource.sensitivity * 9223372036854775807 > 1 }};"
    ));
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 2));
    let decision = engine.decide(&connect(&alice, None, Resource::App(&wiki), 22), at(NOON));
    assert!(matches!(reasons(&decision), [Reason::Error { policy, .. }] if &**policy == "broken"));
}

/// Dates are clamped at the door, so that ages can always be computed.
#[test]
fn extreme_dates_do_not_overflow_an_age() {
    let engine = engine(&format!(
        "{OPEN}@id(\"stale\") forbid (principal, action in Doorward::Action::\"access\", resource)\n\
         unless {{ context has device && context.device has firewall &&\n\
         context.now.durationSince(context.device.firewall.at) < duration(\"1h\") }};"
    ));
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    for (then, now) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
        let mut device = device("corp/alice");
        device.posture.firewall = fact(true, policy::facts::Source::Mdm, then);
        let request = connect(&alice, Some(&device), Resource::App(&wiki), 22);
        let decision = engine.decide(&request, at(now));
        assert!(same(&decision, &engine.decide_by_oracle(&request, at(now))));
        assert!(!matches!(&decision, Decision::Deny { reasons, .. }
            if reasons.iter().any(|reason| matches!(reason, Reason::Error { .. }))));
    }
}

/// Without the schema's action entities `action in` a group is silently false.
#[test]
fn a_guard_on_the_action_group_fires_on_every_action() {
    let engine = engine(&format!(
        "{OPEN}@id(\"scope\") forbid (principal, action in Doorward::Action::\"access\", resource);\n\
         @id(\"body\") forbid (principal, action, resource) when {{ action in Doorward::Action::\"access\" }};"
    ));
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let paths = ["/".to_owned()];
    let http = HttpFacts { method: "GET", host: "wiki", paths: &paths };
    let connect = Action::Connect { port: 1, proto: Proto::Udp };
    for action in [connect, Action::HttpRead(http), Action::HttpWrite(http)] {
        let request = request(&alice, None, Resource::App(&wiki), action);
        for decision in [engine.decide(&request, at(NOON)), engine.decide_by_oracle(&request, at(NOON))] {
            let fired: Vec<&str> = reasons(&decision)
                .iter()
                .map(|reason| match reason {
                    Reason::Forbidden { policy, .. } => &**policy,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(fired, ["body", "scope"]);
        }
    }
}

/// A guard that asks for a device only when there is one lets the rest pass: it is linted,
/// and the recommended form stops them.
#[test]
fn a_missing_device_does_not_pass_a_guard() {
    let trap = engine(&format!(
        "{OPEN}@id(\"trap\") forbid (principal, action in Doorward::Action::\"access\", resource)\n\
         when {{ context has device && !(context.device has disk_encrypted) }};"
    ));
    assert!(trap.lints().iter().any(|lint| lint.policy.as_deref() == Some("trap")));
    let guard = engine(&format!(
        "{OPEN}@id(\"guard\") forbid (principal, action in Doorward::Action::\"access\", resource)\n\
         unless {{ context has device && context.device has disk_encrypted }};"
    ));
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let decision = guard.decide(&connect(&alice, None, Resource::App(&wiki), 22), at(NOON));
    assert!(matches!(reasons(&decision), [Reason::Forbidden { policy, .. }] if &**policy == "guard"));
}

/// If a policy reads the path, every reading of it must be allowed.
#[test]
fn every_reading_of_a_path_must_be_allowed() {
    let engine = engine(
        "@id(\"site\") permit (principal, action == Doorward::Action::\"http_read\", resource);\n\
         @id(\"admin\") forbid (principal, action == Doorward::Action::\"http_read\", resource)\n\
         when { context.path like \"/admin/*\" };",
    );
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let ask = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let http = HttpFacts { method: "GET", host: "wiki", paths: &paths };
        let request = request(&alice, None, Resource::App(&wiki), Action::HttpRead(http));
        let decision = engine.decide(&request, at(NOON));
        assert!(same(&decision, &engine.decide_by_oracle(&request, at(NOON))));
        decision.is_allowed()
    };
    assert!(ask(&["/x"]));
    assert!(ask(&["/a%2Fb", "/a/b"]));
    assert!(!ask(&["/admin%2Fx", "/admin/x"]));
    assert!(!ask(&["/admin/x", "/y"]));
    assert!(!ask(&[]), "a request without any reading is denied");
}
