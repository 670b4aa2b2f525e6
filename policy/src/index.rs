//! Finds the policies whose scope a question is within, without looking at the others.
//! It does not look at conditions. Always true: it returns exactly the rules whose scope matches,
//! in the order of the rules; `==` finds only the entity itself, `in` its descendants as well.

use std::{collections::HashMap, sync::Arc};

use crate::{
    cedar::Scope,
    question::{Kind, Named, Node, Question, Ref},
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
    pub(crate) fn candidates(&self, rules: &[Rule], question: &Question<'_>) -> Vec<usize> {
        let mut found: Vec<usize> = self
            .by_resource
            .slots_of(&question.resource)
            .flat_map(|split| split.slots_of(&question.principal))
            .flatten()
            .copied()
            .filter(|place| rules.get(*place).is_some_and(|rule| rule.concerns(question)))
            .collect();
        found.sort_unstable();
        found
    }
}

/// Things kept by the shape of a scope. Entity types (`is`) are left to [`Rule::concerns`].
#[derive(Debug, Default)]
struct Split<T> {
    any: T,
    exact: Shelf<T>,
    within: Shelf<T>,
}

/// Things by the entity a scope names; by its id first, so that a look-up needs no copy of the name.
#[derive(Debug, Default)]
struct Shelf<T>(HashMap<Arc<str>, Vec<(Kind, T)>>);

impl<T: Default> Shelf<T> {
    fn slot(&mut self, named: &Named) -> &mut T {
        let kinds = self.0.entry(Arc::clone(&named.id)).or_default();
        let at = kinds.iter().position(|(kind, _)| *kind == named.kind).unwrap_or_else(|| {
            kinds.push((named.kind, T::default()));
            kinds.len() - 1
        });
        &mut kinds[at].1
    }

    fn get(&self, entity: Ref<'_>) -> Option<&T> {
        let kinds = self.0.get(entity.id)?;
        kinds.iter().find(|(kind, _)| *kind == entity.kind).map(|(_, thing)| thing)
    }
}

impl<T: Default> Split<T> {
    fn slot(&mut self, scope: &Scope) -> &mut T {
        match scope {
            Scope::Any | Scope::Is(_) => &mut self.any,
            Scope::Eq(named) => self.exact.slot(named),
            Scope::In(named) | Scope::IsIn(_, named) => self.within.slot(named),
        }
    }

    /// Everything kept under a scope that `subject` may be within, each once.
    fn slots_of<'a>(&'a self, subject: &'a Node<'_>) -> impl Iterator<Item = &'a T> {
        let own = subject.entity;
        let ancestors = subject.ancestors.iter().copied().filter(move |entity| *entity != own);
        std::iter::once(&self.any)
            .chain(self.exact.get(own))
            .chain(self.within.get(own))
            .chain(ancestors.filter_map(|entity| self.within.get(entity)))
    }
}
