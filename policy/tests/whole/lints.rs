//! Which policies are warned about, and which are not.

use crate::facts::engine;

const ACCESS: &str = "principal, action in Doorward::Action::\"access\", resource";

/// The policies that are warned of, with the words by which the warning is known.
fn linted(text: &str) -> Vec<(String, &'static str)> {
    let kind = |message: &str| match message {
        m if m.contains("without device passes") || m.contains("without session passes") => "absence",
        m if m.contains("no sign-in would ever help") => "step-up",
        m if m.contains("15 seconds") => "time",
        m if m.contains("weaker of two") => "shadow",
        m if m.contains("impossible") => "impossible",
        m if m.contains("root included") => "shut",
        _ => "other",
    };
    let engine = engine(text);
    let name = |lint: &policy::Lint| (lint.policy.as_deref().unwrap_or("").to_owned(), kind(&lint.message));
    engine.lints().iter().map(name).collect()
}

fn one(id: &str, kind: &'static str) -> Vec<(String, &'static str)> {
    vec![(id.to_owned(), kind)]
}

#[test]
fn a_guard_that_absence_passes() {
    let trap = format!(
        "@id(\"x\") forbid ({ACCESS}) when {{ context has device && context.device has firewall && \
         !context.device.firewall.value }};"
    );
    assert_eq!(linted(&trap), one("x", "absence"));
    let covered = format!("{trap} @id(\"y\") forbid ({ACCESS}) unless {{ context has device }};");
    assert_eq!(linted(&covered), []);
    let narrower = format!(
        "{trap} @id(\"y\") forbid (principal, action == Doorward::Action::\"connect\", resource) \
         unless {{ context has device }};"
    );
    assert_eq!(linted(&narrower), one("x", "absence"));
    let good = format!(
        "@id(\"x\") forbid ({ACCESS}) unless {{ context has device && context.device has firewall }};"
    );
    assert_eq!(linted(&good), []);
}

#[test]
fn a_guard_that_a_missing_session_passes() {
    let old = "context has session && context.session has auth_time && \
               context.now.durationSince(context.session.auth_time)";
    let trap = format!("@id(\"x\") forbid ({ACCESS}) when {{ {old} > duration(\"8h\") }};");
    assert_eq!(linted(&trap), one("x", "absence"));
    let covered = format!("{trap} @id(\"y\") forbid ({ACCESS}) unless {{ context has session }};");
    assert_eq!(linted(&covered), []);
    assert_eq!(linted(&format!("@id(\"x\") forbid ({ACCESS}) unless {{ {old} <= duration(\"8h\") }};")), []);
}

#[test]
fn a_step_up_that_helps_nobody() {
    let permit = |body: &str| linted(&format!("@id(\"x\") @step_up(\"acr=mfa\") permit ({ACCESS}) {body};"));
    assert_eq!(permit(""), one("x", "step-up"));
    assert_eq!(permit("when { context has device }"), one("x", "step-up"));
    assert_eq!(permit("when { context has session }"), []);
    assert_eq!(permit("when { context has session.acr && context.session.acr == \"mfa\" }"), []);
    assert_eq!(permit("unless { context has session && context.session.amr.contains(\"pwd\") }"), []);
}

#[test]
fn a_permit_that_makes_another_moot() {
    let strict = "@id(\"strict\") permit (principal in Doorward::Group::\"corp/eng\", action == \
                  Doorward::Action::\"connect\", resource == Doorward::App::\"db\") \
                  when { context has device && context.device has firewall };";
    let open = |scope: &str| format!("{strict} @id(\"open\") permit ({scope});");
    let wide = "principal in Doorward::Group::\"corp/eng\", action, resource == Doorward::App::\"db\"";
    assert_eq!(linted(&open(wide)), one("open", "shadow"));
    assert_eq!(linted(&open("principal, action, resource is Doorward::App")), one("open", "shadow"));
    assert_eq!(linted(&open(&wide.replace("corp/eng", "corp/other"))), []);
    assert_eq!(linted(&open(&wide.replace("\"db\"", "\"wiki\""))), []);
    let other_action = wide.replace("action", "action == Doorward::Action::\"http_read\"");
    assert_eq!(linted(&open(&other_action)), []);
}

#[test]
fn a_forbid_that_shuts_everyone_out() {
    assert_eq!(linted("@id(\"x\") forbid (principal, action, resource);"), one("x", "shut"));
    let scoped =
        |action: &str, rest: &str| linted(&format!("@id(\"x\") forbid (principal, {action}, {rest};"));
    let admin = "action in Doorward::Action::\"admin\"";
    assert_eq!(scoped(admin, "resource is Doorward::Admin)"), one("x", "shut"));
    assert_eq!(scoped(admin, "resource == Doorward::Admin::\"backup\")"), []);
    assert_eq!(scoped(admin, "resource) unless { principal.root }"), []);
    assert_eq!(scoped("action in Doorward::Action::\"access\"", "resource)"), []);
    assert_eq!(scoped("action == Doorward::Action::\"admin_read\"", "resource)"), []);
}

#[test]
fn a_time_that_cannot_be_followed() {
    let text = "@id(\"x\") permit (principal, action == Doorward::Action::\"connect\", resource) \
                when { context.zone.utc.minute < context.zone.berlin.minute };";
    assert_eq!(linted(text), one("x", "time"));
}

#[test]
fn a_policy_that_can_never_match() {
    let text = "@id(\"x\") forbid (principal, action == Doorward::Action::\"connect\", resource) \
                when { resource is Doorward::Tier };";
    assert_eq!(linted(text), one("x", "impossible"));
}
