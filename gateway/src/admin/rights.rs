//! What the policies say of administration, and how a refusal is told.
//! It carries nothing out. Always true: who may not see a thing is not told whether it is there.

use control::admin::{Noun, Scope};
use policy::{
    decision::{Decision, PolicyId, Reason},
    facts::{AdminKind, Administration, Operator},
};

use super::now;
use crate::{access::DenyReason, snapshot::Snapshot};

/// Why an operator may not.
pub(super) struct Denial {
    pub said: String,
    pub policies: Vec<PolicyId>,
}

impl Denial {
    /// The reasons tell whose a thing is: who may not see it is not told them.
    pub fn new(snapshot: &Snapshot, operator: &Operator, scope: &Scope, reasons: Vec<Reason>) -> Self {
        let policies = policies_of(&reasons);
        let Some(object) = &scope.object else {
            let what = format!("{} {}", scope.on, scope.verb);
            return Self { said: Self::said(operator, &what, reasons), policies };
        };
        let what = format!("{} {} {object}", scope.on, scope.verb);
        let said = match decide(snapshot, operator, &scope.shown()) {
            Decision::Allow { .. } => Self::said(operator, &what, reasons),
            Decision::Deny { .. } => {
                format!(
                    "the policies do not let {} do this ({what}), nor see whether it is there",
                    operator.name
                )
            }
        };
        Self { said, policies }
    }

    pub fn said(operator: &Operator, what: &str, reasons: Vec<Reason>) -> String {
        let why: Vec<String> =
            reasons.into_iter().map(|reason| DenyReason::Policy(reason).to_string()).collect();
        format!("the policies do not let {} do this ({what}): {}", operator.name, why.join("; "))
    }
}

pub(super) fn policies_of(reasons: &[Reason]) -> Vec<PolicyId> {
    reasons.iter().filter_map(|reason| DenyReason::Policy(reason.clone()).policy().cloned()).collect()
}

fn kind(noun: Noun) -> AdminKind {
    match noun {
        Noun::User => AdminKind::User,
        Noun::Group => AdminKind::Group,
        Noun::Device => AdminKind::Device,
        Noun::Connector => AdminKind::Connector,
        Noun::Token => AdminKind::Token,
        Noun::Session => AdminKind::Session,
        Noun::Import => AdminKind::Store,
    }
}

pub(super) fn decide(snapshot: &Snapshot, operator: &Operator, scope: &Scope) -> Decision {
    let owner = scope.owner.as_ref().and_then(|owner| snapshot.user(owner));
    let command = Administration {
        operator,
        write: scope.write,
        on: kind(scope.on),
        verb: scope.verb,
        object: scope.object.as_deref(),
        owner: owner.map(|owner| &*owner.facts),
        site: scope.site.as_ref(),
    };
    snapshot.engine().administer(&command, now())
}
