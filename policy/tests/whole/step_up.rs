//! When a denial says that signing in again would help, and that it then does.

use std::time::Duration;

use policy::{
    Engine,
    decision::{Decision, Reason, StepUp},
    facts::{Action, HttpFacts, Request, Resource, Session},
};
use proptest::prelude::*;
use protocol::time::Timestamp;

use crate::{
    facts::{
        EXAMPLES, HOUR, NOON, app, at, connect, device, engine, file, operator, reasons, request, session,
        user, zones,
    },
    generate::{Tape, config, instant, policies_with_step_up, tapes, world},
};

const ACCESS: &str = "principal, action in Doorward::Action::\"access\", resource";
const FRESH: &str = "context has session && context.session has auth_time && \
                     context.now.durationSince(context.session.auth_time) < duration(\"15m\")";
const STRONG: &str = "context has session && context.session has acr && context.session.acr == \"mfa\"";

fn step_up(minutes: u64, acr: &str) -> StepUp {
    StepUp {
        max_age: (minutes > 0).then(|| Duration::from_secs(60 * minutes)),
        acr: (!acr.is_empty()).then(|| acr.to_owned()),
    }
}

fn permit(id: &str, asked: &str, when: &str) -> String {
    format!("@id(\"{id}\") @step_up(\"{asked}\") permit ({ACCESS}) when {{ {when} }};\n")
}

fn guard(id: &str, asked: &str, unless: &str) -> String {
    format!("@id(\"{id}\") @step_up(\"{asked}\") forbid ({ACCESS}) unless {{ {unless} }};\n")
}

const OPEN: &str = "@id(\"open\") permit (principal, action in Doorward::Action::\"access\", resource);\n";

/// What alice is told at noon who comes to port 22 without a device.
fn told(text: &str, session: Option<&Session>) -> Decision {
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 2));
    engine(text).decide(&Request { session, ..connect(&alice, None, Resource::App(&wiki), 22) }, at(NOON))
}

/// What is said to help of each policy, in the order in which they are told.
fn each(decision: &Decision) -> Vec<(&str, Option<&StepUp>)> {
    let one = |reason| match reason {
        &Reason::Forbidden { ref policy, ref step_up, .. }
        | &Reason::NotMet { ref policy, ref step_up, .. } => (&**policy, step_up.as_ref()),
        other => panic!("{other:?}"),
    };
    reasons(decision).iter().map(one).collect()
}

proptest! {
    #![proptest_config(config(192))]

    /// Whatever the policies are, to follow the step-up of a denial is enough, by the engine and by Cedar itself.
    #[test]
    fn what_is_said_to_help_helps(choices in tapes(400)) {
        let mut tape = Tape::new(&choices);
        let text = policies_with_step_up(&mut tape);
        let engine = match Engine::load(&[file(&text)], &zones()) {
            Ok(engine) => engine,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}"))),
        };
        for _ in 0..6 {
            let (world, now) = (world(&mut tape), instant(&mut tape));
            let request = world.request();
            let decision = engine.decide(&request, now);
            let Some(step_up) = decision.step_up() else { continue };
            prop_assert!(!decision.is_allowed());
            let helps = |renewed: &Session| {
                let again = Request { session: Some(renewed), ..request };
                engine.decide(&again, now).is_allowed() && engine.decide_by_oracle(&again, now).is_allowed()
            };
            prop_assert!(
                renewed(step_up, request.session, now).iter().any(helps),
                "{text}\n{request:?}\nat {now}\n{decision:?}"
            );
        }
    }

    /// A single policy's step-up takes that policy out of the way, or makes it match.
    #[test]
    fn what_is_said_of_one_policy_is_so(choices in tapes(400)) {
        let mut tape = Tape::new(&choices);
        let text = policies_with_step_up(&mut tape);
        let engine = match Engine::load(&[file(&text)], &zones()) {
            Ok(engine) => engine,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}"))),
        };
        let (world, now) = (world(&mut tape), instant(&mut tape));
        let Decision::Deny { reasons, .. } = engine.decide(&world.request(), now) else { return Ok(()) };
        for reason in reasons {
            let (policy, step_up) = match &reason {
                Reason::Forbidden { policy, step_up: Some(step_up), .. }
                | Reason::NotMet { policy, step_up: Some(step_up), .. } => (policy, step_up),
                Reason::Forbidden { .. } | Reason::NotMet { .. } | Reason::NoPolicy | Reason::Error { .. } => continue,
            };
            let named = |reason: &Reason| match reason {
                Reason::Forbidden { policy, .. } | Reason::NotMet { policy, .. } | Reason::Error { policy, .. } => {
                    Some(policy.clone())
                }
                Reason::NoPolicy => None,
            };
            let helps = |renewed: &Session| {
                match engine.decide(&Request { session: Some(renewed), ..world.request() }, now) {
                    Decision::Allow { .. } => true,
                    Decision::Deny { reasons, .. } => !reasons.iter().filter_map(named).any(|id| id == *policy),
                }
            };
            prop_assert!(
                renewed(step_up, world.request().session, now).iter().any(helps),
                "{text}\n{:?}\nat {now}\n{reason:?}", world.request()
            );
        }
    }
}

/// The session after a step-up: as it certainly is and, if a strength was asked for, with the one method that
/// the generated policies with a step-up look for.
fn renewed(step_up: &StepUp, session: Option<&Session>, now: Timestamp) -> Vec<Session> {
    let certain = step_up.renewed(session, now);
    let mut keyed = certain.clone();
    keyed.amr.insert("hwk".to_owned());
    if step_up.acr.is_some() { vec![certain, keyed] } else { vec![certain] }
}

#[test]
fn a_permit_is_told_with_its_step_up() {
    let text = permit("p", "max_age=15m acr=mfa", &format!("{FRESH} && {STRONG}"));
    let (old, fresh) = (session(NOON - HOUR), session(NOON));
    let strong = Session { acr: Some("mfa".into()), ..old.clone() };
    for session in [None, Some(&old), Some(&fresh), Some(&strong)] {
        let decision = told(&text, session);
        assert_eq!(each(&decision), [("p", Some(&step_up(15, "mfa")))], "{session:?}");
        assert_eq!(decision.step_up(), Some(&step_up(15, "mfa")), "{session:?}");
    }
    assert!(told(&text, Some(&Session { acr: Some("mfa".into()), ..fresh })).is_allowed());
}

#[test]
fn nothing_is_offered_where_something_else_fails_too() {
    let old = session(NOON - HOUR);
    for other in [
        "principal in Doorward::Group::\"corp/finance\"",
        "context has device",
        "context.zone.utc.weekday <= 5",
        "!(context has session)",
    ] {
        for when in [format!("{other} && {FRESH}"), format!("{FRESH} && {other}")] {
            let decision = told(&permit("p", "max_age=15m", &when), Some(&old));
            assert_eq!((each(&decision), decision.step_up()), (vec![("p", None)], None), "{when}");
            let decision = told(&format!("{OPEN}{}", guard("g", "max_age=15m", &when)), Some(&old));
            assert_eq!((each(&decision), decision.step_up()), (vec![("g", None)], None), "{when}");
        }
    }
}

/// Asking for less than the condition wants would be asked again and again.
#[test]
fn nothing_is_offered_that_is_not_enough() {
    let old = session(NOON - HOUR);
    for (asked, when) in [("acr=mfa", FRESH), ("max_age=15m", STRONG), ("acr=pin", STRONG)] {
        let decision = told(&permit("p", asked, when), Some(&old));
        assert_eq!((each(&decision), decision.step_up()), (vec![("p", None)], None), "{asked}");
    }
    // What need not be asked for is there already.
    let strong = Session { acr: Some("mfa".into()), ..old };
    let both = permit("p", "max_age=15m", &format!("{FRESH} && {STRONG}"));
    assert_eq!(told(&both, Some(&strong)).step_up(), Some(&step_up(15, "")));
}

#[test]
fn how_somebody_signs_in_is_taken_to_come_with_the_strength() {
    let keyed = "context has session && context.session.amr.contains(\"hwk\")";
    let old = session(NOON - HOUR);
    assert_eq!(told(&permit("p", "acr=phr", keyed), Some(&old)).step_up(), Some(&step_up(0, "phr")));
    assert_eq!(told(&permit("p", "max_age=1m", keyed), Some(&old)).step_up(), None);
}

#[test]
fn a_guard_is_told_with_its_step_up() {
    let text = format!("{OPEN}{}", guard("g", "acr=mfa", STRONG));
    let decision = told(&text, Some(&session(NOON)));
    assert_eq!(each(&decision), [("g", Some(&step_up(0, "mfa")))]);
    assert_eq!(decision.step_up(), Some(&step_up(0, "mfa")));
}

#[test]
fn every_guard_must_ask_and_they_ask_together() {
    let (fresh, strong) = (guard("fresh", "max_age=15m", FRESH), guard("strong", "acr=mfa", STRONG));
    let old = session(NOON - HOUR);
    let merged = |guards: &[&str]| told(&format!("{OPEN}{}", guards.concat()), Some(&old)).step_up().cloned();
    assert_eq!(merged(&[&fresh, &strong]), Some(step_up(15, "mfa")));
    assert_eq!(merged(&[&fresh, &guard("fresher", "max_age=5m", FRESH)]), Some(step_up(5, "")));
    let pin = guard("pin", "acr=pin", "context has session && context.session.amr.contains(\"pin\")");
    assert_eq!(merged(&[&strong, &pin]), None, "nobody knows which is stronger");
    let silent = format!("@id(\"silent\") forbid ({ACCESS}) unless {{ {STRONG} }};");
    assert_eq!(merged(&[&fresh, &silent]), None);
    let device = format!("@id(\"device\") forbid ({ACCESS}) unless {{ context has device }};");
    assert_eq!(merged(&[&fresh, &device]), None);
}

#[test]
fn a_guard_alone_lets_nobody_in() {
    let strong = guard("strong", "acr=mfa", STRONG);
    let old = session(NOON - HOUR);
    let decision = told(&strong, Some(&old));
    assert_eq!(each(&decision), [("strong", Some(&step_up(0, "mfa")))]);
    assert_eq!(decision.step_up(), None, "no permit is there");
    let with = |permit: &str| told(&format!("{strong}{permit}"), Some(&old)).step_up().cloned();
    assert_eq!(with(&permit("p", "max_age=15m", FRESH)), Some(step_up(15, "mfa")));
    assert_eq!(with(&permit("p", "max_age=15m acr=pin", FRESH)), None);
    assert_eq!(with(&permit("p", "max_age=15m", "context.port == 23 && context has session").replace(
        "action in Doorward::Action::\"access\"",
        "action == Doorward::Action::\"connect\"",
    )), None);
}

#[test]
fn the_nearest_permit_that_helps_is_taken() {
    let near = permit("near", "max_age=30m", FRESH);
    let far = permit("far", "max_age=15m acr=mfa", &format!("{FRESH} && {STRONG}"));
    let weak = Session { acr: Some("pin".into()), ..session(NOON - HOUR) };
    assert_eq!(told(&format!("{far}{near}"), Some(&weak)).step_up(), Some(&step_up(30, "")));
    let of_others = near.replace("principal,", "principal in Doorward::Group::\"corp/finance\",");
    assert_eq!(told(&format!("{far}{of_others}"), Some(&weak)).step_up(), Some(&step_up(15, "mfa")));
}

/// A guard that a fresh session would wake.
#[test]
fn a_step_up_into_the_next_denial_is_not_offered() {
    let text = format!(
        "{}@id(\"night\") forbid ({ACCESS}) when {{ context has session && context.session.at > datetime(\"2026-11-21T11:30:00Z\") }} \
         unless {{ context has session && context has device }};",
        permit("p", "max_age=15m", FRESH)
    );
    let decision = told(&text, Some(&session(NOON - HOUR)));
    assert_eq!((each(&decision), decision.step_up()), (vec![("p", Some(&step_up(15, "")))], None));
}

#[test]
fn an_error_is_not_signed_in_away() {
    let text = format!(
        "{}@id(\"broken\") permit ({ACCESS}) when {{ resource.sensitivity * 9223372036854775807 > 1 }};",
        permit("p", "max_age=15m", FRESH)
    );
    let decision = told(&text, Some(&session(NOON - HOUR)));
    assert!(matches!(reasons(&decision), [Reason::Error { .. }]));
    assert_eq!(decision.step_up(), None);
}

/// Every reading of a path must be allowed, after the step-up as before.
#[test]
fn every_reading_must_be_helped() {
    let read = "principal, action == Doorward::Action::\"http_read\", resource";
    let text = permit("p", "max_age=15m", FRESH).replace(ACCESS, read)
        + &format!("@id(\"admin\") forbid ({read}) when {{ context.path like \"/admin/*\" }};");
    let engine = engine(&text);
    let (alice, wiki, old) = (user("corp/alice", &[]), app("wiki", &[], 1), session(NOON - HOUR));
    let ask = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let http = HttpFacts { method: "GET", host: "wiki", paths: &paths };
        let request = request(&alice, None, Resource::App(&wiki), Action::HttpRead(http));
        engine.decide(&Request { session: Some(&old), ..request }, at(NOON)).step_up().cloned()
    };
    assert_eq!(ask(&["/a%2Fb", "/a/b"]), Some(step_up(15, "")));
    assert_eq!(ask(&["/x", "/admin/x"]), None);
}

#[test]
fn the_examples_ask_for_what_they_miss() {
    let engine = engine(EXAMPLES);
    let (fay, payroll) = (user("corp/fay", &["corp/finance"]), app("payroll", &[], 4));
    let mut laptop = device("corp/fay");
    laptop.posture.disk_encrypted = crate::facts::fact(true, policy::facts::Source::Mdm, NOON - HOUR);
    let paths = ["/".to_owned()];
    let http = HttpFacts { method: "GET", host: "payroll", paths: &paths };
    let of = |session| Request {
        session,
        ..request(&fay, Some(&laptop), Resource::App(&payroll), Action::HttpRead(http))
    };
    // Whoever is not signed in signs in first: that guard asks for no step-up.
    assert_eq!(engine.decide(&of(None), at(NOON)).step_up(), None);
    let old = session(NOON - HOUR);
    let decision = engine.decide(&of(Some(&old)), at(NOON));
    assert_eq!(each(&decision), [("guard-secret", Some(&step_up(0, "mfa")))]);
    assert_eq!(decision.step_up(), Some(&step_up(15, "mfa")));
    let renewed = step_up(15, "mfa").renewed(Some(&old), at(NOON));
    let decision = engine.decide(&of(Some(&renewed)), at(NOON));
    assert!(decision.is_allowed());
    assert_eq!(decision.until(), Some(at(NOON + HOUR / 4)));
}

#[test]
fn administration_knows_no_sessions() {
    let engine = engine(&permit("p", "max_age=15m", FRESH));
    let mia = operator("mia", 1000, &[]);
    let command = crate::facts::command(&mia, policy::facts::AdminKind::Session, "end");
    assert_eq!(engine.administer(&command, at(NOON)).step_up(), None);
}
