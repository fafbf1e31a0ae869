//! Blobs: which a repository holds, and where their bytes are. How a push makes one is in [`crate::blob_commits`].

use std::collections::{BTreeMap, BTreeSet};

use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use sea_orm::Value;

use crate::database::{
    Connection, Database, Identified, Named, Transaction, contended, json_ids, json_texts, params,
};
use crate::error::MetadataError;
use crate::garbage::free_blobs;
use crate::ids::{RepositoryId, StorageId};
use crate::lookups::{Found, NAMES, by_digest, digests_in_repositories};
use crate::reader::Reader;
use crate::row::FromRow;

/// A blob and the locations that hold verified bytes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its row.
    pub storage: StorageId,
    /// The id that queue rows name it by.
    pub uuid: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Where they are.
    pub present: BTreeSet<LocationName>,
}

/// What became of [`Database::delete_blob`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobDeletion {
    /// The repository does not hold it any more.
    Deleted,
    /// The repository did not hold it.
    Unknown,
    /// Manifests of the repository need it; a few of their digests.
    InUse(Vec<String>),
}

/// Where a blob may be mounted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// This repository, which the caller may read.
    Repository(RepositoryId),
    /// Any public repository.
    AnyPublic,
    /// Any repository at all: the caller may read everything.
    Any,
}

#[derive(Debug, FromRow)]
struct BlobRow {
    id: i32,
    uuid: String,
    content_checksum: Option<String>,
    image_size: Option<i64>,
    location: Option<String>,
}

/// One row for each placement of the blob; the condition is appended.
const SELECT: &str = "
    SELECT s.id, s.uuid, s.content_checksum, s.image_size, l.name AS location
    FROM imagestorage s
    LEFT JOIN imagestorageplacement p ON p.storage_id = s.id
    LEFT JOIN imagestoragelocation l ON l.id = p.location_id
    WHERE ";

/// That a repository holds blob `s`: an upload that is still protected at `now`, or one of its manifests, and no client deleted it there. Both are
/// parameters or columns.
pub(crate) fn held(repository: &str, now: &str) -> String {
    format!(
        "(EXISTS (SELECT 1 FROM uploadedblob u WHERE u.blob_id = s.id AND @shared(u.repository_id) = {repository} AND u.expires_at > {now})
          OR EXISTS (SELECT 1 FROM manifestblob mb WHERE mb.blob_id = s.id AND @shared(mb.repository_id) = {repository}))
         AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_blob h WHERE h.storage_id = s.id AND h.repository_id = {repository})"
    )
}

impl Database {
    /// Finds a blob that the repository holds.
    pub async fn find_blob(
        &self,
        repository: RepositoryId,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<Option<Blob>, MetadataError> {
        self.lookups()
            .blobs
            .find(
                self,
                (repository, digest.clone()),
                now,
                |database, keys, now| {
                    Box::pin(by_digest(database, keys, move |reader, keys| {
                        Box::pin(find_held_blobs(reader, keys, now))
                    }))
                },
            )
            .await
    }

    /// Finds a blob whoever holds it.
    pub async fn find_blob_anywhere(&self, digest: &Digest) -> Result<Option<Blob>, MetadataError> {
        select_blob(
            self.reader(),
            "s.content_checksum = $1",
            params![digest.to_string()],
        )
        .await
    }

    /// Finds a blob that may be mounted into another repository.
    pub async fn mountable_blob(
        &self,
        digest: &Digest,
        source: MountSource,
        now: Timestamp,
    ) -> Result<Option<Blob>, MetadataError> {
        match source {
            MountSource::Repository(repository) => {
                let key = (repository, digest.clone());
                let mut found =
                    find_held_blobs(self.reader(), std::slice::from_ref(&key), now).await?;
                found.remove(&key).transpose()
            }
            MountSource::Any => Ok(self
                .find_blob_anywhere(digest)
                .await?
                .filter(|blob| !blob.present.is_empty())),
            MountSource::AnyPublic => {
                select_blob(
                    self.reader(),
                    "s.content_checksum = $1 AND EXISTS (
                        SELECT 1 FROM manifestblob mb
                        JOIN repository r ON r.id = mb.repository_id
                        JOIN visibility v ON v.id = r.visibility_id
                        WHERE mb.blob_id = s.id AND v.name = 'public' AND r.state <> 3
                          AND (SELECT h.id FROM roadstead_hidden_blob h
                               WHERE h.storage_id = s.id AND h.repository_id = r.id) IS NULL)",
                    params![digest.to_string()],
                )
                .await
            }
        }
    }

    /// Makes a blob that is somewhere part of a repository too. False when it is gone by now.
    pub async fn link_blob(
        &self,
        repository: RepositoryId,
        storage: StorageId,
        protect_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        contended(|| self.link_blob_once(repository, storage, protect_until, now)).await
    }

    async fn link_blob_once(
        &self,
        repository: RepositoryId,
        storage: StorageId,
        protect_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "mount a blob";
        let transaction = self.begin(OPERATION).await?;
        let kept: Option<Identified> = transaction
            .row(
                OPERATION,
                "SELECT s.id FROM imagestorage s WHERE s.id = $1 @keep(s)",
                params![storage.0],
            )
            .await?;
        if kept.is_none() {
            return Ok(false);
        }
        hold(&transaction, repository, storage, protect_until, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes a blob out of a repository, unless a manifest that can still be pulled needs it.
    pub async fn delete_blob(
        &self,
        repository: RepositoryId,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<BlobDeletion, MetadataError> {
        contended(|| self.delete_blob_once(repository, digest, now)).await
    }

    async fn delete_blob_once(
        &self,
        repository: RepositoryId,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<BlobDeletion, MetadataError> {
        const OPERATION: &str = "delete a blob";
        let transaction = self.begin(OPERATION).await?;
        let found: Vec<Identified> = transaction
            .rows(
                OPERATION,
                &format!(
                    "SELECT s.id FROM imagestorage s WHERE s.content_checksum = $1 AND {} ORDER BY s.id LIMIT 1",
                    held("$2", "$3")
                ),
                params![digest.to_string(), repository.0, now.naive_utc()],
            )
            .await?;
        let Some(storage) = found.first().map(|row| row.id) else {
            return Ok(BlobDeletion::Unknown);
        };
        let users: Vec<Named> = transaction
            .rows(
                OPERATION,
                // Up from the manifests that name the blob to every index above them; one live tag on the way keeps it.
                "WITH RECURSIVE up(root, id) AS (
                     SELECT mb.manifest_id, mb.manifest_id FROM manifestblob mb
                     WHERE @shared(mb.repository_id) = $1 AND mb.blob_id = $2
                       AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = mb.manifest_id)
                     UNION
                     SELECT up.root, mc.manifest_id FROM up CROSS JOIN manifestchild mc WHERE mc.child_manifest_id = up.id)
                 SELECT DISTINCT m.digest AS name FROM up CROSS JOIN tag t CROSS JOIN manifest m
                 WHERE t.manifest_id = up.id AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $3) AND m.id = up.root
                 LIMIT 5",
                params![repository.0, storage, now.timestamp_millis()],
            )
            .await?;
        if !users.is_empty() {
            return Ok(BlobDeletion::InUse(
                users.into_iter().map(|row| row.name).collect(),
            ));
        }
        transaction
            .execute(
                OPERATION,
                "DELETE FROM uploadedblob WHERE repository_id = $1 AND blob_id = $2",
                params![repository.0, storage],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_hidden_blob (repository_id, storage_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                params![repository.0, storage],
            )
            .await?;
        free_blobs(&transaction, &json_ids([storage]), now).await?;
        transaction.commit().await?;
        Ok(BlobDeletion::Deleted)
    }
}

async fn select_blob(
    reader: &Reader,
    condition: &str,
    values: Vec<Value>,
) -> Result<Option<Blob>, MetadataError> {
    // Quay's checksum column is not unique: the oldest row is the blob, as Quay's own look-up has it.
    let rows: Vec<BlobRow> = reader
        .rows(
            "look up a blob",
            &format!("{SELECT}{condition} ORDER BY s.id"),
            values,
        )
        .await?;
    blob_of(rows.iter())
}

#[derive(Debug, FromRow)]
struct HeldRow {
    repository_id: i32,
    blob: BlobRow,
}

/// Finds blobs that repositories hold.
async fn find_held_blobs(
    reader: &Reader,
    keys: &[(RepositoryId, Digest)],
    now: Timestamp,
) -> Result<Found<(RepositoryId, Digest), Blob>, MetadataError> {
    let rows: Vec<HeldRow> = reader
        .rows(
            "look up a blob",
            &format!(
                "SELECT a.repository_id, s.id, s.uuid, s.content_checksum, s.image_size, l.name AS location
                 FROM {NAMES} AS a
                 JOIN imagestorage s ON s.content_checksum = a.name
                 LEFT JOIN imagestorageplacement p ON p.storage_id = s.id
                 LEFT JOIN imagestoragelocation l ON l.id = p.location_id
                 WHERE {} ORDER BY a.repository_id, s.content_checksum, s.id",
                held("a.repository_id", "$2")
            ),
            params![digests_in_repositories(keys), now.naive_utc()],
        )
        .await?;
    let one = |row: &HeldRow, other: &HeldRow| {
        row.repository_id == other.repository_id
            && row.blob.content_checksum == other.blob.content_checksum
    };
    Ok(rows
        .chunk_by(one)
        .filter_map(|rows| {
            let repository = RepositoryId(rows.first()?.repository_id);
            let checksum = rows.first()?.blob.content_checksum.as_deref()?;
            // It is what was asked for, and so can be read.
            let key = (repository, checksum.parse().ok()?);
            Some((key, blob_of(rows.iter().map(|row| &row.blob)).transpose()?))
        })
        .collect())
}

/// Finds blobs by the ids that queue rows name them by. A row that cannot be read is an error of its own.
pub(crate) async fn find_blobs_by_uuid(
    reader: &Reader,
    uuids: &[String],
) -> Result<BTreeMap<String, Result<Blob, MetadataError>>, MetadataError> {
    let rows: Vec<BlobRow> = reader
        .rows(
            "look up blobs",
            &format!("{SELECT}s.uuid IN @texts($1) ORDER BY s.id"),
            params![json_texts(uuids)],
        )
        .await?;
    let blobs = rows.chunk_by(|one, other| one.id == other.id);
    Ok(blobs
        .filter_map(|rows| {
            let uuid = rows.first()?.uuid.clone();
            Some((uuid, blob_of(rows.iter()).transpose()?))
        })
        .collect())
}

/// Protects a blob in a repository until then, and shows it again if a client had deleted it there.
async fn hold(
    connection: &Transaction,
    repository: RepositoryId,
    storage: StorageId,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "protect a blob";
    connection
        .execute(
            OPERATION,
            "INSERT INTO uploadedblob (repository_id, blob_id, uploaded_at, expires_at) VALUES ($1, $2, $3, $4)",
            params![repository.0, storage.0, now.naive_utc(), until.naive_utc()],
        )
        .await?;
    connection
        .execute(
            OPERATION,
            "DELETE FROM roadstead_hidden_blob WHERE repository_id = $1 AND storage_id = $2",
            params![repository.0, storage.0],
        )
        .await?;
    Ok(())
}

/// Puts the rows of one blob together; rows of a younger blob with the same digest are left out.
fn blob_of<'a>(
    mut rows: impl Iterator<Item = &'a BlobRow> + Clone,
) -> Result<Option<Blob>, MetadataError> {
    let all = rows.clone();
    let Some(first) = rows.next() else {
        return Ok(None);
    };
    let storage = first.id;
    let corrupt = |column, problem: &dyn ToString| {
        MetadataError::corrupt("imagestorage", column, storage, problem.to_string())
    };
    let digest = first
        .content_checksum
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| corrupt("content_checksum", &error))?;
    let size = first
        .image_size
        .unwrap_or_default()
        .try_into()
        .map_err(|error| corrupt("image_size", &error))?;
    let uuid = first.uuid.clone();
    let present = all
        .filter(|row| row.id == storage)
        .filter_map(|row| row.location.as_deref())
        .map(|name| {
            LocationName::new(name).map_err(|error| {
                MetadataError::corrupt("imagestoragelocation", "name", name, error)
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(Blob {
        storage: StorageId(storage),
        uuid,
        digest,
        size,
        present,
    }))
}
