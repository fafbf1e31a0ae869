//! The schema: who brings it up to date, and when a database is refused instead.
//!
//! Three kinds of database are told apart. An empty one gets every table by our migrations. One that our migrations made gets the migrations that
//! it lacks. One with `alembic_version` is Quay's: it is compared with what we work with ([`takeover`]) and gets our own tables beside Quay's,
//! of which none is touched. What the server itself must be able to do is looked at in [`server`].

mod error;
mod rights;
mod server;
mod takeover;

use std::time::Duration;

use roadstead_migrations::{
    ALEMBIC_TABLE, INCOMPATIBLE_SUFFIX, MIGRATION_TABLE, QUAY_REVISIONS, known_migrations,
    quay_tables,
};

pub use error::SchemaError;
pub use server::ServerWarning;

use crate::database::{Connection, Database, Lock, Migration, Named, json_texts, params};
use crate::dialect::Engine;
use crate::error::MetadataError;

const MIGRATE: &str = "bring the schema up to date";
const CHECK: &str = "check the schema";

/// How an instance waits for another that is migrating.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long one attempt waits for the lock.
    each: Duration,
    /// How many attempts there are.
    attempts: u32,
}

/// Five minutes in all. A migration takes a second; a session whose client is gone without a word is ended by the server after a minute
/// (`idle_in_transaction_session_timeout`), and its lock with it. One attempt is shorter than what makes a statement slow.
const PATIENCE: Patience = Patience {
    each: Duration::from_secs(1),
    attempts: 300,
};

/// How many attempts there are to a line in the log.
const ATTEMPTS_TOLD: u32 = 10;

/// The lock under which one instance migrates.
fn migrating() -> Lock {
    Lock::named("roadstead_schema")
}

impl Database {
    /// Brings the schema up to date, in one transaction: of several processes that start at once, one does it and the others wait, five
    /// minutes at most. A dropped future leaves the schema as it was.
    ///
    /// # Errors
    /// [`MetadataError::Schema`] when the database is refused; nothing is changed then.
    pub async fn migrate(&self) -> Result<(), MetadataError> {
        match self.engine() {
            Engine::Sqlite => {
                let standing = Standing::read(self.reader()).await?;
                if standing.is_complete() {
                    standing.warn_of_newer();
                    return standing.check(self.reader()).await;
                }
                migrate_locked(self.begin_migration(MIGRATE).await?).await
            }
            Engine::Postgres => self.migrate_patiently(PATIENCE).await,
        }
    }

    /// Checks that the schema is this program's, and changes nothing.
    pub async fn check_schema(&self) -> Result<(), MetadataError> {
        let standing = Standing::read(self.reader()).await?;
        standing.warn_of_newer();
        standing.check(self.reader()).await?;
        if standing.is_complete() {
            Ok(())
        } else {
            Err(SchemaError::TooOld.into())
        }
    }

    /// Which schema the database has now. Three short queries at most.
    pub async fn revisions(&self) -> Result<Revisions, MetadataError> {
        let standing = Standing::read(self.reader()).await?;
        let last = |names: &[String]| names.last().cloned().unwrap_or_default();
        Ok(match standing.quay {
            Some(found) => Revisions {
                database: found.join(","),
                known: QUAY_REVISIONS
                    .last()
                    .copied()
                    .unwrap_or_default()
                    .to_owned(),
            },
            None => Revisions {
                database: last(&standing.applied),
                known: last(&known_migrations()),
            },
        })
    }

    async fn migrate_patiently(&self, patience: Patience) -> Result<(), MetadataError> {
        for attempt in 0..patience.attempts {
            let migration = self.begin_migration(MIGRATE).await?;
            let transaction = migration.transaction();
            let standing = Standing::read(transaction).await?;
            if standing.is_complete() {
                standing.warn_of_newer();
                standing.check(transaction).await?;
                return migration.commit().await;
            }
            rights::refuse_read_only(transaction).await?;
            let milliseconds = patience.each.as_millis().to_string();
            transaction
                .execute(
                    MIGRATE,
                    "SELECT set_config('lock_timeout', $1, true)",
                    params![milliseconds],
                )
                .await?;
            match transaction.lock(migrating()).await {
                Ok(()) => return migrate_locked(migration).await,
                Err(MetadataError::Contended { .. }) => {
                    if attempt % ATTEMPTS_TOLD == 0 {
                        let holder = self.who_is_migrating().await?;
                        tracing::info!("Waiting for {holder}, which brings the schema up to date");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(SchemaError::Busy {
            seconds: (patience.each * patience.attempts).as_secs(),
            holder: self.who_is_migrating().await?,
        }
        .into())
    }

    /// The session that holds the lock, for a person who looks for it.
    async fn who_is_migrating(&self) -> Result<String, MetadataError> {
        let transaction = self.begin(MIGRATE).await?;
        let holder: Option<Named> = transaction
            .row(
                MIGRATE,
                "SELECT 'the session of process ' || a.pid || ' from '
                        || COALESCE(host(a.client_addr), 'the server''s own machine') AS name
                 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND ((CAST(l.classid AS bigint) << 32) | CAST(l.objid AS bigint)) = $1",
                params![migrating().number()],
            )
            .await?;
        transaction.commit().await?;
        Ok(holder.map_or_else(|| "another instance".to_owned(), |holder| holder.name))
    }
}

/// Migrates while nobody else can.
async fn migrate_locked(migration: Migration) -> Result<(), MetadataError> {
    // Read again: whoever held the lock before may have done it.
    let transaction = migration.transaction();
    let standing = Standing::read(transaction).await?;
    standing.warn_of_newer();
    standing.check(transaction).await?;
    if !standing.is_complete() {
        if transaction.engine() == Engine::Postgres {
            rights::refuse_without_create(transaction).await?;
            if standing.is_empty() {
                rights::need_trigrams(transaction).await?;
            }
        }
        migration.migrate().await?;
    }
    migration.commit().await
}

/// Which schema a database has, and which this program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revisions {
    /// Quay's revision where the database is Quay's, else the last of our migrations that is applied.
    pub database: String,
    /// The last of the same kind that this program knows.
    pub known: String,
}

/// How far a database has come, by its own account.
#[derive(Debug)]
struct Standing {
    /// Our migrations that are applied.
    applied: Vec<String>,
    /// Those of them that only a newer version of this program knows.
    newer: Vec<String>,
    /// Quay's revisions: none when the database is not Quay's, one as a rule.
    quay: Option<Vec<String>>,
}

impl Standing {
    /// Reads it, and refuses a database that a newer version of this program has migrated so that this one must not work with it. Where the
    /// newer one only added to it, this one goes on, as it has to while the newer one takes its place.
    async fn read(connection: &impl Connection) -> Result<Self, MetadataError> {
        let tables = tables_among(connection, &[MIGRATION_TABLE, ALEMBIC_TABLE]).await?;
        let exists = |table: &str| tables.iter().any(|found| found == table);
        let applied = if exists(MIGRATION_TABLE) {
            let sql = format!("SELECT version AS name FROM {MIGRATION_TABLE} ORDER BY version");
            names(connection, &sql).await?
        } else {
            Vec::new()
        };
        let known = known_migrations();
        let newer: Vec<String> = applied
            .iter()
            .filter(|name| !known.contains(name))
            .cloned()
            .collect();
        let complete = known.iter().all(|known| applied.contains(known));
        // Of what a newer program has begun and not ended nothing is known.
        if !newer.is_empty()
            && (!complete || newer.iter().any(|name| name.ends_with(INCOMPATIBLE_SUFFIX)))
        {
            return Err(SchemaError::TooNew { unknown: newer }.into());
        }
        let quay = if exists(ALEMBIC_TABLE) {
            let sql =
                format!("SELECT version_num AS name FROM {ALEMBIC_TABLE} ORDER BY version_num");
            Some(names(connection, &sql).await?)
        } else {
            None
        };
        Ok(Self {
            applied,
            newer,
            quay,
        })
    }

    /// Logs that a newer version has added to the schema. For a start, not for those who look again and again.
    fn warn_of_newer(&self) {
        if !self.newer.is_empty() {
            tracing::warn!(
                "A newer version has added to the schema ({}): this one goes on beside it, until it is replaced",
                self.newer.join(", ")
            );
        }
    }

    /// Whether every migration that this program knows is applied.
    fn is_complete(&self) -> bool {
        known_migrations()
            .iter()
            .all(|known| self.applied.contains(known))
    }

    /// Whether no migration has made Quay's tables.
    fn is_empty(&self) -> bool {
        self.quay.is_none() && self.applied.is_empty()
    }

    /// Refuses what is neither ours, nor Quay's as we know it, nor empty.
    async fn check(&self, connection: &impl Connection) -> Result<(), MetadataError> {
        if let Some(revisions) = &self.quay {
            if connection.engine() == Engine::Sqlite {
                return Err(SchemaError::QuaysFile.into());
            }
            if revisions.is_empty() {
                return Err(SchemaError::Unfinished.into());
            }
            return takeover::check(connection, revisions).await;
        }
        if self.is_empty() {
            let names: Vec<&str> = quay_tables().map(|table| table.name).collect();
            let tables = tables_among(connection, &names).await?;
            if !tables.is_empty() {
                return Err(SchemaError::Occupied { tables }.into());
            }
        }
        Ok(())
    }
}

/// Those of these tables that exist, in order.
async fn tables_among(
    connection: &impl Connection,
    wanted: &[&str],
) -> Result<Vec<String>, MetadataError> {
    let sql = match connection.engine() {
        Engine::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN @texts($1) ORDER BY name"
        }
        Engine::Postgres => {
            "SELECT CAST(relname AS text) AS name FROM pg_class
             WHERE relkind IN ('r', 'p', 'v', 'f') AND pg_table_is_visible(oid) AND CAST(relname AS text) IN @texts($1)
             ORDER BY relname"
        }
    };
    let found: Vec<Named> = connection
        .rows(CHECK, sql, params![json_texts(wanted)])
        .await?;
    Ok(found.into_iter().map(|row| row.name).collect())
}

async fn names(connection: &impl Connection, sql: &str) -> Result<Vec<String>, MetadataError> {
    let rows: Vec<Named> = connection.rows(CHECK, sql, params![]).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

#[cfg(test)]
mod tests;
