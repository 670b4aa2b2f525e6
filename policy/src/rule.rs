//! One loaded policy, with all that decisions, horizons and explanations need worked out once.
//! It decides nothing. Always true: `actions`, `principal` and `resource` mean what Cedar's scope means.

use std::sync::Arc;

use crate::{
    cedar::{self, ActionEntities, Expr, Parts, Scope, View},
    clock::{self, Atom},
    decision::PolicyId,
    formula::Formula,
    load::{BUILT_IN_FILE, Parsed},
    question::{Act, Question},
    step_up::StepUp,
    zone::Zone,
};

/// A policy, ready to be asked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: PolicyId,
    pub(crate) permit: bool,
    pub(crate) principal: Scope,
    /// Bits of [`Act`].
    pub(crate) acts: u8,
    pub(crate) resource: Scope,
    pub(crate) body: Option<Formula>,
    pub(crate) reads: Reads,
    /// Its comparisons with the clock.
    pub(crate) atoms: Vec<Atom>,
    pub(crate) words: Words,
    pub(crate) place: Place,
}

/// What a body looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) path: bool,
    pub(crate) device: bool,
    pub(crate) session: bool,
    /// The clock, in a form whose next change cannot be computed.
    pub(crate) blind: bool,
}

/// What its author wrote for people.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    pub(crate) title: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) advice: Option<String>,
    /// What a person can be asked for who is denied.
    pub(crate) step_up: Option<StepUp>,
}

/// Where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
}

impl Rule {
    pub(crate) fn new(parsed: &Parsed, parts: Parts, actions: &ActionEntities, zones: &[Zone]) -> Self {
        let (atoms, blind) =
            parts.body.as_ref().map_or((Vec::new(), false), |body| clock::atoms(body, zones));
        let reads = |attr: &str| {
            parts.body.as_ref().is_some_and(|body| {
                cedar::any(body, &|view| view.is_context_attr(attr)) || reads_whole_context(body)
            })
        };
        let asks = |body| cedar::any(body, &|view| view.has_context_attr("session"));
        let session = reads("session") || parts.body.as_ref().is_some_and(asks);
        let words =
            |key: &str| parsed.policy.annotation(key).filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            id: parsed.id.clone(),
            permit: parts.permit,
            acts: parts.acts(actions),
            reads: Reads { path: reads("path"), device: reads("device"), session, blind },
            principal: parts.principal,
            resource: parts.resource,
            body: parts.body.map(|body| Formula::condition(body, actions)),
            atoms,
            words: Words {
                title: words("title"),
                reason: words("reason"),
                advice: words("advice"),
                step_up: parsed.step_up.clone(),
            },
            place: Place { file: Arc::clone(&parsed.file), line: parsed.line },
        }
    }

    /// Whether the question is within its scope.
    pub(crate) fn concerns(&self, question: &Question<'_>) -> bool {
        self.is_about(question.act)
            && self.principal.matches(&question.principal)
            && self.resource.matches(&question.resource)
    }

    /// Whether the gateway brings it along.
    pub(crate) fn is_built_in(&self) -> bool {
        *self.place.file == *BUILT_IN_FILE
    }

    pub(crate) fn is_about(&self, act: Act) -> bool {
        self.acts & act.bit() != 0
    }
}

/// Whether the context is used other than to read or test one attribute.
pub(crate) fn reads_whole_context(expr: &Expr) -> bool {
    match View::of(expr) {
        View::Context => true,
        View::Attr(base, _) | View::Has(base, _) if matches!(View::of(base), View::Context) => false,
        _ => cedar::children(expr).into_iter().any(reads_whole_context),
    }
}

/// The conjuncts of a condition, in order.
pub(crate) fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match View::of(expr) {
        View::And(left, right) => conjuncts(left).into_iter().chain(conjuncts(right)).collect(),
        _ => vec![expr],
    }
}
