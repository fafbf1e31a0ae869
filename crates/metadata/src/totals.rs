//! How much there is of everything, for whoever draws it: counted over whole tables, so to be asked seldom and by one at a time.

use roadstead_runtime::Timestamp;

use crate::database::{Connection, Database, params};
use crate::error::MetadataError;
use crate::row::FromRow;

/// How much there is in the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Repositories, also those that are being deleted.
    pub repositories: u64,
    /// Accounts of people that are enabled.
    pub users: u64,
    /// Organisations that are enabled.
    pub organizations: u64,
    /// Robots.
    pub robots: u64,
    /// Upload sessions that are open.
    pub uploads: u64,
}

/// How the rows of a queue are. As Quay counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Rows that somebody works on under a lease.
    pub locked: u64,
    /// Rows that may be taken now.
    pub available: u64,
    /// Those of them whose name nobody works on.
    pub available_unlocked: u64,
}

#[derive(Debug, FromRow)]
struct TotalsRow {
    repositories: i64,
    users: i64,
    organizations: i64,
    robots: i64,
    uploads: i64,
}

#[derive(Debug, FromRow)]
struct QueueRow {
    locked: i64,
    available: i64,
    available_unlocked: i64,
}

impl Database {
    /// Counts everything. One statement, whose time grows with the tables and is limited like that of every other.
    pub async fn totals(&self) -> Result<Totals, MetadataError> {
        let row: Option<TotalsRow> = self
            .reader()
            .row(
                "count what there is",
                r#"SELECT (SELECT count(*) FROM repository) AS repositories,
                          (SELECT count(*) FROM "user" WHERE organization = false AND robot = false AND enabled = true) AS users,
                          (SELECT count(*) FROM "user" WHERE organization = true AND enabled = true) AS organizations,
                          (SELECT count(*) FROM "user" WHERE robot = true) AS robots,
                          (SELECT count(*) FROM blobupload) AS uploads"#,
                params![],
            )
            .await?;
        Ok(row.map_or_else(Totals::default, |row| Totals {
            repositories: count(row.repositories),
            users: count(row.users),
            organizations: count(row.organizations),
            robots: count(row.robots),
            uploads: count(row.uploads),
        }))
    }

    /// Counts the rows of a queue. One statement over its rows.
    pub async fn queue_state(
        &self,
        queue: &str,
        now: Timestamp,
    ) -> Result<QueueState, MetadataError> {
        let row: Option<QueueRow> = self
            .reader()
            .row(
                "count the rows of a queue",
                "WITH rows_of_queue AS (
                     SELECT q.queue_name,
                            CASE WHEN q.available = false AND q.processing_expires > $2 THEN 1 ELSE 0 END AS locked,
                            CASE WHEN q.available_after <= $2 AND q.retries_remaining > 0
                                      AND (q.available = true OR q.processing_expires <= $2) THEN 1 ELSE 0 END AS available
                     FROM queueitem q WHERE @prefix(q.queue_name, $1 || '/'))
                 SELECT (SELECT count(*) FROM rows_of_queue WHERE locked = 1) AS locked,
                        (SELECT count(*) FROM rows_of_queue WHERE available = 1) AS available,
                        (SELECT count(*) FROM rows_of_queue WHERE available = 1 AND queue_name NOT IN
                             (SELECT queue_name FROM rows_of_queue WHERE locked = 1)) AS available_unlocked",
                params![queue, now.naive_utc()],
            )
            .await?;
        Ok(row.map_or_else(QueueState::default, |row| QueueState {
            locked: count(row.locked),
            available: count(row.available),
            available_unlocked: count(row.available_unlocked),
        }))
    }
}

fn count(rows: i64) -> u64 {
    rows.try_into().unwrap_or_default()
}
