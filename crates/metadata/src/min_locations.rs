//! Pushes that wait until several locations hold them: what a namespace demands, and how far an image is.

use std::collections::BTreeSet;
use std::time::Duration;

use roadstead_oci::Digest;
use roadstead_placement::LocationName;

use crate::copy_claims::Urgency;
use crate::database::{Connection, Database, Identified, Transaction, json_ids, params};
use crate::error::MetadataError;
use crate::ids::{ManifestId, RepositoryId, UserId};
use crate::locations::{CLOSED, json_locations, location_name};
use crate::row::FromRow;

/// How many locations must hold everything that is pushed into a namespace before the push is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinLocations {
    /// So many, at least 1.
    pub locations: u32,
    /// How long a push waits for that, in whole seconds.
    pub deadline: Duration,
}

/// How far an image has been copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The blobs that the manifest and what is below it refer to.
    pub blobs: u64,
    /// Those of them that too few locations hold.
    pub short: u64,
}

/// What one location still lacks of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspread {
    /// The location.
    pub location: LocationName,
    /// Blobs whose copies to it are wanted.
    pub blobs: u64,
    /// Those of them whose last attempt failed.
    pub failing: u64,
    /// Why one of them failed.
    pub last_failure: Option<String>,
}

#[derive(Debug, FromRow)]
struct MinLocationsRow {
    locations: Option<i32>,
    deadline_seconds: Option<i32>,
}

#[derive(Debug, FromRow)]
struct SpreadRow {
    blobs: i64,
    short: i64,
}

#[derive(Debug, FromRow)]
struct UnspreadRow {
    location: String,
    blobs: i64,
    failing: i64,
    last_failure: Option<String>,
}

/// The beginning of a statement: the blobs of manifest `$2` of repository `$1` and of what is below it, as `held`.
const IMAGE: &str = "WITH RECURSIVE below(id) AS (
         SELECT m.id FROM manifest m WHERE m.repository_id = $1 AND m.digest = $2
         UNION
         SELECT mc.child_manifest_id FROM below b JOIN manifestchild mc ON mc.manifest_id = b.id),
     held(storage_id) AS (
         SELECT DISTINCT mb.blob_id FROM manifestblob mb WHERE mb.manifest_id IN (SELECT b.id FROM below b))";

impl MinLocations {
    /// As two columns have it. `None` where there is no demand.
    pub(crate) fn of_columns(
        locations: Option<i32>,
        deadline_seconds: Option<i32>,
    ) -> Option<Self> {
        let number = |column: Option<i32>| column.and_then(|column| u32::try_from(column).ok());
        Some(Self {
            locations: number(locations)?,
            deadline: Duration::from_secs(number(deadline_seconds)?.into()),
        })
    }
}

impl Database {
    /// How many locations a push into this namespace waits for. `None`: it does not.
    pub async fn min_locations(
        &self,
        namespace: UserId,
    ) -> Result<Option<MinLocations>, MetadataError> {
        find(self.reader(), namespace).await
    }

    /// Sets how many locations pushes into this namespace wait for; `None`: for none.
    pub async fn set_min_locations(
        &self,
        namespace: UserId,
        min: Option<MinLocations>,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "set what a push waits for";
        let column = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
        match min {
            Some(min) => {
                self.execute(
                    OPERATION,
                    "INSERT INTO roadstead_min_locations (namespace_id, locations, deadline_seconds) VALUES ($1, $2, $3)
                     ON CONFLICT (namespace_id) DO UPDATE
                     SET locations = excluded.locations, deadline_seconds = excluded.deadline_seconds",
                    params![
                        namespace.0,
                        column(min.locations.into()),
                        column(min.deadline.as_secs()),
                    ],
                )
                .await?
            }
            None => {
                self.execute(
                    OPERATION,
                    "DELETE FROM roadstead_min_locations WHERE namespace_id = $1",
                    params![namespace.0],
                )
                .await?
            }
        };
        Ok(())
    }

    /// How far an image is from being held by so many of the configured locations that take part.
    pub async fn spread(
        &self,
        repository: RepositoryId,
        manifest: &Digest,
        locations: u32,
        configured: &BTreeSet<LocationName>,
    ) -> Result<Spread, MetadataError> {
        let row: Option<SpreadRow> = self
            .reader()
            .row(
                "see how far an image was copied",
                &format!(
                    "{IMAGE},
                     counted(locations) AS (
                         SELECT (SELECT count(*) FROM imagestorageplacement p
                                 JOIN imagestoragelocation l ON l.id = p.location_id
                                 WHERE p.storage_id = h.storage_id AND l.name IN @texts($4) AND l.name NOT IN {CLOSED})
                         FROM held h)
                     SELECT count(*) AS blobs, count(CASE WHEN c.locations < $3 THEN 1 END) AS short FROM counted c"
                ),
                params![
                    repository.0,
                    manifest.as_str(),
                    i64::from(locations),
                    json_locations(configured),
                ],
            )
            .await?;
        Ok(row.map_or(Spread { blobs: 0, short: 0 }, |row| Spread {
            blobs: row.blobs.try_into().unwrap_or_default(),
            short: row.short.try_into().unwrap_or_default(),
        }))
    }

    /// What each location still lacks of an image, by the copies that are wanted.
    pub async fn unspread(
        &self,
        repository: RepositoryId,
        manifest: &Digest,
    ) -> Result<Vec<Unspread>, MetadataError> {
        const OPERATION: &str = "see where an image is missing";
        let held: Vec<Identified> = self
            .reader()
            .rows(
                OPERATION,
                &format!("{IMAGE} SELECT h.storage_id AS id FROM held h"),
                params![repository.0, manifest.as_str()],
            )
            .await?;
        let rows: Vec<UnspreadRow> = self
            .reader()
            .rows(
                OPERATION,
                "SELECT l.name AS location, count(*) AS blobs, count(c.last_failure) AS failing,
                        max(c.last_failure) AS last_failure
                 FROM roadstead_copy c JOIN imagestoragelocation l ON l.id = c.location_id
                 WHERE c.storage_id IN @ids($1) GROUP BY l.name ORDER BY l.name",
                params![json_ids(held.into_iter().map(|row| row.id))],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Unspread {
                    location: location_name(&row.location)?,
                    blobs: row.blobs.try_into().unwrap_or_default(),
                    failing: row.failing.try_into().unwrap_or_default(),
                    last_failure: row.last_failure,
                })
            })
            .collect()
    }
}

pub(crate) async fn find(
    connection: &impl Connection,
    namespace: UserId,
) -> Result<Option<MinLocations>, MetadataError> {
    let row: Option<MinLocationsRow> = connection
        .row(
            "look up what a push waits for",
            "SELECT locations, deadline_seconds FROM roadstead_min_locations WHERE namespace_id = $1",
            params![namespace.0],
        )
        .await?;
    Ok(row.and_then(|row| MinLocations::of_columns(row.locations, row.deadline_seconds)))
}

/// Makes the copies of a manifest's blobs that were wanted before as urgent as those that a push waits for.
pub(crate) async fn urge(
    transaction: &Transaction,
    manifest: ManifestId,
) -> Result<(), MetadataError> {
    transaction
        .execute(
            "make copies urgent",
            "UPDATE roadstead_copy SET lane = $2 WHERE lane > $2
             AND storage_id IN (SELECT mb.blob_id FROM manifestblob mb WHERE mb.manifest_id = $1)",
            params![manifest.0, Urgency::Asked.lane()],
        )
        .await?;
    Ok(())
}
