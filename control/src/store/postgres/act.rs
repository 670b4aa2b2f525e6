//! What is written into a store in PostgreSQL, each act in a transaction of its own.
//! It decides nothing about commits: `Batch::decide` does. Always true: who writes facts holds the lock
//! on the row of the counter, so the order of revisions is the order in which they become visible.

use std::{sync::Arc, time::Duration};

use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{fault::integer, read};
use crate::store::{
    Batch, Fence, Meta, Observation, Outcome, Record, Replacement, Revision, StoreError, Unique,
    batch::{Standing, Writes},
    schema::{damaged, to_json},
};

const BEGIN: &str = "begin isolation level read committed read write";
/// Tells every gateway that something was committed.
const TELL: &str = "select pg_notify('doorward', '')";

/// Parameters with their types.
type Given<'a> = [(&'a (dyn ToSql + Sync), Type)];

async fn run(client: &Client, statement: &str, given: &Given<'_>) -> Result<u64, StoreError> {
    Ok(client.execute_typed(statement, given).await?)
}

/// See [`crate::store::Engine::commit`]. `sent` is set when the commit is on its way.
pub async fn commit(client: &Client, batch: &Batch, sent: &mut bool) -> Result<Vec<Outcome>, StoreError> {
    client.batch_execute(BEGIN).await?;
    let revision = read::meta(client, true).await?.revision;
    // Only under the lock, in a statement of its own: this batch may have been on its way already.
    if let Some(outcomes) = read::outcome(client, &batch.id).await? {
        client.batch_execute("rollback").await?;
        return Ok(outcomes);
    }
    let objects = read::objects(client, batch.objects()).await?;
    let uniques = read::uniques(client, batch.uniques()).await?;
    let (writes, outcomes) = batch.decide(Standing { revision, objects, uniques });
    if outcomes.iter().all(Result::is_err) {
        client.batch_execute("rollback").await?;
        return Ok(outcomes);
    }
    write(client, &writes).await?;
    let outcome = to_json(&outcomes)?;
    let keep = "insert into batches (id, outcome) values ($1, $2)";
    run(client, keep, &[(&&*batch.id.0, Type::TEXT), (&outcome, Type::TEXT)]).await?;
    client.batch_execute(TELL).await?;
    *sent = true;
    client.batch_execute("commit").await?;
    Ok(outcomes)
}

async fn write(client: &Client, writes: &Writes) -> Result<(), StoreError> {
    let revision = integer::<_, i64>(writes.revision.0)?;
    run(client, "update meta set revision = $1", &[(&revision, Type::INT8)]).await?;
    let given_up = writes.given_up.iter().map(|Unique { space, value }| (&**space, &**value));
    delete(
        client,
        "delete from uniques using unnest($1, $2) as gone (a, b) where space = a and value = b",
        given_up,
    )
    .await?;
    let gone = writes.objects.iter().filter(|(_, object)| object.is_none());
    let gone = gone.map(|(id, _)| (id.kind.as_str(), &*id.id));
    delete(client, "delete from objects using unnest($1, $2) as gone (a, b) where kind = a and id = b", gone)
        .await?;
    put(client, writes).await?;
    take(client, writes).await?;
    log(client, writes).await?;
    add_records(client, &writes.records).await
}

async fn delete<'a>(
    client: &Client,
    statement: &str,
    names: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), StoreError> {
    let (first, second): (Vec<_>, Vec<_>) = names.unzip();
    if !first.is_empty() {
        run(client, statement, &[(&first, Type::TEXT_ARRAY), (&second, Type::TEXT_ARRAY)]).await?;
    }
    Ok(())
}

async fn put(client: &Client, writes: &Writes) -> Result<(), StoreError> {
    let (mut kinds, mut ids, mut revisions, mut bodies) = (vec![], vec![], vec![], vec![]);
    for (id, object) in &writes.objects {
        let Some((revision, body)) = object else { continue };
        kinds.push(id.kind.as_str());
        ids.push(&*id.id);
        revisions.push(integer::<_, i64>(revision.0)?);
        bodies.push(&**body);
    }
    let put = "insert into objects (kind, id, revision, body) select * from unnest($1, $2, $3, $4)
        on conflict (kind, id) do update set revision = excluded.revision, body = excluded.body";
    let given = [
        (&kinds as _, Type::TEXT_ARRAY),
        (&ids as _, Type::TEXT_ARRAY),
        (&revisions as _, Type::INT8_ARRAY),
        (&bodies as _, Type::TEXT_ARRAY),
    ];
    if !kinds.is_empty() {
        run(client, put, &given).await?;
    }
    Ok(())
}

async fn take(client: &Client, writes: &Writes) -> Result<(), StoreError> {
    let (mut spaces, mut values, mut kinds, mut ids) = (vec![], vec![], vec![], vec![]);
    for (Unique { space, value }, id) in &writes.taken {
        spaces.push(&**space);
        values.push(&**value);
        kinds.push(id.kind.as_str());
        ids.push(&*id.id);
    }
    let take = "insert into uniques (space, value, kind, id) select * from unnest($1, $2, $3, $4)";
    let given = [&spaces as _, &values as _, &kinds as _, &ids as _].map(|list| (list, Type::TEXT_ARRAY));
    if !spaces.is_empty() {
        run(client, take, &given).await?;
    }
    Ok(())
}

async fn log(client: &Client, writes: &Writes) -> Result<(), StoreError> {
    let (mut revisions, mut kinds, mut ids, mut bodies) = (vec![], vec![], vec![], vec![]);
    for change in &writes.changes {
        revisions.push(integer::<_, i64>(change.revision.0)?);
        kinds.push(change.id.kind.as_str());
        ids.push(&*change.id.id);
        bodies.push(change.body.as_deref());
    }
    let log = "insert into changes (revision, n, kind, id, body)
        select revision, n, kind, id, body
        from unnest($1, $2, $3, $4) with ordinality as log (revision, kind, id, body, n)";
    let given = [
        (&revisions as _, Type::INT8_ARRAY),
        (&kinds as _, Type::TEXT_ARRAY),
        (&ids as _, Type::TEXT_ARRAY),
        (&bodies as _, Type::TEXT_ARRAY),
    ];
    if !revisions.is_empty() {
        run(client, log, &given).await?;
    }
    Ok(())
}

/// One that is there already is not there twice.
async fn add_records(client: &Client, records: &[Record]) -> Result<(), StoreError> {
    let ids: Vec<_> = records.iter().map(|record| &*record.id).collect();
    let gateways: Vec<_> = records.iter().map(|record| &*record.gateway).collect();
    let bodies: Vec<_> = records.iter().map(|record| &*record.body).collect();
    let add = "insert into records (id, gateway, body)
        select id, gateway, body from unnest($1, $2, $3) with ordinality as new (id, gateway, body, n)
        order by n on conflict (id) do nothing";
    if !ids.is_empty() {
        let given = [&ids as _, &gateways as _, &bodies as _].map(|list| (list, Type::TEXT_ARRAY));
        run(client, add, &given).await?;
    }
    Ok(())
}

/// See [`crate::store::Engine::outcome`]. The lock waits for the batch if it is still under way.
pub async fn outcome(
    client: &Client,
    batch: &crate::store::BatchId,
) -> Result<Option<Vec<Outcome>>, StoreError> {
    client.batch_execute(BEGIN).await?;
    read::meta(client, true).await?;
    let outcome = read::outcome(client, batch).await?;
    client.batch_execute("rollback").await?;
    Ok(outcome)
}

/// See [`crate::store::Engine::written`].
pub async fn written(client: &Client, records: &[Arc<str>]) -> Result<(), StoreError> {
    let ids: Vec<_> = records.iter().map(|id| &**id).collect();
    run(client, "delete from records where id = any($1)", &[(&ids, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

/// See [`crate::store::Engine::observe`]. One by one within a transaction, each over the one before it.
pub async fn observe(client: &Client, seen: &[Observation]) -> Result<(), StoreError> {
    let latest: std::collections::BTreeMap<_, _> =
        seen.iter().map(|seen| ((&*seen.kind, &*seen.id), (&*seen.body, seen.at.millis()))).collect();
    let (kinds, ids): (Vec<_>, Vec<_>) = latest.keys().copied().unzip();
    let (bodies, times): (Vec<_>, Vec<_>) = latest.values().copied().unzip();
    let put = "insert into observations (kind, id, body, at) select * from unnest($1, $2, $3, $4)
        on conflict (kind, id) do update set body = excluded.body, at = excluded.at";
    let given = [
        (&kinds as _, Type::TEXT_ARRAY),
        (&ids as _, Type::TEXT_ARRAY),
        (&bodies as _, Type::TEXT_ARRAY),
        (&times as _, Type::INT8_ARRAY),
    ];
    run(client, put, &given).await?;
    Ok(())
}

/// See [`crate::store::Engine::lease`].
pub async fn lease(
    client: &Client,
    name: &str,
    holder: &str,
    time: Duration,
) -> Result<Option<Fence>, StoreError> {
    let take = "insert into leases as held (name, holder, fence, until)
        values ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
        on conflict (name) do update set holder = excluded.holder, until = excluded.until,
            fence = held.fence + (held.holder <> excluded.holder or held.until <= clock_timestamp())::int
        where held.holder = excluded.holder or held.until <= clock_timestamp()
        returning fence";
    let seconds = time.as_secs_f64();
    let given = [(&name as _, Type::TEXT), (&holder as _, Type::TEXT), (&seconds as _, Type::FLOAT8)];
    let row = client.query_typed_opt(take, &given).await?;
    row.map(|row| integer(row.try_get::<_, i64>(0)?).map(Fence)).transpose()
}

/// See [`crate::store::Engine::release`]. The row stays, for its fence.
pub async fn release(client: &Client, name: &str, holder: &str, fence: Fence) -> Result<(), StoreError> {
    let end = "update leases set until = '-infinity' where name = $1 and holder = $2 and fence = $3";
    let fence = integer::<_, i64>(fence.0)?;
    run(client, end, &[(&name, Type::TEXT), (&holder, Type::TEXT), (&fence, Type::INT8)]).await?;
    Ok(())
}

/// See [`crate::store::Engine::prune`]. By revision, so that a clock set back leaves no gap in the log.
pub async fn prune(client: &Client, horizon: Duration) -> Result<(), StoreError> {
    client.batch_execute(BEGIN).await?;
    read::meta(client, true).await?;
    let horizon = horizon.as_secs_f64();
    let given = [(&horizon as _, Type::FLOAT8)];
    let pruned = "update meta set pruned = greatest(pruned, (
        select max(revision) from changes where at < clock_timestamp() - make_interval(secs => $1)))";
    run(client, pruned, &given).await?;
    run(client, "delete from changes where revision <= (select pruned from meta)", &[]).await?;
    run(client, "delete from batches where at < clock_timestamp() - make_interval(secs => $1)", &given)
        .await?;
    Ok(client.batch_execute("commit").await?)
}

/// See [`crate::store::Engine::replace`].
pub async fn replace(client: &Client, with: &Replacement) -> Result<Meta, StoreError> {
    client.batch_execute(BEGIN).await?;
    let before = read::meta(client, true).await?;
    with.may_replace(&before)?;
    client
        .batch_execute(
            "delete from uniques; delete from objects; delete from changes; delete from observations",
        )
        .await?;
    write(client, &with.writes(Revision(before.revision.0 + 1))?).await?;
    let closed = to_json(&with.closed)?;
    let become_other = "update meta set store = $1, epoch = epoch + 1, pruned = revision, closed = $2";
    run(client, become_other, &[(&&*with.store, Type::TEXT), (&closed, Type::TEXT)]).await?;
    end(client).await
}

/// See [`crate::store::Engine::confirm`].
pub async fn confirm(client: &Client, records: &[Record]) -> Result<Meta, StoreError> {
    client.batch_execute(BEGIN).await?;
    if run(client, "update meta set closed = '[]'", &[]).await? != 1 {
        return Err(damaged("its row of meta is missing"));
    }
    add_records(client, records).await?;
    end(client).await
}

async fn end(client: &Client) -> Result<Meta, StoreError> {
    let meta = read::meta(client, true).await?;
    client.batch_execute(TELL).await?;
    client.batch_execute("commit").await?;
    Ok(meta)
}
