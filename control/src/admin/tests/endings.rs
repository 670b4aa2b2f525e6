//! What an administrator sees of sessions and ends of them. Always true: what is out of scope is neither
//! seen nor touched, and nothing sealed leaves the store.

use serde_json::Value;

use super::{
    sessions::{authority, sign_in},
    *,
};
use crate::{
    object::Session,
    revoked::Revoked,
    session::{Speaks, signed_in, suspended},
};

fn ask(request: SessionRequest) -> Request {
    Request::Session(request)
}

fn list(user: Option<&str>, device: Option<&str>) -> Request {
    let (user, device) =
        (user.map(|user| user.parse().unwrap()), device.map(|device| device.parse().unwrap()));
    ask(SessionRequest::List { user, device })
}

fn end(session: &str) -> Request {
    ask(SessionRequest::End { session: session.to_owned() })
}

fn end_on(device: &str) -> Request {
    ask(SessionRequest::EndOn { device: device.parse().unwrap() })
}

fn end_of(user: &str) -> Request {
    ask(SessionRequest::EndOf { user: user.parse().unwrap() })
}

fn revoked(session: &str, device: &str) -> Revoked {
    Revoked::Session { session: session.into(), device: device.parse().unwrap() }
}

/// `corp/a` is signed in on laptop as s1 and on desk as s2, `corp/b` on phone as s3.
fn world() -> World {
    let mut world = World::peopled();
    world.does(&device_add("desk", "corp/a", 2));
    world.does(&device_add("phone", "corp/b", 3));
    for (user, device, session) in
        [("corp/a", "laptop", "s1"), ("corp/a", "desk", "s2"), ("corp/b", "phone", "s3")]
    {
        let mut sign_in = sign_in(user, session, &world);
        sign_in.device = device.parse().unwrap();
        sign_in.claims.email = Some(format!("{session}@corp.example"));
        let plan = signed_in(&world.view, &sign_in, &authority(Speaks::All), world.now).expect("signed in");
        world.carries_out(plan);
    }
    world
}

fn ids(plan: &Plan) -> Vec<String> {
    let rows = plan.answer.data.as_array().expect("a list");
    rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

fn kept(world: &World) -> Vec<&str> {
    world.view.objects().all::<Session>().map(|session| &*session.id).collect()
}

#[test]
fn sessions_are_listed_by_person_and_device_without_what_is_sealed() {
    let mut world = world();
    world.does(&rename("desk", "table"));
    for (request, expected) in [
        (list(None, None), vec!["s2", "s1", "s3"]),
        (list(Some("corp/a"), None), vec!["s2", "s1"]),
        (list(None, Some("phone")), vec!["s3"]),
        (list(None, Some("table")), vec!["s2"]),
        (list(Some("corp/b"), Some("laptop")), vec![]),
    ] {
        assert_eq!(ids(&world.does(&request)), expected, "{request:?}");
    }
    assert!(world.refuses(&list(None, Some("nowhere"))).contains("there is no device nowhere"));
    let listed = world.does(&list(None, None)).answer;
    let shown = world.does(&ask(SessionRequest::Show { session: "s1".to_owned() })).answer.data;
    assert!(!listed.data.to_string().contains("sealed") && !shown.to_string().contains("sealed"));
    assert!(listed.columns.iter().all(|column| shown.get(column).is_some()), "{shown}");
    assert_eq!((&shown["user"], &shown["state"]), (&Value::from("corp/a"), &Value::from("active")));
    assert_eq!(shown["until"], world.session().expect("s1").expires.to_string());
}

#[test]
fn what_one_may_not_see_is_not_listed_shown_or_ended() {
    let mut world = world();
    world.hidden.insert("s1".to_owned());
    assert_eq!(ids(&world.does(&list(None, None))), ["s2", "s3"]);
    let theirs = world.refuses(&ask(SessionRequest::Show { session: "s1".to_owned() }));
    let nobodys = world.refuses(&ask(SessionRequest::Show { session: "s9".to_owned() }));
    assert_eq!(theirs.replace("s1", "s9"), nobodys);
    let plan = world.does(&end_of("corp/a"));
    assert_eq!(plan.revoked, [revoked("s2", "desk")]);
    assert!(plan.answer.notes.iter().any(|note| note.contains("others stay")), "{:?}", plan.answer.notes);
    world.does(&ask(SessionRequest::EndAll));
    assert_eq!(kept(&world), ["s1"]);
}

#[test]
fn a_request_is_about_the_person_whose_session_it_is() {
    let world = world();
    let about = |request: &Request| {
        let scope = scope(&world.view, request);
        let owner = scope.owner.map(|owner| owner.to_string()).unwrap_or_default();
        (scope.write, scope.verb, scope.object.unwrap_or_default(), owner)
    };
    let is = |write, verb, object: &str, owner: &str| (write, verb, object.to_owned(), owner.to_owned());
    assert_eq!(about(&list(None, None)), is(false, "list", "", ""));
    assert_eq!(about(&list(Some("corp/b"), None)), is(false, "list", "corp/b", "corp/b"));
    assert_eq!(about(&list(None, Some("phone"))), is(false, "list", "phone", "corp/b"));
    let show = ask(SessionRequest::Show { session: "s3".to_owned() });
    assert_eq!(about(&show), is(false, "show", "s3", "corp/b"));
    assert_eq!(about(&end("s1")), is(true, "end", "s1", "corp/a"));
    assert_eq!(about(&end("s9")), is(true, "end", "s9", ""));
    assert_eq!(about(&end_on("phone")), is(true, "end", "phone", "corp/b"));
    assert_eq!(about(&end_on("nowhere")), is(true, "end", "nowhere", ""));
    assert_eq!(about(&end_of("corp/a")), is(true, "end-of", "corp/a", "corp/a"));
    assert_eq!(about(&ask(SessionRequest::EndAll)), is(true, "end-all", "", ""));
}

#[test]
fn an_end_cuts_and_may_be_said_again() {
    let mut world = world();
    let plan = world.does(&end("s3"));
    assert_eq!(plan.revoked, [revoked("s3", "phone")]);
    assert_eq!(kept(&world), ["s1", "s2"]);
    assert!(world.refuses(&end("s3")).contains("`doorward admin session list`"));
    assert_eq!(world.does(&end_on("laptop")).revoked, [revoked("s1", "laptop")]);
    let again = world.plan(&end_on("laptop")).expect("nothing to do");
    assert!(again.commit.is_none() && again.revoked.is_empty());
    assert_eq!(again.answer.text.as_deref(), Some("no session of device laptop to end"));
    assert_eq!(world.does(&end_of("corp/a")).revoked, [revoked("s2", "desk")]);
    assert!(world.plan(&end_of("corp/a")).expect("nothing to do").commit.is_none());
    assert!(world.refuses(&end_of("corp/nobody")).contains("there is no user corp/nobody"));
    world.signs_in("s4");
    let plan = world.does(&ask(SessionRequest::EndAll));
    assert_eq!(plan.revoked, [revoked("s4", "laptop")]);
    assert_eq!(plan.answer.text.as_deref(), Some("1 session ended"));
    assert!(kept(&world).is_empty());
    assert!(world.plan(&ask(SessionRequest::EndAll)).expect("nothing to do").commit.is_none());
}

/// Whoever signs in anew while it is ended is looked at again, and ended as well.
#[test]
fn a_session_that_is_replaced_meanwhile_is_not_ended_by_halves() {
    let mut world = world();
    let plan = world.plan(&end_on("laptop")).expect("a plan");
    world.signs_in("s4");
    assert!(world.commit(plan.commit.expect("a commit")).is_err());
    assert_eq!(world.does(&end_on("laptop")).revoked, [revoked("s4", "laptop")]);
}

#[test]
fn the_state_says_whether_a_session_counts() {
    let mut world = world();
    let state = |world: &World, session: &str| {
        let show = ask(SessionRequest::Show { session: session.to_owned() });
        world.plan(&show).expect("shown").answer.data["state"].as_str().expect("a text").to_owned()
    };
    let plan = suspended(&world.view, &"laptop".parse().unwrap(), "two places", world.now).expect("a plan");
    world.carries_out(plan);
    assert_eq!(state(&world, "s1"), "suspended: two places");
    // What counts for nothing ahead of the store can be ended again, which makes it durable.
    world.view.revoke(&revoked("s2", "desk"));
    assert!(state(&world, "s2").starts_with("ended here"));
    assert_eq!(world.plan(&end_on("desk")).expect("a plan").revoked, [revoked("s2", "desk")]);
    world.days(2);
    assert_eq!(state(&world, "s3"), "over");
}
