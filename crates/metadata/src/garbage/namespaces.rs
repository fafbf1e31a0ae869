//! Deleted namespaces: disabled and renamed at once as Quay does it, with their robots gone, then removed with their repositories.

use roadstead_runtime::{Ids, Timestamp};

use super::Collection;
use super::referring::{ACCOUNT, Tables};
use super::repositories::{
    MarkDeleted, Requeue, body, enqueue, marker_of, remove_queue_row, requeue,
};
use crate::database::{
    Connection, Counted, Database, Identified, Transaction, contended, json_ids, params,
};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::jobs::Job;
use crate::row::FromRow;

/// The queue of deleted namespaces, by Quay's name.
pub const NAMESPACE_QUEUE: &str = "namespacegc";

/// What comes next in the removal of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespacePurge {
    /// This repository of it has to be removed first, with [`Database::purge_repository`].
    Repository(RepositoryId),
    /// Nothing: it is gone.
    Finished,
}

const MARK: &str = "mark a namespace as deleted";

#[derive(Debug, FromRow)]
struct NamespaceRow {
    username: String,
    email: String,
}

impl Database {
    /// Marks a user or an organisation as deleted: disabled, its name and address free, its robots gone, its repositories unreachable. False
    /// when it is gone, marked already, or a robot.
    pub async fn mark_namespace_deleted(
        &self,
        mark: &MarkDeleted<'_, UserId>,
    ) -> Result<bool, MetadataError> {
        let tables = self.referring_tables().await?;
        contended(|| self.mark_namespace_deleted_once(&tables, mark)).await
    }

    async fn mark_namespace_deleted_once(
        &self,
        tables: &Tables,
        mark: &MarkDeleted<'_, UserId>,
    ) -> Result<bool, MetadataError> {
        let transaction = self.begin(MARK).await?;
        let marked = mark_deleted(&transaction, tables, mark).await?;
        if marked {
            transaction.commit().await?;
        }
        Ok(marked)
    }

    /// The namespace that a job of [`NAMESPACE_QUEUE`] wants removed. None when it is gone, or not deleted any more.
    pub async fn deleted_namespace(&self, job: &Job) -> Result<Option<UserId>, MetadataError> {
        let Some(marker) = marker_of(job) else {
            return Ok(None);
        };
        let row: Option<Identified> = self
            .reader()
            .row(
                "look up a deleted namespace",
                r#"SELECT u.id FROM deletednamespace d JOIN "user" u ON u.id = d.namespace_id
                   WHERE d.id = $1 AND NOT u.enabled"#,
                params![marker],
            )
            .await?;
        Ok(row.map(|row| UserId(row.id)))
    }

    /// Tells how many deleted namespaces wait to be removed, and gives those their queue row back that lost it.
    pub async fn requeue_deleted_namespaces(
        &self,
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<u64, MetadataError> {
        requeue(
            self,
            &Requeue {
                marker: "deletednamespace",
                name: "'namespacegc/' || CAST(d.namespace_id AS varchar) || '/'",
                body: r#"'{"marker_id": ' || CAST(d.id AS varchar) || ', "original_username": "' || d.original_username || '"}'"#,
                from: "deletednamespace d",
            },
            ids,
            now,
        )
        .await
    }

    /// Takes the next step in the removal of a deleted namespace: names a repository that has to go first, or removes the namespace.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the namespace is not marked as deleted; nothing is changed then.
    pub async fn purge_namespace(
        &self,
        collection: &Collection,
        namespace: UserId,
    ) -> Result<NamespacePurge, MetadataError> {
        contended(|| self.purge_namespace_once(collection, namespace)).await
    }

    async fn purge_namespace_once(
        &self,
        collection: &Collection,
        namespace: UserId,
    ) -> Result<NamespacePurge, MetadataError> {
        const OPERATION: &str = "remove a deleted namespace";
        let transaction = self.begin(OPERATION).await?;
        let marked: Option<Counted> = transaction
            .row(
                OPERATION,
                r#"SELECT count(*) AS count FROM deletednamespace d JOIN "user" u ON u.id = d.namespace_id
                   WHERE d.namespace_id = $1 AND NOT u.enabled"#,
                params![namespace.0],
            )
            .await?;
        if marked.is_none_or(|row| row.count == 0) {
            return Err(MetadataError::Conflict {
                what: format!("namespace {namespace} is not marked as deleted"),
            });
        }
        let next: Option<Identified> = transaction
            .row(
                OPERATION,
                // By name, as the index is: PostgreSQL would look for the lowest id among the repositories of all namespaces.
                "SELECT id FROM repository WHERE namespace_user_id = $1 ORDER BY name LIMIT 1",
                params![namespace.0],
            )
            .await?;
        let purge = if let Some(row) = next {
            transaction
                .execute(
                    OPERATION,
                    "UPDATE repository SET state = 3 WHERE id = $1 AND state <> 3",
                    params![row.id],
                )
                .await?;
            NamespacePurge::Repository(RepositoryId(row.id))
        } else {
            remove_queue_row(
                &transaction,
                "SELECT queue_id FROM deletednamespace WHERE namespace_id = $1",
                namespace.0,
            )
            .await?;
            remove_accounts(&transaction, &collection.tables, &json_ids([namespace.0])).await?;
            NamespacePurge::Finished
        };
        transaction.commit().await?;
        Ok(purge)
    }
}

/// Marks a user or an organisation as deleted in a transaction that its caller commits; see [`Database::mark_namespace_deleted`].
pub(crate) async fn mark_deleted(
    transaction: &Transaction,
    tables: &Tables,
    mark: &MarkDeleted<'_, UserId>,
) -> Result<bool, MetadataError> {
    let namespace = mark.subject;
    let found: Option<NamespaceRow> = transaction
            .row(
                MARK,
                r#"SELECT username, email FROM "user" WHERE id = $1 AND NOT robot
                     AND NOT EXISTS (SELECT 1 FROM deletednamespace d WHERE d.namespace_id = $1) @lock"#,
                params![namespace.0],
            )
            .await?;
    let Some(found) = found else {
        return Ok(false);
    };
    let robots: Vec<Identified> = transaction
        .rows(
            MARK,
            r#"SELECT id FROM "user" WHERE robot AND @prefix(username, $1 || '+')"#,
            params![found.username.as_str()],
        )
        .await?;
    remove_accounts(
        transaction,
        tables,
        &json_ids(robots.into_iter().map(|row| row.id)),
    )
    .await?;
    transaction
        .execute(
            MARK,
            r#"UPDATE "user" SET username = $2, email = $3, enabled = false WHERE id = $1"#,
            params![
                namespace.0,
                mark.ids.uuid().to_string(),
                mark.ids.uuid().to_string(),
            ],
        )
        .await?;
    let marker: Option<Identified> = transaction
        .row(
            MARK,
            "INSERT INTO deletednamespace (namespace_id, marked, original_username, original_email)
                 VALUES ($1, $2, $3, $4) RETURNING id",
            params![
                namespace.0,
                mark.now.naive_utc(),
                found.username.as_str(),
                found.email.as_str(),
            ],
        )
        .await?;
    let marker = marker.map_or(0, |row| row.id);
    let queue = enqueue(
        transaction,
        &format!("{NAMESPACE_QUEUE}/{namespace}/"),
        &body(marker, "original_username", &found.username),
        mark,
    )
    .await?;
    transaction
        .execute(
            MARK,
            "UPDATE deletednamespace SET queue_id = $2 WHERE id = $1",
            params![marker, queue],
        )
        .await?;
    Ok(true)
}

/// Removes accounts that own no repositories, with everything that refers to them. The ids are a JSON array.
pub(crate) async fn remove_accounts(
    transaction: &Transaction,
    tables: &Tables,
    ids: &str,
) -> Result<(), MetadataError> {
    if ids == "[]" {
        return Ok(());
    }
    tables.take(transaction, ACCOUNT, ids).await?;
    transaction
        .execute(
            "remove a deleted namespace",
            r#"DELETE FROM "user" WHERE id IN @ids($1)"#,
            params![ids],
        )
        .await?;
    Ok(())
}
