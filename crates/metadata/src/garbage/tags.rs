//! Tags whose time is over: their end lies further back than their namespace's window, so that the time machine cannot bring them back.

use roadstead_runtime::Timestamp;

use super::Collection;
use super::manifests::{remove_tags, remove_unheld};
use crate::database::{Connection, Database, Identified, Lock, contended, params};
use crate::error::MetadataError;
use crate::ids::RepositoryId;
use crate::locations::limit_column;
use crate::row::FromRow;

const SEARCH: &str = "look for tags whose time is over";

/// One page of [`Database::repositories_with_past_tags`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastTags {
    /// Repositories that have tags whose time is over, each once.
    pub repositories: Vec<RepositoryId>,
    /// The end of a tag behind which the next page begins; none after the last.
    pub next: Option<i64>,
}

/// What one step of a collection has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectedTags {
    /// Rows of `tag`.
    pub tags: u64,
    /// Manifests that they were the last to hold.
    pub manifests: u64,
}

#[derive(Debug, FromRow)]
struct Window {
    /// Null when there is no account.
    seconds: Option<i64>,
}

#[derive(Debug, FromRow)]
struct PageEnd {
    next: Option<i64>,
}

#[derive(Debug, FromRow)]
struct DueRow {
    id: i32,
    manifest_id: Option<i32>,
}

/// That the time of tag `t` in a namespace `u` is over at millisecond `$1`. Divided and not multiplied: a window may be as long as its column
/// allows.
pub(crate) const PAST: &str =
    "t.lifetime_end_ms <= $1 AND ($1 - t.lifetime_end_ms) / 1000 >= u.removed_tag_expiration_s";

impl Database {
    /// The millisecond that every tag has ended at whose time is over: no later than the shortest window of any namespace ago. Reads all accounts.
    pub async fn latest_past_end(&self, now: Timestamp) -> Result<i64, MetadataError> {
        let shortest: Option<Window> = self
            .reader()
            .row(
                SEARCH,
                r#"SELECT min(removed_tag_expiration_s) AS seconds FROM "user" WHERE NOT robot"#,
                params![],
            )
            .await?;
        let window = shortest.and_then(|row| row.seconds).unwrap_or_default();
        Ok(now
            .timestamp_millis()
            .saturating_sub(window.saturating_mul(1000)))
    }

    /// Looks through one page of tags by the milliseconds at which they ended, some `span` tags that ended behind `after` and not behind `until`, for
    /// such whose time is over: what a namespace's longer window still keeps is among them. Repositories that are being deleted are left out.
    pub async fn repositories_with_past_tags(
        &self,
        after: i64,
        until: i64,
        now: Timestamp,
        span: u32,
    ) -> Result<PastTags, MetadataError> {
        let end: Option<PageEnd> = self
            .reader()
            .row(
                SEARCH,
                "SELECT max(p.lifetime_end_ms) AS next FROM (
                     SELECT lifetime_end_ms FROM tag WHERE lifetime_end_ms > $1 AND lifetime_end_ms <= $2
                     ORDER BY lifetime_end_ms LIMIT $3) p",
                params![after, until, limit_column(span)],
            )
            .await?;
        let Some(next) = end.and_then(|row| row.next) else {
            return Ok(PastTags::default());
        };
        let rows: Vec<Identified> = self
            .reader()
            .rows(
                SEARCH,
                // [`PAST`], with the window asked for tag by tag: a join may read all repositories for one page of tags.
                r#"SELECT DISTINCT t.repository_id AS id FROM tag t
                   WHERE t.lifetime_end_ms > $2 AND t.lifetime_end_ms <= $3
                     AND ($1 - t.lifetime_end_ms) / 1000 >= (
                         SELECT u.removed_tag_expiration_s FROM repository r
                         JOIN "user" u ON u.id = r.namespace_user_id
                         WHERE r.id = t.repository_id AND r.state <> 3)"#,
                params![now.timestamp_millis(), after, next],
            )
            .await?;
        Ok(PastTags {
            repositories: rows.into_iter().map(|row| RepositoryId(row.id)).collect(),
            next: Some(next),
        })
    }

    /// Removes tags of a repository whose time is over, at most `limit`, and the manifests that they were the last to hold, in one
    /// transaction.
    pub async fn collect_tags(
        &self,
        collection: &Collection,
        repository: RepositoryId,
        now: Timestamp,
        limit: u32,
    ) -> Result<CollectedTags, MetadataError> {
        contended(|| self.collect_tags_once(collection, repository, now, limit)).await
    }

    async fn collect_tags_once(
        &self,
        collection: &Collection,
        repository: RepositoryId,
        now: Timestamp,
        limit: u32,
    ) -> Result<CollectedTags, MetadataError> {
        const OPERATION: &str = "remove tags whose time is over";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(repository)).await?;
        let due: Vec<DueRow> = transaction
            .rows(
                OPERATION,
                &format!(
                    r#"SELECT t.id, t.manifest_id FROM tag t
                       JOIN repository r ON r.id = t.repository_id
                       JOIN "user" u ON u.id = r.namespace_user_id
                       WHERE t.repository_id = $2 AND {PAST}
                       ORDER BY t.lifetime_end_ms, t.id LIMIT $3"#
                ),
                params![now.timestamp_millis(), repository.0, limit_column(limit),],
            )
            .await?;
        if due.is_empty() {
            return Ok(CollectedTags::default());
        }
        remove_tags(&transaction, collection, due.iter().map(|row| row.id)).await?;
        let candidates = due.iter().filter_map(|row| row.manifest_id).collect();
        let manifests =
            remove_unheld(&transaction, collection, repository, candidates, now).await?;
        transaction.commit().await?;
        Ok(CollectedTags {
            tags: due.len() as u64,
            manifests,
        })
    }
}
