//! The tables in SQLite, as the steps that made them; forward only. What a table means is said of the
//! engine's trait, and PostgreSQL has the same. Always true: a step runs whole or not at all, and only once.

use rusqlite::{Connection, TransactionBehavior};

use crate::{
    object::READER,
    store::{StoreError, schema::Migration},
};

/// Every step so far; a database of version n has had the first n.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        min_reader: 1,
        sql: "
create table meta (
    one integer primary key check (one = 1),
    schema integer not null,
    min_reader integer not null,
    store text not null,
    epoch integer not null,
    revision integer not null,
    pruned integer not null
) strict;
insert into meta values (1, 1, 1, lower(hex(randomblob(16))), 1, 0, 0);
create table objects (
    kind text not null, id text not null, revision integer not null, body text not null,
    primary key (kind, id)
) strict, without rowid;
create table changes (
    revision integer not null, n integer not null, kind text not null, id text not null, body text,
    at integer not null,
    primary key (revision, n)
) strict, without rowid;
create table uniques (
    space text not null, value text not null, kind text not null, id text not null,
    primary key (space, value),
    foreign key (kind, id) references objects (kind, id)
) strict, without rowid;
create index uniques_of on uniques (kind, id);
create table records (
    n integer primary key, id text not null unique, gateway text not null, body text not null
) strict;
create table observations (
    kind text not null, id text not null, body text not null, at integer not null,
    primary key (kind, id)
) strict, without rowid;",
    },
    Migration {
        min_reader: 1,
        sql: "
alter table meta add column closed text not null default '[]';
create table batches (id text primary key, outcome text not null, at integer not null) strict, without rowid;
create table leases (
    name text primary key, holder text not null, fence integer not null, until integer not null
) strict, without rowid;",
    },
];

/// Brings the database to the latest version, and makes it ours alone: it is written even if there is
/// nothing to do.
pub fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        let exists =
            transaction.query_row("select count(*) from sqlite_schema where name = 'meta'", [], |row| {
                row.get::<_, bool>(0)
            })?;
        let (version, needs) = if exists {
            transaction.query_row("select schema, min_reader from meta", [], |row| {
                Ok((row.get::<_, usize>(0)?, row.get(1)?))
            })?
        } else {
            (0, 0)
        };
        if needs > READER {
            return Err(StoreError::TooNew { needs, ours: READER });
        }
        let Some(step) = MIGRATIONS.get(version) else { return Ok(()) };
        transaction.execute_batch(step.sql)?;
        transaction.execute(
            "update meta set schema = ?1, min_reader = max(min_reader, ?2)",
            (version + 1, step.min_reader),
        )?;
        transaction.commit()?;
    }
}
