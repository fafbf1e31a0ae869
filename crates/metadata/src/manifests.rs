//! Manifests: put in one transaction with everything that makes them visible, found by tag or digest, deleted, listed as referrers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use roadstead_oci::{Digest, Manifest, ManifestKind, MediaType, Reference, Tag};
use roadstead_placement::LocationName;
use roadstead_runtime::{Ids, Timestamp};
use sea_orm::FromQueryResult;
use serde_json::value::RawValue;

use crate::blobs::HELD;
use crate::copies::{WantCopies, WantedScope, want_copies};
use crate::database::{
    Connection, Counted, Database, Identified, Lock, Named, Transaction, contended, json_ids,
    json_texts, params,
};
use crate::error::MetadataError;
use crate::ids::{ManifestId, RepositoryId, StorageId, UserId};
use crate::reader::Reader;
use crate::tags;
use crate::uploads::bytes_column;

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

/// A manifest to be made visible.
#[derive(Debug)]
pub struct PutManifest<'a> {
    /// The repository.
    pub repository: RepositoryId,
    /// Its namespace, which the replication's queue rows name.
    pub namespace: UserId,
    /// The digest by which it will be found.
    pub digest: &'a Digest,
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The tags that will point to it; none: it is held until `untagged_until`.
    pub tags: &'a [Tag],
    /// How long a manifest without a tag stays visible. One with a subject stays for good.
    pub untagged_until: Timestamp,
    /// Every location that its blobs must reach.
    pub required: &'a BTreeSet<LocationName>,
    /// The name of the replication queue.
    pub queue: &'a str,
    /// Source of the tokens of new rows.
    pub ids: &'a dyn Ids,
    /// Now.
    pub now: Timestamp,
}

/// What became of [`Database::put_manifest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutManifestOutcome {
    /// It can be pulled, and the copies of its blobs are wanted.
    Stored {
        /// Whether the repository did not have it before.
        created: bool,
        /// How many copies became wanted with it.
        copies: u64,
    },
    /// The repository does not hold these blobs. Nothing was changed.
    BlobsUnknown(Vec<Digest>),
    /// The repository does not hold these manifests. Nothing was changed.
    ManifestsUnknown(Vec<Digest>),
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

#[derive(Debug, FromQueryResult)]
struct ManifestRow {
    id: i32,
    digest: String,
    media_type: String,
    manifest_bytes: String,
    artifact_type: Option<String>,
}

#[derive(Debug, FromQueryResult)]
struct HeldBlobRow {
    id: i32,
    digest: String,
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
        let reader = match reference {
            Reference::Tag(_) => self.pull_reader(),
            Reference::Digest(_) => self.named_reader(),
        };
        Self::look_up_manifest(reader, repository, reference, now).await
    }

    async fn look_up_manifest(
        reader: &Reader,
        repository: RepositoryId,
        reference: &Reference,
        now: Timestamp,
    ) -> Result<ManifestLookup, MetadataError> {
        const OPERATION: &str = "look up a manifest";
        let row: Option<ManifestRow> = match reference {
            Reference::Tag(tag) => {
                reader
                    .row(
                        OPERATION,
                        &format!(
                            "SELECT {COLUMNS} FROM tag t
                             JOIN manifest m ON m.id = t.manifest_id
                             JOIN mediatype mt ON mt.id = m.media_type_id
                             WHERE t.repository_id = $1 AND t.name = $2 AND NOT t.hidden
                               AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $3)
                             ORDER BY t.id DESC LIMIT 1"
                        ),
                        params![repository.0, tag.as_str(), now.timestamp_millis()],
                    )
                    .await?
            }
            Reference::Digest(digest) => {
                reader
                    .row(
                        OPERATION,
                        &format!(
                            "WITH RECURSIVE up(id) AS (
                                 SELECT id FROM manifest WHERE repository_id = $1 AND digest = $2
                                 UNION
                                 SELECT mc.manifest_id FROM manifestchild mc JOIN up ON mc.child_manifest_id = up.id)
                             SELECT {COLUMNS} FROM manifest m
                             JOIN mediatype mt ON mt.id = m.media_type_id
                             WHERE m.repository_id = $1 AND m.digest = $2
                               AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = m.id)
                               AND EXISTS (SELECT 1 FROM up JOIN tag t ON t.manifest_id = up.id
                                           WHERE t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $3)"
                        ),
                        params![repository.0, digest.to_string(), now.timestamp_millis()],
                    )
                    .await?
            }
        };
        if let Some(row) = row {
            return Ok(ManifestLookup::Found(row.try_into()?));
        }
        if let Reference::Tag(tag) = reference {
            let expired: Option<Counted> = reader
                .row(
                    OPERATION,
                    "SELECT count(*) AS count FROM tag WHERE repository_id = $1 AND name = $2 AND NOT hidden",
                    params![repository.0, tag.as_str()],
                )
                .await?;
            if expired.is_some_and(|row| row.count > 0) {
                return Ok(ManifestLookup::TagExpired);
            }
        }
        Ok(ManifestLookup::Unknown)
    }

    /// Makes a manifest visible: its row, what it refers to, its tags and the wanted copies of its blobs, all in one transaction or not at all.
    pub async fn put_manifest(
        &self,
        put: &PutManifest<'_>,
    ) -> Result<PutManifestOutcome, MetadataError> {
        contended(|| self.put_manifest_once(put)).await
    }

    async fn put_manifest_once(
        &self,
        put: &PutManifest<'_>,
    ) -> Result<PutManifestOutcome, MetadataError> {
        const OPERATION: &str = "store a manifest";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(put.repository)).await?;

        let blobs = held_blobs(&transaction, put).await?;
        let unknown = missing(put.manifest.blobs().map(|blob| &blob.digest), &blobs);
        if !unknown.is_empty() {
            return Ok(PutManifestOutcome::BlobsUnknown(unknown));
        }
        let children = known_manifests(&transaction, put).await?;
        let unknown = missing(
            put.manifest.children().map(|child| &child.digest),
            &children,
        );
        if !unknown.is_empty() {
            return Ok(PutManifestOutcome::ManifestsUnknown(unknown));
        }

        let (manifest, created) = upsert_manifest(&transaction, put).await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO manifestblob (repository_id, manifest_id, blob_id)
                     SELECT $1, $2, s.id FROM imagestorage s WHERE s.id IN @ids($3) ON CONFLICT DO NOTHING",
                params![
                    put.repository.0,
                    manifest.0,
                    json_ids(blobs.values().copied())
                ],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO manifestchild (repository_id, manifest_id, child_manifest_id)
                     SELECT $1, $2, m.id FROM manifest m WHERE m.id IN @ids($3) ON CONFLICT DO NOTHING",
                params![
                    put.repository.0,
                    manifest.0,
                    json_ids(children.values().copied())
                ],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_hidden_manifest WHERE manifest_id = $1",
                params![manifest.0],
            )
            .await?;

        if put.tags.is_empty() {
            let until = put
                .manifest
                .subject()
                .is_none()
                .then_some(put.untagged_until);
            tags::hold(
                &transaction,
                put.repository,
                manifest,
                until,
                put.ids,
                put.now,
            )
            .await?;
        }
        for tag in put.tags {
            tags::move_tag(&transaction, put.repository, tag, manifest, put.now).await?;
        }

        let storages: Vec<StorageId> = blobs.values().copied().map(StorageId).collect();
        let copies = want_copies(
            &transaction,
            &WantCopies {
                scope: WantedScope::Blobs {
                    storages: &storages,
                    namespace: put.namespace,
                    required: put.required,
                },
                queue: put.queue,
                token: put.ids.uuid(),
                now: put.now,
            },
        )
        .await?;
        transaction.commit().await?;
        Ok(PutManifestOutcome::Stored { created, copies })
    }

    /// Makes a manifest invisible by ending every tag on it. False when it was not visible.
    pub async fn delete_manifest(
        &self,
        repository: RepositoryId,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        contended(|| self.delete_manifest_once(repository, digest, now)).await
    }

    async fn delete_manifest_once(
        &self,
        repository: RepositoryId,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "delete a manifest";
        let reference = Reference::Digest(digest.clone());
        let ManifestLookup::Found(manifest) =
            Self::look_up_manifest(self.reader(), repository, &reference, now).await?
        else {
            return Ok(false);
        };
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(repository)).await?;
        let live: Vec<Named> = transaction
            .rows(
                OPERATION,
                "SELECT name FROM tag WHERE manifest_id = $1 AND (lifetime_end_ms IS NULL OR lifetime_end_ms > $2)",
                params![manifest.id.0, now.timestamp_millis()],
            )
            .await?;
        for tag in live {
            tags::end_tag(&transaction, repository, &tag.name, now).await?;
        }
        // An index that is still there keeps it reachable in Quay's tables, so the deletion is also noted by itself.
        let hidden = transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_hidden_manifest (manifest_id) VALUES ($1) ON CONFLICT DO NOTHING",
                params![manifest.id.0],
            )
            .await?;
        transaction.commit().await?;
        Ok(hidden == 1)
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
                       AND EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id
                                   AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $5))
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

/// Of the blobs that the manifest names, those that the repository holds. Layers that need not be pushed are linked when they were.
async fn held_blobs(
    connection: &impl Connection,
    put: &PutManifest<'_>,
) -> Result<BTreeMap<String, i32>, MetadataError> {
    let named = put
        .manifest
        .blobs()
        .chain(put.manifest.optional_blobs())
        .map(|blob| blob.digest.as_str());
    let rows: Vec<HeldBlobRow> = connection
        .rows(
            "check the blobs of a manifest",
            &format!(
                "SELECT s.id, s.content_checksum AS digest FROM imagestorage s
                 WHERE s.content_checksum IN @texts($1) AND {HELD} ORDER BY s.id DESC"
            ),
            params![json_texts(named), put.repository.0, put.now.naive_utc()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| (row.digest, row.id)).collect())
}

/// Of the manifests that the index names, those that the repository has.
async fn known_manifests(
    connection: &impl Connection,
    put: &PutManifest<'_>,
) -> Result<BTreeMap<String, i32>, MetadataError> {
    let named = put.manifest.children().map(|child| child.digest.as_str());
    let rows: Vec<HeldBlobRow> = connection
        .rows(
            "check the manifests of an index",
            "SELECT m.id, m.digest FROM manifest m
                 WHERE m.repository_id = $1 AND m.digest IN @texts($2) AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = m.id)",
            params![put.repository.0, json_texts(named)],
        )
        .await?;
    Ok(rows.into_iter().map(|row| (row.digest, row.id)).collect())
}

fn missing<'a>(
    named: impl Iterator<Item = &'a Digest>,
    known: &BTreeMap<String, i32>,
) -> Vec<Digest> {
    let unknown: BTreeSet<&Digest> = named
        .filter(|digest| !known.contains_key(digest.as_str()))
        .collect();
    unknown.into_iter().cloned().collect()
}

/// The manifest's row, and whether it is new.
async fn upsert_manifest(
    transaction: &Transaction,
    put: &PutManifest<'_>,
) -> Result<(ManifestId, bool), MetadataError> {
    const OPERATION: &str = "store a manifest";
    let digest = put.digest.to_string();
    let known: Option<Identified> = transaction
        .row(
            OPERATION,
            "SELECT id FROM manifest WHERE repository_id = $1 AND digest = $2",
            params![put.repository.0, digest.as_str()],
        )
        .await?;
    if let Some(row) = known {
        return Ok((ManifestId(row.id), false));
    }
    let text = std::str::from_utf8(put.manifest.bytes())
        .map_err(|error| MetadataError::corrupt("manifest", "manifest_bytes", &digest, error))?;
    transaction
        .execute(
            OPERATION,
            "INSERT INTO mediatype (name) VALUES ($1) ON CONFLICT DO NOTHING",
            params![put.manifest.media_type().as_str()],
        )
        .await?;
    // Quay keeps no size for an index.
    let layers_size = match put.manifest.kind() {
        ManifestKind::Image => Some(bytes_column(put.manifest.layers_size())),
        ManifestKind::Index => None,
    };
    let row: Option<Identified> = transaction
        .row(
            OPERATION,
            "INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes, config_media_type,
                                   layers_compressed_size, subject, subject_backfilled, artifact_type,
                                   artifact_type_backfilled)
             SELECT $1, $2, id, $4, $5, $6, $7, true, $8, true FROM mediatype WHERE name = $3 RETURNING id",
            params![
                put.repository.0,
                digest.as_str(),
                put.manifest.media_type().as_str(),
                text,
                put.manifest.config().map(|config| config.media_type.as_str().to_owned()),
                layers_size,
                put.manifest.subject().map(|subject| subject.digest.to_string()),
                put.manifest.declared_artifact_type().map(str::to_owned),
            ],
        )
        .await?;
    row.map(|row| (ManifestId(row.id), true)).ok_or_else(|| {
        MetadataError::corrupt(
            "mediatype",
            "name",
            put.manifest.media_type(),
            "the row could not be made",
        )
    })
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
