//! One matter put to the policies at one instant: the questions asked, who was a candidate, and the answer.
//! It does not look ahead and does not explain. Always true: every candidate was evaluated, so the
//! determining policies are complete; a question that cannot even be put is a denial.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
};

use protocol::time::Timestamp;

use crate::{
    answer::Answer,
    cedar::{ActionEntities, CedarError, Env},
    decision::PolicyId,
    facts::Matter,
    index::Index,
    question::Question,
    rule::Rule,
    zone::Zone,
};

/// What hearings are held by.
#[derive(Debug)]
pub(crate) struct Court {
    /// By id.
    pub(crate) rules: Vec<Rule>,
    pub(crate) index: Index,
    pub(crate) actions: ActionEntities,
    pub(crate) zones: Vec<Zone>,
    /// The tiers that any policy names.
    pub(crate) tiers: Vec<String>,
}

/// One question with its candidates.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) question: Question<'a>,
    actions: &'a ActionEntities,
    /// The question in Cedar's terms; few need it.
    env: OnceCell<Result<Env, CedarError>>,
    /// Places of rules.
    candidates: Vec<usize>,
}

impl Case<'_> {
    /// The question in Cedar's terms.
    pub(crate) fn env(&self) -> Result<&Env, CedarError> {
        self.env.get_or_init(|| Env::new(&self.question, self.actions)).as_ref().map_err(Clone::clone)
    }
}

/// Whether a device earns its tiers.
#[derive(Debug, Default)]
struct Trust<'a> {
    cases: Vec<Case<'a>>,
    /// Those it earns.
    tiers: Vec<&'a str>,
    errors: BTreeMap<PolicyId, String>,
}

/// A matter at an instant.
#[derive(Debug)]
pub(crate) struct Hearing<'a> {
    /// Whether the device earns its tiers.
    trust: Vec<Case<'a>>,
    /// One for each reading that had to be heard.
    readings: Vec<(Case<'a>, Answer)>,
    pub(crate) answer: Answer,
}

impl Court {
    pub(crate) fn hear<'a>(&'a self, matter: &Matter<'a>, now: Timestamp) -> Result<Hearing<'a>, CedarError> {
        let trust = self.hear_trust(matter, now)?;
        let mut readings: Vec<(Case<'a>, Answer)> = Vec::new();
        for reading in 0..matter.readings() {
            let (case, answer) = self.ask(Question::of(matter, reading, &trust.tiers, &self.zones, now))?;
            let reads_path = self.candidates(&case).any(|rule| rule.reads.path);
            readings.push((case, answer));
            if !reads_path {
                break;
            }
        }
        let answer = readings.iter().map(|(_, answer)| answer.clone()).reduce(Answer::and);
        let answer = answer.unwrap_or_default().with_errors(trust.errors);
        Ok(Hearing { trust: trust.cases, readings, answer })
    }

    fn hear_trust<'a>(&'a self, matter: &Matter<'a>, now: Timestamp) -> Result<Trust<'a>, CedarError> {
        let mut trust = Trust::default();
        let Some(device) = matter.device() else { return Ok(trust) };
        for tier in &self.tiers {
            let (case, answer) = self.ask(Question::trust(device, tier, now))?;
            if answer.allowed() {
                trust.tiers.push(tier.as_str());
            }
            trust.errors.extend(answer.errors);
            trust.cases.push(case);
        }
        Ok(trust)
    }

    fn ask<'a>(&'a self, question: Question<'a>) -> Result<(Case<'a>, Answer), CedarError> {
        let candidates = self.index.candidates(&self.rules, &question);
        let case = Case { question, actions: &self.actions, env: OnceCell::new(), candidates };
        if case.question.has_mapped_address() {
            case.env()?;
        }
        let (mut permits, mut forbids, mut errors) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for rule in self.candidates(&case) {
            match rule.body.as_ref().map_or(Ok(true), |body| body.holds(&case)) {
                Ok(true) if rule.permit => {
                    permits.insert(rule.id.clone());
                }
                Ok(true) => {
                    forbids.insert(rule.id.clone());
                }
                Ok(false) => {}
                Err(error) => {
                    errors.insert(rule.id.clone(), error.to_string());
                }
            }
        }
        Ok((case, Answer::of(permits, forbids, errors)))
    }

    /// The policy of this id.
    pub(crate) fn rule(&self, id: &PolicyId) -> Option<&Rule> {
        let place = self.rules.binary_search_by(|rule| rule.id.cmp(id)).ok()?;
        self.rules.get(place)
    }

    pub(crate) fn candidates<'a>(&'a self, case: &'a Case<'_>) -> impl Iterator<Item = &'a Rule> {
        case.candidates.iter().filter_map(|place| self.rules.get(*place))
    }

    /// The first instant after `now` at which any comparison with the clock in this hearing turns.
    pub(crate) fn next_turn(&self, hearing: &Hearing<'_>, now: Timestamp) -> Option<Timestamp> {
        let turns = hearing.cases().flat_map(|case| {
            let atoms = self.candidates(case).flat_map(|rule| &rule.atoms);
            atoms.filter_map(|atom| atom.next_turn(case, &self.zones, now))
        });
        turns.min()
    }

    /// Whether a candidate uses the clock in a form whose turns cannot be computed.
    pub(crate) fn is_blind(&self, hearing: &Hearing<'_>) -> bool {
        hearing.cases().any(|case| self.candidates(case).any(|rule| rule.reads.blind))
    }
}

impl<'a> Hearing<'a> {
    /// The reading to explain: the first that is denied.
    pub(crate) fn denied(&self) -> Option<&Case<'a>> {
        self.readings.get(self.denied_place()?).map(|(case, _)| case)
    }

    /// Which that is.
    pub(crate) fn denied_place(&self) -> Option<usize> {
        self.readings.iter().position(|(_, answer)| !answer.allowed())
    }

    /// Whether the condition of `rule` holds for one reading.
    pub(crate) fn matches(&self, reading: usize, rule: &Rule) -> bool {
        let holds = |case| rule.body.as_ref().map_or(Ok(true), |body| body.holds(case));
        self.readings.get(reading).is_some_and(|(case, _)| holds(case) == Ok(true))
    }

    fn cases(&self) -> impl Iterator<Item = &Case<'a>> {
        self.trust.iter().chain(self.readings.iter().map(|(case, _)| case))
    }
}
