//! How complete the replication is: what is missing where, since when, and which images it concerns.

use chrono::NaiveDateTime;
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::database::{Connection, Counted, Database, Identified, json_ids, params};
use crate::demand::{Demand, Extent, RulesInForce, demanded};
use crate::error::MetadataError;
use crate::ids::StorageId;
use crate::locations::{json_locations, limit_column, location_name};
use crate::row::FromRow;

/// What one location lacks of what it should hold.
#[derive(Clone, Debug)]
pub struct MissingCopies {
    /// The location.
    pub location: LocationName,
    /// Blobs that it lacks.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them whose copy is queued.
    pub queued: u64,
    /// Those of them whose last attempt failed.
    pub failing: u64,
    /// Since when the oldest queued one is wanted.
    pub oldest: Option<Timestamp>,
    /// Why the latest failed attempt failed.
    pub last_failure: Option<String>,
}

/// An image that needs a blob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AffectedImage {
    /// `namespace/name`.
    pub repository: String,
    /// The tag, or the manifest's digest where no visible tag points to it.
    pub reference: String,
    /// The blob.
    pub blob: Digest,
}

impl std::fmt::Display for AffectedImage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let separator = if self.reference.contains(':') {
            '@'
        } else {
            ':'
        };
        write!(
            formatter,
            "{}{separator}{}",
            self.repository, self.reference
        )
    }
}

#[derive(Debug, FromRow)]
struct MissingRow {
    location: String,
    blobs: i64,
    bytes: i64,
    queued: i64,
    failing: i64,
    oldest: Option<NaiveDateTime>,
    last_failure: Option<String>,
}

#[derive(Debug, FromRow)]
struct ImageRow {
    repository: String,
    reference: String,
    blob: String,
}

impl Database {
    /// What each open location lacks. Locations that lack nothing are not listed.
    pub async fn missing_copies(
        &self,
        demand: Demand<'_>,
    ) -> Result<Vec<MissingCopies>, MetadataError> {
        let rules = RulesInForce::load(self.reader(), demand).await?;
        let rows: Vec<MissingRow> = self
            .reader()
            .rows(
                "sum up the replication",
                &format!(
                    "{}
                     SELECT o.name AS location, t.blobs, t.bytes, t.queued, t.failing, t.oldest,
                            (SELECT f.last_failure FROM roadstead_copy f
                             WHERE f.location_id = o.id AND f.last_failure IS NOT NULL
                             ORDER BY f.last_attempt DESC LIMIT 1) AS last_failure
                     FROM (SELECT m.location_id, count(*) AS blobs, CAST(COALESCE(sum(s.image_size), 0) AS bigint) AS bytes,
                                  count(c.id) AS queued, count(c.last_failure) AS failing, min(c.wanted_since) AS oldest
                           FROM missing m
                           JOIN imagestorage s ON s.id = m.storage_id
                           LEFT JOIN roadstead_copy c ON c.storage_id = m.storage_id AND c.location_id = m.location_id
                           GROUP BY m.location_id) AS t
                     JOIN open o ON o.id = t.location_id ORDER BY o.name",
                    demanded(&rules, "$1", "$2", Extent::ALL)
                ),
                params![json_locations(demand.defaults), json_locations(demand.configured)],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(MissingCopies {
                    location: location_name(&row.location)?,
                    blobs: count(row.blobs),
                    bytes: count(row.bytes),
                    queued: count(row.queued),
                    failing: count(row.failing),
                    oldest: row.oldest.map(|oldest| oldest.and_utc()),
                    last_failure: row.last_failure,
                })
            })
            .collect()
    }

    /// Some of the blobs that a location lacks, oldest first, at most `limit`.
    pub async fn some_missing_blobs(
        &self,
        demand: Demand<'_>,
        location: &LocationName,
        limit: u32,
    ) -> Result<Vec<StorageId>, MetadataError> {
        let rules = RulesInForce::load(self.reader(), demand).await?;
        let rows: Vec<Identified> = self
            .reader()
            .rows(
                "list missing copies",
                &format!(
                    "{}
                     SELECT m.storage_id AS id FROM missing m JOIN open o ON o.id = m.location_id
                     WHERE o.name = $3 ORDER BY m.storage_id LIMIT $4",
                    demanded(&rules, "$1", "$2", Extent::ALL)
                ),
                params![
                    json_locations(demand.defaults),
                    json_locations(demand.configured),
                    location.as_str(),
                    limit_column(limit),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(|row| StorageId(row.id)).collect())
    }

    /// How many blobs that manifests need have no placement at all: their bytes are lost, or a Quay database says so.
    pub async fn count_unplaced_blobs(&self) -> Result<u64, MetadataError> {
        let row: Option<Counted> = self
            .reader()
            .row(
                "count blobs without a placement",
                "SELECT count(*) AS count FROM imagestorage s
                 WHERE NOT EXISTS (SELECT 1 FROM imagestorageplacement p WHERE p.storage_id = s.id)
                   AND EXISTS (SELECT 1 FROM manifestblob mb WHERE mb.blob_id = s.id)",
                params![],
            )
            .await?;
        Ok(row.map_or(0, |row| count(row.count)))
    }

    /// The images that need these blobs, by name, at most `limit`. A manifest without a visible tag is named by its digest.
    pub async fn images_of(
        &self,
        storages: &[StorageId],
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<AffectedImage>, MetadataError> {
        let rows: Vec<ImageRow> = self
            .reader()
            .rows(
                "name the images of blobs",
                r#"SELECT DISTINCT u.username || '/' || r.name AS repository, COALESCE(t.name, m.digest) AS reference,
                          s.content_checksum AS blob
                   FROM imagestorage s
                   JOIN manifestblob mb ON mb.blob_id = s.id
                   JOIN manifest m ON m.id = mb.manifest_id
                   JOIN repository r ON r.id = m.repository_id
                   JOIN "user" u ON u.id = r.namespace_user_id
                   LEFT JOIN tag t ON t.manifest_id = m.id AND NOT t.hidden
                        AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $2)
                   WHERE s.id IN @ids($1) ORDER BY 1, 2, 3 LIMIT $3"#,
                params![
                    json_ids(storages.iter().map(|storage| storage.0)),
                    now.timestamp_millis(),
                    limit_column(limit),
                ],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(AffectedImage {
                    blob: row.blob.parse().map_err(|error| {
                        MetadataError::corrupt("imagestorage", "content_checksum", &row.blob, error)
                    })?,
                    repository: row.repository,
                    reference: row.reference,
                })
            })
            .collect()
    }
}

fn count(value: i64) -> u64 {
    value.try_into().unwrap_or_default()
}
