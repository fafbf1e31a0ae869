//! Blobs: noted when something that held them went, looked at again, and removed with their placements if nothing holds them any more.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use roadstead_oci::Digest;
use roadstead_runtime::Timestamp;

use super::Collection;
use crate::database::{
    Connection, Database, Identified, Lock, Transaction, contended, json_ids, params,
};
use crate::error::MetadataError;
use crate::ids::StorageId;
use crate::locations::limit_column;
use crate::row::FromRow;

/// What one step of a collection has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectedBlobs {
    /// Blobs that are gone. Their objects are doomed.
    pub blobs: u64,
    /// Their bytes, once each, at however many locations.
    pub bytes: u64,
    /// How many were looked at.
    pub looked_at: u64,
}

#[derive(Debug, FromRow)]
struct FreedRow {
    storage_id: i32,
}

#[derive(Debug, FromRow)]
struct CandidateRow {
    id: i32,
    digest: String,
}

#[derive(Debug, FromRow)]
struct GoneRow {
    id: i32,
    size: i64,
}

#[derive(Debug, FromRow)]
struct At {
    at: Option<NaiveDateTime>,
}

#[derive(Debug, FromRow)]
struct PageEnd {
    next: Option<i32>,
}

/// That blob `s` is one whose objects lie where we think: a row of Quay's first image format keeps its bytes elsewhere, and one without a
/// digest says nothing.
pub(crate) const OURS: &str = "(s.cas_path AND s.content_checksum IS NOT NULL)";

/// That no manifest refers to blob `s` and no push protects it. Asked blob by blob: as `NOT EXISTS`, PostgreSQL may think it worth while to read all
/// that refers to any blob for one page of blobs.
const UNREFERRED: &str = "(
    (SELECT mb.id FROM manifestblob mb WHERE mb.blob_id = s.id LIMIT 1) IS NULL
    AND (SELECT u.id FROM uploadedblob u WHERE u.blob_id = s.id LIMIT 1) IS NULL)";

/// Whether anybody publishes an object of blob `s`.
const PUBLISHED: &str =
    "EXISTS (SELECT 1 FROM roadstead_publication n WHERE n.digest = s.content_checksum)";

impl Database {
    /// Deletes protections of pushed blobs that ended before now, some `limit`, and notes the blobs. Tells how many.
    pub async fn end_upload_protections(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        contended(|| self.end_upload_protections_once(now, limit)).await
    }

    async fn end_upload_protections_once(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "end the protection of pushed blobs";
        let last: Option<At> = self
            .reader()
            .row(
                OPERATION,
                "SELECT max(e.expires_at) AS at FROM (
                     SELECT expires_at FROM uploadedblob WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) e",
                params![now.naive_utc(), limit_column(limit)],
            )
            .await?;
        let Some(until) = last.and_then(|row| row.at) else {
            return Ok(0);
        };
        let transaction = self.begin(OPERATION).await?;
        // Named by their end and not by their ids, which have 64 bits in this table.
        let ended: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "DELETE FROM uploadedblob WHERE expires_at <= $1 RETURNING blob_id AS id",
                params![until],
            )
            .await?;
        let blobs: BTreeSet<i32> = ended.iter().map(|row| row.id).collect();
        free_blobs(&transaction, &json_ids(blobs), now).await?;
        transaction.commit().await?;
        Ok(ended.len() as u64)
    }

    /// Looks again at blobs that lost something that held them, at most `limit`, and removes those that nothing holds: no manifest, no
    /// protection of a push, nobody who publishes them. Each object at each of their placements is doomed in the same transaction.
    ///
    /// A blob that somebody is at work with at this moment is put off until `again_at`.
    pub async fn collect_blobs(
        &self,
        collection: &Collection,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<CollectedBlobs, MetadataError> {
        contended(|| self.collect_blobs_once(collection, now, again_at, limit)).await
    }

    async fn collect_blobs_once(
        &self,
        collection: &Collection,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<CollectedBlobs, MetadataError> {
        const OPERATION: &str = "look again at blobs that something let go of";
        let first: Option<At> = self
            .reader()
            .row(
                OPERATION,
                "SELECT min(due_at) AS at FROM roadstead_freed_blob",
                params![],
            )
            .await?;
        if first
            .and_then(|row| row.at)
            .is_none_or(|at| at > now.naive_utc())
        {
            return Ok(CollectedBlobs::default());
        }
        let transaction = self.begin(OPERATION).await?;
        // These rows stay locked: whoever lets go of one of the blobs from here on waits, and notes it anew.
        let freed: Vec<FreedRow> = transaction
            .rows(
                OPERATION,
                // By nothing else, or all that were noted together are sorted for each batch of them.
                "SELECT storage_id FROM roadstead_freed_blob WHERE due_at <= $1
                 ORDER BY due_at LIMIT $2 @skip_locked",
                params![now.naive_utc(), limit_column(limit)],
            )
            .await?;
        let all = json_ids(freed.iter().map(|row| row.storage_id));
        let candidates: Vec<CandidateRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "SELECT s.id, s.content_checksum AS digest FROM imagestorage s
                     WHERE s.id IN @ids($1) AND {OURS}"
                ),
                params![all.as_str()],
            )
            .await?;
        transaction
            .lock_all(candidates.iter().map(|row| Lock::blob(&row.digest)))
            .await?;
        let candidates = json_ids(
            candidates
                .iter()
                // What is no digest has no key that we know of.
                .filter(|row| row.digest.parse::<Digest>().is_ok())
                .map(|row| row.id),
        );
        let gone = remove_unheld(&transaction, collection, &candidates, now).await?;
        settle_freed(&transaction, &all, &candidates, again_at).await?;
        transaction.commit().await?;
        Ok(CollectedBlobs {
            blobs: gone.len() as u64,
            bytes: gone
                .iter()
                .map(|row| u64::try_from(row.size).unwrap_or_default())
                .sum(),
            looked_at: freed.len() as u64,
        })
    }

    /// Notes the blobs of one page of ids that nothing refers to, to be looked at: those that no note was made of, because Quay or an older
    /// version let go of them. Gives where the next page begins; none after the last.
    pub async fn note_stray_blobs(
        &self,
        after: StorageId,
        span: u32,
        now: Timestamp,
    ) -> Result<Option<StorageId>, MetadataError> {
        const OPERATION: &str = "look for blobs that nothing refers to";
        let end: Option<PageEnd> = self
            .reader()
            .row(
                OPERATION,
                "SELECT max(p.id) AS next FROM (SELECT id FROM imagestorage WHERE id > $1 ORDER BY id LIMIT $2) p",
                params![after.0, limit_column(span)],
            )
            .await?;
        let Some(until) = end.and_then(|row| row.next) else {
            return Ok(None);
        };
        let strays: Vec<FreedRow> = self
            .reader()
            .rows(
                OPERATION,
                &format!(
                    "SELECT s.id AS storage_id FROM imagestorage s
                     WHERE s.id > $1 AND s.id <= $2 AND {OURS} AND {UNREFERRED}"
                ),
                params![after.0, until],
            )
            .await?;
        if !strays.is_empty() {
            let strays = json_ids(strays.into_iter().map(|row| row.storage_id));
            contended(|| async {
                let transaction = self.begin(OPERATION).await?;
                free_blobs(&transaction, &strays, now).await?;
                transaction.commit().await
            })
            .await?;
        }
        Ok(Some(StorageId(until)))
    }
}

/// Notes that something let go of these blobs, given as a JSON array. A note that is there is locked, so that whoever looks at the blob at this
/// moment and does not see our change yet cannot take the note away unseen.
pub(crate) async fn free_blobs(
    transaction: &Transaction,
    storages: &str,
    now: Timestamp,
) -> Result<(), MetadataError> {
    transaction
        .execute(
            "note blobs that something let go of",
            "INSERT INTO roadstead_freed_blob (storage_id, due_at)
             SELECT s.id, $2 FROM imagestorage s WHERE s.id IN @ids($1) ORDER BY s.id
             ON CONFLICT (storage_id) DO UPDATE SET due_at = excluded.due_at",
            params![storages, now.naive_utc()],
        )
        .await?;
    Ok(())
}

/// Removes those of the candidates, a JSON array, that nothing holds.
async fn remove_unheld(
    transaction: &Transaction,
    collection: &Collection,
    candidates: &str,
    now: Timestamp,
) -> Result<Vec<GoneRow>, MetadataError> {
    const OPERATION: &str = "remove blobs that nothing refers to";
    // A row that somebody is referring to at this moment is locked and left out; the others are ours, and nobody can begin to refer to them.
    let locked: Vec<FreedRow> = transaction
        .rows(
            OPERATION,
            "SELECT s.id AS storage_id FROM imagestorage s WHERE s.id IN @ids($1) ORDER BY s.id @skip_locked",
            params![candidates],
        )
        .await?;
    let locked = json_ids(locked.iter().map(|row| row.storage_id));
    transaction
        .execute(
            OPERATION,
            // Of these blobs, not of all whose protection has ended: the form keeps PostgreSQL from beginning with those.
            "DELETE FROM uploadedblob WHERE blob_id IN @ids($1) AND COALESCE(expires_at <= $2, false)",
            params![locked.as_str(), now.naive_utc()],
        )
        .await?;
    // A statement of its own, which sees all that was committed before the rows were ours.
    let gone: Vec<GoneRow> = transaction
        .rows(
            OPERATION,
            &format!(
                "SELECT s.id, COALESCE(s.image_size, 0) AS size FROM imagestorage s
                 WHERE s.id IN @ids($1) AND {UNREFERRED}
                   AND NOT {PUBLISHED}"
            ),
            params![locked],
        )
        .await?;
    if gone.is_empty() {
        return Ok(gone);
    }
    let ids = json_ids(gone.iter().map(|row| row.id));
    for statement in [
        "DELETE FROM queueitem WHERE id IN (SELECT c.queueitem_id FROM roadstead_copy c WHERE c.storage_id IN @ids($1))",
        "DELETE FROM roadstead_copy WHERE storage_id IN @ids($1)",
        "DELETE FROM roadstead_hidden_blob WHERE storage_id IN @ids($1)",
    ] {
        transaction
            .execute(OPERATION, statement, params![ids.as_str()])
            .await?;
    }
    doom_placements(transaction, &ids, now).await?;
    collection
        .tables
        .delete(
            transaction,
            "imagestoragesignature",
            "storage_id IN @ids($1)",
            &ids,
        )
        .await?;
    for statement in [
        "DELETE FROM imagestorageplacement WHERE storage_id IN @ids($1)",
        "DELETE FROM imagestorage WHERE id IN @ids($1)",
    ] {
        transaction
            .execute(OPERATION, statement, params![ids.as_str()])
            .await?;
    }
    Ok(gone)
}

/// Dooms the objects of blobs that go, except where a blob that stays has the same digest and location: Quay's digests are not unique.
async fn doom_placements(
    transaction: &Transaction,
    storages: &str,
    now: Timestamp,
) -> Result<(), MetadataError> {
    transaction
        .execute(
            "put objects on the list of those to be deleted",
            "INSERT INTO roadstead_doomed_object (digest, location, size, since, not_before)
                 SELECT d.digest, d.location, d.size, $2, $2
                 FROM (SELECT b.content_checksum AS digest, bl.name AS location, max(b.image_size) AS size
                       FROM imagestorage b
                       JOIN imagestorageplacement bp ON bp.storage_id = b.id
                       JOIN imagestoragelocation bl ON bl.id = bp.location_id
                       WHERE b.id IN @ids($1)
                       GROUP BY b.content_checksum, bl.name) d
                 WHERE NOT EXISTS (
                     SELECT 1 FROM imagestorage s
                     JOIN imagestorageplacement p ON p.storage_id = s.id
                     JOIN imagestoragelocation l ON l.id = p.location_id
                     WHERE s.content_checksum = d.digest AND l.name = d.location AND s.id NOT IN @ids($1))
                 ON CONFLICT DO NOTHING",
            params![storages, now.naive_utc()],
        )
        .await?;
    Ok(())
}

/// Takes the notes of blobs that were looked at away, except of candidates that are still there and held by nothing: somebody is at work with
/// them, and they are put off.
async fn settle_freed(
    transaction: &Transaction,
    looked_at: &str,
    candidates: &str,
    again_at: Timestamp,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "take notes of blobs that were looked at away";
    transaction
        .execute(
            OPERATION,
            &format!(
                "UPDATE roadstead_freed_blob SET due_at = $2 WHERE storage_id IN (
                     SELECT s.id FROM imagestorage s WHERE s.id IN @ids($1) AND {UNREFERRED})"
            ),
            params![candidates, again_at.naive_utc()],
        )
        .await?;
    transaction
        .execute(
            OPERATION,
            "DELETE FROM roadstead_freed_blob WHERE storage_id IN @ids($1) AND due_at <> $2",
            params![looked_at, again_at.naive_utc()],
        )
        .await?;
    Ok(())
}
