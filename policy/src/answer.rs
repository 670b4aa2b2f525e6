//! What policies say to one question: the same type for the engine and for the oracle, so that
//! the two can be compared. Always true: an error anywhere, or a forbid, or no permit, is a denial.

use std::collections::{BTreeMap, BTreeSet};

use crate::decision::PolicyId;

/// The policies that determine an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Those that matched; emptied by a denial.
    pub(crate) permits: BTreeSet<PolicyId>,
    pub(crate) forbids: BTreeSet<PolicyId>,
    /// Those that could not be evaluated, with Cedar's words.
    pub(crate) errors: BTreeMap<PolicyId, String>,
}

impl Answer {
    /// Of everything found about one question.
    pub(crate) fn of(
        permits: BTreeSet<PolicyId>,
        forbids: BTreeSet<PolicyId>,
        errors: BTreeMap<PolicyId, String>,
    ) -> Self {
        let mut answer = Self { permits, forbids, errors };
        answer.settle();
        answer
    }

    pub(crate) fn allowed(&self) -> bool {
        !self.permits.is_empty()
    }

    /// Both must allow.
    pub(crate) fn and(mut self, other: Self) -> Self {
        if self.allowed() && other.allowed() {
            self.permits.extend(other.permits);
        } else {
            self.permits.clear();
        }
        self.forbids.extend(other.forbids);
        self.errors.extend(other.errors);
        self
    }

    /// Errors met on the way to the question.
    pub(crate) fn with_errors(mut self, errors: BTreeMap<PolicyId, String>) -> Self {
        self.errors.extend(errors);
        self.settle();
        self
    }

    /// Whether it is the same answer for the same reasons; the words of errors do not count.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        self.permits == other.permits
            && self.forbids == other.forbids
            && self.errors.keys().eq(other.errors.keys())
    }

    /// A policy that only one of the two names; first of all a guard that only this one does.
    pub(crate) fn difference(&self, other: &Self) -> Option<PolicyId> {
        let guards = |answer: &Self| -> BTreeSet<PolicyId> {
            answer.forbids.iter().chain(answer.errors.keys()).cloned().collect()
        };
        let (ours, theirs) = (guards(self), guards(other));
        let missed = ours.difference(&theirs).chain(theirs.difference(&ours)).next();
        missed.or_else(|| self.permits.symmetric_difference(&other.permits).next()).cloned()
    }

    fn settle(&mut self) {
        if !self.forbids.is_empty() || !self.errors.is_empty() {
            self.permits.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<PolicyId> {
        ids.iter().map(|id| PolicyId::from(*id)).collect()
    }

    fn allow() -> Answer {
        Answer::of(ids(&["p"]), ids(&[]), BTreeMap::new())
    }

    #[test]
    fn anything_but_a_clean_permit_denies() {
        assert!(allow().allowed());
        assert!(!Answer::default().allowed());
        assert!(!Answer::of(ids(&["p"]), ids(&["f"]), BTreeMap::new()).allowed());
        let error = BTreeMap::from([("e".into(), "overflow".to_owned())]);
        assert!(!Answer::of(ids(&["p"]), ids(&[]), error.clone()).allowed());
        assert!(!allow().with_errors(error).allowed());
    }

    #[test]
    fn every_reading_must_allow() {
        assert!(allow().and(allow()).allowed());
        assert!(!allow().and(Answer::default()).allowed());
        assert!(!Answer::default().and(allow()).allowed());
    }
}
