//! The removal of a location: what only it holds, and the rows that go with it. The last placement of a blob is never deleted here.

use std::collections::BTreeSet;

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::copy_claims::Urgency;
use crate::database::{Connection, Counted, Database, Identified, json_ids, params};
use crate::error::MetadataError;
use crate::ids::StorageId;
use crate::locations::{LocationState, find_location, json_locations, limit_column, set_state};
use crate::row::FromRow;

/// Blobs that no trusted location holds besides the one that is to go.
#[derive(Clone, Debug, Default)]
pub struct SoleCopies {
    /// How many.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Some of them.
    pub some: Vec<StorageId>,
}

/// A blob that no trusted location holds besides the one that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoleCopy {
    /// Its row.
    pub storage: StorageId,
    /// Its digest, or the id of its row where Quay has not hashed it.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

/// What went with a location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForgottenLocation {
    /// Demands of namespaces for this location (`userregion`).
    pub regions: u64,
    /// Copies to it that were still wanted.
    pub wanted_copies: u64,
}

#[derive(Debug, FromRow)]
struct FailingRow {
    failing: i64,
    last_failure: Option<String>,
}

#[derive(Debug, FromRow)]
struct SoleRow {
    id: i32,
    name: String,
    size: i64,
}

#[derive(Debug, FromRow)]
struct SumRow {
    blobs: i64,
    bytes: i64,
}

/// Placements at location `$1` of blobs without a placement at one of the locations `$2`.
const SOLE: &str = "FROM imagestorageplacement p
     JOIN imagestoragelocation l ON l.id = p.location_id
     JOIN imagestorage s ON s.id = p.storage_id
     WHERE l.name = $1 AND NOT EXISTS (
         SELECT 1 FROM imagestorageplacement o JOIN imagestoragelocation ol ON ol.id = o.location_id
         WHERE o.storage_id = p.storage_id AND ol.name <> $1 AND ol.name IN @texts($2))";

impl Database {
    /// Counts the blobs whose only placement at a trusted location would go with `location`, and names some, at most `limit`.
    pub async fn sole_copies(
        &self,
        location: &LocationName,
        trusted: &BTreeSet<LocationName>,
        limit: u32,
    ) -> Result<SoleCopies, MetadataError> {
        const OPERATION: &str = "look for blobs that only one location holds";
        let trusted = json_locations(trusted);
        let sum: Option<SumRow> = self
            .reader()
            .row(
                OPERATION,
                &format!(
                    "SELECT count(*) AS blobs, CAST(COALESCE(sum(s.image_size), 0) AS bigint) AS bytes {SOLE}"
                ),
                params![location.as_str(), trusted.as_str()],
            )
            .await?;
        let some: Vec<Identified> = self
            .reader()
            .rows(
                OPERATION,
                &format!("SELECT s.id {SOLE} ORDER BY s.id LIMIT $3"),
                params![location.as_str(), trusted, limit_column(limit)],
            )
            .await?;
        let sum = sum.unwrap_or(SumRow { blobs: 0, bytes: 0 });
        Ok(SoleCopies {
            blobs: sum.blobs.try_into().unwrap_or_default(),
            bytes: sum.bytes.try_into().unwrap_or_default(),
            some: some.into_iter().map(|row| StorageId(row.id)).collect(),
        })
    }

    /// How many of the queued copies that bring elsewhere what only `location` holds failed the last time, and why one did.
    pub async fn failing_refuges(
        &self,
        location: &LocationName,
        trusted: &BTreeSet<LocationName>,
    ) -> Result<(u64, Option<String>), MetadataError> {
        let row: Option<FailingRow> = self
            .reader()
            .row(
                "look for copies that fail",
                &format!(
                    "SELECT count(*) AS failing, max(c.last_failure) AS last_failure
                     FROM roadstead_copy c WHERE c.last_failure IS NOT NULL AND c.storage_id IN (SELECT p.storage_id {SOLE})"
                ),
                params![location.as_str(), json_locations(trusted)],
            )
            .await?;
        Ok(row.map_or((0, None), |row| {
            (row.failing.try_into().unwrap_or_default(), row.last_failure)
        }))
    }

    /// Makes the queued copies of a page of the blobs at `location` the most urgent that no trusted location holds besides: those with ids behind
    /// `after`, at most `limit` ids. Tells how many, and where the next page begins. Attempts that were put off stay put off.
    pub async fn hasten_sole_copies(
        &self,
        location: &LocationName,
        trusted: &BTreeSet<LocationName>,
        after: StorageId,
        limit: u32,
    ) -> Result<(u64, Option<StorageId>), MetadataError> {
        const OPERATION: &str = "make copies of what only one location holds urgent";
        let page: Vec<Identified> = self
            .reader()
            .rows(
                OPERATION,
                // Whoever else holds them: a page of what only it holds would be searched for among all that it has.
                "SELECT p.storage_id AS id FROM imagestorageplacement p
                 WHERE p.location_id = (SELECT l.id FROM imagestoragelocation l WHERE l.name = $1) AND p.storage_id > $2
                 ORDER BY p.storage_id LIMIT $3",
                params![location.as_str(), after.0, limit_column(limit)],
            )
            .await?;
        let hastened = self
            .execute(
                OPERATION,
                "UPDATE roadstead_copy SET lane = $2
                 WHERE lane > $2 AND storage_id IN @ids($1) AND NOT EXISTS (
                     SELECT 1 FROM imagestorageplacement o JOIN imagestoragelocation ol ON ol.id = o.location_id
                     WHERE o.storage_id = roadstead_copy.storage_id AND ol.name <> $3 AND ol.name IN @texts($4))",
                params![
                    json_ids(page.iter().map(|row| row.id)),
                    Urgency::Asked.lane(),
                    location.as_str(),
                    json_locations(trusted),
                ],
            )
            .await?;
        let next = page
            .last()
            .filter(|_| page.len() >= limit as usize)
            .map(|row| StorageId(row.id));
        Ok((hastened, next))
    }

    /// Ends every upload session whose bytes lie at the location, and tells how many.
    pub async fn forget_uploads(&self, location: &LocationName) -> Result<u64, MetadataError> {
        const OPERATION: &str = "end the uploads of a location";
        let transaction = self.begin(OPERATION).await?;
        let Some(id) = find_location(&transaction, location).await? else {
            return Ok(0);
        };
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_upload WHERE upload_id IN (SELECT id FROM blobupload WHERE location_id = $1)",
                params![id.0],
            )
            .await?;
        let ended = transaction
            .execute(
                OPERATION,
                "DELETE FROM blobupload WHERE location_id = $1",
                params![id.0],
            )
            .await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Deletes a batch of the location's placements, those only whose blob one of `trusted` holds too, and returns their ids in order. Only
    /// those with ids above `after`, so that a batch does not look again at what batches before it have left. Empty: none is left that may go.
    pub async fn forget_placements(
        &self,
        location: &LocationName,
        trusted: &BTreeSet<LocationName>,
        after: i32,
        limit: u32,
    ) -> Result<Vec<i32>, MetadataError> {
        const OPERATION: &str = "delete placements of a location";
        let transaction = self.begin(OPERATION).await?;
        let deleted: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "DELETE FROM imagestorageplacement WHERE id IN (
                     SELECT p.id FROM imagestorageplacement p
                     WHERE p.id > $3 AND p.location_id = (SELECT l.id FROM imagestoragelocation l WHERE l.name = $1) AND EXISTS (
                         SELECT 1 FROM imagestorageplacement o JOIN imagestoragelocation ol ON ol.id = o.location_id
                         WHERE o.storage_id = p.storage_id AND ol.name <> $1 AND ol.name IN @texts($2))
                     ORDER BY p.id LIMIT $4)
                 RETURNING id",
                params![
                    location.as_str(),
                    json_locations(trusted),
                    after,
                    limit_column(limit),
                ],
            )
            .await?;
        transaction.commit().await?;
        let mut ids: Vec<i32> = deleted.into_iter().map(|row| row.id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Deletes a batch of the location's placements although no location of `trusted` holds their blobs: what is there is given up. Only of blobs
    /// with ids up to `until`, which somebody has agreed to lose. Returns the ids of the placements in order.
    pub async fn give_up_placements(
        &self,
        location: &LocationName,
        trusted: &BTreeSet<LocationName>,
        until: StorageId,
        limit: u32,
    ) -> Result<Vec<i32>, MetadataError> {
        const OPERATION: &str = "give up what only one location holds";
        let transaction = self.begin(OPERATION).await?;
        let deleted: Vec<Identified> = transaction
            .rows(
                OPERATION,
                &format!(
                    "DELETE FROM imagestorageplacement WHERE id IN (SELECT p.id {SOLE} AND s.id <= $3 ORDER BY s.id LIMIT $4)
                     RETURNING id"
                ),
                params![
                    location.as_str(),
                    json_locations(trusted),
                    until.0,
                    limit_column(limit),
                ],
            )
            .await?;
        transaction.commit().await?;
        let mut ids: Vec<i32> = deleted.into_iter().map(|row| row.id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// A page of what [`Database::sole_copies`] counts, by the ids of the blobs, behind `after`.
    pub async fn sole_copies_after(
        &self,
        location: &LocationName,
        trusted: &BTreeSet<LocationName>,
        after: StorageId,
        limit: u32,
    ) -> Result<Vec<SoleCopy>, MetadataError> {
        let rows: Vec<SoleRow> = self
            .reader()
            .rows(
                "list blobs that only one location holds",
                &format!(
                    "SELECT s.id, COALESCE(s.content_checksum, s.uuid) AS name, COALESCE(s.image_size, 0) AS size {SOLE}
                     AND s.id > $3 ORDER BY s.id LIMIT $4"
                ),
                params![
                    location.as_str(),
                    json_locations(trusted),
                    after.0,
                    limit_column(limit),
                ],
            )
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| SoleCopy {
                storage: StorageId(row.id),
                name: row.name,
                size: row.size.try_into().unwrap_or_default(),
            })
            .collect())
    }

    /// Drops a batch of the copies that are wanted at a location, with their queue rows, and tells how many.
    pub async fn forget_wanted_copies(
        &self,
        location: &LocationName,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "drop copies to a location";
        let transaction = self.begin(OPERATION).await?;
        let dropped: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "SELECT c.queueitem_id AS id FROM roadstead_copy c
                 WHERE c.location_id = (SELECT l.id FROM imagestoragelocation l WHERE l.name = $1) ORDER BY c.id LIMIT $2",
                params![location.as_str(), limit_column(limit)],
            )
            .await?;
        let rows = json_ids(dropped.iter().map(|row| row.id));
        for statement in [
            "DELETE FROM roadstead_copy WHERE queueitem_id IN @ids($1)",
            "DELETE FROM queueitem WHERE id IN @ids($1)",
        ] {
            transaction
                .execute(OPERATION, statement, params![rows.as_str()])
                .await?;
        }
        transaction.commit().await?;
        Ok(dropped.len() as u64)
    }

    /// Deletes a location that has no placements any more, with everything that still names it, and notes that it was removed.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when placements are left; nothing is changed then.
    pub async fn forget_location(
        &self,
        location: &LocationName,
        now: Timestamp,
    ) -> Result<ForgottenLocation, MetadataError> {
        const OPERATION: &str = "delete a location";
        let transaction = self.begin(OPERATION).await?;
        let Some(id) = find_location(&transaction, location).await? else {
            return Err(MetadataError::Conflict {
                what: format!("location `{location}` is not in the database"),
            });
        };
        let left: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM imagestorageplacement WHERE location_id = $1",
                params![id.0],
            )
            .await?;
        if let Some(left) = left.filter(|left| left.count > 0) {
            return Err(MetadataError::Conflict {
                what: format!("location `{location}` still has {} placements", left.count),
            });
        }
        for statement in [
            "DELETE FROM roadstead_upload WHERE upload_id IN (SELECT id FROM blobupload WHERE location_id = $1)",
            "DELETE FROM blobupload WHERE location_id = $1",
            "DELETE FROM queueitem WHERE id IN (SELECT queueitem_id FROM roadstead_copy WHERE location_id = $1)",
        ] {
            transaction
                .execute(OPERATION, statement, params![id.0])
                .await?;
        }
        let wanted_copies = transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_copy WHERE location_id = $1",
                params![id.0],
            )
            .await?;
        let regions = transaction
            .execute(
                OPERATION,
                "DELETE FROM userregion WHERE location_id = $1",
                params![id.0],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM imagestoragelocation WHERE id = $1",
                params![id.0],
            )
            .await?;
        for statement in [
            "DELETE FROM roadstead_scrub WHERE location = $1",
            "DELETE FROM roadstead_scrub_finding WHERE location = $1",
            "DELETE FROM roadstead_scrub_orphan WHERE location = $1",
        ] {
            transaction
                .execute(OPERATION, statement, params![location.as_str()])
                .await?;
        }
        set_state(&transaction, location, LocationState::Removed, now).await?;
        transaction.commit().await?;
        Ok(ForgottenLocation {
            regions,
            wanted_copies,
        })
    }
}
