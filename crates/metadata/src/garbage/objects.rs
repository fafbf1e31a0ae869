//! Doomed objects: the durable list of what each location has still to lose.
//!
//! An entry is made in the transaction that takes the last reason for the object away. Whoever deletes takes entries under a lease; a lease
//! that has not ended keeps everybody from publishing at the key. Locations are independent: entries of one that cannot be reached wait and
//! say why, and no others.

use chrono::NaiveDateTime;
use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::database::{
    Connection, Database, Lock, Transaction, WIDE_IDS, contended, json_texts, json_wide_ids, params,
};
use crate::error::MetadataError;
use crate::ids::StorageId;
use crate::locations::limit_column;
use crate::row::FromRow;

/// An object that this process alone may delete until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoomedObject {
    id: i64,
    token: String,
    /// Its digest.
    pub digest: Digest,
    /// How often its deletion failed.
    pub attempts: u32,
    /// When the lease ends.
    pub lease_until: Timestamp,
}

/// Which doomed objects to take.
#[derive(Clone, Debug)]
pub struct ClaimObjects<'a> {
    /// Where.
    pub location: &'a LocationName,
    /// How many at most.
    pub limit: u32,
    /// Now.
    pub now: Timestamp,
    /// When the lease ends.
    pub lease_until: Timestamp,
    /// Proves the leases.
    pub token: Uuid,
}

/// A deletion that failed.
#[derive(Clone, Debug)]
pub struct FailedDeletion<'a> {
    /// Why, for the operator.
    pub failure: &'a str,
    /// When it is tried again.
    pub not_before: Timestamp,
    /// Until when nobody may publish at the key: later than now where the store may still carry the deletion out.
    pub closed_until: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

#[derive(Debug, FromRow)]
struct DueRow {
    id: i64,
    digest: String,
}

#[derive(Debug, FromRow)]
struct ClaimedRow {
    id: i64,
    digest: String,
    attempts: i32,
}

#[derive(Debug, FromRow)]
struct PlacedRow {
    id: i32,
}

#[derive(Debug, FromRow)]
struct NextDue {
    at: Option<NaiveDateTime>,
}

/// That some blob of digest `d.digest` has a placement at location `d.location`.
pub(super) const PLACED: &str = "EXISTS (
    SELECT 1 FROM imagestorage s
    JOIN imagestorageplacement p ON p.storage_id = s.id
    JOIN imagestoragelocation l ON l.id = p.location_id
    WHERE s.content_checksum = d.digest AND l.name = d.location)";

/// That somebody is publishing there.
pub(super) const PUBLISHED: &str = "EXISTS (
    SELECT 1 FROM roadstead_publication n WHERE n.digest = d.digest AND n.location = d.location)";

impl Database {
    /// Takes objects that a location has to lose and that nobody wants, those that have been due the longest first. Entries of objects that
    /// have come to be wanted are removed instead.
    pub async fn claim_doomed_objects(
        &self,
        claim: &ClaimObjects<'_>,
    ) -> Result<Vec<DoomedObject>, MetadataError> {
        contended(|| self.claim_doomed_objects_once(claim)).await
    }

    async fn claim_doomed_objects_once(
        &self,
        claim: &ClaimObjects<'_>,
    ) -> Result<Vec<DoomedObject>, MetadataError> {
        const OPERATION: &str = "take objects that are to be deleted";
        let next: Option<NextDue> = self
            .reader()
            .row(
                OPERATION,
                "SELECT min(not_before) AS at FROM roadstead_doomed_object WHERE location = $1",
                params![claim.location.as_str()],
            )
            .await?;
        if next
            .and_then(|row| row.at)
            .is_none_or(|at| at > claim.now.naive_utc())
        {
            return Ok(Vec::new());
        }
        let transaction = self.begin(OPERATION).await?;
        let due: Vec<DueRow> = transaction
            .rows(
                OPERATION,
                // Not locked here: the locks of blobs come before those of rows everywhere.
                "SELECT id, digest FROM roadstead_doomed_object
                 WHERE location = $1 AND not_before <= $2 AND (lease_until IS NULL OR lease_until <= $2)
                 ORDER BY not_before, id LIMIT $3",
                params![
                    claim.location.as_str(),
                    claim.now.naive_utc(),
                    limit_column(claim.limit),
                ],
            )
            .await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        transaction
            .lock_all(due.iter().map(|row| Lock::blob(&row.digest)))
            .await?;
        let ids = json_wide_ids(due.iter().map(|row| row.id));
        transaction
            .execute(
                OPERATION,
                &format!(
                    "DELETE FROM roadstead_doomed_object AS d
                     WHERE d.id IN {WIDE_IDS} AND (d.lease_until IS NULL OR d.lease_until <= $2) AND {PLACED}"
                ),
                params![ids.as_str(), claim.now.naive_utc()],
            )
            .await?;
        let claimed: Vec<ClaimedRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "UPDATE roadstead_doomed_object AS d SET lease_until = $3, lease_token = $4
                     WHERE d.id IN {WIDE_IDS} AND (d.lease_until IS NULL OR d.lease_until <= $2)
                       AND NOT {PUBLISHED} AND NOT {PLACED}
                     RETURNING id, digest, attempts"
                ),
                params![
                    ids,
                    claim.now.naive_utc(),
                    claim.lease_until.naive_utc(),
                    claim.token.to_string(),
                ],
            )
            .await?;
        transaction.commit().await?;
        claimed
            .into_iter()
            .map(|row| {
                Ok(DoomedObject {
                    id: row.id,
                    token: claim.token.to_string(),
                    digest: row.digest.parse().map_err(|error| {
                        MetadataError::corrupt("roadstead_doomed_object", "digest", row.id, error)
                    })?,
                    attempts: row.attempts.try_into().unwrap_or_default(),
                    lease_until: claim.lease_until,
                })
            })
            .collect()
    }

    /// Takes entries off the list whose objects are gone from the location. Tells the blobs that another program, which does not ask us, has
    /// recorded there meanwhile: their objects are gone too.
    pub async fn complete_doomed_objects(
        &self,
        location: &LocationName,
        gone: &[DoomedObject],
    ) -> Result<Vec<StorageId>, MetadataError> {
        contended(|| self.complete_doomed_objects_once(location, gone)).await
    }

    async fn complete_doomed_objects_once(
        &self,
        location: &LocationName,
        gone: &[DoomedObject],
    ) -> Result<Vec<StorageId>, MetadataError> {
        const OPERATION: &str = "take deleted objects off the list";
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let transaction = self.begin(OPERATION).await?;
        transaction
            .lock_all(gone.iter().map(|object| Lock::blob(object.digest.as_str())))
            .await?;
        let digests = json_texts(gone.iter().map(|object| object.digest.as_str()));
        transaction
            .execute(
                OPERATION,
                &format!(
                    "DELETE FROM roadstead_doomed_object WHERE id IN {WIDE_IDS} AND lease_token = $2"
                ),
                params![
                    json_wide_ids(gone.iter().map(|object| object.id)),
                    gone.first().map(|object| object.token.clone()),
                ],
            )
            .await?;
        // Nobody publishes while a lease lasts. Whoever does nevertheless began after ours had ended unnoticed, because this process stood
        // still, and may have lost the object to it: nothing is recorded then, and the bytes are sent again.
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_publication WHERE digest IN @texts($1) AND location = $2",
                params![digests.as_str(), location.as_str()],
            )
            .await?;
        let placed: Vec<PlacedRow> = transaction
            .rows(
                OPERATION,
                "SELECT s.id FROM imagestorage s
                 JOIN imagestorageplacement p ON p.storage_id = s.id
                 JOIN imagestoragelocation l ON l.id = p.location_id
                 WHERE s.content_checksum IN @texts($1) AND l.name = $2",
                params![digests, location.as_str()],
            )
            .await?;
        transaction.commit().await?;
        Ok(placed.into_iter().map(|row| StorageId(row.id)).collect())
    }

    /// Puts a deletion off after a failure, whose reason is kept.
    pub async fn postpone_doomed_object(
        &self,
        object: &DoomedObject,
        failed: &FailedDeletion<'_>,
    ) -> Result<(), MetadataError> {
        self.execute(
            "put a deletion off",
            "UPDATE roadstead_doomed_object
             SET attempts = attempts + 1, last_attempt = $3, last_failure = $4, not_before = $5, lease_until = $6
             WHERE id = $1 AND lease_token = $2",
            params![
                object.id,
                object.token.as_str(),
                failed.now.naive_utc(),
                failed.failure,
                failed.not_before.naive_utc(),
                failed.closed_until.map(|until| until.naive_utc()),
            ],
        )
        .await?;
        Ok(())
    }

    /// Gives entries back untried.
    pub async fn return_doomed_objects(
        &self,
        objects: &[DoomedObject],
    ) -> Result<(), MetadataError> {
        let Some(first) = objects.first() else {
            return Ok(());
        };
        self.execute(
            "give objects that are to be deleted back",
            &format!(
                "UPDATE roadstead_doomed_object SET lease_until = NULL
                 WHERE id IN {WIDE_IDS} AND lease_token = $2"
            ),
            params![
                json_wide_ids(objects.iter().map(|object| object.id)),
                first.token.as_str(),
            ],
        )
        .await?;
        Ok(())
    }
}

/// Dooms what blobs have at a location that is not trusted to hold them any more. An entry too many does no harm: it is dropped as soon as it
/// is due and the object is wanted.
pub(crate) async fn doom_at(
    transaction: &Transaction,
    location: &LocationName,
    storages: &str,
    not_before: Timestamp,
    now: Timestamp,
) -> Result<(), MetadataError> {
    transaction
        .execute(
            "put objects on the list of those to be deleted",
            "INSERT INTO roadstead_doomed_object (digest, location, size, since, not_before)
             SELECT s.content_checksum, $2, max(s.image_size), $3, $4
             FROM imagestorage s
             WHERE s.id IN @ids($1) AND s.content_checksum IS NOT NULL
             GROUP BY s.content_checksum ON CONFLICT DO NOTHING",
            params![
                storages,
                location.as_str(),
                now.naive_utc(),
                not_before.naive_utc(),
            ],
        )
        .await?;
    Ok(())
}
