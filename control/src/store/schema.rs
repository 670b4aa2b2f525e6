//! What the engines' schemas have in common: a step from one version to the next, and how what we
//! write in columns is read. The steps themselves are each engine's own.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::{Meta, ObjectId, Replacement, Revision, StoreError, Unique, batch::Writes};
use crate::object::{Kind, READER};

/// A step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The least reader (see [`crate::object::READER`]) that can bear what the step makes of the store.
    pub min_reader: u32,
    /// What is done, in one transaction with noting that it was.
    pub sql: &'static str,
}

/// A kind as it is written in a database; `None` if a newer version wrote it.
pub(super) fn known(kind: &str) -> Option<Kind> {
    kind.parse().ok()
}

/// Whose a unique value is. That of an object only a newer version understands cannot be named: whoever
/// wants the value must be of that version.
pub(super) fn owner(kind: &str, id: Arc<str>) -> Result<ObjectId, StoreError> {
    let kind = known(kind).ok_or(StoreError::TooNew { needs: READER + 1, ours: READER })?;
    Ok(ObjectId { kind, id })
}

/// Reads a column of ours that holds JSON.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(damaged)
}

/// Writes one.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(damaged)
}

/// Something in the store is not as we write it.
pub(super) fn damaged(why: impl ToString) -> StoreError {
    StoreError::Damaged { why: why.to_string() }
}

impl Replacement {
    /// Whether it may go over a store at `meta`.
    pub(super) fn may_replace(&self, meta: &Meta) -> Result<(), StoreError> {
        match &self.over {
            Some((store, revision)) if (store, *revision) != (&meta.store, meta.revision) => {
                Err(StoreError::Moved)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What is to be written into an emptied store.
    pub(super) fn writes(&self, revision: Revision) -> Result<Writes, StoreError> {
        let mut writes = Writes { revision, records: self.records.clone(), ..Writes::default() };
        for (id, body, uniques) in &self.objects {
            if writes.objects.insert(id.clone(), Some((revision, body.clone()))).is_some() {
                return Err(damaged(format!("the backup has {id} twice")));
            }
            for unique in uniques {
                let other = writes.taken.insert(unique.clone(), id.clone()).filter(|other| other != id);
                if let Some(other) = other {
                    let Unique { space, value } = unique;
                    return Err(damaged(format!("in the backup, {space} {value} is {id}'s and {other}'s")));
                }
            }
        }
        Ok(writes)
    }
}
