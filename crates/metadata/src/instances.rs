//! What the running processes tell of themselves, for whoever asks how the deployment is.

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::database::{Connection as _, Database, params};
use crate::error::MetadataError;
use crate::row::FromRow;

/// A process of this registry, as it last told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// A name of its own.
    pub name: String,
    /// The location that its region prefers.
    pub region: LocationName,
    /// When it said so.
    pub seen_at: Timestamp,
    /// How it sees the locations: a document of whoever wrote it.
    pub locations: String,
}

#[derive(Debug, FromRow)]
struct Row {
    name: String,
    region: String,
    seen_at: chrono::NaiveDateTime,
    locations: String,
}

impl TryFrom<Row> for Instance {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        let region = LocationName::new(&row.region).map_err(|error| {
            MetadataError::corrupt("roadstead_instance", "region", &row.name, error.to_string())
        })?;
        Ok(Self {
            name: row.name,
            region,
            seen_at: row.seen_at.and_utc(),
            locations: row.locations,
        })
    }
}

impl Database {
    /// Notes what a process tells of itself, in place of what it told before, and forgets processes that were last heard of before
    /// `forgotten_before`.
    pub async fn note_instance(
        &self,
        instance: &Instance,
        forgotten_before: Timestamp,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "note what this process tells";
        self.execute(
            OPERATION,
            "INSERT INTO roadstead_instance (instance, region, seen_at, locations) VALUES ($1, $2, $3, $4)
             ON CONFLICT (instance) DO UPDATE SET region = excluded.region, seen_at = excluded.seen_at, locations = excluded.locations",
            params![
                instance.name.as_str(),
                instance.region.as_str(),
                instance.seen_at.naive_utc(),
                instance.locations.as_str(),
            ],
        )
        .await?;
        self.execute(
            OPERATION,
            "DELETE FROM roadstead_instance WHERE seen_at < $1",
            params![forgotten_before.naive_utc()],
        )
        .await?;
        Ok(())
    }

    /// The processes that were heard of since then, by region and name. At most 1000.
    pub async fn instances(&self, since: Timestamp) -> Result<Vec<Instance>, MetadataError> {
        let rows: Vec<Row> = self
            .reader()
            .rows(
                "list the running processes",
                "SELECT instance AS name, region, seen_at, locations FROM roadstead_instance
                 WHERE seen_at >= $1 ORDER BY region, instance LIMIT 1000",
                params![since.naive_utc()],
            )
            .await?;
        rows.into_iter().map(Instance::try_from).collect()
    }
}
