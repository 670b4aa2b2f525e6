//! The self-test at load: a guard written on `action in Action::"access"`, or `"admin"`, must fire.
//! It tests the program, not the operator's policies. Always true: nothing loads if it fails, because
//! without the schema's action entities every such guard would be silently off.

use std::net::{IpAddr, Ipv4Addr};

use protocol::{id::UserId, time::Timestamp};

use crate::{
    cedar::ActionEntities,
    decision::{Decision, Reason},
    engine::Engine,
    error::LoadErrors,
    facts::{Action, AdminKind, Administration, App, HttpFacts, Operator, Proto, Request, Resource, User},
    load::{self, PolicyFile},
    zone::Zone,
};

/// The guard is tested in the scope and, for the evaluator's own entities, in the condition.
const POLICIES: &str = r#"
@id("everything") permit (principal, action, resource);
@id("by-scope") forbid (principal, action in Doorward::Action::"access", resource);
@id("by-condition") forbid (principal, action, resource) when { action in Doorward::Action::"access" };
@id("admin-by-scope") forbid (principal, action in Doorward::Action::"admin", resource);
@id("admin-by-condition") forbid (principal, action, resource) when { action in Doorward::Action::"admin" };
"#;

/// Asks the probe everything a request can ask, of the engine and of the oracle.
pub(crate) fn guards_fire(zones: &[Zone], actions: &ActionEntities) -> Result<(), LoadErrors> {
    let file = PolicyFile { name: "self-test".into(), text: POLICIES.into() };
    let engine = Engine::assemble(load::load(&[file], zones)?, actions.clone())?;
    let facts = facts().ok_or_else(|| failed("its own facts are unusable"))?;
    let paths = ["/".to_owned()];
    let http = HttpFacts { method: "GET", host: "probe", paths: &paths };
    let asked =
        [Action::Connect { port: 1, proto: Proto::Tcp }, Action::HttpRead(http), Action::HttpWrite(http)];
    for action in asked {
        let request = Request {
            user: &facts.0,
            device: None,
            session: None,
            resource: Resource::App(&facts.1),
            action,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        for decision in
            [engine.decide(&request, Timestamp::MIN), engine.decide_by_oracle(&request, Timestamp::MIN)]
        {
            both_fired(&format!("{action:?}"), &decision, ["by-condition", "by-scope"])?;
        }
    }
    administrative_guards_fire(&engine)
}

/// Asks for root, who may do everything if no guard fires.
fn administrative_guards_fire(engine: &Engine) -> Result<(), LoadErrors> {
    let root = Operator { name: "root".into(), uid: 0, groups: Default::default(), root: true };
    for write in [false, true] {
        let command = Administration {
            operator: &root,
            write,
            on: AdminKind::Store,
            verb: "probe",
            object: None,
            owner: None,
            site: None,
        };
        for decision in [
            engine.administer(&command, Timestamp::MIN),
            engine.administer_by_oracle(&command, Timestamp::MIN),
        ] {
            both_fired(&format!("{command:?}"), &decision, ["admin-by-condition", "admin-by-scope"])?;
        }
    }
    Ok(())
}

fn both_fired(asked: &str, decision: &Decision, guards: [&str; 2]) -> Result<(), LoadErrors> {
    if let Decision::Deny { reasons, .. } = decision
        && let [Reason::Forbidden { policy: one, .. }, Reason::Forbidden { policy: other, .. }] = &reasons[..]
        && [&**one, &**other] == guards
    {
        return Ok(());
    }
    Err(failed(&format!("asked {asked}, the answer was {decision:?}")))
}

fn facts() -> Option<(User, App)> {
    let user: UserId = "self/probe".parse().ok()?;
    let app = App {
        id: "probe".parse().ok()?,
        site: "probe".parse().ok()?,
        groups: Default::default(),
        sensitivity: 1,
        owners: None,
        tags: Default::default(),
    };
    Some((User { id: user, groups: Default::default(), email: None, contract_end: None }, app))
}

fn failed(how: &str) -> LoadErrors {
    let help = "this is a fault of the program itself: guards would not protect anything";
    LoadErrors::whole("self-test", format!("a guard did not fire: {how}"), Some(help))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Schema;

    use super::*;

    #[test]
    fn passes_with_the_schemas_actions() {
        let (schema, _) = Schema::from_cedarschema_str(&Engine::schema_text(&[])).unwrap();
        assert_eq!(guards_fire(&[], &ActionEntities::of(&schema).unwrap()), Ok(()));
    }

    #[test]
    fn refuses_entities_without_actions() {
        let errors = guards_fire(&[], &ActionEntities::none()).unwrap_err();
        assert!(errors.to_string().contains("a guard did not fire"), "{errors}");
    }
}
