//! Every `[[group]]`: sets of people that may lie in one another, without going round.

use std::collections::{HashMap, HashSet};

use protocol::{
    config::{Mistake, Section},
    id::GroupId,
};

use crate::config::unique::Unique;

/// A set of people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `<provider>/<name>`.
    pub id: GroupId,
    /// The groups it lies in directly.
    pub within: Vec<GroupId>,
}

/// The groups, each with those it lies in directly.
pub(super) struct Groups(HashMap<GroupId, Vec<GroupId>>);

impl Groups {
    /// Takes the group names at `key`, which must all be known.
    pub fn take(&self, s: &mut Section<'_>, key: &str) -> Vec<GroupId> {
        let named: Vec<GroupId> = s.texts_or_empty(key);
        for (i, unknown) in named.iter().enumerate().filter(|(_, group)| !self.0.contains_key(*group)) {
            s.mistake(&format!("{key}[{i}]"), format!("there is no [[group]] with id = \"{unknown}\""));
        }
        named
    }
}

/// A group, its direct parents, and a place to complain about them.
struct Written {
    id: GroupId,
    parents: Vec<GroupId>,
    place: Mistake,
}

pub(super) fn read(s: &mut Section<'_>) -> (Groups, Vec<Group>) {
    let mut seen = Unique::default();
    let written = s.sections("group", |s| {
        let parents = s.texts_or_empty("in");
        let id: GroupId = s.text("id")?;
        seen.claim(s, "id", id.clone());
        Some(Written { id, parents, place: s.at("in", "") })
    });
    let mut groups = Groups(HashMap::new());
    for group in &written {
        groups.0.entry(group.id.clone()).or_insert_with(|| group.parents.clone());
    }
    for group in &written {
        for unknown in group.parents.iter().filter(|parent| !groups.0.contains_key(*parent)) {
            let reason = format!("there is no [[group]] with id = \"{unknown}\"");
            s.report(Mistake { reason, ..group.place.clone() });
        }
    }
    report_rounds(s, &groups, &written);
    let listed = written.into_iter().map(|group| Group { id: group.id, within: group.parents });
    (groups, listed.collect())
}

/// Takes away, again and again, the groups that lie in none that is left; what stays lies in a
/// round, or in one that does. Following parents from there must come back, and shows one round.
fn report_rounds(s: &mut Section<'_>, groups: &Groups, written: &[Written]) {
    let mut children: HashMap<&GroupId, Vec<&GroupId>> = HashMap::new();
    let mut open: HashMap<&GroupId, usize> = HashMap::new();
    for (id, parents) in &groups.0 {
        let known: HashSet<&GroupId> =
            parents.iter().filter(|parent| groups.0.contains_key(*parent)).collect();
        open.insert(id, known.len());
        known.into_iter().for_each(|parent| children.entry(parent).or_default().push(id));
    }
    let mut free: Vec<&GroupId> = open.iter().filter(|(_, left)| **left == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        open.remove(id);
        for child in children.get(id).into_iter().flatten() {
            if let Some(left) = open.get_mut(child) {
                *left -= 1;
                if *left == 0 {
                    free.push(child);
                }
            }
        }
    }
    for group in written {
        let Some(round) = round_from(&group.id, groups, &mut open) else { continue };
        let names: Vec<&str> = round.iter().map(|id| id.as_str()).collect();
        let reason = format!("these groups lie in one another: {}", names.join(" in "));
        let place = written.iter().find(|g| Some(&g.id) == round.first().copied()).unwrap_or(group);
        s.report(Mistake { reason, ..place.place.clone() });
    }
}

/// Follows parents among the groups in `left` until one comes again, taking them out.
fn round_from<'a>(
    start: &GroupId,
    groups: &'a Groups,
    left: &mut HashMap<&'a GroupId, usize>,
) -> Option<Vec<&'a GroupId>> {
    let mut path: Vec<&GroupId> = Vec::new();
    let mut steps: HashMap<&GroupId, usize> = HashMap::new();
    let (mut id, mut parents) = groups.0.get_key_value(start)?;
    loop {
        if let Some(at) = steps.insert(id, path.len()) {
            let mut round = path.split_off(at);
            round.push(id);
            return Some(round);
        }
        left.remove(id)?;
        path.push(id);
        let next = parents.iter().find(|parent| left.contains_key(*parent) || steps.contains_key(*parent))?;
        (id, parents) = groups.0.get_key_value(next)?;
    }
}
