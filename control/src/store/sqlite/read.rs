//! What is read of an SQLite store. It writes nothing.
//! Always true: what is returned together is of one moment.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use protocol::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    object::{Kind, READER},
    store::{
        BatchId, Change, Changes, Loaded, Meta, Object, ObjectId, Observation, Outcome, Record, Revision,
        StoreError, Unique,
        schema::{damaged, from_json, known, owner, to_json},
    },
};

/// Sees whether the file is whole: every page in its place, and nothing newer than the latest commit.
pub fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(damaged(found));
    }
    let newer = "select exists (select 1 from objects, meta where objects.revision > meta.revision)
                     or exists (select 1 from changes, meta where changes.revision > meta.revision)";
    if connection.query_row(newer, [], |row| row.get(0))? {
        return Err(damaged("there is something newer than the latest commit"));
    }
    Ok(())
}

/// What the store says of itself.
pub fn meta(connection: &Connection) -> Result<Meta, StoreError> {
    let (store, epoch, revision, closed, needs) =
        connection.query_row("select store, epoch, revision, closed, min_reader from meta", [], |row| {
            let store: Arc<str> = row.get(0)?;
            let closed: String = row.get(3)?;
            Ok((store, row.get(1)?, self::revision(row, 2)?, closed, row.get(4)?))
        })?;
    if needs > READER {
        return Err(StoreError::TooNew { needs, ours: READER });
    }
    Ok(Meta { store, epoch, revision, closed: from_json(&closed)? })
}

/// A column that holds a revision.
pub fn revision(row: &Row<'_>, column: usize) -> rusqlite::Result<Revision> {
    row.get(column).map(Revision)
}

/// See [`crate::store::Engine::load`].
pub fn load(connection: &mut Connection) -> Result<Loaded, StoreError> {
    let transaction = connection.transaction()?;
    let meta = meta(&transaction)?;
    let mut select = transaction.prepare("select kind, id, revision, body from objects")?;
    let mut rows = select.query([])?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(kind) = known(row.get_ref(0)?.as_str().map_err(damaged)?) else { continue };
        let id = ObjectId { kind, id: row.get(1)? };
        objects.push(Object { id, revision: revision(row, 2)?, body: row.get(3)? });
    }
    Ok(Loaded { meta, objects })
}

/// Ends with the revision that reaches ?2 changes. Unknown kinds (all but those of ?3) do not count, or
/// fewer changes than asked for would not mean that these are all.
const CHANGES: &str = "
with log as (
    select revision, n, kind, id, body from changes
    where revision > ?1 and kind in (select value from json_each(?3))
)
select revision, kind, id, body from log
where revision <= coalesce((select revision from log order by revision, n limit 1 offset ?2), revision)
order by revision, n";

/// See [`crate::store::Engine::changes`].
pub fn changes(
    connection: &mut Connection,
    store: &str,
    since: Revision,
    most: usize,
) -> Result<Changes, StoreError> {
    let transaction = connection.transaction()?;
    let meta = meta(&transaction)?;
    let pruned = transaction.query_row("select pruned from meta", [], |row| revision(row, 0))?;
    if *meta.store != *store || since < pruned || since > meta.revision {
        return Ok(Changes::Behind);
    }
    let kinds = to_json(&Kind::ALL)?;
    let mut select = transaction.prepare(CHANGES)?;
    let mut rows = select.query(params![since.0, most.saturating_sub(1), kinds])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(kind) = known(row.get_ref(1)?.as_str().map_err(damaged)?) else { continue };
        let id = ObjectId { kind, id: row.get(2)? };
        changes.push(Change { revision: revision(row, 0)?, id, body: row.get(3)? });
    }
    Ok(Changes::Since { meta, changes })
}

/// Of `wanted`, those that are there, with their unique values.
pub fn objects(
    connection: &Connection,
    wanted: BTreeSet<&ObjectId>,
) -> Result<HashMap<ObjectId, (Revision, Vec<Unique>)>, StoreError> {
    let mut object = connection.prepare("select revision from objects where kind = ?1 and id = ?2")?;
    let mut uniques = connection.prepare("select space, value from uniques where kind = ?1 and id = ?2")?;
    let mut found = HashMap::new();
    for id in wanted {
        let name = (id.kind.as_str(), &*id.id);
        let Some(at) = object.query_row(name, |row| revision(row, 0)).optional()? else { continue };
        let own = uniques.query_map(name, |row| Ok(Unique { space: row.get(0)?, value: row.get(1)? }))?;
        found.insert(id.clone(), (at, own.collect::<Result<_, _>>()?));
    }
    Ok(found)
}

/// Of `wanted`, those that are taken.
pub fn uniques(
    connection: &Connection,
    wanted: BTreeSet<&Unique>,
) -> Result<HashMap<Unique, ObjectId>, StoreError> {
    let mut select = connection.prepare("select kind, id from uniques where space = ?1 and value = ?2")?;
    let mut found = HashMap::new();
    for unique in wanted {
        let taken = select.query_row((&*unique.space, &*unique.value), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Arc<str>>(1)?))
        });
        if let Some((kind, id)) = taken.optional()? {
            found.insert(unique.clone(), owner(&kind, id)?);
        }
    }
    Ok(found)
}

/// See [`crate::store::Engine::outcome`].
pub fn outcome(connection: &Connection, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError> {
    let outcome: Option<String> = connection
        .query_row("select outcome from batches where id = ?1", [&*batch.0], |row| row.get(0))
        .optional()?;
    outcome.as_deref().map(from_json).transpose()
}

/// See [`crate::store::Engine::records`].
pub fn records(connection: &Connection, gateway: &str) -> Result<Vec<Record>, StoreError> {
    let mut select =
        connection.prepare("select id, gateway, body from records where gateway = ?1 order by n")?;
    let records = select.query_map([gateway], |row| {
        Ok(Record { id: row.get(0)?, gateway: row.get(1)?, body: row.get(2)? })
    })?;
    Ok(records.collect::<Result<_, _>>()?)
}

/// See [`crate::store::Engine::observed`].
pub fn observed(connection: &Connection, kind: &str) -> Result<Vec<Observation>, StoreError> {
    let mut select = connection.prepare("select kind, id, body, at from observations where kind = ?1")?;
    let seen = select.query_map([kind], |row| {
        let at = Timestamp::from_millis(row.get(3)?);
        Ok(Observation { kind: row.get(0)?, id: row.get(1)?, body: row.get(2)?, at })
    })?;
    Ok(seen.collect::<Result<_, _>>()?)
}
