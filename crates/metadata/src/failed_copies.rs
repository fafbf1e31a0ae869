//! Wanted copies whose last attempt failed: listed in pages, and made due at once.

use chrono::NaiveDateTime;
use roadstead_oci::Digest;
use roadstead_placement::{FailureClass, LocationName};
use roadstead_runtime::Timestamp;

use crate::database::{Connection, Database, Identified, params};
use crate::error::MetadataError;
use crate::jobs::make_ready;
use crate::locations::{limit_column, location_name};
use crate::row::FromRow;

/// Which failed copies are meant: those that fit all that is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailedCopiesOf<'a> {
    /// To this location.
    pub location: Option<&'a LocationName>,
    /// Of this blob.
    pub digest: Option<&'a Digest>,
}

/// A copy whose last attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCopy {
    /// Its row, by which the next page begins.
    pub id: i64,
    /// The blob.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The location that lacks it.
    pub location: LocationName,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it is wanted.
    pub wanted_since: Timestamp,
    /// When it was tried last.
    pub last_attempt: Option<Timestamp>,
    /// Why that failed.
    pub failure: String,
    /// Of which class that is, where that was noted.
    pub class: Option<FailureClass>,
    /// When it is tried next, at the earliest. None while it is tried, and when its queue row is gone, which the next reconciliation mends.
    pub next_attempt: Option<Timestamp>,
    /// Whether a worker is trying it.
    pub running: bool,
    /// One of the images that need it, as `namespace/name:tag` or with `@` and a digest.
    pub image: Option<String>,
}

#[derive(Debug, FromRow)]
struct FailedRow {
    id: i64,
    digest: String,
    size: i64,
    location: String,
    attempts: i32,
    wanted_since: NaiveDateTime,
    last_attempt: Option<NaiveDateTime>,
    failure: String,
    class: Option<String>,
    next_attempt: Option<NaiveDateTime>,
    lease_until: Option<NaiveDateTime>,
    image: Option<String>,
}

/// Which wanted copies `c` failed and are meant by the location `$1` and the digest `$2`.
const FAILED: &str = "c.last_failure IS NOT NULL
    AND ($1 IS NULL OR c.location_id IN (SELECT l.id FROM imagestoragelocation l WHERE l.name = $1))
    AND ($2 IS NULL OR c.storage_id IN (SELECT s.id FROM imagestorage s WHERE s.content_checksum = $2))";

impl Database {
    /// The copies whose last attempt failed, behind the row `after`, at most `limit`: those that were wanted first.
    pub async fn failed_copies(
        &self,
        of: &FailedCopiesOf<'_>,
        after: i64,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<FailedCopy>, MetadataError> {
        let [location, digest] = of.columns();
        let rows: Vec<FailedRow> = self
            .reader()
            .rows(
                "list the copies that failed",
                &format!(
                    r#"SELECT c.id, s.content_checksum AS digest, COALESCE(s.image_size, 0) AS size, l.name AS location,
                              c.attempts, c.wanted_since, c.last_attempt, c.last_failure AS failure, c.failure_class AS class,
                              q.available_after AS next_attempt, q.processing_expires AS lease_until,
                              (SELECT u.username || '/' || r.name || COALESCE(':' || t.name, $6 || m.digest)
                               FROM manifestblob mb
                               JOIN manifest m ON m.id = mb.manifest_id
                               JOIN repository r ON r.id = m.repository_id
                               JOIN "user" u ON u.id = r.namespace_user_id
                               LEFT JOIN tag t ON t.manifest_id = m.id AND NOT t.hidden
                                    AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $5)
                               WHERE mb.blob_id = c.storage_id LIMIT 1) AS image
                       FROM roadstead_copy c
                       JOIN imagestorage s ON s.id = c.storage_id
                       JOIN imagestoragelocation l ON l.id = c.location_id
                       LEFT JOIN queueitem q ON q.id = c.queueitem_id
                       WHERE {FAILED} AND c.id > $3 ORDER BY c.id LIMIT $4"#
                ),
                params![
                    location,
                    digest,
                    after,
                    limit_column(limit),
                    now.timestamp_millis(),
                    "@",
                ],
            )
            .await?;
        rows.into_iter()
            .map(|row| FailedCopy::at(row, now))
            .collect()
    }

    /// Makes copies due now that failed and were put off, at most `limit`, first those that would have been due first. Says how many.
    pub async fn hasten_failed_copies(
        &self,
        of: &FailedCopiesOf<'_>,
        limit: u32,
        now: Timestamp,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "make copies due that failed";
        let [location, digest] = of.columns();
        let transaction = self.begin(OPERATION).await?;
        let hastened: Vec<Identified> = transaction
            .rows(
                OPERATION,
                &format!(
                    "UPDATE queueitem SET available_after = $3
                     WHERE id IN (
                        SELECT id FROM queueitem
                        WHERE processing_expires IS NULL AND available AND available_after > $3
                          AND id IN (SELECT c.queueitem_id FROM roadstead_copy c WHERE {FAILED})
                        ORDER BY processing_expires, available_after LIMIT $4 @skip_locked)
                     RETURNING id"
                ),
                params![location, digest, now.naive_utc(), limit_column(limit)],
            )
            .await?;
        make_ready(&transaction, hastened.iter().map(|row| row.id)).await?;
        transaction.commit().await?;
        Ok(hastened.len() as u64)
    }
}

impl FailedCopiesOf<'_> {
    fn columns(&self) -> [Option<String>; 2] {
        [
            self.location.map(ToString::to_string),
            self.digest.map(ToString::to_string),
        ]
    }
}

impl FailedCopy {
    fn at(row: FailedRow, now: Timestamp) -> Result<Self, MetadataError> {
        let running = row.lease_until.is_some_and(|until| until > now.naive_utc());
        Ok(Self {
            id: row.id,
            digest: row.digest.parse().map_err(|error| {
                MetadataError::corrupt("imagestorage", "content_checksum", &row.digest, error)
            })?,
            size: row.size.try_into().unwrap_or_default(),
            location: location_name(&row.location)?,
            attempts: row.attempts.try_into().unwrap_or_default(),
            wanted_since: row.wanted_since.and_utc(),
            last_attempt: row.last_attempt.map(|time| time.and_utc()),
            failure: row.failure,
            class: row.class.as_deref().and_then(FailureClass::of_name),
            next_attempt: row
                .next_attempt
                .filter(|_| !running)
                .map(|time| time.and_utc()),
            running,
            image: row.image,
        })
    }
}
