//! A commit in the making. Always true: whatever was looked at to decide stands among the
//! preconditions, so that of two who decide by the same thing only one changes it.

use std::{collections::BTreeMap, sync::Arc};

use protocol::time::Timestamp;
use serde_json::Value;

use super::{Answer, Plan};
use crate::{
    directory::{Kept, View},
    object::{Device, DeviceKey, Disabled, Revocation},
    revoked::Revoked,
    store::{Commit, Expect, ObjectId, Op},
};

/// A commit in the making, and what it takes away.
pub(crate) struct Draft<'a> {
    pub view: &'a View,
    pub now: Timestamp,
    pub actor: &'a str,
    expects: BTreeMap<ObjectId, Expect>,
    ops: BTreeMap<ObjectId, Op>,
    revoked: Vec<Revoked>,
    notes: Vec<String>,
}

impl<'a> Draft<'a> {
    pub fn new(view: &'a View, now: Timestamp, actor: &'a str) -> Self {
        Self {
            view,
            now,
            actor,
            expects: BTreeMap::new(),
            ops: BTreeMap::new(),
            revoked: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The object as it is; what is decided by it holds only as long as it stays so.
    pub fn get<T: Kept>(&mut self, name: &str) -> Option<Arc<T>> {
        let objects = self.view.objects();
        let revision = objects.revision::<T>(name);
        self.expects.insert(ObjectId::new(T::KIND, name), revision.map_or(Expect::Absent, Expect::At));
        objects.get(name).cloned()
    }

    /// The object, which is written again as it is: who removes it meanwhile, or means to, is refused.
    /// Every reference is made like this.
    pub fn refer<T: Kept>(&mut self, name: &str) -> Option<Arc<T>> {
        let body = self.get::<T>(name)?;
        self.ops.entry(body.object()).or_insert_with(|| body.put());
        Some(body)
    }

    pub fn put<T: Kept>(&mut self, body: &T) {
        self.get::<T>(&body.name());
        self.ops.insert(body.object(), body.put());
    }

    pub fn delete<T: Kept>(&mut self, name: &str) {
        self.get::<T>(name);
        let id = ObjectId::new(T::KIND, name);
        self.ops.insert(id.clone(), Op::Delete { id });
    }

    /// What another part of the same commit needs.
    pub fn join(&mut self, commit: Commit) {
        self.expects.extend(commit.expects);
        self.ops.extend(commit.ops.into_iter().map(|op| (op.id().clone(), op)));
    }

    /// Writes down that the keys of a device must not come back.
    pub fn bar<'k>(&mut self, device: &Device, keys: impl IntoIterator<Item = &'k DeviceKey>) {
        for key in keys {
            let (device, by) = (device.id.clone(), self.actor.into());
            self.put(&Revocation { key: key.key, device, at: self.now, by, rest: Default::default() });
        }
    }

    pub fn takes_away(&mut self, revoked: Revoked) {
        self.revoked.push(revoked);
    }

    /// What it takes away, told once.
    pub fn taken_away(&mut self) -> Vec<Revoked> {
        std::mem::take(&mut self.revoked)
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn disabled(&self, why: Option<&String>) -> Disabled {
        Disabled { at: self.now, by: self.actor.into(), why: why.cloned() }
    }

    /// The commit, if anything is to change.
    pub fn commit(self) -> Option<Commit> {
        let Self { expects, ops, .. } = self;
        let (expects, ops) = (expects.into_iter().collect(), ops.into_values().collect::<Vec<_>>());
        (!ops.is_empty()).then_some(Commit { expects, ops, records: Vec::new() })
    }

    /// The plan, which is told as `text` to people and as `data` to programs.
    pub fn done(self, data: Value, text: impl Into<String>) -> Plan {
        self.answered(Answer::new(data).text(text))
    }

    fn answered(mut self, mut answer: Answer) -> Plan {
        answer.notes = std::mem::take(&mut self.notes);
        let revoked = self.taken_away();
        Plan { commit: self.commit(), revoked, answer }
    }
}
