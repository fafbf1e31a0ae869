//! The processes that make copies: which there are, and for which regions.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::database::{Connection, Database, params};
use crate::error::MetadataError;
use crate::locations::location_name;
use crate::row::FromRow;

/// The processes that make copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicators {
    /// How many there are, the one that asks among them.
    pub processes: NonZeroU32,
    /// The locations whose regions have one, besides the region of the one that asks.
    pub elsewhere: BTreeSet<LocationName>,
}

#[derive(Debug, FromRow)]
struct RegionRow {
    region: String,
    processes: i64,
}

impl Database {
    /// Notes that a process makes copies, in its region if it has one, and tells of all that do and were seen after `since`. Processes that have
    /// not been seen for a day are forgotten.
    pub async fn note_replicator(
        &self,
        instance: &str,
        region: Option<&LocationName>,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Replicators, MetadataError> {
        const OPERATION: &str = "note that copies are made here";
        const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);
        // A location is never called by nothing.
        let region = region.map_or("", LocationName::as_str);
        let transaction = self.begin(OPERATION).await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_replicator (instance, region, seen_at) VALUES ($1, $2, $3)
                 ON CONFLICT (instance) DO UPDATE SET region = excluded.region, seen_at = excluded.seen_at",
                params![instance, region, now.naive_utc()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_replicator WHERE seen_at < $1",
                params![(now - FORGOTTEN_AFTER).naive_utc()],
            )
            .await?;
        let rows: Vec<RegionRow> = transaction
            .rows(
                OPERATION,
                "SELECT region, count(*) AS processes FROM roadstead_replicator WHERE seen_at >= $1 GROUP BY region",
                params![since.naive_utc()],
            )
            .await?;
        transaction.commit().await?;
        let processes: i64 = rows.iter().map(|row| row.processes).sum();
        Ok(Replicators {
            // This one is there, however far behind its clock is.
            processes: u32::try_from(processes)
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::MIN),
            elsewhere: rows
                .iter()
                .filter(|row| !row.region.is_empty() && row.region != region)
                .map(|row| location_name(&row.region))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Takes back what [`Database::note_replicator`] noted, as when the process ends: others make what is left at once.
    pub async fn forget_replicator(&self, instance: &str) -> Result<(), MetadataError> {
        self.execute(
            "note that copies are no longer made here",
            "DELETE FROM roadstead_replicator WHERE instance = $1",
            params![instance],
        )
        .await
        .map(drop)
    }
}
