//! Policies, loaded and ready: the decisions, how long they hold, and the checks the engine keeps on itself.
//! It keeps nothing between two decisions but counters. Always true: a mistake in any file loads
//! nothing; whatever cannot be evaluated is a denial; a decision does not change before its `until`.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cedar_policy::{PolicySet, Schema};
use protocol::time::Timestamp;
use ring::digest::{Context, SHA256};

use crate::{
    answer::Answer,
    cedar::{self, ActionEntities, CedarError, Parts},
    decision::{Decision, PolicyId, Reason},
    error::LoadErrors,
    explain,
    facts::Request,
    hearing::{Court, Hearing},
    index::Index,
    lint::{self, Lint},
    load::{self, Loaded, Parsed, PolicyFile},
    oracle::Oracle,
    probe,
    rule::Rule,
    schema,
    zone::{self, Zone},
};

/// Of so many decisions one is compared with the oracle, beginning with the first.
const SHADOW_EVERY: u64 = 1024;
/// Turns of the clock that change nothing are passed over, this many at most: a working week's worth.
const MAX_TURNS: usize = 8;
/// How long an answer holds whose next change cannot be computed.
const BLIND: Duration = Duration::from_secs(15);
/// Stands in the place of a policy when no single one is at fault; no `@id` is empty.
const NOBODY: &str = "";

/// A set of policies, immutable.
#[derive(Debug)]
pub struct Engine {
    court: Court,
    schema: Schema,
    set: PolicySet,
    fingerprint: String,
    lints: Vec<Lint>,
    shadow: Shadow,
}

/// The comparison with the oracle while running.
#[derive(Debug)]
struct Shadow {
    every: u64,
    decisions: AtomicU64,
    mismatches: AtomicU64,
}

impl Engine {
    /// Loads all of `files` as one unit, or none of them.
    ///
    /// # Errors
    /// Every mistake in every file; or that the guards do not fire, which is a fault of the program.
    pub fn load(files: &[PolicyFile], zones: &[Zone]) -> Result<Self, LoadErrors> {
        let loaded = load::load(files, zones)?;
        let actions = ActionEntities::of(&loaded.schema)
            .map_err(|e| LoadErrors::whole("schema", e.to_string(), None))?;
        probe::guards_fire(zones, &actions)?;
        Self::assemble(loaded, actions)
    }

    /// The schema that policies are validated against, for editors and reviewers. Zones with unusable
    /// names are left out; [`Engine::load`] refuses them.
    pub fn schema_text(zones: &[Zone]) -> String {
        let usable = zone::with_utc(zones).or_else(|_| zone::with_utc(&[]));
        schema::text(&usable.unwrap_or_default())
    }

    pub(crate) fn assemble(loaded: Loaded, actions: ActionEntities) -> Result<Self, LoadErrors> {
        let Loaded { zones, schema, schema_text, policies, warnings } = loaded;
        let set = PolicySet::from_policies(policies.iter().map(|(parsed, _)| parsed.policy.clone()))
            .map_err(|e| LoadErrors::whole("policies", e.to_string(), None))?;
        let fingerprint = fingerprint(&schema_text, &policies);
        let tiers: BTreeSet<String> = policies.iter().flat_map(|(_, parts)| parts.tiers()).collect();
        let rules: Vec<Rule> =
            policies.into_iter().map(|(parsed, parts)| Rule::new(&parsed, parts, &actions, &zones)).collect();
        let mut lints = lint::lints(&rules);
        lints.extend(warnings);
        let index = Index::new(&rules);
        let court = Court { rules, index, actions, zones, tiers: tiers.into_iter().collect() };
        let shadow =
            Shadow { every: SHADOW_EVERY, decisions: AtomicU64::new(0), mismatches: AtomicU64::new(0) };
        Ok(Self { court, schema, set, fingerprint, lints, shadow })
    }

    /// Compares one in `every` decisions with the oracle; 0 compares none.
    #[must_use]
    pub fn with_shadow_every(mut self, every: u64) -> Self {
        self.shadow.every = every;
        self
    }

    /// May this be done, at `now`?
    pub fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        let hearing = match self.court.hear(request, now) {
            Ok(hearing) => hearing,
            Err(error) => return unheard(&error, now),
        };
        if self.shadow_is_due()
            && let Some(denial) = self.contradicted(request, now, &hearing.answer)
        {
            return denial;
        }
        let until = self.until(request, now, &hearing);
        self.conclude(&hearing, until)
    }

    /// The same by Cedar's own authorizer over the whole set: slow, and the measure of `decide`.
    /// A default denial is [`Reason::NoPolicy`]; the answer is good for this instant only.
    pub fn decide_by_oracle(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        let until = Some(now.plus(Duration::from_millis(1)));
        match self.oracle().answer(request, now) {
            Err(error) => unheard(&error, now),
            Ok(answer) if answer.allowed() => allow(&answer, until),
            Ok(answer) => {
                let mut reasons = self.stated(&answer);
                if reasons.is_empty() {
                    reasons.push(Reason::NoPolicy);
                }
                Decision::Deny { until, reasons }
            }
        }
    }

    /// What looks like a mistake but is not one for certain.
    pub fn lints(&self) -> &[Lint] {
        &self.lints
    }

    /// How many policies.
    pub fn len(&self) -> usize {
        self.court.rules.len()
    }

    /// Whether there is no policy at all: everything is denied.
    pub fn is_empty(&self) -> bool {
        self.court.rules.is_empty()
    }

    /// SHA-256 in hexadecimal over the schema and every policy in canonical spelling, by id: equal
    /// for sets that differ only in layout or in how they are spread over files.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// The forbids, by id.
    pub fn forbids(&self) -> impl Iterator<Item = &PolicyId> {
        self.court.rules.iter().filter(|rule| !rule.permit).map(|rule| &rule.id)
    }

    /// The forbids of `old` that are no forbids here, by id.
    pub fn forbids_removed_since(&self, old: &Self) -> Vec<PolicyId> {
        let kept: BTreeSet<&PolicyId> = self.forbids().collect();
        old.forbids().filter(|id| !kept.contains(id)).cloned().collect()
    }

    /// How many decisions contradicted the oracle, and were therefore denied.
    pub fn shadow_mismatches(&self) -> u64 {
        self.shadow.mismatches.load(Ordering::Relaxed)
    }

    fn oracle(&self) -> Oracle<'_> {
        Oracle {
            schema: &self.schema,
            policies: &self.set,
            zones: &self.court.zones,
            tiers: &self.court.tiers,
        }
    }

    fn shadow_is_due(&self) -> bool {
        let count = self.shadow.decisions.fetch_add(1, Ordering::Relaxed);
        self.shadow.every != 0 && count.is_multiple_of(self.shadow.every)
    }

    /// A denial, if the oracle says otherwise.
    fn contradicted(&self, request: &Request<'_>, now: Timestamp, answer: &Answer) -> Option<Decision> {
        let (policy, error) = match self.oracle().answer(request, now) {
            Ok(truth) if truth.agrees(answer) => return None,
            Ok(truth) => {
                (truth.difference(answer), "the index and Cedar's authorizer disagree on it".to_owned())
            }
            Err(error) => (None, format!("Cedar's authorizer refuses the question: {error}")),
        };
        self.shadow.mismatches.fetch_add(1, Ordering::Relaxed);
        let policy = policy.unwrap_or_else(|| NOBODY.into());
        Some(Decision::Deny { until: Some(now.plus(BLIND)), reasons: vec![Reason::Error { policy, error }] })
    }

    /// The first instant at which the answer, or what determines it, may differ.
    fn until(&self, request: &Request<'_>, now: Timestamp, hearing: &Hearing) -> Option<Timestamp> {
        let exact = self.next_change(request, now, hearing);
        if self.court.is_blind(hearing) {
            let soon = now.plus(BLIND);
            return Some(exact.map_or(soon, |exact| exact.min(soon)));
        }
        exact
    }

    fn next_change(&self, request: &Request<'_>, now: Timestamp, hearing: &Hearing) -> Option<Timestamp> {
        let mut turn = self.court.next_turn(hearing, now)?;
        for _ in 0..MAX_TURNS {
            let Ok(then) = self.court.hear(request, turn) else { return Some(turn) };
            if !then.answer.agrees(&hearing.answer) {
                return Some(turn);
            }
            turn = self.court.next_turn(&then, turn)?;
        }
        Some(turn)
    }

    fn conclude(&self, hearing: &Hearing, until: Option<Timestamp>) -> Decision {
        if hearing.answer.allowed() {
            return allow(&hearing.answer, until);
        }
        let mut reasons = self.stated(&hearing.answer);
        if reasons.is_empty()
            && let Some(case) = hearing.denied()
        {
            reasons = explain::not_met(self.court.candidates(case), &case.env);
        }
        if reasons.is_empty() {
            reasons.push(Reason::NoPolicy);
        }
        Decision::Deny { until, reasons }
    }

    /// The forbids that matched, then the errors.
    fn stated(&self, answer: &Answer) -> Vec<Reason> {
        let rule = |id: &PolicyId| {
            let place = self.court.rules.binary_search_by(|rule| rule.id.cmp(id)).ok()?;
            self.court.rules.get(place)
        };
        let forbidden = answer.forbids.iter().map(|id| {
            let words = rule(id).map(|rule| &rule.words);
            let said = words.and_then(|words| words.reason.clone().or_else(|| words.title.clone()));
            Reason::Forbidden {
                policy: id.clone(),
                reason: said.unwrap_or_else(|| id.to_string()),
                advice: words.and_then(|words| words.advice.clone()),
            }
        });
        let errors = answer
            .errors
            .iter()
            .map(|(policy, error)| Reason::Error { policy: policy.clone(), error: error.clone() });
        forbidden.chain(errors).collect()
    }
}

fn fingerprint(schema: &str, policies: &[(Parsed, Parts)]) -> String {
    let mut context = Context::new(&SHA256);
    // The length first, so that no two lists of parts make one text.
    let mut add = |part: &str| {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    };
    add(schema);
    for (parsed, _) in policies {
        add(&parsed.id);
        add(&cedar::canonical(&parsed.policy));
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn allow(answer: &Answer, until: Option<Timestamp>) -> Decision {
    Decision::Allow { until, policies: answer.permits.iter().cloned().collect() }
}

/// The question could not even be put.
fn unheard(error: &CedarError, now: Timestamp) -> Decision {
    let reasons = vec![Reason::Error { policy: NOBODY.into(), error: error.to_string() }];
    Decision::Deny { until: Some(now.plus(BLIND)), reasons }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::facts::{Action, App, Proto, Resource, User};

    const POLICIES: &str = r#"
        @id("open") permit (principal, action, resource);
        @id("shut") forbid (principal, action, resource) unless { resource.sensitivity < 3 };
    "#;

    /// Decides one connection to an app of this sensitivity.
    fn decide(engine: &Engine, sensitivity: u8) -> Decision {
        let user = User {
            id: "corp/alice".parse().unwrap(),
            groups: Default::default(),
            email: None,
            contract_end: None,
        };
        let app = App {
            id: "wiki".parse().unwrap(),
            site: "fra".parse().unwrap(),
            groups: Default::default(),
            sensitivity,
            owners: None,
            tags: Default::default(),
        };
        let request = Request {
            user: &user,
            device: None,
            resource: Resource::App(&app),
            action: Action::Connect { port: 1, proto: Proto::Tcp },
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        engine.decide(&request, Timestamp::MIN)
    }

    fn engine() -> Engine {
        let text = POLICIES.replace(
            "(principal, action, resource)",
            "(principal, action == Doorward::Action::\"connect\", resource)",
        );
        Engine::load(&[PolicyFile { name: "a".into(), text }], &[]).unwrap()
    }

    fn contradicted(decision: &Decision, by: &str) -> bool {
        matches!(decision, Decision::Deny { reasons, .. }
            if matches!(reasons.as_slice(), [Reason::Error { policy, .. }] if &**policy == by))
    }

    #[test]
    fn a_sound_index_is_never_contradicted() {
        let engine = engine().with_shadow_every(1);
        assert!(decide(&engine, 1).is_allowed());
        assert!(!decide(&engine, 3).is_allowed());
        assert_eq!(engine.shadow_mismatches(), 0);
    }

    #[test]
    fn a_lost_forbid_is_noticed_and_denied() {
        let mut engine = engine().with_shadow_every(1);
        engine.court.rules[1].acts = 0;
        assert!(contradicted(&decide(&engine, 3), "shut"));
        assert_eq!(engine.shadow_mismatches(), 1);
    }

    #[test]
    fn a_lost_permit_is_noticed_and_stays_denied() {
        let mut engine = engine().with_shadow_every(1);
        engine.court.index = Index::default();
        assert!(contradicted(&decide(&engine, 1), "open"));
        assert_eq!(engine.shadow_mismatches(), 1);
    }

    #[test]
    fn one_in_so_many_is_compared() {
        let mut engine = engine().with_shadow_every(3);
        engine.court.index = Index::default();
        for _ in 0..7 {
            assert!(!decide(&engine, 1).is_allowed());
        }
        assert_eq!(engine.shadow_mismatches(), 3);
        let engine = engine.with_shadow_every(0);
        decide(&engine, 1);
        assert_eq!(engine.shadow_mismatches(), 3);
    }
}
