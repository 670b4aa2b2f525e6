//! What loads, what does not, and how it is said.

use policy::{Engine, PolicyFile, facts::Resource};

use crate::facts::{EXAMPLES, NOON, app, at, conditions, connect, engine, file, user, zones};

/// Of the examples.
const GUARDS: [&str; 4] = ["guard-disk", "guard-owner", "guard-secret", "guard-session"];

fn refused(files: &[PolicyFile]) -> String {
    Engine::load(files, &zones()).unwrap_err().to_string()
}

#[test]
fn the_examples_load_without_a_warning() {
    let engine = engine(EXAMPLES);
    assert_eq!(engine.len(), 11);
    assert_eq!(engine.lints(), &[]);
    assert_eq!(engine.forbids().map(|id| &**id).collect::<Vec<_>>(), GUARDS);
}

#[test]
fn no_policies_deny_and_say_so() {
    let engine = Engine::load(&[], &zones()).unwrap();
    assert!(engine.is_empty());
    assert_eq!(engine.lints().len(), 1);
    assert!(engine.lints()[0].to_string().contains("everything is denied"));
    assert_eq!((engine.len(), engine.forbids().count()), (0, 0), "what is built in is nobody's policy");
}

#[test]
fn what_is_built_in_cannot_be_replaced() {
    for effect in ["permit", "forbid"] {
        let text = refused(&[file(&format!("@id(\"bootstrap\") {effect} (principal, action, resource);"))]);
        assert!(
            text.contains("the @id \"bootstrap\" is already used by a policy that is built in"),
            "{text}"
        );
        assert!(text.contains("--> a.cedar:1:1"), "{text}");
    }
}

#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let files = [
        PolicyFile {
            name: "a.cedar".into(),
            text: "@id(\"one\")\npermit (principal, action == Doorward::Action::\"conect\", resource);\n\n\
                   permit (principal, action, resource);\n"
                .into(),
        },
        PolicyFile {
            name: "b.cedar".into(),
            text: "permit (principal, action, resource) when { 1 = 2 };".into(),
        },
        PolicyFile {
            name: "c.cedar".into(),
            text: "@id(\"two\")\npermit (principal, action, resource is Doorward::App)\n\
                   when { resource.owner == principal };"
                .into(),
        },
    ];
    let text = refused(&files);
    for part in [
        "--> a.cedar:2:",
        "(policy \"one\")",
        "--> a.cedar:4:1",
        "the policy has no @id",
        "--> b.cedar:1:",
        "--> c.cedar:3:8",
        "(policy \"two\")",
        "= help:",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn an_id_is_used_once_and_both_places_are_named() {
    let one = "@id(\"x\")\npermit (principal, action, resource);";
    let files = [file(one), PolicyFile { name: "b.cedar".into(), text: format!("// above\n{one}") }];
    let text = refused(&files);
    assert!(text.contains("the @id \"x\" is already used at a.cedar:1:1"), "{text}");
    assert!(text.contains("--> b.cedar:2:1"), "{text}");
}

#[test]
fn an_id_has_to_say_something() {
    for bad in ["@id(\"\")", "@id(\"  \")", "@id(\"a\\nb\")", ""] {
        let text = refused(&[file(&format!("{bad} permit (principal, action, resource);"))]);
        assert!(text.contains("id"), "{text}");
    }
}

#[test]
fn a_step_up_says_what_is_asked_for() {
    let permit = |annotation: &str| {
        let text = format!(
            "// above\n@id(\"x\") {annotation}\npermit (principal, action == Doorward::Action::\"connect\", resource)\n\
             when {{ context has session }};"
        );
        Engine::load(&[file(&text)], &zones())
    };
    for good in ["max_age=15m", "acr=mfa", "max_age=8h acr=mfa", "acr=mfa max_age=1h30m"] {
        assert!(
            permit(&format!("@step_up({good:?})")).is_ok_and(|engine| engine.lints().is_empty()),
            "{good}"
        );
    }
    for bad in ["@step_up", "@step_up(\"\")", "@step_up(\"max_age=soon\")", "@step_up(\"15m\")"] {
        let text = permit(bad).unwrap_err().to_string();
        assert!(text.contains("the policy's @step_up cannot be read: "), "{text}");
        assert!(text.contains("--> a.cedar:2:1 (policy \"x\")"), "{text}");
        assert!(
            text.contains(
                "= help: write @step_up(\"max_age=15m\"), @step_up(\"acr=mfa\") or @step_up(\"max_age=15m acr=mfa\")"
            ),
            "{text}"
        );
    }
}

#[test]
fn templates_are_refused_at_their_place() {
    let text = refused(&[file("@id(\"t\")\npermit (principal == ?principal, action, resource);")]);
    assert!(text.contains("not supported yet") && text.contains("a.cedar:1:1"), "{text}");
}

#[test]
fn a_second_level_of_entities_is_refused() {
    let text = refused(&[file(
        "@id(\"deep\") permit (principal, action in Doorward::Action::\"access\", resource)\n\
         when { context has device && context.device.owner has email };",
    )]);
    assert!(text.contains("a.cedar:2:") && text.contains("level"), "{text}");
}

#[test]
fn an_unguarded_optional_fact_is_refused_with_help() {
    let text = refused(&[file(
        "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource)\n\
         when { context.device.disk_encrypted.value };",
    )]);
    assert!(text.contains("= help:") && text.contains("has"), "{text}");
}

#[test]
fn endless_nesting_is_refused() {
    let many = vec!["context.port == 1"; 1000].join(" || ");
    let text = refused(&[file(&format!(
        "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource) when {{ {many} }};"
    ))]);
    assert!(text.contains("nests deeper"), "{text}");
}

/// What is not too deep to load is not too deep to be asked either. An unoptimised Cedar takes some
/// 50 KB of stack for each level, far more than an optimised one: hence the large stack.
#[test]
fn many_alternatives_are_decided() {
    let test = || {
        let many: Vec<String> = (1..=60).map(|port| format!("context.port == {port}")).collect();
        let engine = engine(&format!(
            "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource) when {{ {} }};",
            many.join(" || ")
        ));
        let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
        let ask = |port| engine.decide(&connect(&alice, None, Resource::App(&wiki), port), at(NOON));
        assert!(ask(1).is_allowed() && ask(60).is_allowed());
        assert_eq!(conditions(&ask(61)).len(), 1);
    };
    std::thread::Builder::new().stack_size(32 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn zones_need_usable_names() {
    let mut zones = zones();
    zones[0].name = "Berlin; }".into();
    let text = Engine::load(&[], &zones).unwrap_err().to_string();
    assert!(text.contains("a zone's name is"), "{text}");
}

#[test]
fn the_fingerprint_is_of_the_meaning() {
    let one =
        "@id(\"a\") permit (principal, action, resource); @id(\"b\") forbid (principal, action, resource);";
    let spread = [
        file("@id(\"b\")\nforbid ( principal, action,\n resource ); // a remark"),
        PolicyFile { name: "z".into(), text: "@id(\"a\") permit(principal,action,resource);".into() },
    ];
    let print = |files: &[PolicyFile]| Engine::load(files, &zones()).unwrap().fingerprint();
    assert_eq!(print(&[file(one)]), print(&spread));
    assert_eq!(print(&spread).len(), 64);
    assert_ne!(print(&spread), print(&spread[..1]));
    let title = one.replace("@id(\"a\")", "@id(\"a\") @title(\"x\")");
    assert_ne!(print(&[file(one)]), print(&[file(&title)]));
}

#[test]
fn a_lost_forbid_is_named() {
    let old = engine(EXAMPLES);
    let new = engine(&EXAMPLES.replace("@id(\"guard-disk\")", "@id(\"guard-disks\")"));
    assert_eq!(new.forbids_removed_since(&old), ["guard-disk".into()]);
    let turned = engine("@id(\"guard-owner\") permit (principal, action, resource);");
    assert_eq!(turned.forbids_removed_since(&old), GUARDS.map(Into::into));
    assert_eq!(old.forbids_removed_since(&old), []);
}

#[test]
fn the_schema_is_shown_with_its_zones() {
    let text = Engine::schema_text(&zones());
    assert!(text.contains("{ utc: LocalTime, berlin: LocalTime, new_york: LocalTime }"), "{text}");
}
