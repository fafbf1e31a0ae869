//! Deleted repositories: renamed and marked at once as Quay does it, then removed in batches.
//!
//! A deleted repository has a row of `deletedrepository` and one of `queueitem` that names it, which either program may work off.

use roadstead_runtime::{Ids, Timestamp};
use serde_json::json;

use super::Collection;
use super::blobs::free_blobs;
use super::manifests::{FreeRow, remove as remove_manifests, remove_tags};
use super::namespaces::NAMESPACE_QUEUE;
use super::referring::{REPOSITORY, REPOSITORY_IN_BATCHES};
use crate::audit::{self, Actor, LogEntry};
use crate::database::{
    Connection, Counted, Database, Identified, Lock, Transaction, contended, json_ids, params,
};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::jobs::Job;
use crate::locations::limit_column;
use crate::row::FromRow;

/// The queue of deleted repositories, by Quay's name.
pub const REPOSITORY_QUEUE: &str = "repositorygc";

/// The attempts that a queue row of Quay's begins with.
pub(super) const RETRIES: i32 = 5;

/// What one step of the removal of a repository has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Rows of `tag`.
    pub tags: u64,
    /// Manifests.
    pub manifests: u64,
    /// Whether nothing of the repository is left.
    pub finished: bool,
}

/// A repository or a namespace to be marked as deleted.
#[derive(Debug)]
pub struct MarkDeleted<'a, T> {
    /// Which.
    pub subject: T,
    /// Source of the name that it waits under, and of its queue row's token.
    pub ids: &'a dyn Ids,
    /// When its rows may be removed: now, or later where a grace period is kept.
    pub available_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

#[derive(Debug, FromRow)]
struct NameRow {
    name: String,
    namespace_id: i32,
    namespace: String,
}

#[derive(Debug, FromRow)]
struct QueueRow {
    queue_id: Option<String>,
}

impl Database {
    /// Marks a repository as deleted: nobody finds it from now on, its name is free, and its rows are removed in time. False when it is gone
    /// or marked already. `actor` is who does it, for the log.
    pub async fn mark_repository_deleted(
        &self,
        mark: &MarkDeleted<'_, RepositoryId>,
        actor: &Actor,
    ) -> Result<bool, MetadataError> {
        contended(|| self.mark_repository_deleted_once(mark, actor)).await
    }

    async fn mark_repository_deleted_once(
        &self,
        mark: &MarkDeleted<'_, RepositoryId>,
        actor: &Actor,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "mark a repository as deleted";
        let repository = mark.subject;
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(repository)).await?;
        let found: Option<NameRow> = transaction
            .row(
                OPERATION,
                r#"SELECT r.name, u.id AS namespace_id, u.username AS namespace FROM repository r
                   JOIN "user" u ON u.id = r.namespace_user_id WHERE r.id = $1 AND r.state <> 3"#,
                params![repository.0],
            )
            .await?;
        let Some(found) = found else {
            return Ok(false);
        };
        transaction
            .execute(
                OPERATION,
                "UPDATE repository SET name = $2, state = 3 WHERE id = $1",
                params![repository.0, mark.ids.uuid().to_string()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM star WHERE repository_id = $1",
                params![repository.0],
            )
            .await?;
        let marker: Option<Identified> = transaction
            .row(
                OPERATION,
                "INSERT INTO deletedrepository (repository_id, marked, original_name) VALUES ($1, $2, $3) RETURNING id",
                params![repository.0, mark.now.naive_utc(), found.name.as_str()],
            )
            .await?;
        let marker = marker.map_or(0, |row| row.id);
        let queue = enqueue(
            &transaction,
            &format!("{REPOSITORY_QUEUE}/{}/{repository}/", found.namespace),
            &body(marker, "original_name", &found.name),
            mark,
        )
        .await?;
        transaction
            .execute(
                OPERATION,
                "UPDATE deletedrepository SET queue_id = $2 WHERE id = $1",
                params![marker, queue],
            )
            .await?;
        let members = [
            ("repo", json!(found.name)),
            ("namespace", json!(found.namespace)),
        ];
        // Quay's entry names no row either: there is none soon.
        let entry = LogEntry::change(
            actor,
            "delete_repo",
            UserId(found.namespace_id),
            None,
            &members,
            mark.now,
        );
        audit::write(&transaction, &[entry]).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The repository that a job of [`REPOSITORY_QUEUE`] wants removed. None when it is gone, or not deleted any more.
    pub async fn deleted_repository(
        &self,
        job: &Job,
    ) -> Result<Option<RepositoryId>, MetadataError> {
        let Some(marker) = marker_of(job) else {
            return Ok(None);
        };
        let row: Option<Identified> = self
            .reader()
            .row(
                "look up a deleted repository",
                "SELECT r.id FROM deletedrepository d JOIN repository r ON r.id = d.repository_id
                 WHERE d.id = $1 AND r.state = 3",
                params![marker],
            )
            .await?;
        Ok(row.map(|row| RepositoryId(row.id)))
    }

    /// Tells how many deleted repositories wait to be removed, and gives those their queue row back that lost it: Quay's daily purge takes rows
    /// that nobody could finish.
    pub async fn requeue_deleted_repositories(
        &self,
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<u64, MetadataError> {
        requeue(
            self,
            &Requeue {
                marker: "deletedrepository",
                name: "'repositorygc/' || u.username || '/' || CAST(d.repository_id AS varchar) || '/'",
                body: r#"'{"marker_id": ' || CAST(d.id AS varchar) || ', "original_name": "' || d.original_name || '"}'"#,
                from: r#"deletedrepository d JOIN repository r ON r.id = d.repository_id
                         JOIN "user" u ON u.id = r.namespace_user_id"#,
            },
            ids,
            now,
        )
        .await
    }

    /// Removes one batch of a deleted repository, about `limit` rows, in one transaction. The last takes the repository itself.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the repository is not marked as deleted; nothing is changed then.
    pub async fn purge_repository(
        &self,
        collection: &Collection,
        repository: RepositoryId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Purged, MetadataError> {
        contended(|| self.purge_repository_once(collection, repository, now, limit)).await
    }

    async fn purge_repository_once(
        &self,
        collection: &Collection,
        repository: RepositoryId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Purged, MetadataError> {
        const OPERATION: &str = "remove a deleted repository";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(repository)).await?;
        let marked: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM repository WHERE id = $1 AND state = 3",
                params![repository.0],
            )
            .await?;
        if marked.is_none_or(|row| row.count == 0) {
            return Err(MetadataError::Conflict {
                what: format!("repository {repository} is not marked as deleted"),
            });
        }
        let purged = purge_step(&transaction, collection, repository, now, limit).await?;
        transaction.commit().await?;
        Ok(purged)
    }
}

/// Removes what comes next: tags, then manifests, then protections, then uploads, then what else there may be much of, then the rest.
async fn purge_step(
    transaction: &Transaction,
    collection: &Collection,
    repository: RepositoryId,
    now: Timestamp,
    limit: u32,
) -> Result<Purged, MetadataError> {
    const OPERATION: &str = "remove a deleted repository";
    let limit_rows = limit_column(limit);
    let tags: Vec<Identified> = transaction
        .rows(
            OPERATION,
            "SELECT id FROM tag WHERE repository_id = $1 LIMIT $2",
            params![repository.0, limit_rows],
        )
        .await?;
    if !tags.is_empty() {
        remove_tags(transaction, collection, tags.iter().map(|row| row.id)).await?;
        return Ok(Purged {
            tags: tags.len() as u64,
            ..Purged::default()
        });
    }
    let manifests: Vec<FreeRow> = transaction
        .rows(
            OPERATION,
            "SELECT id, digest FROM manifest WHERE repository_id = $1 ORDER BY id LIMIT $2",
            params![repository.0, limit_rows],
        )
        .await?;
    if !manifests.is_empty() {
        let ids = json_ids(manifests.iter().map(|row| row.id));
        // Of two that refer to each other, one may be in a later batch.
        collection
            .tables
            .delete(
                transaction,
                "manifestchild",
                "child_manifest_id IN @ids($1)",
                &ids,
            )
            .await?;
        remove_manifests(transaction, collection, repository, &manifests, now).await?;
        return Ok(Purged {
            manifests: manifests.len() as u64,
            ..Purged::default()
        });
    }
    let protected: Vec<Identified> = transaction
        .rows(
            OPERATION,
            "SELECT DISTINCT p.blob_id AS id FROM (
                 SELECT blob_id FROM uploadedblob WHERE repository_id = $1 LIMIT $2) p",
            params![repository.0, limit_rows],
        )
        .await?;
    if !protected.is_empty() {
        let blobs = json_ids(protected.into_iter().map(|row| row.id));
        free_blobs(transaction, &blobs, now).await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM uploadedblob WHERE repository_id = $1 AND blob_id IN @ids($2)",
                params![repository.0, blobs],
            )
            .await?;
        return Ok(Purged::default());
    }
    let uploads: Vec<Identified> = transaction
        .rows(
            OPERATION,
            "SELECT id FROM blobupload WHERE repository_id = $1 LIMIT $2",
            params![repository.0, limit_rows],
        )
        .await?;
    if !uploads.is_empty() {
        let uploads = json_ids(uploads.into_iter().map(|row| row.id));
        for statement in [
            "DELETE FROM roadstead_upload WHERE upload_id IN @ids($1)",
            "DELETE FROM blobupload WHERE id IN @ids($1)",
        ] {
            transaction
                .execute(OPERATION, statement, params![uploads.as_str()])
                .await?;
        }
        return Ok(Purged::default());
    }
    for table in REPOSITORY_IN_BATCHES {
        if !collection.tables.has(table) {
            continue;
        }
        let deleted = transaction
            .execute(
                OPERATION,
                &format!(
                    "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE repository_id = $1 LIMIT $2)"
                ),
                params![repository.0, limit_rows],
            )
            .await?;
        if deleted > 0 {
            return Ok(Purged::default());
        }
    }
    remove_queue_row(
        transaction,
        "SELECT queue_id FROM deletedrepository WHERE repository_id = $1",
        repository.0,
    )
    .await?;
    collection
        .tables
        .take(transaction, REPOSITORY, &json_ids([repository.0]))
        .await?;
    transaction
        .execute(
            OPERATION,
            "DELETE FROM repository WHERE id = $1",
            params![repository.0],
        )
        .await?;
    Ok(Purged {
        finished: true,
        ..Purged::default()
    })
}

/// Removes the queue row that a marker names. `find` selects its `queue_id` for the subject `$1`.
pub(super) async fn remove_queue_row(
    transaction: &Transaction,
    find: &str,
    subject: i32,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "take a deletion off its queue";
    let marker: Option<QueueRow> = transaction.row(OPERATION, find, params![subject]).await?;
    let row = marker
        .and_then(|marker| marker.queue_id)
        .and_then(|id| id.parse::<i32>().ok());
    if let Some(row) = row {
        transaction
            .execute(
                OPERATION,
                "DELETE FROM queueitem WHERE id = $1",
                params![row],
            )
            .await?;
    }
    Ok(())
}

/// A queue row's body in Quay's form, to the space behind the colon.
pub(super) fn body(marker: i32, key: &str, original: &str) -> String {
    format!(
        r#"{{"marker_id": {marker}, "{key}": {}}}"#,
        serde_json::Value::from(original)
    )
}

/// Writes a queue row and gives its id as the marker's column holds it.
pub(super) async fn enqueue<T: Sync>(
    transaction: &Transaction,
    name: &str,
    body: &str,
    mark: &MarkDeleted<'_, T>,
) -> Result<String, MetadataError> {
    let row: Option<Identified> = transaction
        .row(
            "queue a deletion",
            "INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
             VALUES ($1, $2, $3, true, $4, $5) RETURNING id",
            params![
                name,
                body,
                mark.available_at.naive_utc(),
                RETRIES,
                mark.ids.uuid().to_string(),
            ],
        )
        .await?;
    Ok(row.map_or(0, |row| row.id).to_string())
}

/// The marker that a job of a deletion names.
pub(super) fn marker_of(job: &Job) -> Option<i32> {
    let body: serde_json::Value = serde_json::from_str(&job.body).ok()?;
    body.get("marker_id")?.as_i64()?.try_into().ok()
}

/// How many markers are looked at in one go. There are never many: each goes with its subject.
const MARKERS_MAX: i64 = 1000;

/// Where markers are and what their queue rows look like.
pub(super) struct Requeue {
    pub(super) marker: &'static str,
    pub(super) name: &'static str,
    pub(super) body: &'static str,
    pub(super) from: &'static str,
}

#[derive(Debug, FromRow)]
struct MarkerRow {
    id: i32,
    queue_id: Option<String>,
}

impl Database {
    /// The rows of a queue that the markers of deletions name; none if it is another queue than those of deletions.
    pub(crate) async fn queued_deletions(
        &self,
        queue: &str,
    ) -> Result<Option<Vec<i32>>, MetadataError> {
        let marker = match queue {
            REPOSITORY_QUEUE => "deletedrepository",
            NAMESPACE_QUEUE => "deletednamespace",
            _ => return Ok(None),
        };
        let markers = markers(self, marker).await?;
        Ok(Some(markers.iter().filter_map(MarkerRow::row).collect()))
    }
}

/// What waits to be deleted, with the rows of the queue.
async fn markers(database: &Database, marker: &str) -> Result<Vec<MarkerRow>, MetadataError> {
    database
        .reader()
        .rows(
            "look up what waits to be deleted",
            &format!("SELECT id, queue_id FROM {marker} ORDER BY id LIMIT $1"),
            params![MARKERS_MAX],
        )
        .await
}

impl MarkerRow {
    /// The row of the queue, which Quay's column has as a text.
    fn row(&self) -> Option<i32> {
        self.queue_id.as_deref()?.parse().ok()
    }
}

pub(super) async fn requeue(
    database: &Database,
    requeue: &Requeue,
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<u64, MetadataError> {
    const OPERATION: &str = "queue deletions whose queue row is gone";
    let Requeue {
        marker,
        name,
        body,
        from,
    } = requeue;
    let markers = markers(database, marker).await?;
    let waiting = markers.len() as u64;
    if markers.is_empty() {
        return Ok(waiting);
    }
    let token = ids.uuid().to_string();
    contended(|| async {
        let transaction = database.begin(OPERATION).await?;
        transaction.lock(Lock::named(OPERATION)).await?;
        let there: Vec<Identified> = transaction
            .rows(
                OPERATION,
                "SELECT id FROM queueitem WHERE id IN @ids($1)",
                params![json_ids(markers.iter().filter_map(MarkerRow::row))],
            )
            .await?;
        let lost: Vec<i32> = markers
            .iter()
            .filter(|marker| !there.iter().any(|row| Some(row.id) == marker.row()))
            .map(|marker| marker.id)
            .collect();
        if lost.is_empty() {
            return Ok(waiting);
        }
        let lost = json_ids(lost);
        transaction
            .execute(
                OPERATION,
                &format!(
                    "INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
                     SELECT {name}, {body}, $2, true, {RETRIES}, $3 || '-' || CAST(d.id AS varchar)
                     FROM {from} WHERE d.id IN @ids($1)"
                ),
                params![lost.as_str(), now.naive_utc(), token.as_str()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                &format!(
                    "UPDATE {marker} SET queue_id = (
                         SELECT CAST(q.id AS varchar) FROM queueitem q
                         WHERE q.state_id = $2 || '-' || CAST({marker}.id AS varchar))
                     WHERE id IN @ids($1)"
                ),
                params![lost, token.as_str()],
            )
            .await?;
        transaction.commit().await?;
        Ok(waiting)
    })
    .await
}
