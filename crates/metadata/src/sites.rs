//! Regions that an operator has taken out: balancers are to leave them alone, while they serve all the same. A region goes by the location that
//! it prefers.

use std::collections::BTreeSet;

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::database::{Connection as _, Database, Lock, Named, contended, params};
use crate::error::MetadataError;
use crate::locations::location_name;
use crate::row::FromRow;

const TABLE: &str = "roadstead_drained_site";

/// A region that is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainedSite {
    /// The region.
    pub region: LocationName,
    /// Since when.
    pub since: Timestamp,
}

/// The regions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// Those of which a process runs.
    pub running: BTreeSet<LocationName>,
    /// Those that are out, by name.
    pub drained: Vec<DrainedSite>,
}

impl Sites {
    /// The names of those that are out.
    pub fn out(&self) -> BTreeSet<LocationName> {
        let regions = self.drained.iter().map(|site| site.region.clone());
        regions.collect()
    }
}

#[derive(Debug, FromRow)]
struct Row {
    region: String,
    since: chrono::NaiveDateTime,
}

impl TryFrom<Row> for DrainedSite {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        let region = LocationName::new(&row.region).map_err(|error| {
            MetadataError::corrupt(TABLE, "region", &row.region, error.to_string())
        })?;
        Ok(Self {
            region,
            since: row.since.and_utc(),
        })
    }
}

const DRAINED: &str = "SELECT region, since FROM roadstead_drained_site ORDER BY region";
const RUNNING: &str =
    "SELECT DISTINCT region AS name FROM roadstead_instance WHERE seen_at >= $1 ORDER BY region";

impl Database {
    /// Since when a region is out; none: it is not.
    pub async fn drained_site(
        &self,
        region: &LocationName,
    ) -> Result<Option<DrainedSite>, MetadataError> {
        let row: Option<Row> = self
            .reader()
            .row(
                "look up whether this region is out",
                "SELECT region, since FROM roadstead_drained_site WHERE region = $1",
                params![region.as_str()],
            )
            .await?;
        row.map(DrainedSite::try_from).transpose()
    }

    /// The regions of which a process was heard of since then, and those that are out.
    pub async fn sites(&self, heard_since: Timestamp) -> Result<Sites, MetadataError> {
        const OPERATION: &str = "list the regions";
        let reader = self.reader();
        let running: Vec<Named> = reader
            .rows(OPERATION, RUNNING, params![heard_since.naive_utc()])
            .await?;
        let drained: Vec<Row> = reader.rows(OPERATION, DRAINED, params![]).await?;
        sites(&running, drained)
    }

    /// Takes a region out if `may` allows it for the regions as they are, of which nobody else takes one out meanwhile. Says whether it is out
    /// now, and what there was before. Idempotent: one that is out stays so since the first time.
    pub async fn drain_site(
        &self,
        region: &LocationName,
        heard_since: Timestamp,
        now: Timestamp,
        may: impl Fn(&Sites) -> bool + Sync,
    ) -> Result<(bool, Sites), MetadataError> {
        const OPERATION: &str = "take a region out";
        contended(async || {
            let transaction = self.begin(OPERATION).await?;
            transaction.lock(Lock::sites()).await?;
            let running: Vec<Named> = transaction
                .rows(OPERATION, RUNNING, params![heard_since.naive_utc()])
                .await?;
            let drained: Vec<Row> = transaction.rows(OPERATION, DRAINED, params![]).await?;
            let sites = sites(&running, drained)?;
            if !may(&sites) {
                return Ok((false, sites));
            }
            transaction
                .execute(
                    OPERATION,
                    "INSERT INTO roadstead_drained_site (region, since) VALUES ($1, $2) ON CONFLICT (region) DO NOTHING",
                    params![region.as_str(), now.naive_utc()],
                )
                .await?;
            transaction.commit().await?;
            Ok((true, sites))
        })
        .await
    }

    /// Takes a region back. Says whether it was out.
    pub async fn undrain_site(&self, region: &LocationName) -> Result<bool, MetadataError> {
        let ended = self
            .execute(
                "take a region back",
                "DELETE FROM roadstead_drained_site WHERE region = $1",
                params![region.as_str()],
            )
            .await?;
        Ok(ended > 0)
    }
}

fn sites(running: &[Named], drained: Vec<Row>) -> Result<Sites, MetadataError> {
    Ok(Sites {
        running: running
            .iter()
            .map(|row| location_name(&row.name))
            .collect::<Result<_, _>>()?,
        drained: drained
            .into_iter()
            .map(DrainedSite::try_from)
            .collect::<Result<_, _>>()?,
    })
}
