//! The access check over a real snapshot: who is asked about, and that nothing but a yes makes a permit.

use control::{
    directory::View,
    object::{self, Body, Kind},
    store::{Boot, Lease, Loaded, Meta, Object, Op, Revision},
};

use super::*;
use crate::testing::{Company, DIRECTORY, connect, ip, session};

const RESOURCES: &str = r#"
[[app]]
name = "desk"
site = "local"
kind = "tcp"
hosts = ["desk.corp.example"]
ports = [22]
target = "127.0.0.1"
[[app]]
name = "wiki"
site = "local"
kind = "http"
hosts = ["wiki.corp.example"]
upstream = "http://127.0.0.1:8080"
"#;

const EVERYTHING: &str = r#"@id("all") permit (principal, action, resource);"#;

fn check_now(company: &Company, question: &Question) -> Verdict {
    check(&company.snapshot(1), question, Timestamp::from_millis(0))
}

fn reasons(verdict: Verdict) -> Vec<DenyReason> {
    match verdict {
        Verdict::Allow(allowed) => panic!("allowed: {allowed:?}"),
        Verdict::Deny(denied) => denied.reasons,
    }
}

fn desk() -> Question {
    connect("desk", "127.0.0.1:22")
}

fn wiki() -> Question {
    let ask = Ask::Http {
        write: false,
        method: "GET".into(),
        host: "wiki.corp.example".into(),
        paths: vec!["/".to_owned()].into(),
    };
    Question { ask, ..connect("wiki", "127.0.0.1:22") }
}

#[test]
fn a_permit_names_the_one_target_that_was_asked_for() {
    let company = Company::new(RESOURCES, EVERYTHING);
    let Verdict::Allow(allowed) = check_now(&company, &desk()) else { panic!("denied") };
    assert!(allowed.permit.site().is_local());
    assert_eq!(allowed.permit.target().to_string(), "127.0.0.1:22");
    assert_eq!((allowed.user.id.as_str(), allowed.device.owner.as_str()), ("corp/alice", "corp/alice"));
    assert_eq!(allowed.policies, ["all".into()]);
}

#[test]
fn the_upstream_of_an_http_app_is_the_configured_one() {
    let company = Company::new(RESOURCES, EVERYTHING);
    let question = wiki();
    let Verdict::Allow(allowed) = check_now(&company, &question) else { panic!("denied") };
    assert_eq!(allowed.permit.target().to_string(), "127.0.0.1:8080");
    let subnet = Question { resource: ResourceId::Subnet("net".parse().unwrap()), ..question };
    assert_eq!(reasons(check_now(&company, &subnet)), [DenyReason::NoResource]);
}

#[test]
fn a_permit_is_for_one_protocol_and_apps_speak_tcp() {
    let subnet = r#"
[[subnet]]
name = "net"
site = "local"
cidr = "10.50.0.0/24"
"#;
    let tcp_only = r#"
@id("tcp") permit (principal, action == Doorward::Action::"connect", resource)
when { context.proto == Doorward::Proto::"tcp" };
"#;
    let asked = |proto, port| {
        let target = Target { host: "10.50.0.9".parse().unwrap(), port };
        let resource = ResourceId::Subnet("net".parse().unwrap());
        Question { resource, ask: Ask::Connect { proto, target }, ..desk() }
    };
    let questions = [asked(Proto::Tcp, 53), asked(Proto::Udp, 53), asked(Proto::Icmp, 0)];
    let company = Company::new(&[RESOURCES, subnet].concat(), EVERYTHING);
    for (question, proto) in questions.iter().zip([Proto::Tcp, Proto::Udp, Proto::Icmp]) {
        let Verdict::Allow(allowed) = check_now(&company, question) else { panic!("denied") };
        assert_eq!(allowed.permit.proto(), proto);
    }
    let company = Company::new(&[RESOURCES, subnet].concat(), tcp_only);
    let allowed = questions.map(|question| matches!(check_now(&company, &question), Verdict::Allow(_)));
    assert_eq!(allowed, [true, false, false]);
    let company = Company::new(RESOURCES, EVERYTHING);
    let target = "127.0.0.1:22".parse().unwrap();
    let udp = Question { ask: Ask::Connect { proto: Proto::Udp, target }, ..desk() };
    assert_eq!(reasons(check_now(&company, &udp)), [DenyReason::NoResource]);
}

#[test]
fn without_a_policy_nothing_is_allowed() {
    let company = Company::new(RESOURCES, "");
    assert_eq!(reasons(check_now(&company, &desk())), [DenyReason::Policy(Reason::NoPolicy)]);
}

#[test]
fn who_is_not_there_any_more_is_denied_by_name() {
    let company = Company::new(RESOURCES, EVERYTHING);
    let unknown = Question { device: "stranger".parse().unwrap(), ..desk() };
    assert_eq!(reasons(check_now(&company, &unknown)), [DenyReason::UnknownDevice]);
    for gone in ["nowhere", "wiki"] {
        let question = connect(gone, "127.0.0.1:22");
        assert_eq!(reasons(check_now(&company, &question)), [DenyReason::NoResource], "{gone}");
    }
    company.write("directory.toml", &DIRECTORY.replace("email =", "disabled = true\nemail ="));
    assert_eq!(reasons(check_now(&company, &desk())), [DenyReason::UserDisabled]);
}

#[test]
fn the_source_address_is_the_policys_to_see() {
    let company = Company::new(
        RESOURCES,
        r#"@id("here") permit (principal, action == Doorward::Action::"connect", resource)
           when { context.source == ip("100.64.0.9") };"#,
    );
    assert!(matches!(check_now(&company, &desk()), Verdict::Allow(_)));
    let elsewhere = Question { source: ip("100.64.0.10"), ..desk() };
    assert!(matches!(check_now(&company, &elsewhere), Verdict::Deny(_)));
}

#[test]
fn the_front_opens_for_enrolled_devices_and_http_apps_alone() {
    let snapshot = Company::new(RESOURCES, EVERYTHING).snapshot(1);
    let wiki = Destination::Front { app: "wiki".parse().unwrap(), speaks: Speaks::Http };
    let laptop = "laptop".parse().unwrap();
    assert_eq!(admit_front(&snapshot, &laptop, &wiki).unwrap().app().as_str(), "wiki");
    assert!(admit_front(&snapshot, &"stranger".parse().unwrap(), &wiki).is_none());
    for other in [Destination::Dns, Destination::Nothing] {
        assert!(admit_front(&snapshot, &laptop, &other).is_none());
    }
}

const SUBNET: &str = r#"
[[subnet]]
name = "net"
site = "local"
cidr = "10.50.0.0/24"
"#;

/// Alice's open connection to a server, over the broad route.
fn over_the_subnet() -> Question {
    let resource = ResourceId::Subnet("net".parse().unwrap());
    Question { resource, ..connect("desk", "10.50.0.9:5432") }
}

#[test]
fn what_rides_the_subnet_ends_when_its_target_becomes_an_app() {
    let broad = Company::new(SUBNET, EVERYTHING);
    assert!(matches!(check_now(&broad, &over_the_subnet()), Verdict::Allow(_)));
    let app = |more: &str| {
        format!(
            "{SUBNET}[[app]]\nname = \"db\"\nsite = \"local\"\nkind = \"tcp\"\nhosts = [\"db.corp.example\"]\n\
             ports = [5432]\ntarget = \"10.50.0.9\"\n{more}\n"
        )
    };
    let claimed = Company::new(&app(""), EVERYTHING);
    assert_eq!(reasons(check_now(&claimed, &over_the_subnet())), [DenyReason::NoResource]);
    let shared = Company::new(&app("also_by_subnet = true"), EVERYTHING);
    assert!(matches!(check_now(&shared, &over_the_subnet()), Verdict::Allow(_)));
    let moved = Company::new(&SUBNET.replace("10.50.0.0", "10.51.0.0"), EVERYTHING);
    assert_eq!(reasons(check_now(&moved, &over_the_subnet())), [DenyReason::NoResource]);
}

#[test]
fn an_app_that_moves_takes_no_old_connection_along() {
    for (from, to) in [("127.0.0.1\"", "127.0.0.2\""), ("ports = [22]", "ports = [23]")] {
        let moved = Company::new(&RESOURCES.replace(from, to), EVERYTHING);
        assert_eq!(reasons(check_now(&moved, &desk())), [DenyReason::NoResource], "{to}");
    }
    let renamed = Company::new(&RESOURCES.replace("wiki.corp", "pedia.corp"), EVERYTHING);
    assert_eq!(reasons(check_now(&renamed, &wiki())), [DenyReason::NoResource]);
}

/// H8: one lookup after another finds nothing, and each that was needed denies.
#[test]
fn a_lookup_that_finds_nothing_denies() {
    let resources = format!("{RESOURCES}\n[[site]]\nname = \"fra\"\n");
    let dev = r#"@id("dev") permit (principal in Doorward::Group::"corp/dev", action, resource);"#;
    let company = Company::signing_in(&resources, dev);
    let files = company.files();
    let objects: Vec<_> = company.fill(&files.config).ops.into_iter().map(object).collect();
    let asks = |objects: Vec<Object>, lease: Lease, closed: &[&str]| {
        let closed = closed.iter().map(ToString::to_string).collect();
        let meta = Meta { store: "test".into(), epoch: 1, revision: Revision(1), closed };
        let view = View::new(&Loaded { meta, objects }, []);
        let engine = files.policies.engine().clone();
        let snapshot = Snapshot::new(1, files.config.clone(), engine, view.directory().clone(), lease);
        check(&snapshot, &desk(), Timestamp::from_millis(0))
    };
    assert!(matches!(asks(objects.clone(), Lease::alone(), &[]), Verdict::Allow(_)));
    let ended = Lease::shared(std::time::Duration::ZERO, Boot::now());
    assert_eq!(reasons(asks(objects.clone(), ended, &[])), [DenyReason::StoreLost]);
    assert_eq!(reasons(asks(objects.clone(), Lease::alone(), &["restored"])), [DenyReason::StoreClosed]);
    let mut needed = Vec::new();
    for missing in &objects {
        let rest = objects.iter().filter(|object| object.id != missing.id).cloned().collect();
        let garbled = objects.iter().cloned().map(|object| match object.id == missing.id {
            true => Object { body: "{}".into(), ..object },
            false => object,
        });
        let without = matches!(asks(rest, Lease::alone(), &[]), Verdict::Deny(_));
        assert_eq!(matches!(asks(garbled.collect(), Lease::alone(), &[]), Verdict::Deny(_)), without);
        if without {
            needed.push(missing.id.to_string());
        }
    }
    needed.sort();
    assert_eq!(needed, ["device laptop", "group corp/dev", "session s-laptop", "user corp/alice"]);
}

/// What is asked by a store whose session of the laptop is `change`d.
fn with_session(
    company: &Company,
    question: &Question,
    change: impl FnOnce(&mut object::Session),
) -> Verdict {
    let files = company.files();
    let mut session = session("laptop", "corp/alice");
    change(&mut session);
    let others = company.fill(&files.config).ops.into_iter().filter(|op| op.id().kind != Kind::Session);
    let objects = others.chain([session.put()]).map(object).collect();
    let meta = Meta { store: "test".into(), epoch: 1, revision: Revision(1), closed: Vec::new() };
    let view = View::new(&Loaded { meta, objects }, []);
    let (config, engine) = (files.config.clone(), files.policies.engine().clone());
    let snapshot = Snapshot::new(1, config, engine, view.directory().clone(), Lease::alone());
    check(&snapshot, question, Timestamp::from_millis(1000))
}

#[test]
fn only_the_owners_session_of_a_known_provider_lets_in_and_only_while_it_lasts() {
    let company = Company::signing_in(RESOURCES, EVERYTHING);
    let at = Timestamp::from_millis;
    let Verdict::Allow(allowed) = with_session(&company, &desk(), |it| it.expires = at(2000)) else {
        panic!("denied")
    };
    assert_eq!(allowed.until, Some(at(2000)), "it ends with the session");
    let denied = |change: &dyn Fn(&mut object::Session)| match with_session(&company, &desk(), change) {
        Verdict::Allow(allowed) => panic!("allowed: {allowed:?}"),
        Verdict::Deny(denied) => {
            assert_eq!(denied.way_in, Some(WayIn::SignIn), "{denied}");
            assert_eq!(denied.user.as_ref().map(UserId::as_str), Some("corp/alice"));
            denied.reasons
        }
    };
    assert_eq!(denied(&|it| it.expires = at(1000)), [DenyReason::SessionOver]);
    let suspended = object::session::Suspended { at: at(0), why: "two places".to_owned() };
    assert_eq!(denied(&|it| it.suspended = Some(suspended.clone())), [DenyReason::SessionSuspended]);
    let nobodys: [&dyn Fn(&mut object::Session); 3] =
        [&|it| it.user = "corp/bob".parse().unwrap(), &|it| it.provider = "gone".parse().unwrap(), &|it| {
            it.device = "phone".parse().unwrap()
        }];
    for change in nobodys {
        assert_eq!(denied(change), [DenyReason::NotSignedIn]);
    }
}

/// Nothing opens because a session ends, and nobody is told so.
#[test]
fn a_denial_does_not_promise_to_end_with_the_session() {
    let company = Company::signing_in(RESOURCES, "");
    match with_session(&company, &desk(), |it| it.expires = Timestamp::from_millis(2000)) {
        Verdict::Deny(denied) => assert_eq!(denied.until, None, "{denied}"),
        Verdict::Allow(allowed) => panic!("allowed: {allowed:?}"),
    }
}

#[test]
fn without_a_session_a_device_reaches_what_policies_say_only_if_that_is_written_out() {
    let company = Company::new(RESOURCES, EVERYTHING);
    assert!(matches!(check_now(&company, &desk()), Verdict::Allow(_)));
    let guarded = r#"@id("in") forbid (principal, action in Doorward::Action::"access", resource)
unless { context has session };"#;
    let company = Company::new(RESOURCES, &[EVERYTHING, guarded].concat());
    let Verdict::Deny(denied) = check_now(&company, &desk()) else { panic!("allowed") };
    assert_eq!(denied.way_in, Some(WayIn::SignIn), "who signs in gets in");
}

#[test]
fn a_step_up_is_offered_where_it_helps() {
    let fresh = r#"@id("fresh") @step_up("acr=mfa") permit (principal, action, resource)
when { context has session && context.session has acr && context.session.acr == "mfa" };"#;
    let company = Company::signing_in(RESOURCES, fresh);
    let Verdict::Deny(denied) = with_session(&company, &desk(), |_| {}) else { panic!("allowed") };
    let asked = StepUp { max_age: None, acr: Some("mfa".to_owned()) };
    assert_eq!(denied.way_in, Some(WayIn::StepUp(asked)));
    let strong = with_session(&company, &desk(), |it| it.acr = Some("mfa".to_owned()));
    assert!(matches!(strong, Verdict::Allow(_)));
}

fn object(op: Op) -> Object {
    match op {
        Op::Put { id, body, .. } => Object { id, revision: Revision(1), body },
        Op::Delete { .. } => unreachable!("only puts are made"),
    }
}

/// H8: an evaluation that errs denies, of a permit as of a forbid.
#[test]
fn an_evaluation_that_errs_denies() {
    let overflow = "9223372036854775807 + context.port == 0";
    for errs in [
        format!(
            r#"@id("errs") forbid (principal, action == Doorward::Action::"connect", resource) when {{ {overflow} }};"#
        ),
        format!(
            r#"@id("errs") permit (principal, action == Doorward::Action::"connect", resource) when {{ {overflow} }};"#
        ),
    ] {
        let company = Company::new(RESOURCES, &[EVERYTHING, &errs].concat());
        let reasons = reasons(check_now(&company, &desk()));
        assert!(
            matches!(&reasons[..], [DenyReason::Policy(Reason::Error { policy, .. })] if *policy == "errs".into())
        );
    }
}
