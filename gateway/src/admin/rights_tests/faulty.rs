//! H8: every call to the store fails once, before it was done or after, while people are taken away and
//! given back. Always true: the calls are counted in a run without faults, so that none is left out.

use control::{
    directory::View,
    object::{Device, User},
};

use super::*;
use crate::{
    access::{self, Question, Verdict},
    testing::{
        connect,
        faulty::{Faulty, When},
    },
};

const NEVER: usize = usize::MAX;

/// What is done in turn, and what the store says of it once it was.
type Step = (Value, fn(&View) -> bool);

fn script() -> Vec<Step> {
    vec![
        (json!({ "device": { "disable": { "device": "laptop", "why": null } } }), |view| !is_open(view)),
        (json!({ "device": { "enable": { "device": "laptop" } } }), is_open),
        (json!({ "device": { "disable": { "device": "laptop", "why": null } } }), |view| !is_open(view)),
        (json!({ "device": { "enable": { "device": "laptop" } } }), is_open),
        (json!({ "group": { "remove-member": { "group": "corp/dev", "user": "corp/alice" } } }), |view| {
            !is_dev(view)
        }),
        (json!({ "group": { "add-member": { "group": "corp/dev", "user": "corp/alice" } } }), is_dev),
        (json!({ "device": { "remove": { "device": "laptop" } } }), |view| {
            view.objects().get::<Device>("laptop").is_none()
        }),
    ]
}

fn is_open(view: &View) -> bool {
    view.objects().get::<Device>("laptop").is_some_and(|laptop| laptop.disabled.is_none())
}

fn is_dev(view: &View) -> bool {
    let dev = "corp/dev".parse().expect("a name");
    view.objects().get::<User>("corp/alice").is_some_and(|alice| alice.groups.contains(&dev))
}

fn asked() -> Question {
    connect("desk", "127.0.0.1:9")
}

/// Who is let in after each step of a run in which call `fails` fails; and how many calls there were.
async fn run(fails: usize, when: When) -> (Vec<bool>, usize) {
    let mut faulty = None;
    let world = World::over(|engine| {
        let wrapped = Faulty::over(engine, when);
        faulty = Some(wrapped.clone());
        wrapped
    })
    .await;
    let faulty = faulty.expect("wrapped");
    faulty.fail(fails..fails.saturating_add(1));
    let mut allowed = Vec::new();
    for (request, done) in script() {
        let request: Request = serde_json::from_value(request).expect("a request");
        let root = Operator { name: "root".to_owned(), uid: 0, groups: Default::default(), root: true };
        let said = world.admin.serve(root, AdminRequest::Control(request.clone())).await;
        let kept = View::new(&faulty.engine.load().await.expect("the file is well"), []);
        assert!(
            said.is_err() || done(&kept),
            "call {fails} {when:?}: {request:?} was acknowledged and is lost"
        );
        let verdict = access::check(&world.admin.0.live.snapshot(), &asked(), now());
        allowed.push(matches!(verdict, Verdict::Allow(_)));
    }
    (allowed, faulty.calls())
}

#[tokio::test]
async fn a_call_to_the_store_that_fails_lets_nobody_in() {
    let (reference, calls) = run(NEVER, When::Before).await;
    assert_eq!(reference, [false, true, false, true, false, true, false]);
    assert!(calls >= script().len() * 3, "{calls} calls");
    for call in 0..calls {
        for when in [When::Before, When::After] {
            let (allowed, _) = run(call, when).await;
            let worse = allowed.iter().zip(&reference).any(|(allowed, reference)| *allowed && !reference);
            assert!(!worse, "call {call} fails {when:?}: {allowed:?} where {reference:?} is right");
        }
    }
}
