//! Who may administer: root by what is built in, others by the company's policies, nobody by accident.

use policy::{
    decision::{Decision, Reason},
    facts::{AdminKind, Administration, Operator, Resource},
};

use crate::facts::{
    HOUR, Held, NOON, app, at, command, conditions, connect, engine, operator, reasons, user,
};

const HELPDESK: &str = r#"
@id("helpdesk-devices")
@title("The helpdesk disables devices of engineering")
permit (principal, action == Doorward::Action::"admin_write", resource == Doorward::Admin::"device")
when {
  principal.groups.contains("helpdesk") && context.verb == "disable" &&
  context has owner && context.owner in Doorward::Group::"corp/engineering"
};
@id("ops-tokens")
permit (principal, action in Doorward::Action::"admin", resource == Doorward::Admin::"token")
when { principal.groups.contains("ops") && context has site && context.site == Doorward::Site::"fra" };
"#;

fn allows(engine: &Held, command: &Administration<'_>) -> bool {
    engine.administer(command, at(NOON)).is_allowed()
}

fn everything(operator: &Operator) -> impl Iterator<Item = Administration<'_>> {
    let both = |on| [false, true].map(|write| Administration { write, ..command(operator, on, "any") });
    AdminKind::ALL.into_iter().flat_map(both)
}

#[test]
fn without_policies_root_administers_and_nobody_else() {
    let (engine, root, mia) =
        (engine(""), operator("root", 0, &[]), operator("mia", 1000, &["root", "wheel"]));
    for command in everything(&root) {
        let decision = engine.administer(&command, at(NOON));
        assert_eq!(decision, Decision::Allow { until: None, policies: vec!["bootstrap".into()] });
    }
    for command in everything(&mia) {
        let decision = engine.administer(&command, at(NOON));
        assert_eq!(conditions(&decision), [("bootstrap", vec!["operator.root is false"])]);
    }
}

/// The gateway's own account is what `root` says, whatever its number; a name proves nothing.
#[test]
fn root_is_what_the_caller_has_proven() {
    let engine = engine("");
    let own = Operator { root: true, ..operator("doorward", 990, &[]) };
    let namesake = operator("root", 1000, &["root"]);
    assert!(allows(&engine, &command(&own, AdminKind::Key, "rotate")));
    assert!(!allows(&engine, &command(&namesake, AdminKind::Key, "rotate")));
}

/// A permit for everything, written before there was administration, administers nothing; a forbid
/// for everything forbids it.
#[test]
fn a_policy_for_access_permits_no_administration() {
    let open = "@id(\"open\") permit (principal, action, resource);";
    let (mia, root) = (operator("mia", 1000, &[]), operator("root", 0, &[]));
    let (alice, wiki) = (user("corp/alice", &[]), app("wiki", &[], 1));
    let access = connect(&alice, None, Resource::App(&wiki), 22);
    for named in ["action", "action in Doorward::Action::\"access\""] {
        let engine = engine(&open.replace("action", named));
        assert!(engine.decide(&access, at(NOON)).is_allowed());
        assert!(everything(&mia).all(|command| !allows(&engine, &command)), "{named}");
    }
    let shut = engine("@id(\"shut\") forbid (principal, action, resource);");
    assert!(everything(&root).all(|command| !allows(&shut, &command)));
}

#[test]
fn a_policy_for_administration_gives_no_access() {
    let engine = engine("@id(\"all\") permit (principal, action in Doorward::Action::\"admin\", resource);");
    let (mia, alice, wiki) = (operator("mia", 1000, &[]), user("corp/alice", &[]), app("wiki", &[], 1));
    assert!(everything(&mia).all(|command| allows(&engine, &command)));
    let decision = engine.decide(&connect(&alice, None, Resource::App(&wiki), 22), at(NOON));
    assert_eq!(reasons(&decision), [Reason::NoPolicy]);
}

#[test]
fn a_forbid_beats_root() {
    let engine = engine(
        "@id(\"no-restore\") @reason(\"Restoring takes two people\")\n\
         forbid (principal, action == Doorward::Action::\"admin_write\", resource == Doorward::Admin::\"backup\")\n\
         when { context.verb == \"restore\" };",
    );
    let root = operator("root", 0, &[]);
    let restore = command(&root, AdminKind::Backup, "restore");
    assert!(matches!(reasons(&engine.administer(&restore, at(NOON))),
        [Reason::Forbidden { policy, reason, .. }] if &**policy == "no-restore" && reason.contains("two people")));
    assert!(allows(&engine, &Administration { verb: "make", ..restore }));
    assert!(allows(&engine, &Administration { write: false, ..restore }));
}

#[test]
fn a_helpdesk_reaches_as_far_as_the_owners_groups() {
    let engine = engine(HELPDESK);
    let (mia, stranger) = (operator("mia", 1000, &["helpdesk"]), operator("eve", 1001, &["staff"]));
    let engineer = user("corp/alice", &["corp/engineering", "corp/staff"]);
    let (boss, device) = (user("corp/boss", &["corp/board"]), AdminKind::Device);
    let disable =
        Administration { owner: Some(&engineer), object: Some("laptop"), ..command(&mia, device, "disable") };
    assert!(allows(&engine, &disable));
    for refused in [
        Administration { owner: Some(&boss), ..disable },
        Administration { owner: None, ..disable },
        Administration { verb: "remove", ..disable },
        Administration { write: false, ..disable },
        Administration { on: AdminKind::User, ..disable },
        Administration { operator: &stranger, ..disable },
    ] {
        assert!(!allows(&engine, &refused), "{refused:?}");
    }
    let decision = engine.administer(&Administration { owner: Some(&boss), ..disable }, at(NOON));
    assert_eq!(
        conditions(&decision),
        [
            ("helpdesk-devices", vec!["owner is not in Group corp/engineering"]),
            ("bootstrap", vec!["operator.root is false"]),
        ]
    );
    let decision = engine.administer(&Administration { operator: &stranger, ..disable }, at(NOON));
    assert_eq!(conditions(&decision)[0].1, ["operator.groups does not contain \"helpdesk\""]);
}

#[test]
fn tokens_are_made_for_the_own_site_only() {
    let engine = engine(HELPDESK);
    let ops = operator("olaf", 1002, &["ops"]);
    let [fra, ams] = ["fra", "ams"].map(|site| site.parse().unwrap());
    let token = command(&ops, AdminKind::Token, "add");
    assert!(allows(&engine, &Administration { site: Some(&fra), ..token }));
    assert!(!allows(&engine, &Administration { site: Some(&ams), ..token }));
    assert!(!allows(&engine, &token));
    assert!(!allows(&engine, &Administration { site: Some(&fra), on: AdminKind::Connector, ..token }));
}

/// Cedar itself skips a policy that errors: neither a guard nor root's permit may pass beside it.
#[test]
fn a_policy_that_errors_denies_and_is_named() {
    let root = operator("root", 0, &[]);
    for effect in ["permit", "forbid"] {
        let engine = engine(&format!(
            "@id(\"broken\") {effect} (principal, action in Doorward::Action::\"admin\", resource)\n\
             when {{ (principal.uid + 1) * 9223372036854775807 * 2 > 1 }};"
        ));
        let decision = engine.administer(&command(&root, AdminKind::Store, "show"), at(NOON));
        assert!(matches!(reasons(&decision), [Reason::Error { policy, .. }] if &**policy == "broken"));
    }
}

#[test]
fn a_right_ends_when_its_time_does() {
    let end = at(NOON + HOUR);
    let engine = engine(&format!(
        "@id(\"night\") permit (principal, action in Doorward::Action::\"admin\", resource)\n\
         when {{ context.now < datetime(\"{end}\") }};"
    ));
    let mia = operator("mia", 1000, &[]);
    let command = command(&mia, AdminKind::User, "list");
    assert_eq!(engine.administer(&command, at(NOON)).until(), Some(end));
    assert!(allows(&engine, &command) && !engine.administer(&command, end).is_allowed());
}
