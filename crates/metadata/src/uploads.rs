//! Upload sessions: what has arrived of a blob, so that any process can go on from there. How they move on is in [`crate::upload_steps`].
//!
//! A session is a row of Quay's `blobupload` and one of our `roadstead_upload`, which holds the digester's state. `version` grows with every
//! change, and a change names the version that it was made from: a writer that was overtaken changes nothing.
//!
//! Quay finds a session by its id alone and would go on with ours as if the bytes were where it puts them. So our rows hold the id behind
//! [`OURS`]: a request that reaches a Quay is answered there as one for an upload that is not known, and the client starts anew. Sessions that
//! Quay began have no row in `roadstead_upload` and are never changed here; Quay's own clean-up, or the removal of their location, ends them.

use std::collections::BTreeSet;

use roadstead_oci::DigestState;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use uuid::Uuid;

use crate::database::{Connection, Database, Identified, Transaction, json_ids, params};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UploadId};
use crate::row::FromRow;

/// An upload session.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its row.
    pub id: UploadId,
    /// The id that clients know.
    pub uuid: Uuid,
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// The location that holds its bytes.
    pub location: LocationName,
    /// How many bytes have been acknowledged: these survive a crash.
    pub offset: u64,
    /// Grows with every change.
    pub version: i64,
    /// The digester's state after `offset` bytes.
    pub hash_state: DigestState,
    /// In what these bytes lie at the location, in the words of whoever staged them. Empty where the offset says all.
    pub staged_parts: String,
}

/// A session's row, and the version of it that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReadVersion {
    pub(crate) upload: UploadId,
    pub(crate) version: i64,
}

impl Upload {
    pub(crate) const fn read_version(&self) -> ReadVersion {
        ReadVersion {
            upload: self.id,
            version: self.version,
        }
    }
}

#[derive(Debug, FromRow)]
struct UploadRow {
    id: i32,
    uuid: String,
    repository_id: i32,
    location: String,
    byte_count: i64,
    version: i64,
    hash_state: String,
    staged_parts: String,
}

#[derive(Debug, FromRow)]
pub(crate) struct VersionRow {
    upload_id: i32,
    version: i64,
}

impl VersionRow {
    pub(crate) const fn read(&self) -> ReadVersion {
        ReadVersion {
            upload: UploadId(self.upload_id),
            version: self.version,
        }
    }
}

impl TryFrom<UploadRow> for Upload {
    type Error = MetadataError;

    fn try_from(row: UploadRow) -> Result<Self, MetadataError> {
        let corrupt = |column, problem: &dyn ToString| {
            MetadataError::corrupt("blobupload", column, row.id, problem.to_string())
        };
        Ok(Self {
            id: UploadId(row.id),
            uuid: row
                .uuid
                .strip_prefix(OURS)
                .unwrap_or(&row.uuid)
                .parse()
                .map_err(|error| corrupt("uuid", &error))?,
            repository: RepositoryId(row.repository_id),
            location: LocationName::new(&row.location)
                .map_err(|error| corrupt("location_id", &error))?,
            offset: row
                .byte_count
                .try_into()
                .map_err(|error| corrupt("byte_count", &error))?,
            version: row.version,
            hash_state: row
                .hash_state
                .parse()
                .map_err(|error| corrupt("hash_state", &error))?,
            staged_parts: row.staged_parts,
        })
    }
}

/// What the ids of our sessions stand behind in `blobupload.uuid`.
const OURS: &str = "roadstead-";

/// The id of one of our sessions as it stands in `blobupload.uuid`.
pub(crate) fn stored_id(uuid: Uuid) -> String {
    format!("{OURS}{uuid}")
}

const SELECT: &str = "
    SELECT b.id, b.uuid, b.repository_id, l.name AS location, b.byte_count, o.version, o.hash_state,
           o.staged_parts
    FROM blobupload b
    JOIN roadstead_upload o ON o.upload_id = b.id
    JOIN imagestoragelocation l ON l.id = b.location_id";

impl Database {
    /// Finds a session of this repository. Another repository's session is not found, and neither is one that Quay began.
    pub async fn find_upload(
        &self,
        repository: RepositoryId,
        uuid: Uuid,
    ) -> Result<Option<Upload>, MetadataError> {
        let row: Option<UploadRow> = self
            .look_up_reader()
            .row(
                "look up an upload",
                &format!("{SELECT} WHERE b.uuid = $1 AND b.repository_id = $2"),
                params![stored_id(uuid), repository.0],
            )
            .await?;
        row.map(Upload::try_from).transpose()
    }

    /// Whether Quay began a session with this id in this repository.
    pub async fn is_quays_upload(
        &self,
        repository: RepositoryId,
        uuid: Uuid,
    ) -> Result<bool, MetadataError> {
        let row: Option<Identified> = self
            .reader()
            .row(
                "look up an upload of Quay's",
                "SELECT id FROM blobupload WHERE uuid = $1 AND repository_id = $2",
                params![uuid.to_string(), repository.0],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Ends a session without a blob. False when it was gone already or another writer changed it first.
    pub async fn forget_upload(&self, upload: &Upload) -> Result<bool, MetadataError> {
        let transaction = self.begin("end an upload").await?;
        let ended = end_uploads(&transaction, &BTreeSet::from([upload.read_version()])).await?;
        transaction.commit().await?;
        Ok(!ended.is_empty())
    }

    /// Sessions that nobody has added to since `older_than`, oldest first, at most `limit`.
    pub async fn abandoned_uploads(
        &self,
        older_than: Timestamp,
        limit: u32,
    ) -> Result<Vec<Upload>, MetadataError> {
        let rows: Vec<UploadRow> = self
            .reader()
            .rows(
                "look for abandoned uploads",
                &format!("{SELECT} WHERE o.changed < $1 ORDER BY o.changed, b.id LIMIT $2"),
                params![older_than.naive_utc(), i64::from(limit)],
            )
            .await?;
        rows.into_iter().map(Upload::try_from).collect()
    }

    /// Forgets what we kept of sessions whose rows Quay's clean-up has taken, if nobody has added to them since `older_than`.
    pub async fn forget_lost_uploads(&self, older_than: Timestamp) -> Result<u64, MetadataError> {
        self.execute(
            "forget uploads that are gone",
            "DELETE FROM roadstead_upload
             WHERE changed < $1 AND NOT EXISTS (SELECT 1 FROM blobupload b WHERE b.id = upload_id)",
            params![older_than.naive_utc()],
        )
        .await
    }

    /// Whether a session with this id exists, in any repository, ours or Quay's: its staged bytes are still wanted.
    pub async fn upload_exists(&self, uuid: Uuid) -> Result<bool, MetadataError> {
        let row: Option<Identified> = self
            .reader()
            .row(
                "look up an upload",
                "SELECT id FROM blobupload WHERE uuid IN ($1, $2)
                 UNION ALL SELECT queueitem_id AS id FROM roadstead_copy WHERE upload_id = $2",
                params![stored_id(uuid), uuid.to_string()],
            )
            .await?;
        Ok(row.is_some())
    }
}

/// Removes the rows of sessions that nobody changed since they were read so. Tells which those were.
pub(crate) async fn end_uploads(
    transaction: &Transaction,
    uploads: &BTreeSet<ReadVersion>,
) -> Result<BTreeSet<ReadVersion>, MetadataError> {
    const OPERATION: &str = "end an upload";
    if uploads.is_empty() {
        return Ok(BTreeSet::new());
    }
    let pairs: Vec<(i32, i64)> = uploads
        .iter()
        .map(|read| (read.upload.0, read.version))
        .collect();
    let ended: Vec<VersionRow> = transaction
        .rows(
            OPERATION,
            "DELETE FROM roadstead_upload WHERE (upload_id, version) IN (
                 SELECT CAST(u.first AS integer), CAST(u.second AS bigint) FROM @pairs($1) AS u)
             RETURNING upload_id, version",
            params![serde_json::json!(pairs).to_string()],
        )
        .await?;
    if !ended.is_empty() {
        transaction
            .execute(
                OPERATION,
                "DELETE FROM blobupload WHERE id IN @ids($1)",
                params![json_ids(ended.iter().map(|row| row.upload_id))],
            )
            .await?;
    }
    Ok(ended.iter().map(VersionRow::read).collect())
}

/// A number of bytes as the signed 64-bit column holds it. More than 8 EiB cannot exist.
pub(crate) fn bytes_column(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
