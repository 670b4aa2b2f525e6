//! Policies, loaded and ready: the decisions, how long they hold, and the checks the engine keeps on itself.
//! It keeps nothing between two decisions. Always true: a mistake in any file loads
//! nothing; whatever cannot be evaluated is a denial; a decision does not change before its `until`.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use cedar_policy::PolicySet;
use protocol::time::Timestamp;
use ring::digest::{Context, SHA256};

use crate::{
    answer::Answer,
    appeal::Appeal,
    cedar::{self, ActionEntities, CedarError, Parts},
    decision::{Decision, PolicyId, Reason},
    error::LoadErrors,
    explain,
    facts::{Administration, Matter, Request},
    hearing::{Court, Hearing},
    index::Index,
    lint::{self, Lint},
    load::{self, Loaded, Parsed, PolicyFile},
    oracle::Oracle,
    probe,
    rule::Rule,
    schema,
    shadow::{Shadow, Tallied},
    zone::{self, Zone},
};

/// Turns of the clock that change nothing are passed over, this many at most: a working week's worth.
const MAX_TURNS: usize = 8;
/// How long an answer holds whose next change cannot be computed.
const BLIND: Duration = Duration::from_secs(15);
/// How long an answer of the oracle's holds that nobody looked ahead from.
const MOMENT: Duration = Duration::from_millis(1);
/// Stands in the place of a policy when no single one is at fault; no `@id` is empty.
const NOBODY: &str = "";

/// A set of policies, immutable.
#[derive(Debug)]
pub struct Engine {
    court: Court,
    oracle: Arc<Oracle>,
    fingerprint: String,
    lints: Vec<Lint>,
    shadow: OnceLock<Shadow>,
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
        let (zones, tiers) = (court.zones.clone(), court.tiers.clone());
        let oracle = Arc::new(Oracle { schema, policies: set, zones, tiers });
        Ok(Self { court, oracle, fingerprint, lints, shadow: OnceLock::new() })
    }

    /// From now on decisions are compared under `shadow`; only the first that is given counts.
    pub fn watch(&self, shadow: &Shadow) {
        self.shadow.get_or_init(|| shadow.clone());
    }

    /// What comparing its process's decisions came to so far.
    pub fn shadow(&self) -> Tallied {
        self.shadow.get().map(Shadow::tallied).unwrap_or_default()
    }

    /// May this be done, at `now`?
    pub fn decide(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        self.settle(&Matter::Access(*request), now)
    }

    /// May this be administered, at `now`? Everything [`Engine::decide`] promises holds here too.
    pub fn administer(&self, command: &Administration<'_>, now: Timestamp) -> Decision {
        self.settle(&Matter::Administration(*command), now)
    }

    fn settle(&self, matter: &Matter<'_>, now: Timestamp) -> Decision {
        if self.shadow.get().is_some_and(Shadow::is_in_doubt) {
            return self.settle_in_doubt(matter, now);
        }
        let hearing = match self.court.hear(matter, now) {
            Ok(hearing) => hearing,
            Err(error) => return unheard(&error, now),
        };
        if let Some(shadow) = self.shadow.get() {
            shadow.see(&self.oracle, matter, now, &hearing.answer);
        }
        let until = self.until(matter, now, &hearing);
        if hearing.answer.allowed() {
            return allow(&hearing.answer, until);
        }
        let appeal = Appeal::of(&self.court, matter, now, &hearing);
        self.deny(&hearing, appeal.as_ref(), until)
    }

    /// The same by Cedar's own authorizer over the whole set: slow, and the measure of `decide`.
    /// A default denial is [`Reason::NoPolicy`], and no step-up is looked for; the answer is good for this instant only.
    pub fn decide_by_oracle(&self, request: &Request<'_>, now: Timestamp) -> Decision {
        self.by_oracle(&Matter::Access(*request), now, now.plus(MOMENT))
    }

    /// To `administer` what `decide_by_oracle` is to `decide`.
    pub fn administer_by_oracle(&self, command: &Administration<'_>, now: Timestamp) -> Decision {
        self.by_oracle(&Matter::Administration(*command), now, now.plus(MOMENT))
    }

    /// The index was wrong once: the oracle decides. The index may still see an end before the next look.
    fn settle_in_doubt(&self, matter: &Matter<'_>, now: Timestamp) -> Decision {
        let hearing = self.court.hear(matter, now).ok();
        let until = hearing.and_then(|hearing| self.until(matter, now, &hearing));
        let soon = now.plus(BLIND);
        self.by_oracle(matter, now, until.map_or(soon, |until| until.min(soon)))
    }

    fn by_oracle(&self, matter: &Matter<'_>, now: Timestamp, until: Timestamp) -> Decision {
        let until = Some(until);
        match self.oracle.answer(matter, now) {
            Err(error) => unheard(&error, now),
            Ok(answer) if answer.allowed() => allow(&answer, until),
            Ok(answer) => {
                let mut reasons = self.stated(&answer, None);
                if reasons.is_empty() {
                    reasons.push(Reason::NoPolicy);
                }
                Decision::Deny { until, reasons, step_up: None }
            }
        }
    }

    /// What looks like a mistake but is not one for certain.
    pub fn lints(&self) -> &[Lint] {
        &self.lints
    }

    /// How many policies, beside what is built in.
    pub fn len(&self) -> usize {
        self.court.rules.iter().filter(|rule| !rule.is_built_in()).count()
    }

    /// Whether there is no policy but what is built in: everything is denied, except that root may administer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// The first instant at which the answer, or what determines it, may differ.
    fn until(&self, matter: &Matter<'_>, now: Timestamp, hearing: &Hearing<'_>) -> Option<Timestamp> {
        let exact = self.next_change(matter, now, hearing);
        if self.court.is_blind(hearing) {
            let soon = now.plus(BLIND);
            return Some(exact.map_or(soon, |exact| exact.min(soon)));
        }
        exact
    }

    fn next_change(&self, matter: &Matter<'_>, now: Timestamp, hearing: &Hearing<'_>) -> Option<Timestamp> {
        let mut turn = self.court.next_turn(hearing, now)?;
        for _ in 0..MAX_TURNS {
            let Ok(then) = self.court.hear(matter, turn) else { return Some(turn) };
            if !then.answer.agrees(&hearing.answer) {
                return Some(turn);
            }
            turn = self.court.next_turn(&then, turn)?;
        }
        Some(turn)
    }

    fn deny(&self, hearing: &Hearing<'_>, appeal: Option<&Appeal<'_>>, until: Option<Timestamp>) -> Decision {
        let mut reasons = self.stated(&hearing.answer, appeal);
        if reasons.is_empty()
            && let Some(case) = hearing.denied()
            && let Ok(env) = case.env()
        {
            let step_up = |rule: &Rule| appeal?.of_permit(rule);
            reasons =
                explain::not_met(self.court.candidates(case), env, case.question.act.subject(), step_up);
        }
        if reasons.is_empty() {
            reasons.push(Reason::NoPolicy);
        }
        Decision::Deny { until, reasons, step_up: appeal.and_then(Appeal::of_all) }
    }

    /// The forbids that matched, then the errors.
    fn stated(&self, answer: &Answer, appeal: Option<&Appeal<'_>>) -> Vec<Reason> {
        let forbidden = answer.forbids.iter().map(|id| {
            let rule = self.court.rule(id);
            let words = rule.map(|rule| &rule.words);
            let said = words.and_then(|words| words.reason.clone().or_else(|| words.title.clone()));
            Reason::Forbidden {
                policy: id.clone(),
                reason: said.unwrap_or_else(|| id.to_string()),
                advice: words.and_then(|words| words.advice.clone()),
                step_up: rule.and_then(|rule| appeal?.of_forbid(rule)),
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
    Decision::Deny { until: Some(now.plus(BLIND)), reasons, step_up: None }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::mpsc::Receiver,
    };

    use super::*;
    use crate::{
        facts::{Action, AdminKind, App, Operator, Proto, Resource, Session, User},
        shadow::Sample,
    };

    const POLICIES: &str = r#"
        @id("open") permit (principal, action, resource);
        @id("shut") forbid (principal, action, resource) unless { resource.sensitivity < 3 };
    "#;

    /// Decides one connection to an app of this sensitivity.
    fn decide(engine: &Engine, sensitivity: u8) -> Decision {
        decide_in(engine, sensitivity, None)
    }

    fn decide_in(engine: &Engine, sensitivity: u8, session: Option<&Session>) -> Decision {
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
            session,
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

    /// The fault that is looked for: a policy the index does not find.
    fn silence(engine: &mut Engine, id: &str) {
        engine.court.rules.iter_mut().find(|rule| &*rule.id == id).unwrap().acts = 0;
    }

    fn forbidden(decision: &Decision, by: &str) -> bool {
        matches!(decision, Decision::Deny { reasons, .. }
            if matches!(reasons.as_slice(), [Reason::Forbidden { policy, .. }] if &**policy == by))
    }

    /// An engine of which one in `every` decisions is kept.
    fn watched(engine: Engine, every: u64) -> (Engine, Shadow, Receiver<Sample>) {
        let (shadow, samples) = Shadow::new(every.try_into().unwrap());
        engine.watch(&shadow);
        (engine, shadow, samples)
    }

    fn accused(samples: &Receiver<Sample>) -> String {
        samples.try_recv().unwrap().compare().unwrap_err().policy.to_string()
    }

    #[test]
    fn a_sound_index_is_never_contradicted() {
        let (engine, shadow, samples) = watched(engine(), 1);
        assert!(decide(&engine, 1).is_allowed());
        assert!(!decide(&engine, 3).is_allowed());
        assert!(samples.try_iter().all(|sample| sample.compare().is_ok()));
        assert_eq!(shadow.tallied(), Tallied { compared: 2, dropped: 0, mismatches: 0 });
    }

    #[test]
    fn a_sample_holds_the_session() {
        let text = r#"@id("in") permit (principal, action == Doorward::Action::"connect", resource)
            when { context has session && context.session has acr && context.session.amr.contains("pwd") };"#;
        let files = [PolicyFile { name: "a".into(), text: text.into() }];
        let (engine, _, samples) = watched(Engine::load(&files, &[]).unwrap(), 1);
        let session = Session {
            at: Timestamp::MIN,
            expires: Timestamp::MAX,
            auth_time: Some(Timestamp::MIN),
            amr: ["pwd".to_owned()].into(),
            acr: Some("mfa".to_owned()),
        };
        assert!(decide_in(&engine, 1, Some(&session)).is_allowed());
        assert_eq!(samples.try_recv().unwrap().compare(), Ok(()));
    }

    #[test]
    fn a_lost_forbid_is_noticed_and_the_oracle_decides_from_then_on() {
        let mut lossy = engine();
        silence(&mut lossy, "shut");
        let (lossy, shadow, samples) = watched(lossy, 1);
        assert!(decide(&lossy, 3).is_allowed(), "the fault that is looked for");
        assert_eq!(accused(&samples), "shut");
        assert!(forbidden(&decide(&lossy, 3), "shut"));
        assert_eq!(shadow.tallied().mismatches, 1);
        assert!(samples.try_recv().is_err(), "the oracle is not compared with itself");
    }

    #[test]
    fn a_lost_forbid_of_administration_is_noticed_as_well() {
        let root = Operator { name: "root".into(), uid: 0, groups: Default::default(), root: true };
        let command = Administration {
            operator: &root,
            write: true,
            on: AdminKind::Backup,
            verb: "restore",
            object: Some("yesterday"),
            owner: None,
            site: None,
        };
        let text = r#"@id("shut") forbid (principal, action, resource);"#.into();
        let mut lossy = Engine::load(&[PolicyFile { name: "a".into(), text }], &[]).unwrap();
        silence(&mut lossy, "shut");
        let (lossy, _, samples) = watched(lossy, 1);
        assert!(lossy.administer(&command, Timestamp::MIN).is_allowed(), "the fault that is looked for");
        assert_eq!(accused(&samples), "shut");
        assert!(forbidden(&lossy.administer(&command, Timestamp::MIN), "shut"));
    }

    #[test]
    fn a_lost_permit_is_noticed_and_the_oracle_decides_for_a_short_time() {
        let mut lossy = engine();
        lossy.court.index = Index::default();
        let (lossy, _, samples) = watched(lossy, 1);
        assert!(!decide(&lossy, 1).is_allowed(), "the fault that is looked for");
        assert_eq!(accused(&samples), "open");
        let decision = decide(&lossy, 1);
        assert!(decision.is_allowed());
        assert_eq!(
            decision.until(),
            Some(Timestamp::MIN.plus(BLIND)),
            "a lost time is looked for again soon"
        );
    }

    #[test]
    fn doubt_outlives_the_engine_it_was_found_in() {
        let (mut lossy, mut next) = (engine(), engine());
        for engine in [&mut lossy, &mut next] {
            silence(engine, "shut");
        }
        let (lossy, shadow, samples) = watched(lossy, 1);
        decide(&lossy, 3);
        assert_eq!(accused(&samples), "shut");
        next.watch(&shadow);
        assert!(forbidden(&decide(&next, 3), "shut"));
    }

    #[test]
    fn one_in_so_many_is_kept_and_no_more_than_may_wait() {
        let (engine, shadow, samples) = watched(engine(), 3);
        for _ in 0..7 {
            decide(&engine, 1);
        }
        assert_eq!(samples.try_iter().count(), 3);
        for _ in 0..100 {
            decide(&engine, 1);
        }
        let kept = samples.try_iter().count() as u64;
        assert_eq!(shadow.tallied().dropped + kept, 33);
        assert!(kept < 33);
    }
}
