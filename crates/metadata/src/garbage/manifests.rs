//! Manifests that no tag holds any more, with what they refer to; always inside the transaction that took the last hold away, or that
//! looks for strays.

use std::collections::BTreeSet;

use roadstead_runtime::Timestamp;

use super::Collection;
use super::blobs::free_blobs;
use super::referring::{MANIFEST, TAG};
use crate::database::{
    Connection, Database, Identified, Lock, Transaction, contended, json_ids, json_texts, params,
};
use crate::error::MetadataError;
use crate::ids::{ManifestId, RepositoryId, StorageId, UserId};
use crate::locations::limit_column;
use crate::quota;
use crate::row::FromRow;

/// How many levels of indexes below one that goes are followed at once. What lies deeper is found as a stray.
const LEVELS_MAX: u32 = 8;

/// How many manifests of one level go in one transaction. What is left over is found as strays.
const MANIFESTS_PER_LEVEL: u32 = 500;

/// One page of [`Database::stray_manifests`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrayManifests {
    /// Manifests that nothing holds, by their repositories.
    pub strays: Vec<(RepositoryId, ManifestId)>,
    /// Where the next page begins; none after the last.
    pub next: Option<ManifestId>,
}

#[derive(Debug, FromRow)]
pub(super) struct FreeRow {
    pub(super) id: i32,
    pub(super) digest: String,
}

#[derive(Debug, FromRow)]
struct HoldRow {
    id: i32,
    manifest_id: i32,
}

#[derive(Debug, FromRow)]
struct StrayRow {
    id: i32,
    repository_id: i32,
}

#[derive(Debug, FromRow)]
struct PageEnd {
    next: Option<i32>,
}

/// That no row of `tag` points to manifest `m` and no index has it. Asked manifest by manifest: as `NOT EXISTS`, PostgreSQL may think it worth while
/// to read all tags for one page of manifests.
pub(crate) const UNHELD: &str = "(
    (SELECT t.id FROM tag t WHERE t.manifest_id = m.id LIMIT 1) IS NULL
    AND (SELECT c.id FROM manifestchild c WHERE c.child_manifest_id = m.id AND c.manifest_id <> m.id LIMIT 1) IS NULL)";

impl Database {
    /// Looks through one page of ids for manifests that nothing holds: those that Quay or an older version let go of. Repositories that are
    /// being deleted are left out.
    pub async fn stray_manifests(
        &self,
        after: ManifestId,
        span: u32,
    ) -> Result<StrayManifests, MetadataError> {
        const OPERATION: &str = "look for manifests that nothing holds";
        let end: Option<PageEnd> = self
            .reader()
            .row(
                OPERATION,
                "SELECT max(p.id) AS next FROM (SELECT id FROM manifest WHERE id > $1 ORDER BY id LIMIT $2) p",
                params![after.0, limit_column(span)],
            )
            .await?;
        let Some(until) = end.and_then(|row| row.next) else {
            return Ok(StrayManifests::default());
        };
        let strays: Vec<StrayRow> = self
            .reader()
            .rows(
                OPERATION,
                &format!(
                    "SELECT m.id, m.repository_id FROM manifest m
                     JOIN repository r ON r.id = m.repository_id
                     WHERE m.id > $1 AND m.id <= $2 AND r.state <> 3 AND {UNHELD} ORDER BY m.id"
                ),
                params![after.0, until],
            )
            .await?;
        Ok(StrayManifests {
            strays: strays
                .into_iter()
                .map(|row| (RepositoryId(row.repository_id), ManifestId(row.id)))
                .collect(),
            next: Some(ManifestId(until)),
        })
    }

    /// Removes those of a repository's manifests that nothing holds, and what only they held. Tells how many.
    pub async fn collect_manifests(
        &self,
        collection: &Collection,
        repository: RepositoryId,
        manifests: &[ManifestId],
        now: Timestamp,
    ) -> Result<u64, MetadataError> {
        const OPERATION: &str = "remove manifests that nothing holds";
        contended(|| async {
            let transaction = self.begin(OPERATION).await?;
            transaction.lock(Lock::tags_of(repository)).await?;
            let candidates = manifests.iter().map(|manifest| manifest.0).collect();
            let removed =
                remove_unheld(&transaction, collection, repository, candidates, now).await?;
            transaction.commit().await?;
            Ok(removed)
        })
        .await
    }
}

/// Removes those of the candidates that nothing holds, then what only they held: children of an index, and referrers that a client pushed by
/// digest and that stay for as long as their subject. Under [`Lock::tags_of`]. Tells how many.
pub(crate) async fn remove_unheld(
    transaction: &Transaction,
    collection: &Collection,
    repository: RepositoryId,
    candidates: BTreeSet<i32>,
    now: Timestamp,
) -> Result<u64, MetadataError> {
    const OPERATION: &str = "remove manifests that nothing holds";
    let mut candidates = candidates;
    let mut removed = 0;
    for _ in 0..LEVELS_MAX {
        if candidates.is_empty() {
            break;
        }
        let free: Vec<FreeRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    "SELECT m.id, m.digest FROM manifest m
                     WHERE m.id IN @ids($1) AND m.repository_id = $2 AND {UNHELD} ORDER BY m.id LIMIT $3"
                ),
                params![
                    json_ids(candidates),
                    repository.0,
                    limit_column(MANIFESTS_PER_LEVEL),
                ],
            )
            .await?;
        if free.is_empty() {
            break;
        }
        candidates = let_go(transaction, collection, repository, &free).await?;
        remove(transaction, collection, repository, &free, now).await?;
        removed += free.len() as u64;
    }
    Ok(removed)
}

/// What the manifests held: their children, and the referrers whose hold has no other end.
async fn let_go(
    transaction: &Transaction,
    collection: &Collection,
    repository: RepositoryId,
    manifests: &[FreeRow],
) -> Result<BTreeSet<i32>, MetadataError> {
    const OPERATION: &str = "look for what a manifest held";
    let children: Vec<Identified> = transaction
        .rows(
            OPERATION,
            "SELECT DISTINCT child_manifest_id AS id FROM manifestchild WHERE manifest_id IN @ids($1)",
            params![json_ids(manifests.iter().map(|row| row.id))],
        )
        .await?;
    let holds: Vec<HoldRow> = transaction
        .rows(
            OPERATION,
            "SELECT t.id, t.manifest_id FROM manifest m JOIN tag t ON t.manifest_id = m.id
             WHERE m.repository_id = $1 AND m.subject IN @texts($2) AND t.hidden AND t.lifetime_end_ms IS NULL",
            params![
                repository.0,
                json_texts(manifests.iter().map(|row| row.digest.as_str())),
            ],
        )
        .await?;
    remove_tags(transaction, collection, holds.iter().map(|row| row.id)).await?;
    Ok(children
        .into_iter()
        .map(|row| row.id)
        .chain(holds.into_iter().map(|row| row.manifest_id))
        .collect())
}

/// Removes rows of `tag`, whatever they point to.
pub(crate) async fn remove_tags(
    transaction: &Transaction,
    collection: &Collection,
    tags: impl Iterator<Item = i32> + Send,
) -> Result<(), MetadataError> {
    let ids = json_ids(tags);
    if ids == "[]" {
        return Ok(());
    }
    collection.tables.take(transaction, TAG, &ids).await?;
    transaction
        .execute(
            "remove tags whose time is over",
            "DELETE FROM tag WHERE id IN @ids($1)",
            params![ids],
        )
        .await?;
    Ok(())
}

pub(super) async fn remove(
    transaction: &Transaction,
    collection: &Collection,
    repository: RepositoryId,
    manifests: &[FreeRow],
    now: Timestamp,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "remove manifests that nothing holds";
    let ids = json_ids(manifests.iter().map(|row| row.id));
    if collection.tables.has("manifestpullstatistics") {
        transaction
            .execute(
                OPERATION,
                "DELETE FROM manifestpullstatistics WHERE repository_id = $1 AND manifest_digest IN @texts($2)",
                params![
                    repository.0,
                    json_texts(manifests.iter().map(|row| row.digest.as_str())),
                ],
            )
            .await?;
    }
    remove_labels(transaction, collection, &ids).await?;
    collection.tables.take(transaction, MANIFEST, &ids).await?;
    let blobs: Vec<Identified> = transaction
        .rows(
            OPERATION,
            "DELETE FROM manifestblob WHERE manifest_id IN @ids($1) RETURNING blob_id AS id",
            params![ids.as_str()],
        )
        .await?;
    let blobs: BTreeSet<i32> = blobs.into_iter().map(|row| row.id).collect();
    let storages: Vec<StorageId> = blobs.iter().copied().map(StorageId).collect();
    quota::blobs_unlinked(
        transaction,
        collection.quota,
        namespace_of(transaction, repository).await?,
        repository,
        &storages,
    )
    .await?;
    free_blobs(transaction, &json_ids(blobs), now).await?;
    transaction
        .execute(
            OPERATION,
            "DELETE FROM manifest WHERE id IN @ids($1)",
            params![ids],
        )
        .await?;
    Ok(())
}

async fn namespace_of(
    transaction: &Transaction,
    repository: RepositoryId,
) -> Result<UserId, MetadataError> {
    let row: Option<Identified> = transaction
        .row(
            "look up the namespace of a repository",
            "SELECT namespace_user_id AS id FROM repository WHERE id = $1 AND namespace_user_id IS NOT NULL",
            params![repository.0],
        )
        .await?;
    // A repository without one is nobody's, and counts nowhere.
    Ok(UserId(row.map_or(0, |row| row.id)))
}

/// A label belongs to the manifests that have it, in nearly every case to one.
async fn remove_labels(
    transaction: &Transaction,
    collection: &Collection,
    manifests: &str,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "remove the labels of a manifest";
    if !collection.tables.has("manifestlabel") {
        return Ok(());
    }
    let labels: Vec<Identified> = transaction
        .rows(
            OPERATION,
            "DELETE FROM manifestlabel WHERE manifest_id IN @ids($1) RETURNING label_id AS id",
            params![manifests],
        )
        .await?;
    if labels.is_empty() {
        return Ok(());
    }
    transaction
        .execute(
            OPERATION,
            "DELETE FROM label WHERE id IN @ids($1)
               AND NOT EXISTS (SELECT 1 FROM manifestlabel ml WHERE ml.label_id = label.id)",
            params![json_ids(labels.into_iter().map(|row| row.id))],
        )
        .await?;
    Ok(())
}
