//! What is written into an SQLite store, each act in a transaction of its own.
//! It decides nothing about commits: `Batch::decide` does.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{fault, read};
use crate::store::{
    Batch, Fence, Meta, Observation, Outcome, Record, Replacement, Revision, StoreError, Unique,
    batch::{Standing, Writes},
    schema::to_json,
};

/// Now by the database's clock, in milliseconds since the epoch.
macro_rules! now {
    () => {
        "cast(unixepoch('subsec') * 1000 as integer)"
    };
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

/// See [`crate::store::Engine::commit`].
pub fn commit(connection: &mut Connection, batch: &Batch) -> Result<Vec<Outcome>, StoreError> {
    let transaction = begin(connection)?;
    if let Some(outcomes) = read::outcome(&transaction, &batch.id)? {
        return Ok(outcomes);
    }
    let standing = Standing {
        revision: read::meta(&transaction)?.revision,
        objects: read::objects(&transaction, batch.objects())?,
        uniques: read::uniques(&transaction, batch.uniques())?,
    };
    let (writes, outcomes) = batch.decide(standing);
    if outcomes.iter().all(Result::is_err) {
        return Ok(outcomes);
    }
    write(&transaction, &writes)?;
    transaction.execute(
        concat!("insert into batches (id, outcome, at) values (?1, ?2, ", now!(), ")"),
        (&*batch.id.0, to_json(&outcomes)?),
    )?;
    transaction.commit().map_err(|error| fault::of_commit(error, &batch.id))?;
    Ok(outcomes)
}

fn write(transaction: &Transaction<'_>, writes: &Writes) -> Result<(), StoreError> {
    transaction.execute("update meta set revision = ?1", [writes.revision.0])?;
    let mut free = transaction.prepare("delete from uniques where space = ?1 and value = ?2")?;
    for Unique { space, value } in &writes.given_up {
        free.execute((&**space, &**value))?;
    }
    let mut remove = transaction.prepare("delete from objects where kind = ?1 and id = ?2")?;
    let mut put = transaction.prepare(
        "insert into objects (kind, id, revision, body) values (?1, ?2, ?3, ?4)
         on conflict do update set revision = excluded.revision, body = excluded.body",
    )?;
    for (id, object) in &writes.objects {
        match object {
            Some((revision, body)) => put.execute((id.kind.as_str(), &*id.id, revision.0, &**body))?,
            None => remove.execute((id.kind.as_str(), &*id.id))?,
        };
    }
    let mut take =
        transaction.prepare("insert into uniques (space, value, kind, id) values (?1, ?2, ?3, ?4)")?;
    for (Unique { space, value }, id) in &writes.taken {
        take.execute((&**space, &**value, id.kind.as_str(), &*id.id))?;
    }
    let mut log = transaction.prepare(concat!(
        "insert into changes (revision, n, kind, id, body, at) values (?1, ?2, ?3, ?4, ?5, ",
        now!(),
        ")"
    ))?;
    for (n, change) in writes.changes.iter().enumerate() {
        let (kind, id) = (change.id.kind.as_str(), &*change.id.id);
        log.execute(params![change.revision.0, n, kind, id, change.body.as_deref()])?;
    }
    add_records(transaction, &writes.records)
}

/// One that is there already is not there twice.
fn add_records(transaction: &Transaction<'_>, records: &[Record]) -> Result<(), StoreError> {
    let mut add = transaction
        .prepare("insert into records (id, gateway, body) values (?1, ?2, ?3) on conflict do nothing")?;
    for record in records {
        add.execute((&*record.id, &*record.gateway, &*record.body))?;
    }
    Ok(())
}

/// See [`crate::store::Engine::written`].
pub fn written(connection: &mut Connection, records: &[Arc<str>]) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    for id in records {
        transaction.execute("delete from records where id = ?1", [&**id])?;
    }
    Ok(transaction.commit()?)
}

/// See [`crate::store::Engine::observe`].
pub fn observe(connection: &mut Connection, seen: &[Observation]) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let mut put = transaction.prepare(
        "insert into observations (kind, id, body, at) values (?1, ?2, ?3, ?4)
         on conflict do update set body = excluded.body, at = excluded.at",
    )?;
    for Observation { kind, id, body, at } in seen {
        put.execute((&**kind, &**id, &**body, at.millis()))?;
    }
    drop(put);
    Ok(transaction.commit()?)
}

/// See [`crate::store::Engine::lease`].
pub fn lease(
    connection: &mut Connection,
    name: &str,
    holder: &str,
    time: Duration,
) -> Result<Option<Fence>, StoreError> {
    let take = concat!(
        "insert into leases (name, holder, fence, until) values (?1, ?2, 1, ",
        now!(),
        " + ?3) on conflict do update set holder = excluded.holder, until = excluded.until,
            fence = fence + (holder <> excluded.holder or until <= ",
        now!(),
        ") where holder = excluded.holder or until <= ",
        now!(),
        " returning fence"
    );
    let transaction = begin(connection)?;
    let fence =
        transaction.query_row(take, (name, holder, millis(time)), |row| row.get(0).map(Fence)).optional()?;
    transaction.commit()?;
    Ok(fence)
}

/// See [`crate::store::Engine::release`]. The row stays, for its fence.
pub fn release(
    connection: &mut Connection,
    name: &str,
    holder: &str,
    fence: Fence,
) -> Result<(), StoreError> {
    let end = "update leases set until = 0 where name = ?1 and holder = ?2 and fence = ?3";
    connection.execute(end, (name, holder, fence.0))?;
    Ok(())
}

/// See [`crate::store::Engine::prune`]. By revision, so that a clock set back leaves no gap in the log.
pub fn prune(connection: &mut Connection, horizon: Duration) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let oldest: i64 =
        transaction.query_row(concat!("select ", now!(), " - ?1"), [millis(horizon)], |row| row.get(0))?;
    transaction.execute(
        "update meta set pruned = max(pruned, coalesce((select max(revision) from changes where at < ?1), 0))",
        [oldest],
    )?;
    transaction.execute("delete from changes where revision <= (select pruned from meta)", [])?;
    transaction.execute("delete from batches where at < ?1", [oldest])?;
    Ok(transaction.commit()?)
}

/// See [`crate::store::Engine::replace`].
pub fn replace(connection: &mut Connection, with: &Replacement) -> Result<Meta, StoreError> {
    let transaction = begin(connection)?;
    let before = read::meta(&transaction)?;
    with.may_replace(&before)?;
    let revision = Revision(before.revision.0 + 1);
    transaction.execute_batch(
        "delete from uniques; delete from objects; delete from changes; delete from observations;",
    )?;
    write(&transaction, &with.writes(revision)?)?;
    transaction.execute(
        "update meta set store = ?1, epoch = epoch + 1, pruned = revision, closed = ?2",
        (&*with.store, to_json(&with.closed)?),
    )?;
    let meta = read::meta(&transaction)?;
    transaction.commit()?;
    Ok(meta)
}

/// See [`crate::store::Engine::confirm`].
pub fn confirm(connection: &mut Connection, records: &[Record]) -> Result<Meta, StoreError> {
    let transaction = begin(connection)?;
    transaction.execute("update meta set closed = '[]'", [])?;
    add_records(&transaction, records)?;
    let meta = read::meta(&transaction)?;
    transaction.commit()?;
    Ok(meta)
}
