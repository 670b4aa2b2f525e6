//! Warnings about policies that load but probably do not mean what they say.
//! A lint never stops a load. Always true: each names the policy, where it stands, and what to write instead.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use crate::{
    cedar::{Expr, Scope, View, any},
    decision::PolicyId,
    question::{Act, Kind, Named},
    rule::{Rule, conjuncts},
};

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Which policy; none if it is about all of them.
    pub policy: Option<PolicyId>,
    /// The file, empty if it is about all of them.
    pub file: Arc<str>,
    /// From 1; 0 if it is about all of them.
    pub line: usize,
    /// What is odd, and what to write instead.
    pub message: String,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => {
                write!(f, "warning: {}:{}: policy {policy:?}: {}", self.file, self.line, self.message)
            }
            None => write!(f, "warning: {}", self.message),
        }
    }
}

/// All warnings about `rules`, which are by id.
pub(crate) fn lints(rules: &[Rule]) -> Vec<Lint> {
    if rules.iter().all(Rule::is_built_in) {
        let message =
            "there are no policies: everything is denied, except that root may administer".to_owned();
        return vec![Lint { policy: None, file: "".into(), line: 0, message }];
    }
    let mut lints: Vec<Lint> = rules.iter().filter_map(blind).collect();
    lints.extend(rules.iter().filter_map(|rule| absence_passes(rule, rules)));
    lints.extend(rules.iter().filter_map(steps_nowhere));
    lints.extend(rules.iter().filter_map(nobody_administers));
    lints.extend(shadowed(rules));
    lints
}

fn about(rule: &Rule, message: String) -> Lint {
    Lint { policy: Some(rule.id.clone()), file: Arc::clone(&rule.place.file), line: rule.place.line, message }
}

fn blind(rule: &Rule) -> Option<Lint> {
    let message = "compares the time in a way whose next change cannot be computed, so that it is decided \
                   again every 15 seconds; compare `context.now`, `durationSince` or `context.zone.<name>` \
                   with something that does not move";
    rule.reads.blind.then(|| about(rule, message.into()))
}

/// The optional attributes of the context.
const OPTIONAL: [&str; 2] = ["device", "session"];

/// A forbid `when { context has device && <bad> }`: whoever shows no device passes.
fn absence_passes(rule: &Rule, rules: &[Rule]) -> Option<Lint> {
    let conditions = conjuncts(rule.body.as_ref()?.expr());
    let attr = OPTIONAL.into_iter().find(|attr| !rule.permit && is_trap(&conditions, attr))?;
    if rules.iter().any(|other| covers_absence(other, rule, &conditions, attr)) {
        return None;
    }
    let message = format!(
        "forbids only when `context has {attr}`, so that a request without {attr} passes; write \
         `forbid (…) unless {{ context has {attr} && <everything good> }}`"
    );
    Some(about(rule, message))
}

/// Whether `context has attr` is there only so that another condition may read it. A condition with
/// its own guard shows that the author thought of absence.
fn is_trap(conditions: &[&Expr], attr: &str) -> bool {
    conditions.iter().any(|condition| has(condition, attr))
        && conditions.iter().any(|condition| {
            !has(condition, attr)
                && any(condition, &|view| view.is_context_attr(attr))
                && !any(condition, &|view| view.has_context_attr(attr))
        })
}

/// Whether `other` forbids at least where `rule` does, when `attr` is absent.
fn covers_absence(other: &Rule, rule: &Rule, conditions: &[&Expr], attr: &str) -> bool {
    let wider =
        !other.permit && other.id != rule.id && other.acts & rule.acts == rule.acts && covers(other, rule);
    let Some(body) = &other.body else { return wider };
    let (absent, rest): (Vec<_>, Vec<_>) =
        conjuncts(body.expr()).into_iter().partition(|condition| holds_in_absence(condition, attr));
    wider && !absent.is_empty() && rest.iter().all(|condition| conditions.contains(condition))
}

/// `!(context has attr && …)`: certainly true if the attribute is absent.
fn holds_in_absence(condition: &Expr, attr: &str) -> bool {
    match View::of(condition) {
        View::Not(inner) => conjuncts(inner).first().is_some_and(|first| has(first, attr)),
        _ => false,
    }
}

fn has(condition: &Expr, attr: &str) -> bool {
    View::of(condition).has_context_attr(attr)
}

/// A `@step_up` that changes nothing.
fn steps_nowhere(rule: &Rule) -> Option<Lint> {
    let message = "has a @step_up but does not look at `context.session`, so that no sign-in would ever help; \
                   remove the annotation, or ask for the sign-in, as in `context has session && \
                   context.now.durationSince(context.session.at) < duration(\"8h\")`";
    (rule.words.step_up.is_some() && !rule.reads.session).then(|| about(rule, message.into()))
}

/// A forbid without a condition on every operator and every change.
fn nobody_administers(rule: &Rule) -> Option<Lint> {
    let everyone = matches!(rule.principal, Scope::Any | Scope::Is(Kind::Operator));
    let everything = matches!(rule.resource, Scope::Any | Scope::Is(Kind::Admin));
    let message = "forbids everyone to administer the gateway, root included; write \
                   `action in Doorward::Action::\"access\"` if only access is meant";
    let shut =
        !rule.permit && rule.is_about(Act::AdminWrite) && everyone && everything && rule.body.is_none();
    shut.then(|| about(rule, message.into()))
}

/// Permits that ask nothing of the device, where another asks something for no more than the same.
fn shadowed(rules: &[Rule]) -> Vec<Lint> {
    let permits = || rules.iter().filter(|rule| rule.permit && rule.acts & Act::ACCESS != 0);
    // By the entities they name, because only those that name none or the same can cover another.
    let mut open: HashMap<(Option<&Named>, Option<&Named>), Vec<&Rule>> = HashMap::new();
    for rule in permits().filter(|rule| !rule.reads.device) {
        open.entry((rule.principal.entity(), rule.resource.entity())).or_default().push(rule);
    }
    let mut found: BTreeMap<&PolicyId, (&Rule, Vec<&PolicyId>)> = BTreeMap::new();
    for strict in permits().filter(|rule| rule.reads.device) {
        let wider = coverers(strict).into_iter().filter_map(|key| open.get(&key)).flatten();
        for rule in wider.filter(|rule| rule.acts & strict.acts & Act::ACCESS != 0 && covers(rule, strict)) {
            found.entry(&rule.id).or_insert((rule, Vec::new())).1.push(&strict.id);
        }
    }
    found.into_values().filter_map(|(rule, strict)| weaker(rule, &strict)).collect()
}

fn covers(wide: &Rule, narrow: &Rule) -> bool {
    wide.principal.covers(&narrow.principal) && wide.resource.covers(&narrow.resource)
}

/// The entities that a rule which covers `rule` may name, as principal and as resource.
fn coverers(rule: &Rule) -> BTreeSet<(Option<&Named>, Option<&Named>)> {
    let (principal, resource) = (rule.principal.entity(), rule.resource.entity());
    [(None, None), (None, resource), (principal, None), (principal, resource)].into()
}

fn weaker(open: &Rule, strict: &[&PolicyId]) -> Option<Lint> {
    let (first, more) = strict.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
    let message = format!(
        "asks nothing of the device, for the same people and resources of which {first:?}{more} does: \
         the weaker of two permits wins; put the device's condition into a forbid"
    );
    Some(about(open, message))
}
