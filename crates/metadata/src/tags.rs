//! Tags: rows with a beginning and an end, so that the time machine can go back to what they once pointed to.
//!
//! A tag is live while its end is unset or to come. Moving a tag ends the live row and begins another; no row is ever pointed elsewhere.

use roadstead_oci::Tag;
use roadstead_runtime::{Ids, Timestamp};
use sea_orm::FromQueryResult;

use crate::database::{Connection, Database, Lock, Named, contended, params};
use crate::error::MetadataError;
use crate::ids::{ManifestId, RepositoryId};

#[derive(Debug, FromQueryResult)]
struct LiveTagRow {
    id: i32,
    manifest_id: Option<i32>,
    lifetime_end_ms: Option<i64>,
}

#[derive(Debug, FromQueryResult)]
struct LatestEnd {
    latest: Option<i64>,
}

impl Database {
    /// Ends a live tag. False when there is none.
    pub async fn delete_tag(
        &self,
        repository: RepositoryId,
        tag: &Tag,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        contended(|| self.delete_tag_once(repository, tag, now)).await
    }

    async fn delete_tag_once(
        &self,
        repository: RepositoryId,
        tag: &Tag,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        let transaction = self.begin("delete a tag").await?;
        transaction.lock(Lock::tags_of(repository)).await?;
        let ended = end_tag(&transaction, repository, tag.as_str(), now).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    /// Lists the names of live tags in byte order from behind `after`, which need not exist. At most `limit`.
    pub async fn list_tags(
        &self,
        repository: RepositoryId,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, MetadataError> {
        let rows: Vec<Named> = self
            .pull_reader()
            .rows(
                "list tags",
                "SELECT name FROM tag
                 WHERE repository_id = $1 AND @bytewise(name) > $2 AND NOT hidden
                   AND (lifetime_end_ms IS NULL OR lifetime_end_ms > $3)
                 GROUP BY name ORDER BY @bytewise(name) LIMIT $4",
                params![
                    repository.0,
                    after.unwrap_or_default(),
                    now.timestamp_millis(),
                    i64::from(limit),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}

/// Points a tag to a manifest, ending what it pointed to before. Does nothing when it points there already and has no end.
pub(crate) async fn move_tag(
    connection: &impl Connection,
    repository: RepositoryId,
    tag: &Tag,
    manifest: ManifestId,
    now: Timestamp,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "move a tag";
    let live = live_tag(connection, repository, tag.as_str(), now).await?;
    let start = match live {
        Some(row) if row.manifest_id == Some(manifest.0) && row.lifetime_end_ms.is_none() => {
            return Ok(());
        }
        Some(row) => end_row(connection, repository, tag.as_str(), row.id, now).await?,
        None => now.timestamp_millis(),
    };
    connection
        .execute(
            OPERATION,
            "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, tag_kind_id)
             SELECT $1, $2, $3, $4, id FROM tagkind WHERE name = 'tag'",
            params![tag.as_str(), repository.0, manifest.0, start],
        )
        .await?;
    Ok(())
}

/// Keeps an untagged manifest visible until then, by a hidden tag as Quay makes it. None: for good.
pub(crate) async fn hold(
    connection: &impl Connection,
    repository: RepositoryId,
    manifest: ManifestId,
    until: Option<Timestamp>,
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<(), MetadataError> {
    connection
        .execute(
            "hold an untagged manifest",
            // Not when a tag holds it as long already: a client that pushes the same manifest again and again leaves no heap of rows.
            "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden, tag_kind_id)
             SELECT $1, $2, $3, $4, $5, true, id FROM tagkind WHERE name = 'tag'
               AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = $3
                               AND (t.lifetime_end_ms IS NULL OR ($5 IS NOT NULL AND t.lifetime_end_ms >= $5)))",
            params![
                format!("$temp-{}", ids.uuid()),
                repository.0,
                manifest.0,
                now.timestamp_millis(),
                until.map(|until| until.timestamp_millis()),
            ],
        )
        .await?;
    Ok(())
}

/// Ends the live tag of this name. False when there is none.
pub(crate) async fn end_tag(
    connection: &impl Connection,
    repository: RepositoryId,
    name: &str,
    now: Timestamp,
) -> Result<bool, MetadataError> {
    let Some(row) = live_tag(connection, repository, name, now).await? else {
        return Ok(false);
    };
    end_row(connection, repository, name, row.id, now).await?;
    Ok(true)
}

async fn live_tag(
    connection: &impl Connection,
    repository: RepositoryId,
    name: &str,
    now: Timestamp,
) -> Result<Option<LiveTagRow>, MetadataError> {
    connection
        .row(
            "look up a tag",
            // The youngest: a row that was ended twice within a millisecond may end a moment from now.
            "SELECT id, manifest_id, lifetime_end_ms FROM tag
             WHERE repository_id = $1 AND name = $2 AND (lifetime_end_ms IS NULL OR lifetime_end_ms > $3)
             ORDER BY id DESC LIMIT 1",
            params![repository.0, name, now.timestamp_millis()],
        )
        .await
}

/// Ends a row now, and says at which millisecond. Quay's unique index allows one end per name and millisecond, so a second move within
/// one millisecond ends a millisecond later.
async fn end_row(
    connection: &impl Connection,
    repository: RepositoryId,
    name: &str,
    id: i32,
    now: Timestamp,
) -> Result<i64, MetadataError> {
    const OPERATION: &str = "end a tag";
    let latest: Option<LatestEnd> = connection
        .row(
            OPERATION,
            "SELECT max(lifetime_end_ms) AS latest FROM tag WHERE repository_id = $1 AND name = $2 AND id <> $3",
            params![repository.0, name, id],
        )
        .await?;
    let end = latest
        .and_then(|row| row.latest)
        .map_or(i64::MIN, |latest| latest.saturating_add(1))
        .max(now.timestamp_millis());
    connection
        .execute(
            OPERATION,
            "UPDATE tag SET lifetime_end_ms = $2 WHERE id = $1",
            params![id, end],
        )
        .await?;
    Ok(end)
}
