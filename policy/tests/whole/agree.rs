//! The engine and Cedar's own authorizer give the same answer for the same reasons.

use policy::{
    Engine,
    facts::{Request, Resource, Session},
};
use proptest::prelude::*;

use crate::{
    facts::{EXAMPLES, HOUR, NOON, app, at, connect, device, engine, fact, file, same, session, user, zones},
    generate::{Tape, config, instant, policies, tapes, world},
};

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn on_any_policies_and_facts(choices in tapes(400)) {
        let mut tape = Tape::new(&choices);
        let text = policies(&mut tape, 9, false);
        let engine = match Engine::load(&[file(&text)], &zones()) {
            Ok(engine) => engine,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}"))),
        };
        for _ in 0..6 {
            let (world, now) = (world(&mut tape), instant(&mut tape));
            let (fast, truth) =
                (engine.decide(&world.request(), now), engine.decide_by_oracle(&world.request(), now));
            prop_assert!(same(&fast, &truth), "{text}\n{:?}\nengine {fast:?}\noracle {truth:?}", world.request());
            let (fast, truth) =
                (engine.administer(&world.command(), now), engine.administer_by_oracle(&world.command(), now));
            prop_assert!(same(&fast, &truth), "{text}\n{:?}\nengine {fast:?}\noracle {truth:?}", world.command());
        }
    }
}

#[test]
fn on_the_examples() {
    let engine = engine(EXAMPLES);
    let mut laptop = device("corp/alice");
    laptop.posture.disk_encrypted = fact(true, policy::facts::Source::Mdm, NOON - HOUR);
    let session = Session { expires: at(NOON + 100 * HOUR), ..session(NOON) };
    let mut allowed = 0;
    for groups in [&["corp/contractors"][..], &["corp/engineering"], &["corp/sre"], &[]] {
        let mut alice = user("corp/alice", groups);
        alice.contract_end = Some(at(NOON + 240 * HOUR));
        for (resource, sensitivity) in [("wiki", 1), ("stage", 2)] {
            let app = app(resource, &["staging"], sensitivity);
            for device in [None, Some(&laptop)] {
                for now in [at(NOON), at(NOON + 46 * HOUR)] {
                    let request = Request {
                        session: Some(&session),
                        ..connect(&alice, device, Resource::App(&app), 22)
                    };
                    allowed += usize::from(engine.decide(&request, now).is_allowed());
                }
            }
        }
    }
    // Contractors on Monday, either device at sensitivity 1; at 2 the posture is too old by then.
    assert_eq!(allowed, 2);
}

/// A device in a tier by one policy is let in by another, and no longer when the facts behind it age.
#[test]
fn tiers_are_earned_first() {
    let engine = engine(
        "@id(\"tier\") permit (principal, action == Doorward::Action::\"trust\", resource == Doorward::Tier::\"high\")\n\
         when { principal has firewall && principal.firewall.value &&\n\
                context.now.durationSince(principal.firewall.at) < duration(\"1h\") };\n\
         @id(\"db\") permit (principal, action == Doorward::Action::\"connect\", resource == Doorward::App::\"db\")\n\
         when { context has device && context.device in Doorward::Tier::\"high\" };",
    );
    let (alice, db) = (user("corp/alice", &[]), app("db", &[], 1));
    let mut laptop = device("corp/alice");
    laptop.posture.firewall = fact(true, policy::facts::Source::Agent, NOON);
    let request = connect(&alice, Some(&laptop), Resource::App(&db), 5432);
    let decision = engine.decide(&request, at(NOON));
    assert!(decision.is_allowed());
    assert_eq!(decision.until(), Some(at(NOON + HOUR)));
    assert!(!engine.decide(&request, at(NOON + HOUR)).is_allowed());
}
