//! Finds the policies whose scope a question is within, without looking at the others.
//! It does not look at conditions. Always true: it returns exactly the rules whose scope matches,
//! in the order of the rules; `==` finds only the entity itself, `in` its descendants as well.

use std::collections::HashMap;

use crate::{
    cedar::{Env, Scope, Subject, Uid},
    rule::Rule,
};

/// Rules by resource, then by principal.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_resource: Split<Split<Vec<usize>>>,
}

impl Index {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            index.by_resource.slot(&rule.resource).slot(&rule.principal).push(place);
        }
        index
    }

    /// The places of the rules that concern this question.
    pub(crate) fn candidates(&self, rules: &[Rule], env: &Env) -> Vec<usize> {
        let mut found: Vec<usize> = self
            .by_resource
            .slots_of(env.resource())
            .flat_map(|split| split.slots_of(env.principal()))
            .flatten()
            .copied()
            .filter(|place| rules.get(*place).is_some_and(|rule| rule.concerns(env)))
            .collect();
        found.sort_unstable();
        found
    }
}

/// Things kept by the shape of a scope. Entity types (`is`) are left to [`Rule::concerns`].
#[derive(Debug, Default)]
struct Split<T> {
    any: T,
    exact: HashMap<Uid, T>,
    within: HashMap<Uid, T>,
}

impl<T: Default> Split<T> {
    fn slot(&mut self, scope: &Scope) -> &mut T {
        match scope {
            Scope::Any | Scope::Is(_) => &mut self.any,
            Scope::Eq(uid) => self.exact.entry(uid.clone()).or_default(),
            Scope::In(uid) | Scope::IsIn(_, uid) => self.within.entry(uid.clone()).or_default(),
        }
    }

    /// Everything kept under a scope that `subject` may be within, each once.
    fn slots_of<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a T> {
        let own = subject.uid();
        let ancestors = subject.ancestors().filter(move |uid| *uid != own);
        std::iter::once(&self.any)
            .chain(self.exact.get(own))
            .chain(self.within.get(own))
            .chain(ancestors.filter_map(|uid| self.within.get(uid)))
    }
}
