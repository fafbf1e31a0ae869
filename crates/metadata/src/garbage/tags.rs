//! Tags whose time is over: their end lies further back than their namespace's window, so that the time machine cannot bring them back.

use std::collections::BTreeSet;

use roadstead_runtime::Timestamp;
use sea_orm::FromQueryResult;

use super::Collection;
use super::manifests::{remove_tags, remove_unheld};
use crate::database::{Connection, Database, Identified, Lock, contended, json_ids, params};
use crate::error::MetadataError;
use crate::ids::RepositoryId;
use crate::locations::limit_column;

/// How many groups namespaces are looked at in, by the lengths of their windows. Quay allows five lengths unless told otherwise.
const GROUPS_MAX: usize = 16;

/// What one step of a collection has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectedTags {
    /// Rows of `tag`.
    pub tags: u64,
    /// Manifests that they were the last to hold.
    pub manifests: u64,
}

#[derive(Debug, FromQueryResult)]
struct Window {
    seconds: i64,
}

#[derive(Debug, FromQueryResult)]
struct DueRow {
    id: i32,
    manifest_id: Option<i32>,
}

/// That the time of tag `t` in a namespace `u` is over at millisecond `$1`. Divided and not multiplied: a window may be as long as its column
/// allows.
pub(crate) const PAST: &str =
    "t.lifetime_end_ms <= $1 AND ($1 - t.lifetime_end_ms) / 1000 >= u.removed_tag_expiration_s";

impl Database {
    /// Repositories with tags whose time is over, those with the oldest first, without `except`. About `limit` tags are looked at for each
    /// length of window. Repositories that are being deleted are left out.
    pub async fn repositories_with_past_tags(
        &self,
        except: &BTreeSet<RepositoryId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RepositoryId>, MetadataError> {
        const OPERATION: &str = "look for tags whose time is over";
        let windows: Vec<Window> = self
            .reader()
            .rows(
                OPERATION,
                r#"SELECT removed_tag_expiration_s AS seconds FROM "user"
                   WHERE NOT robot GROUP BY removed_tag_expiration_s ORDER BY removed_tag_expiration_s"#,
                params![],
            )
            .await?;
        let except = json_ids(except.iter().map(|repository| repository.0));
        let mut found = Vec::new();
        for group in windows.chunks(windows.len().div_ceil(GROUPS_MAX).max(1)) {
            let [Window { seconds: shortest }, ..] = group else {
                continue;
            };
            let longest = group.last().map_or(*shortest, |window| window.seconds);
            // What ended before this is of this group and past, or of namespaces with longer windows: few rows, at the low end of the index.
            let bound = now
                .timestamp_millis()
                .saturating_sub(shortest.saturating_mul(1000));
            let rows: Vec<Identified> = self
                .reader()
                .rows(
                    OPERATION,
                    &format!(
                        r#"SELECT r.id FROM tag t
                           JOIN repository r ON r.id = t.repository_id
                           JOIN "user" u ON u.id = r.namespace_user_id
                           WHERE t.lifetime_end_ms <= $2 AND {PAST}
                             AND u.removed_tag_expiration_s >= $3 AND u.removed_tag_expiration_s <= $4
                             AND r.state <> 3 AND r.id NOT IN @ids($5)
                           ORDER BY t.lifetime_end_ms LIMIT $6"#
                    ),
                    params![
                        now.timestamp_millis(),
                        bound,
                        *shortest,
                        longest,
                        except.as_str(),
                        limit_column(limit),
                    ],
                )
                .await?;
            for row in rows {
                let repository = RepositoryId(row.id);
                if !found.contains(&repository) {
                    found.push(repository);
                }
            }
        }
        Ok(found)
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
