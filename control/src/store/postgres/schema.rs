//! The tables in PostgreSQL, as the steps that made them; forward only. What a table means is said of the
//! engine's trait, and SQLite has the same. Always true: a step runs whole or not at all, and only once,
//! whoever else does the same at the same time.

use tokio_postgres::{Client, types::Type};

use super::fault::integer;
use crate::{
    object::READER,
    store::{StoreError, schema::Migration},
};

/// Every step so far; a database of version n has had the first n.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        min_reader: 1,
        sql: r#"
create table meta (
    one bigint primary key check (one = 1),
    schema bigint not null,
    min_reader bigint not null,
    store text not null,
    epoch bigint not null,
    revision bigint not null,
    pruned bigint not null
);
insert into meta values (1, 1, 1, replace(gen_random_uuid()::text, '-', ''), 1, 0, 0);
create table objects (
    kind text not null, id text not null, revision bigint not null, body text not null,
    primary key (kind, id)
);
create table changes (
    revision bigint not null, n bigint not null, kind text not null, id text not null, body text,
    at timestamptz not null default clock_timestamp(),
    primary key (revision, n)
);
create table uniques (
    space text not null, value text not null, kind text not null, id text not null,
    primary key (space, value),
    foreign key (kind, id) references objects (kind, id)
);
create index uniques_of on uniques (kind, id);
create table records (
    n bigint generated always as identity primary key,
    id text not null unique, gateway text not null, body text not null
);
create table observations (
    kind text not null, id text not null, body text not null, at bigint not null,
    primary key (kind, id)
);"#,
    },
    Migration {
        min_reader: 1,
        sql: "
alter table meta add column closed text not null default '[]';
create table batches (
    id text primary key, outcome text not null, at timestamptz not null default clock_timestamp()
);
create table leases (
    name text primary key, holder text not null, fence bigint not null, until timestamptz not null
);",
    },
];

/// Held while the schema is looked at and changed; the number is ours alone, and means nothing.
const LOCK: &str = "select pg_advisory_xact_lock(7236837419)";

/// Brings the database to the latest version.
pub async fn migrate(client: &Client) -> Result<(), StoreError> {
    loop {
        client.batch_execute("begin isolation level read committed read write").await?;
        client.batch_execute(LOCK).await?;
        let (version, needs) = version(client).await?;
        if needs > READER {
            return Err(StoreError::TooNew { needs, ours: READER });
        }
        let Some(step) = MIGRATIONS.get(version) else { return Ok(client.batch_execute("rollback").await?) };
        client.batch_execute(step.sql).await?;
        let next: [i64; 2] = [integer(version + 1)?, integer(step.min_reader)?];
        client
            .execute_typed(
                "update meta set schema = $1, min_reader = greatest(min_reader, $2)",
                &[(&next[0], Type::INT8), (&next[1], Type::INT8)],
            )
            .await?;
        client.batch_execute("commit").await?;
    }
}

/// How many steps the database has had, and who may read it.
async fn version(client: &Client) -> Result<(usize, u32), StoreError> {
    let exists = client.query_typed_one("select to_regclass('meta') is not null", &[]).await?;
    if !exists.try_get::<_, bool>(0)? {
        return Ok((0, 0));
    }
    let row = client.query_typed_one("select schema, min_reader from meta", &[]).await?;
    Ok((integer(row.try_get::<_, i64>(0)?)?, integer(row.try_get::<_, i64>(1)?)?))
}
