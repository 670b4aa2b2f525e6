//! What is read of a store in PostgreSQL. It writes nothing.
//! Always true: what is returned together is of one moment.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use protocol::time::Timestamp;
use tokio_postgres::{Client, Row, types::Type};

use super::fault::integer;
use crate::{
    object::{Kind, READER},
    store::{
        BatchId, Change, Changes, Loaded, Meta, Object, ObjectId, Observation, Outcome, Record, Revision,
        StoreError, Unique,
        schema::{from_json, known, owner},
    },
};

const ONE_MOMENT: &str = "begin isolation level repeatable read read only";

/// What the store says of itself; with `lock`, nothing is committed until this transaction ends.
pub async fn meta(client: &Client, lock: bool) -> Result<Meta, StoreError> {
    let select = "select store, epoch, revision, closed, min_reader from meta";
    let select = if lock { format!("{select} for update") } else { select.to_owned() };
    let row = client.query_typed_one(&select, &[]).await?;
    let needs = integer(row.try_get::<_, i64>(4)?)?;
    if needs > READER {
        return Err(StoreError::TooNew { needs, ours: READER });
    }
    let closed = from_json(row.try_get(3)?)?;
    let epoch = integer(row.try_get::<_, i64>(1)?)?;
    Ok(Meta { store: text(&row, 0)?, epoch, revision: revision(&row, 2)?, closed })
}

fn text(row: &Row, column: usize) -> Result<Arc<str>, StoreError> {
    Ok(row.try_get::<_, &str>(column)?.into())
}

/// A column that holds a revision.
pub fn revision(row: &Row, column: usize) -> Result<Revision, StoreError> {
    integer(row.try_get::<_, i64>(column)?).map(Revision)
}

/// See [`crate::store::Engine::load`].
pub async fn load(client: &Client) -> Result<Loaded, StoreError> {
    client.batch_execute(ONE_MOMENT).await?;
    let meta = meta(client, false).await?;
    let rows = client.query_typed("select kind, id, revision, body from objects", &[]).await?;
    client.batch_execute("commit").await?;
    let mut objects = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(kind) = known(row.try_get(0)?) else { continue };
        let id = ObjectId { kind, id: text(row, 1)? };
        objects.push(Object { id, revision: revision(row, 2)?, body: text(row, 3)? });
    }
    Ok(Loaded { meta, objects })
}

/// Ends with the revision that reaches $2 changes. Unknown kinds (all but those of $3) do not count, or
/// fewer changes than asked for would not mean that these are all.
const CHANGES: &str = "
with log as (select revision, n, kind, id, body from changes where revision > $1 and kind = any($3))
select revision, kind, id, body from log
where revision <= coalesce((select revision from log order by revision, n limit 1 offset $2), revision)
order by revision, n";

/// See [`crate::store::Engine::changes`].
pub async fn changes(
    client: &Client,
    store: &str,
    since: Revision,
    most: usize,
) -> Result<Changes, StoreError> {
    client.batch_execute(ONE_MOMENT).await?;
    let meta = meta(client, false).await?;
    let pruned = revision(&client.query_typed_one("select pruned from meta", &[]).await?, 0)?;
    let behind = *meta.store != *store || since < pruned || since > meta.revision;
    let rows = if behind {
        Vec::new()
    } else {
        let (since, skip) = (integer::<_, i64>(since.0)?, integer::<_, i64>(most.saturating_sub(1))?);
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let given = [(&since as _, Type::INT8), (&skip as _, Type::INT8), (&kinds as _, Type::TEXT_ARRAY)];
        client.query_typed(CHANGES, &given).await?
    };
    client.batch_execute("commit").await?;
    if behind {
        return Ok(Changes::Behind);
    }
    let mut changes = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(kind) = known(row.try_get(1)?) else { continue };
        let id = ObjectId { kind, id: text(row, 2)? };
        let body = row.try_get::<_, Option<&str>>(3)?.map(Arc::from);
        changes.push(Change { revision: revision(row, 0)?, id, body });
    }
    Ok(Changes::Since { meta, changes })
}

/// Of `wanted`, those that are there, with their unique values.
pub async fn objects(
    client: &Client,
    wanted: BTreeSet<&ObjectId>,
) -> Result<HashMap<ObjectId, (Revision, Vec<Unique>)>, StoreError> {
    let (kinds, ids): (Vec<_>, Vec<_>) = wanted.iter().map(|id| (id.kind.as_str(), &*id.id)).unzip();
    let given = [(&kinds as _, Type::TEXT_ARRAY), (&ids as _, Type::TEXT_ARRAY)];
    let select = "select kind, id, objects.revision, space, value
        from unnest($1, $2) as wanted (kind, id)
        join objects using (kind, id) left join uniques using (kind, id)";
    let mut found = HashMap::new();
    for row in &client.query_typed(select, &given).await? {
        let Some(kind) = known(row.try_get(0)?) else { continue };
        let id = ObjectId { kind, id: text(row, 1)? };
        let (_, uniques) = found.entry(id).or_insert((revision(row, 2)?, Vec::new()));
        if let Some(space) = row.try_get::<_, Option<&str>>(3)? {
            uniques.push(Unique::new(space, text(row, 4)?));
        }
    }
    Ok(found)
}

/// Of `wanted`, those that are taken.
pub async fn uniques(
    client: &Client,
    wanted: BTreeSet<&Unique>,
) -> Result<HashMap<Unique, ObjectId>, StoreError> {
    let (spaces, values): (Vec<_>, Vec<_>) = wanted.iter().map(|own| (&*own.space, &*own.value)).unzip();
    let given = [(&spaces as _, Type::TEXT_ARRAY), (&values as _, Type::TEXT_ARRAY)];
    let select = "select space, value, kind, id
        from unnest($1, $2) as wanted (space, value) join uniques using (space, value)";
    let mut found = HashMap::new();
    for row in &client.query_typed(select, &given).await? {
        let unique = Unique::new(row.try_get(0)?, text(row, 1)?);
        found.insert(unique, owner(row.try_get(2)?, text(row, 3)?)?);
    }
    Ok(found)
}

/// What came of a batch that has ended.
pub async fn outcome(client: &Client, batch: &BatchId) -> Result<Option<Vec<Outcome>>, StoreError> {
    let select = "select outcome from batches where id = $1";
    let row = client.query_typed_opt(select, &[(&&*batch.0, Type::TEXT)]).await?;
    row.map(|row| from_json(row.try_get(0)?)).transpose()
}

/// See [`crate::store::Engine::records`].
pub async fn records(client: &Client, gateway: &str) -> Result<Vec<Record>, StoreError> {
    let select = "select id, gateway, body from records where gateway = $1 order by n";
    let rows = client.query_typed(select, &[(&gateway, Type::TEXT)]).await?;
    let record = |row| Ok(Record { id: text(row, 0)?, gateway: text(row, 1)?, body: text(row, 2)? });
    rows.iter().map(record).collect()
}

/// See [`crate::store::Engine::observed`].
pub async fn observed(client: &Client, kind: &str) -> Result<Vec<Observation>, StoreError> {
    let select = "select kind, id, body, at from observations where kind = $1";
    let rows = client.query_typed(select, &[(&kind, Type::TEXT)]).await?;
    let seen = |row: &Row| {
        let at = Timestamp::from_millis(row.try_get(3)?);
        Ok(Observation { kind: text(row, 0)?, id: text(row, 1)?, body: text(row, 2)?, at })
    };
    rows.iter().map(seen).collect()
}
