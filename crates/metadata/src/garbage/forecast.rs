//! What a collection would remove now, and what waits to be deleted, counted without changing anything.
//!
//! These statements read the registry as a whole. They are for an operator who asks, not for anything that runs by itself.

use chrono::NaiveDateTime;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use sea_orm::Value;

use super::tags::PAST;
use crate::database::{Connection, Database, Named, params};
use crate::error::MetadataError;
use crate::locations::{limit_column, location_name};
use crate::row::FromRow;

/// What a collection would remove now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageForecast {
    /// Tags whose time is over.
    pub tags: u64,
    /// Manifests that nothing holds once these are gone.
    pub manifests: u64,
    /// Blobs that nothing refers to once these are gone and the protections of pushes that have ended.
    pub blobs: u64,
    /// Their bytes, once each.
    pub bytes: u64,
    /// Deleted repositories that wait to be removed.
    pub repositories: u64,
    /// Deleted namespaces that wait to be removed.
    pub namespaces: u64,
    /// Blobs that are never touched, because they have no digest or are of Quay's first image format.
    pub left_alone: u64,
}

/// Names of what a collection would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageNames {
    /// Tags as `namespace/repository:tag`.
    pub tags: Vec<String>,
    /// Manifests as `namespace/repository@digest`.
    pub manifests: Vec<String>,
    /// Digests of blobs.
    pub blobs: Vec<String>,
    /// Repositories as `namespace/name`, by the names that they had.
    pub repositories: Vec<String>,
    /// Namespaces by the names that they had.
    pub namespaces: Vec<String>,
}

/// What waits to be deleted at one location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoomedAt {
    /// The location. It may be gone from configuration and database.
    pub location: LocationName,
    /// How many objects.
    pub objects: u64,
    /// Their bytes, as far as they are known.
    pub bytes: u64,
    /// How many of them could not be deleted so far.
    pub failing: u64,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
    /// Why one could not be deleted, the last time one could not.
    pub last_failure: Option<String>,
}

#[derive(Debug, FromRow)]
struct CountRow {
    count: i64,
    bytes: i64,
}

#[derive(Debug, FromRow)]
struct DoomedRow {
    location: String,
    objects: i64,
    bytes: i64,
    failing: i64,
    oldest: Option<NaiveDateTime>,
    last_failure: Option<String>,
}

/// The common table expressions that say what goes at millisecond `$1`.
///
/// `past`: tags whose time is over. `stay`: the manifests that something holds without these tags; a tag that holds a referrer for as long as
/// its subject holds it only while the subject stays, or while there is none. `deleted`: repositories that go as a whole.
fn going() -> String {
    format!(
        r#"WITH RECURSIVE past(id) AS (
               SELECT t.id FROM tag t
               JOIN repository r ON r.id = t.repository_id
               JOIN "user" u ON u.id = r.namespace_user_id
               WHERE {PAST} AND r.state <> 3),
           held(id, follows) AS (
               SELECT t.manifest_id, s.id FROM tag t
               JOIN manifest m ON m.id = t.manifest_id
               LEFT JOIN manifest s ON s.repository_id = m.repository_id AND s.digest = m.subject
                 AND t.hidden AND t.lifetime_end_ms IS NULL
               WHERE NOT EXISTS (SELECT 1 FROM past WHERE past.id = t.id)),
           edge(parent, child) AS (
               SELECT manifest_id, child_manifest_id FROM manifestchild
               UNION ALL
               SELECT follows, id FROM held WHERE follows IS NOT NULL),
           stay(id) AS (
               SELECT id FROM held WHERE follows IS NULL
               UNION
               SELECT e.child FROM stay JOIN edge e ON e.parent = stay.id),
           deleted(id) AS (
               SELECT id FROM repository WHERE state = 3
               UNION
               SELECT r.id FROM repository r JOIN deletednamespace d ON d.namespace_id = r.namespace_user_id)"#
    )
}

const TAGS: &str = "FROM past JOIN tag t ON t.id = past.id";

/// Manifests of repositories that stay.
const MANIFESTS: &str = "FROM manifest m
    WHERE NOT EXISTS (SELECT 1 FROM deleted WHERE deleted.id = m.repository_id)
      AND NOT EXISTS (SELECT 1 FROM stay WHERE stay.id = m.id)";

/// `$2` is now, as `uploadedblob` has it.
const BLOBS: &str = "FROM imagestorage s
    WHERE s.cas_path AND s.content_checksum IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM manifestblob mb JOIN stay ON stay.id = mb.manifest_id
                      WHERE mb.blob_id = s.id
                        AND NOT EXISTS (SELECT 1 FROM deleted WHERE deleted.id = mb.repository_id))
      AND NOT EXISTS (SELECT 1 FROM uploadedblob p WHERE p.blob_id = s.id AND p.expires_at > $2
                        AND NOT EXISTS (SELECT 1 FROM deleted WHERE deleted.id = p.repository_id))
      AND NOT EXISTS (SELECT 1 FROM roadstead_publication n WHERE n.digest = s.content_checksum)";

impl Database {
    /// Counts what a collection would remove now.
    pub async fn garbage_forecast(&self, now: Timestamp) -> Result<GarbageForecast, MetadataError> {
        let going = going();
        let counted = "SELECT count(*) AS count, CAST(0 AS bigint) AS bytes";
        let at = now.timestamp_millis();
        let (tags, _) = self
            .count(&format!("{going} {counted} {TAGS}"), params![at])
            .await?;
        let (manifests, _) = self
            .count(&format!("{going} {counted} {MANIFESTS}"), params![at])
            .await?;
        let (blobs, bytes) = self
            .count(
                &format!(
                    "{going} SELECT count(*) AS count, CAST(COALESCE(sum(s.image_size), 0) AS bigint) AS bytes {BLOBS}"
                ),
                params![at, now.naive_utc()],
            )
            .await?;
        let (repositories, _) = self
            .count(&format!("{counted} FROM deletedrepository"), params![])
            .await?;
        let (namespaces, _) = self
            .count(&format!("{counted} FROM deletednamespace"), params![])
            .await?;
        let (left_alone, _) = self
            .count(
                &format!(
                    "{counted} FROM imagestorage WHERE NOT cas_path OR content_checksum IS NULL"
                ),
                params![],
            )
            .await?;
        Ok(GarbageForecast {
            tags,
            manifests,
            blobs,
            bytes,
            repositories,
            namespaces,
            left_alone,
        })
    }

    /// Names what a collection would remove now, at most `limit` of each kind.
    pub async fn garbage_names(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<GarbageNames, MetadataError> {
        let going = going();
        let path = r#"(SELECT u.username || '/' || r.name FROM repository r JOIN "user" u ON u.id = r.namespace_user_id
                       WHERE r.id ="#;
        let (at, limit) = (now.timestamp_millis(), limit_column(limit));
        Ok(GarbageNames {
            tags: self
                .names(
                    &format!(
                        "{going} SELECT {path} t.repository_id) || ':' || t.name AS name {TAGS}
                         ORDER BY t.lifetime_end_ms, t.id LIMIT $2"
                    ),
                    params![at, limit],
                )
                .await?,
            manifests: self
                .names(
                    &format!(
                        "{going} SELECT {path} m.repository_id) || $3 || m.digest AS name {MANIFESTS}
                         ORDER BY m.id LIMIT $2"
                    ),
                    // The sign itself would begin a word of our own in a statement.
                    params![at, limit, "@"],
                )
                .await?,
            blobs: self
                .names(
                    &format!("{going} SELECT s.content_checksum AS name {BLOBS} ORDER BY s.id LIMIT $3"),
                    params![at, now.naive_utc(), limit],
                )
                .await?,
            repositories: self
                .names(
                    r#"SELECT u.username || '/' || d.original_name AS name FROM deletedrepository d
                       JOIN repository r ON r.id = d.repository_id JOIN "user" u ON u.id = r.namespace_user_id
                       ORDER BY d.id LIMIT $1"#,
                    params![limit],
                )
                .await?,
            namespaces: self
                .names(
                    "SELECT original_username AS name FROM deletednamespace ORDER BY id LIMIT $1",
                    params![limit],
                )
                .await?,
        })
    }

    /// What waits to be deleted, location by location. Those where nothing waits are left out.
    pub async fn doomed_objects(&self) -> Result<Vec<DoomedAt>, MetadataError> {
        let rows: Vec<DoomedRow> = self
            .reader()
            .rows(
                "list what waits to be deleted",
                "SELECT d.location, count(*) AS objects, CAST(COALESCE(sum(d.size), 0) AS bigint) AS bytes,
                        CAST(COALESCE(sum(CASE WHEN d.attempts > 0 THEN 1 ELSE 0 END), 0) AS bigint) AS failing,
                        min(d.since) AS oldest,
                        (SELECT f.last_failure FROM roadstead_doomed_object f
                         WHERE f.location = d.location AND f.last_failure IS NOT NULL
                         ORDER BY f.last_attempt DESC, f.id DESC LIMIT 1) AS last_failure
                 FROM roadstead_doomed_object d GROUP BY d.location ORDER BY d.location",
                params![],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                let number = |number: i64| number.try_into().unwrap_or_default();
                Ok(DoomedAt {
                    location: location_name(&row.location)?,
                    objects: number(row.objects),
                    bytes: number(row.bytes),
                    failing: number(row.failing),
                    oldest: row.oldest.map(|at| at.and_utc()),
                    last_failure: row.last_failure,
                })
            })
            .collect()
    }

    async fn count(&self, sql: &str, values: Vec<Value>) -> Result<(u64, u64), MetadataError> {
        let row: Option<CountRow> = self
            .reader()
            .row("count what a collection would remove", sql, values)
            .await?;
        let number = |number: i64| number.try_into().unwrap_or_default();
        Ok(row.map_or((0, 0), |row| (number(row.count), number(row.bytes))))
    }

    async fn names(&self, sql: &str, values: Vec<Value>) -> Result<Vec<String>, MetadataError> {
        let rows: Vec<Named> = self
            .reader()
            .rows("name what a collection would remove", sql, values)
            .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}
