//! How many bytes a repository and a namespace hold: Quay's `quotarepositorysize` and `quotanamespacesize`, moved in the transaction that links a
//! manifest to its blobs or takes the links away.
//!
//! Quay's rule, which every figure of its own databases follows: a repository's size is the sum of the sizes of the different blobs that its
//! manifests are linked to, and a namespace's the same over all of its repositories, those that are marked for deletion included. A blob counts
//! once however many manifests are linked to it; an index, which is linked to none, counts nothing. What is only uploaded does not count.
//!
//! A row that says that Quay's backfill has not finished (`backfill_complete` false), or that is missing although there was something before, is
//! left to that backfill: it sums up everything, and what is added here before would count twice. The first manifest makes the row.

use crate::database::{Connection, Lock, Transaction, json_ids, params};
use crate::error::MetadataError;
use crate::ids::{ManifestId, RepositoryId, StorageId, UserId};
use crate::row::FromRow;

/// What becomes of the sizes when blobs are linked or unlinked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuotaSizes {
    /// They are kept (`FEATURE_QUOTA_MANAGEMENT`).
    Kept,
    /// They are not kept, and those that are there are marked for Quay's backfill (`QUOTA_INVALIDATE_TOTALS`).
    #[default]
    Invalidated,
    /// They are neither kept nor touched.
    Left,
}

/// The manifest that was linked last does not count as one that had the blob before. Rows begin at 1.
const NO_MANIFEST: ManifestId = ManifestId(0);

#[derive(Debug, FromRow)]
struct Change {
    eligible: bool,
    /// Null when there is no row.
    namespace_complete: Option<bool>,
    repository_complete: Option<bool>,
    namespace_bytes: i64,
    repository_bytes: i64,
}

/// Adds the blobs of a manifest that is new in its repository, once its `manifestblob` rows are written.
///
/// Holds [`Lock::quota_of`] the namespace until the transaction ends, so it comes late in a transaction: behind [`Lock::tags_of`], before any
/// [`Lock::blob`].
pub(crate) async fn blobs_linked(
    transaction: &Transaction,
    sizes: QuotaSizes,
    namespace: UserId,
    repository: RepositoryId,
    manifest: ManifestId,
    storages: &[StorageId],
) -> Result<(), MetadataError> {
    const OPERATION: &str = "add to the quota sizes";
    if storages.is_empty() {
        return Ok(());
    }
    match sizes {
        QuotaSizes::Left => return Ok(()),
        QuotaSizes::Invalidated => return invalidate(transaction, namespace, repository).await,
        QuotaSizes::Kept => {}
    }
    let change = change(transaction, namespace, repository, manifest, storages).await?;
    if !change.eligible {
        return Ok(());
    }
    match change.namespace_complete {
        Some(true) if change.namespace_bytes > 0 => {
            transaction
                .execute(
                    OPERATION,
                    "UPDATE quotanamespacesize SET size_bytes = size_bytes + $2
                     WHERE namespace_user_id = $1 AND backfill_complete",
                    params![namespace.0, change.namespace_bytes],
                )
                .await?;
        }
        Some(_) => {}
        None => {
            // Materialized, or PostgreSQL walks through all repositories in the hope of an early end.
            transaction
                .execute(
                    OPERATION,
                    "WITH own AS MATERIALIZED (
                         SELECT id FROM repository WHERE namespace_user_id = $1 AND state <> 3)
                     INSERT INTO quotanamespacesize (namespace_user_id, size_bytes, backfill_start_ms, backfill_complete)
                     SELECT $1, $2, 0, true WHERE NOT EXISTS (
                         SELECT 1 FROM own JOIN manifestblob mb ON mb.repository_id = own.id
                         WHERE mb.manifest_id <> $3)",
                    params![namespace.0, change.namespace_bytes, manifest.0],
                )
                .await?;
        }
    }
    match change.repository_complete {
        Some(true) if change.repository_bytes > 0 => {
            transaction
                .execute(
                    OPERATION,
                    "UPDATE quotarepositorysize SET size_bytes = size_bytes + $2
                     WHERE repository_id = $1 AND backfill_complete",
                    params![repository.0, change.repository_bytes],
                )
                .await?;
        }
        Some(_) => {}
        None => {
            transaction
                .execute(
                    OPERATION,
                    "INSERT INTO quotarepositorysize (repository_id, size_bytes, backfill_start_ms, backfill_complete)
                     SELECT $1, $2, 0, true WHERE NOT EXISTS (
                         SELECT 1 FROM manifestblob mb WHERE mb.repository_id = $1 AND mb.manifest_id <> $3)",
                    params![repository.0, change.repository_bytes, manifest.0],
                )
                .await?;
        }
    }
    Ok(())
}

/// Takes away what left a repository: `storages` are the blobs that manifests which are gone from it were linked to, each once, and those
/// manifests' `manifestblob` rows are deleted already. What other manifests of the repository or of the namespace are still linked to stays
/// counted there.
///
/// Locks as [`blobs_linked`] does.
pub(crate) async fn blobs_unlinked(
    transaction: &Transaction,
    sizes: QuotaSizes,
    namespace: UserId,
    repository: RepositoryId,
    storages: &[StorageId],
) -> Result<(), MetadataError> {
    const OPERATION: &str = "subtract from the quota sizes";
    if storages.is_empty() {
        return Ok(());
    }
    match sizes {
        QuotaSizes::Left => return Ok(()),
        QuotaSizes::Invalidated => return invalidate(transaction, namespace, repository).await,
        QuotaSizes::Kept => {}
    }
    let change = change(transaction, namespace, repository, NO_MANIFEST, storages).await?;
    if !change.eligible {
        return Ok(());
    }
    // Never below zero: a size that was wrong before must not become nonsense.
    if change.namespace_bytes > 0 {
        transaction
            .execute(
                OPERATION,
                "UPDATE quotanamespacesize SET size_bytes = CASE WHEN size_bytes > $2 THEN size_bytes - $2 ELSE 0 END
                 WHERE namespace_user_id = $1 AND backfill_complete",
                params![namespace.0, change.namespace_bytes],
            )
            .await?;
    }
    if change.repository_bytes > 0 {
        transaction
            .execute(
                OPERATION,
                "UPDATE quotarepositorysize SET size_bytes = CASE WHEN size_bytes > $2 THEN size_bytes - $2 ELSE 0 END
                 WHERE repository_id = $1 AND backfill_complete",
                params![repository.0, change.repository_bytes],
            )
            .await?;
    }
    Ok(())
}

/// What these blobs weigh that no manifest but `manifest` is linked to, in the repository and in the namespace.
async fn change(
    transaction: &Transaction,
    namespace: UserId,
    repository: RepositoryId,
    manifest: ManifestId,
    storages: &[StorageId],
) -> Result<Change, MetadataError> {
    // Two pushes of the same blob into two repositories of a namespace would each be its first.
    transaction.lock(Lock::quota_of(namespace)).await?;
    let change: Option<Change> = transaction
        .row(
            "weigh blobs for the quota",
            // What the repository has, the namespace has: only what is new to the repository is looked for in the namespace.
            r#"SELECT EXISTS (SELECT 1 FROM "user" u WHERE u.id = $1 AND u.enabled AND NOT u.robot) AS eligible,
                   (SELECT n.backfill_complete FROM quotanamespacesize n WHERE n.namespace_user_id = $1) AS namespace_complete,
                   (SELECT q.backfill_complete FROM quotarepositorysize q WHERE q.repository_id = $2) AS repository_complete,
                   CAST(COALESCE(sum(CASE WHEN EXISTS (
                       SELECT 1 FROM manifestblob mb JOIN repository r ON r.id = mb.repository_id
                       WHERE mb.blob_id = s.id AND mb.manifest_id <> $4 AND r.namespace_user_id = $1)
                       THEN 0 ELSE s.image_size END), 0) AS bigint) AS namespace_bytes,
                   CAST(COALESCE(sum(s.image_size), 0) AS bigint) AS repository_bytes
               FROM imagestorage s
               WHERE s.id IN @ids($3) AND NOT EXISTS (
                   SELECT 1 FROM manifestblob mb
                   WHERE mb.repository_id = $2 AND mb.blob_id = s.id AND mb.manifest_id <> $4)"#,
            params![
                namespace.0,
                repository.0,
                json_ids(storages.iter().map(|storage| storage.0)),
                manifest.0,
            ],
        )
        .await?;
    change.ok_or_else(|| {
        MetadataError::corrupt(
            "quotarepositorysize",
            "repository_id",
            repository,
            "a sum without a row",
        )
    })
}

/// Marks both sizes for Quay's backfill, which sums them up anew once quotas are switched on.
async fn invalidate(
    transaction: &Transaction,
    namespace: UserId,
    repository: RepositoryId,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "mark the quota sizes as out of date";
    transaction
        .execute(
            OPERATION,
            "UPDATE quotarepositorysize SET size_bytes = 0, backfill_start_ms = NULL, backfill_complete = false
             WHERE repository_id = $1 AND backfill_start_ms IS NOT NULL",
            params![repository.0],
        )
        .await?;
    transaction
        .execute(
            OPERATION,
            "UPDATE quotanamespacesize SET size_bytes = 0, backfill_start_ms = NULL, backfill_complete = false
             WHERE namespace_user_id = $1 AND backfill_start_ms IS NOT NULL",
            params![namespace.0],
        )
        .await?;
    Ok(())
}
