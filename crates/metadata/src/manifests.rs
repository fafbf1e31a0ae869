//! Manifests: found by tag or digest, deleted, listed as referrers. How they are put is [`put`]'s.

mod put;
mod together;

use std::collections::BTreeMap;

use bytes::Bytes;
use roadstead_oci::{Digest, MediaType, Reference, Tag};
use roadstead_runtime::Timestamp;
use serde_json::value::RawValue;

pub use self::put::{PutManifest, PutManifestOutcome};
pub(crate) use self::put::{WantImage, want_image};
pub(crate) use self::together::Putting;
use crate::audit::{self, Event, LogEntry};
use crate::database::{Connection, Database, Lock, Named, contended, params};
use crate::error::MetadataError;
use crate::ids::{ManifestId, RepositoryId};
use crate::immutability::ImmutableTags;
use crate::lookups::{Found, NAMES, by_digest, digests_in_repositories, names_in_repositories};
use crate::reader::Reader;
use crate::row::FromRow;
use crate::tags::{self, Delete, Deletion, LIVE_TAG, LiveTag};

/// A manifest as it was pushed.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// Its row.
    pub id: ManifestId,
    /// The digest that it was pushed under, or that its tag points to.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its bytes, unchanged.
    pub bytes: Bytes,
}

/// What a look-up by tag or digest found.
#[derive(Clone, Debug)]
pub enum ManifestLookup {
    /// The manifest.
    Found(StoredManifest),
    /// Nothing now, but the tag was there once; the time machine may still have it.
    TagExpired,
    /// Nothing.
    Unknown,
}

/// Which referrers to list.
#[derive(Clone, Copy, Debug)]
pub struct ReferrersOf<'a> {
    /// The repository.
    pub repository: RepositoryId,
    /// The manifest that they refer to; it need not exist.
    pub subject: &'a Digest,
    /// Only those of this artifact type.
    pub artifact_type: Option<&'a str>,
    /// Only those behind this one; `ManifestId(0)` for the first page.
    pub after: ManifestId,
    /// How many at most.
    pub limit: u32,
    /// Now.
    pub now: Timestamp,
}

/// A manifest that refers to another as its subject.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Its row, by which the next page begins.
    pub id: ManifestId,
    /// Its media type.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Its artifact type, or the media type of its config.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, FromRow)]
struct ManifestRow {
    id: i32,
    digest: String,
    media_type: String,
    manifest_bytes: String,
    artifact_type: Option<String>,
}

const COLUMNS: &str = "m.id, m.digest, mt.name AS media_type, m.manifest_bytes,
    COALESCE(m.artifact_type, m.config_media_type) AS artifact_type";

impl Database {
    /// Finds a manifest by tag or by digest.
    ///
    /// By digest it is visible while a live tag, hidden ones included, points to it or to an index above it.
    pub async fn find_manifest(
        &self,
        repository: RepositoryId,
        reference: &Reference,
        now: Timestamp,
    ) -> Result<ManifestLookup, MetadataError> {
        let found = match reference {
            Reference::Tag(tag) => {
                let key = (repository, tag.clone());
                let tags = &self.lookups().tags;
                tags.find(self, key, now, |database, keys, now| {
                    Box::pin(find_by_tag(database.pull_reader(), keys, now))
                })
                .await?
            }
            Reference::Digest(digest) => {
                let key = (repository, digest.clone());
                let manifests = &self.lookups().manifests;
                let found = manifests.find(self, key, now, |database, keys, now| {
                    Box::pin(by_digest(database, keys, move |reader, keys| {
                        Box::pin(find_by_digest(reader, keys, now))
                    }))
                });
                found.await?.map(ManifestLookup::Found)
            }
        };
        Ok(found.unwrap_or(ManifestLookup::Unknown))
    }

    /// Makes a manifest invisible by ending every tag on it.
    ///
    /// Not while an immutable tag points to it, or to an index above it: that would take away what the tag promises to keep.
    pub async fn delete_manifest(
        &self,
        delete: &Delete<'_>,
        digest: &Digest,
    ) -> Result<Deletion, MetadataError> {
        contended(|| self.delete_manifest_once(delete, digest)).await
    }

    async fn delete_manifest_once(
        &self,
        delete: &Delete<'_>,
        digest: &Digest,
    ) -> Result<Deletion, MetadataError> {
        const OPERATION: &str = "delete a manifest";
        let repository = delete.repository.id;
        let key = (repository, digest.clone());
        let found = find_by_digest(self.reader(), std::slice::from_ref(&key), delete.now).await?;
        let Some(manifest) = found.into_values().next().transpose()? else {
            return Ok(Deletion::Unknown);
        };
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(repository)).await?;
        if delete.features.immutable_tags != ImmutableTags::Ignored
            && let Some(tag) = immutable_above(&transaction, manifest.id, delete.now).await?
        {
            return Ok(Deletion::Immutable(tag));
        }
        let live: Vec<LiveTag> = transaction
            .rows(
                OPERATION,
                &format!(
                    "SELECT {LIVE_TAG} FROM tag t JOIN manifest m ON m.id = t.manifest_id
                     WHERE t.manifest_id = $1 AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $2)
                     ORDER BY t.id"
                ),
                params![manifest.id.0, delete.now.timestamp_millis()],
            )
            .await?;
        // One row of each name: the youngest is the one that a reader finds.
        let live: BTreeMap<&str, &LiveTag> =
            live.iter().map(|tag| (tag.name.as_str(), tag)).collect();
        tags::end(&transaction, live.values().map(|tag| tag.id), delete.now).await?;
        // An index that is still there keeps it reachable in Quay's tables, so the deletion is also noted by itself.
        let hidden = transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_hidden_manifest (manifest_id) VALUES ($1) ON CONFLICT DO NOTHING",
                params![manifest.id.0],
            )
            .await?;
        let entries = live.values().filter(|tag| !tag.hidden).map(|tag| {
            let event = Event::DeleteTag {
                tag: &tag.name,
                digest: tag.digest.as_deref(),
            };
            delete.actor.entry(delete.repository, &event, delete.now)
        });
        let entries: Vec<LogEntry> = entries.collect();
        audit::write(&transaction, &entries).await?;
        transaction.commit().await?;
        Ok(if hidden == 1 {
            Deletion::Deleted
        } else {
            Deletion::Unknown
        })
    }

    /// Lists the visible manifests that refer to a subject, in the order in which they came.
    pub async fn referrers(&self, query: &ReferrersOf<'_>) -> Result<Vec<Referrer>, MetadataError> {
        let rows: Vec<ManifestRow> = self
            .pull_reader()
            .rows(
                "list referrers",
                &format!(
                    "SELECT {COLUMNS} FROM manifest m
                     JOIN mediatype mt ON mt.id = m.media_type_id
                     WHERE m.repository_id = $1 AND m.subject = $2 AND m.id > $3
                       AND ($4 IS NULL OR COALESCE(m.artifact_type, m.config_media_type) = $4)
                       AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = m.id)
                       AND EXISTS (SELECT 1 FROM (SELECT m.id AS id UNION ALL SELECT mc.manifest_id FROM manifestchild mc
                                                  WHERE mc.child_manifest_id = m.id) up
                                   JOIN tag t ON t.manifest_id = up.id
                                   WHERE t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $5)
                     ORDER BY m.id LIMIT $6"
                ),
                params![
                    query.repository.0,
                    query.subject.to_string(),
                    query.after.0,
                    query.artifact_type,
                    query.now.timestamp_millis(),
                    i64::from(query.limit),
                ],
            )
            .await?;
        rows.into_iter().map(Referrer::try_from).collect()
    }
}

/// An immutable tag that is live and points to this manifest or to an index above it.
async fn immutable_above(
    connection: &impl Connection,
    manifest: ManifestId,
    now: Timestamp,
) -> Result<Option<String>, MetadataError> {
    let found: Option<Named> = connection
        .row(
            "look for immutable tags",
            "WITH RECURSIVE up(id) AS (
                 SELECT CAST($1 AS integer)
                 UNION
                 SELECT mc.manifest_id FROM manifestchild mc JOIN up ON mc.child_manifest_id = up.id)
             SELECT t.name FROM up JOIN tag t ON t.manifest_id = up.id
             WHERE t.immutable AND NOT t.hidden AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $2)
             ORDER BY t.id LIMIT 1",
            params![manifest.0, now.timestamp_millis()],
        )
        .await?;
    Ok(found.map(|row| row.name))
}

const FIND: &str = "look up a manifest";

/// What tags point to, those included that did and have ended.
async fn find_by_tag(
    reader: &Reader,
    keys: &[(RepositoryId, Tag)],
    now: Timestamp,
) -> Result<Found<(RepositoryId, Tag), ManifestLookup>, MetadataError> {
    let asked = |keys: &[(RepositoryId, Tag)]| {
        names_in_repositories(
            keys.iter()
                .map(|(repository, tag)| (*repository, tag.as_str())),
        )
    };
    let rows: Vec<TaggedRow> = reader
        .rows(
            FIND,
            &format!(
                "SELECT t.repository_id, t.name, {COLUMNS} FROM {NAMES} AS a
                 CROSS JOIN tag t CROSS JOIN manifest m CROSS JOIN mediatype mt
                 WHERE t.repository_id = a.repository_id AND t.name = a.name AND m.id = t.manifest_id AND mt.id = m.media_type_id
                   AND NOT t.hidden AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $2)
                 ORDER BY t.id"
            ),
            params![asked(keys), now.timestamp_millis()],
        )
        .await?;
    // Of several rows of a tag the last one counts.
    let mut found: Found<_, _> = rows
        .into_iter()
        .filter_map(|row| {
            let key = (RepositoryId(row.repository_id), row.name.parse().ok()?);
            Some((key, row.manifest.try_into().map(ManifestLookup::Found)))
        })
        .collect();
    let unknown: Vec<(RepositoryId, Tag)> = keys
        .iter()
        .filter(|key| !found.contains_key(key))
        .cloned()
        .collect();
    if unknown.is_empty() {
        return Ok(found);
    }
    let ended: Vec<TagRow> = reader
        .rows(
            FIND,
            &format!(
                "SELECT DISTINCT t.repository_id, t.name FROM {NAMES} AS a CROSS JOIN tag t
                 WHERE t.repository_id = a.repository_id AND t.name = a.name AND NOT t.hidden"
            ),
            params![asked(&unknown)],
        )
        .await?;
    found.extend(ended.into_iter().filter_map(|row| {
        let key = (RepositoryId(row.repository_id), row.name.parse().ok()?);
        Some((key, Ok(ManifestLookup::TagExpired)))
    }));
    Ok(found)
}

/// Visible manifests.
async fn find_by_digest(
    reader: &Reader,
    keys: &[(RepositoryId, Digest)],
    now: Timestamp,
) -> Result<Found<(RepositoryId, Digest), StoredManifest>, MetadataError> {
    let rows: Vec<NamedRow> = reader
        .rows(
            FIND,
            // PostgreSQL, which cannot tell how far the recursion goes, would join with all tags: a subquery looks them up.
            &format!(
                "WITH RECURSIVE named(id) AS (
                     SELECT m.id FROM {NAMES} AS a CROSS JOIN manifest m
                     WHERE m.repository_id = a.repository_id AND m.digest = a.name),
                 up(root, id) AS (
                     SELECT id, id FROM named
                     UNION
                     SELECT up.root, mc.manifest_id FROM up CROSS JOIN manifestchild mc WHERE mc.child_manifest_id = up.id),
                 seen(id) AS (
                     SELECT DISTINCT up.root FROM up
                     WHERE (SELECT t.id FROM tag t
                            WHERE t.manifest_id = up.id AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $2)
                            LIMIT 1) IS NOT NULL)
                 SELECT m.repository_id, {COLUMNS} FROM seen CROSS JOIN manifest m CROSS JOIN mediatype mt
                 WHERE m.id = seen.id AND mt.id = m.media_type_id
                   AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = m.id)"
            ),
            params![digests_in_repositories(keys), now.timestamp_millis()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let digest = row.manifest.digest.parse().ok()?;
            let key = (RepositoryId(row.repository_id), digest);
            Some((key, row.manifest.try_into()))
        })
        .collect())
}

#[derive(Debug, FromRow)]
struct TaggedRow {
    repository_id: i32,
    name: String,
    manifest: ManifestRow,
}

#[derive(Debug, FromRow)]
struct TagRow {
    repository_id: i32,
    name: String,
}

#[derive(Debug, FromRow)]
struct NamedRow {
    repository_id: i32,
    manifest: ManifestRow,
}

impl TryFrom<ManifestRow> for StoredManifest {
    type Error = MetadataError;

    fn try_from(row: ManifestRow) -> Result<Self, MetadataError> {
        Ok(Self {
            id: ManifestId(row.id),
            digest: row
                .digest
                .parse()
                .map_err(|error| MetadataError::corrupt("manifest", "digest", row.id, error))?,
            media_type: row.media_type.parse().map_err(|error| {
                MetadataError::corrupt("manifest", "media_type_id", row.id, error)
            })?,
            bytes: Bytes::from(row.manifest_bytes),
        })
    }
}

impl TryFrom<ManifestRow> for Referrer {
    type Error = MetadataError;

    fn try_from(mut row: ManifestRow) -> Result<Self, MetadataError> {
        let artifact_type = row.artifact_type.take();
        let manifest = StoredManifest::try_from(row)?;
        Ok(Self {
            id: manifest.id,
            size: manifest.bytes.len() as u64,
            annotations: annotations(&manifest.bytes),
            media_type: manifest.media_type,
            digest: manifest.digest,
            artifact_type,
        })
    }
}

/// The annotations of a stored manifest. It was checked when it was pushed; one that Quay took and we would not have none.
fn annotations(manifest: &[u8]) -> BTreeMap<String, String> {
    serde_json::from_slice::<BTreeMap<String, &RawValue>>(manifest)
        .ok()
        .and_then(|fields| serde_json::from_str(fields.get("annotations")?.get()).ok())
        .unwrap_or_default()
}
