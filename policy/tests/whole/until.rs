//! A decision holds until its `until`, and not a millisecond less than it must.

use policy::{
    Engine,
    facts::{Request, Resource, Session},
};
use proptest::prelude::*;
use protocol::time::Timestamp;

use crate::{
    facts::{
        EXAMPLES, HOUR, NOON, SECOND, app, at, connect, device, engine, fact, file, same, session, user,
        zones,
    },
    generate::{Tape, config, instant, policies, tapes, world},
};

const MINUTE: i64 = 60 * SECOND;

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn nothing_changes_before_it(choices in tapes(300), between in proptest::collection::vec(0.0..1.0, 50)) {
        let mut tape = Tape::new(&choices);
        let text = policies(&mut tape, 4, true);
        let engine = match Engine::load(&[file(&text)], &zones()) {
            Ok(engine) => engine,
            Err(errors) => return Err(TestCaseError::fail(format!("{errors}"))),
        };
        let (world, now) = (world(&mut tape), instant(&mut tape));
        let decision = engine.decide(&world.request(), now);
        let until = decision.until().unwrap_or(Timestamp::MAX);
        prop_assert!(until > now);
        let length = (until.millis() - 1 - now.millis()) as f64;
        let inside = between.iter().map(|part| now.millis() + (part * length) as i64);
        for millis in [now.millis(), until.millis() - 1].into_iter().chain(inside) {
            let truth = engine.decide_by_oracle(&world.request(), at(millis));
            prop_assert!(same(&decision, &truth), "{text}\nnow {now} until {until}, but at {}\n{decision:?}\n{truth:?}", at(millis));
        }
    }
}

/// Every form of time with one turn: the answer differs exactly at `until`.
#[test]
fn the_change_is_exact() {
    let turns = [
        ("context.now < datetime(\"2026-11-21T13:00:00Z\")", NOON + HOUR),
        ("context.now <= datetime(\"2026-11-21T13:00:00Z\")", NOON + HOUR + 1),
        ("context.now == datetime(\"2026-11-21T13:00:00Z\")", NOON + HOUR),
        ("datetime(\"2026-11-21T13:00:00Z\") > context.now", NOON + HOUR),
        ("context.now.durationSince(datetime(\"2026-11-21T11:00:00Z\")) < duration(\"8h\")", NOON + 7 * HOUR),
        (
            "datetime(\"2026-11-21T13:00:00Z\").durationSince(context.now) > duration(\"30m\")",
            NOON + 30 * MINUTE,
        ),
        ("context.now.offset(duration(\"2h\")) < datetime(\"2026-11-21T15:00:00Z\")", NOON + HOUR),
        ("context.now.toTime() < duration(\"13h\")", NOON + HOUR),
        ("context.now.toDate() == datetime(\"2026-11-21\")", NOON + 12 * HOUR),
        ("context.zone.utc.minute <= 750", NOON + 31 * MINUTE),
        ("context.zone.berlin.minute < 1140", NOON + 6 * HOUR),
        ("context.zone.berlin.weekday == 6", NOON + 11 * HOUR),
        ("[5, 6].contains(context.zone.new_york.weekday)", NOON + 17 * HOUR),
        ("!(context.zone.utc.weekday <= 5) && context.now.toTime().toHours() != 14", NOON + 2 * HOUR),
        ("if context.now.toTime() >= duration(\"14h\") then false else true", NOON + 2 * HOUR),
    ];
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let request = connect(&alice, None, Resource::App(&wiki), 22);
    for (condition, turn) in turns {
        turns_exactly(condition, &request, turn);
    }
}

/// A session ages, in every form and to the millisecond.
#[test]
fn the_end_of_a_session_is_exact() {
    let session = Session {
        at: at(NOON - HOUR),
        expires: at(NOON + 3 * HOUR),
        auth_time: Some(at(NOON - 5 * MINUTE)),
        ..session(NOON)
    };
    let turns = [
        ("now.durationSince(context.session.auth_time) < duration(\"15m\")", NOON + 10 * MINUTE),
        ("now.durationSince(context.session.auth_time) <= duration(\"15m\")", NOON + 10 * MINUTE + 1),
        ("now.durationSince(context.session.auth_time).toMinutes() < 15", NOON + 10 * MINUTE),
        ("session.auth_time.offset(duration(\"15m\")) > context.now", NOON + 10 * MINUTE),
        ("now.durationSince(context.session.at) < duration(\"8h\")", NOON + 7 * HOUR),
        ("session.at.offset(duration(\"2h\")) >= context.now", NOON + HOUR + 1),
        ("now < context.session.expires", NOON + 3 * HOUR),
        ("session.expires.durationSince(context.now) > duration(\"1h\")", NOON + 2 * HOUR),
    ];
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let request = Request { session: Some(&session), ..connect(&alice, None, Resource::App(&wiki), 22) };
    for (condition, turn) in turns {
        let condition =
            format!("context has session && context.session has auth_time && context.{condition}");
        turns_exactly(&condition, &request, turn);
    }
}

fn turns_exactly(condition: &str, request: &Request<'_>, turn: i64) {
    let engine = engine(&format!(
        "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource) when {{ {condition} }};"
    ));
    let decision = engine.decide(request, at(NOON));
    assert_eq!(decision.until(), Some(at(turn)), "{condition}");
    assert!(same(&decision, &engine.decide_by_oracle(request, at(turn - 1))), "{condition}");
    assert!(!same(&decision, &engine.decide_by_oracle(request, at(turn))), "{condition}");
    assert_eq!(engine.lints(), &[], "{condition}");
}

/// What the provider did not say cannot grow old: only another fact changes that answer.
#[test]
fn an_absent_time_never_turns() {
    let engine = engine(
        "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource)\n\
         when { context has session && context.session has auth_time &&\n\
                context.now.durationSince(context.session.auth_time) < duration(\"15m\") };",
    );
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let silent = Session { auth_time: None, ..session(NOON) };
    for session in [None, Some(&silent)] {
        let request = Request { session, ..connect(&alice, None, Resource::App(&wiki), 22) };
        let decision = engine.decide(&request, at(NOON));
        assert!(!decision.is_allowed() && decision.until().is_none());
    }
}

/// A weekend has many turns of the clock that change nothing; a denial tells when the door opens again.
#[test]
fn turns_that_change_nothing_are_passed_over() {
    let engine = engine(EXAMPLES);
    let mut carol = user("corp/carol", &["corp/contractors"]);
    carol.contract_end = Some(at(NOON + 1000 * HOUR));
    let stage = app("stage", &["staging"], 1);
    let session = Session { expires: at(NOON + 1000 * HOUR), ..session(NOON - 20 * HOUR) };
    let request = Request { session: Some(&session), ..connect(&carol, None, Resource::App(&stage), 22) };
    let friday_evening = NOON - 18 * HOUR + MINUTE; // 19:01 in Berlin
    let closed = engine.decide(&request, at(friday_evening));
    let monday = NOON + 43 * HOUR; // 08:00 in Berlin
    assert!(!closed.is_allowed());
    assert_eq!(closed.until(), Some(at(monday)));
    let open = engine.decide(&request, at(monday));
    assert!(open.is_allowed());
    assert_eq!(open.until(), Some(at(monday + 11 * HOUR)));
}

/// On the last Sunday of March the window opens an hour of local time earlier than the day before.
#[test]
fn the_clocks_changing_is_noticed() {
    let engine = engine(
        "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource)\n\
         when { context.zone.berlin.minute >= 150 };",
    );
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let request = connect(&alice, None, Resource::App(&wiki), 22);
    let midnight = 1_774_742_400_000 - HOUR; // 2026-03-29 00:00 in Berlin; 02:00 becomes 03:00
    assert_eq!(engine.decide(&request, at(midnight)).until(), Some(at(midnight + 2 * HOUR)));
}

#[test]
fn what_cannot_be_followed_is_asked_again_soon() {
    let engine = engine(
        "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource)\n\
         when { context.zone.utc.minute < context.zone.berlin.minute };",
    );
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let request = connect(&alice, None, Resource::App(&wiki), 22);
    assert_eq!(engine.decide(&request, at(NOON)).until(), Some(at(NOON + 15 * SECOND)));
}

#[test]
fn without_a_clock_nothing_ever_changes() {
    let engine = engine(&EXAMPLES.replace("context.now < context.session.expires", "true"));
    let session = session(NOON);
    let (alice, wiki) = (user("corp/alice", &["corp/infrastructure"]), app("wiki", &[], 1));
    let mut laptop = device("corp/alice");
    let request =
        Request { session: Some(&session), ..connect(&alice, Some(&laptop), Resource::App(&wiki), 22) };
    assert_eq!(engine.decide(&request, at(NOON)).until(), None);
    laptop.posture.disk_encrypted = fact(true, policy::facts::Source::Mdm, NOON);
    let secret = app("secret", &[], 2);
    let request =
        Request { session: Some(&session), ..connect(&alice, Some(&laptop), Resource::App(&secret), 22) };
    assert_eq!(engine.decide(&request, at(NOON)).until(), Some(at(NOON + 24 * HOUR)));
}
