//! The removal of a location: what only it holds, and the rows that go with it. The last placement of a blob is never deleted here.

use std::collections::BTreeSet;

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use sea_orm::FromQueryResult;

use crate::database::{Connection, Counted, Database, Identified, params};
use crate::error::MetadataError;
use crate::ids::StorageId;
use crate::locations::{LocationState, find_location, json_locations, limit_column, set_state};

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

/// What went with a location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForgottenLocation {
    /// Demands of namespaces for this location (`userregion`).
    pub regions: u64,
    /// Copies to it that were still wanted.
    pub wanted_copies: u64,
}

#[derive(Debug, FromQueryResult)]
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

    /// Deletes a batch of the location's placements, those only whose blob one of `trusted` holds too, and returns their ids in order.
    /// Empty: none is left that may go.
    pub async fn forget_placements(
        &self,
        location: &LocationName,
        trusted: &BTreeSet<LocationName>,
        limit: u32,
    ) -> Result<Vec<i32>, MetadataError> {
        const OPERATION: &str = "delete placements of a location";
        let transaction = self.begin(OPERATION).await?;
        let deleted: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "DELETE FROM imagestorageplacement WHERE id IN (
                     SELECT p.id FROM imagestorageplacement p
                     JOIN imagestoragelocation l ON l.id = p.location_id
                     WHERE l.name = $1 AND EXISTS (
                         SELECT 1 FROM imagestorageplacement o JOIN imagestoragelocation ol ON ol.id = o.location_id
                         WHERE o.storage_id = p.storage_id AND ol.name <> $1 AND ol.name IN @texts($2))
                     ORDER BY p.id LIMIT $3)
                 RETURNING id",
                params![location.as_str(), json_locations(trusted), limit_column(limit)],
            )
            .await?;
        transaction.commit().await?;
        let mut ids: Vec<i32> = deleted.into_iter().map(|row| row.id).collect();
        ids.sort_unstable();
        Ok(ids)
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
        set_state(&transaction, location, LocationState::Removed, now).await?;
        transaction.commit().await?;
        Ok(ForgottenLocation {
            regions,
            wanted_copies,
        })
    }
}
