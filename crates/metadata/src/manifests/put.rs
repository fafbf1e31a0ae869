//! Putting a manifest: its row, what it refers to, its labels, its tags, the wanted copies of its blobs, the quota's sizes and the log, in one
//! transaction or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roadstead_oci::{Digest, Manifest, ManifestKind, Tag};
use roadstead_runtime::{Ids, Timestamp};

use super::together::Putting;
use crate::audit::{self, Actor, Event, LogEntry};
use crate::blobs::held;
use crate::copies::{WantCopies, WantedScope, want_copies};
use crate::copy_claims::Urgency;
use crate::database::{
    Connection, Database, Identified, Lock, Transaction, contended, json_ids, json_texts, params,
};
use crate::demand::{Demand, RulesInForce};
use crate::dialect::Engine;
use crate::error::MetadataError;
use crate::features::Features;
use crate::ids::{ManifestId, RepositoryId, StorageId, UserId};
use crate::image_events;
use crate::immutability::{self, ImmutableTags};
use crate::labels::{self, PushedLabels, TagEffects, owed};
use crate::min_locations::{self, MinLocations};
use crate::quota;
use crate::quota_limits::{self, QuotaChecks, QuotaLimitKind};
use crate::repositories::Repository;
use crate::row::FromRow;
use crate::tags::{self, MoveTags, live_tags};
use crate::uploads::bytes_column;

/// A manifest to be made visible.
#[derive(Debug)]
pub struct PutManifest<'a> {
    /// The repository. The replication's queue rows name its namespace.
    pub repository: &'a Repository,
    /// The digest by which it will be found.
    pub digest: &'a Digest,
    /// The manifest.
    pub manifest: &'a Manifest,
    /// Its labels.
    pub labels: PushedLabels<'a>,
    /// The tags that will point to it; none: it is held until `untagged_until`.
    pub tags: &'a [Tag],
    /// How long a manifest without a tag stays visible. One with a subject stays for good.
    pub untagged_until: Timestamp,
    /// What every blob must reach, besides what rules and regions say; none: replication is off, and no copy becomes wanted.
    pub demand: Option<Demand<'a>>,
    /// The name of the replication queue.
    pub queue: &'a str,
    /// What else is kept with it.
    pub features: Features,
    /// Who pushes it, for the log.
    pub actor: &'a Actor,
    /// Source of the tokens of new rows.
    pub ids: &'a Arc<dyn Ids>,
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
        /// What its namespace demands before the push is acknowledged. The copies are as urgent as can be then.
        min_locations: Option<MinLocations>,
    },
    /// The repository does not hold these blobs. Nothing was changed.
    BlobsUnknown(Vec<Digest>),
    /// The repository does not hold these manifests. Nothing was changed.
    ManifestsUnknown(Vec<Digest>),
    /// One of the tags exists and cannot be moved. Nothing was changed.
    TagImmutable(Tag),
    /// The repository does not have it yet, and its labels are [`PushedLabels::NotRead`]. Nothing was changed: read them and put it again.
    LabelsNeeded,
    /// With it the namespace would hold as much as its quota refuses at. Nothing was changed.
    QuotaExceeded,
}

const OPERATION: &str = "store a manifest";

#[derive(Debug, FromRow)]
struct DigestRow {
    id: i32,
    digest: String,
}

impl Database {
    /// Whether the repository has a row of this manifest, visible or not: its labels need not be read again.
    pub async fn knows_manifest(
        &self,
        repository: RepositoryId,
        digest: &Digest,
    ) -> Result<bool, MetadataError> {
        Ok(manifest_row(self.look_up_reader(), repository, digest)
            .await?
            .is_some())
    }

    /// Makes a manifest visible: its row, what it refers to, its tags and the wanted copies of its blobs, all in one transaction or not at all.
    pub async fn put_manifest(
        &self,
        put: &PutManifest<'_>,
    ) -> Result<PutManifestOutcome, MetadataError> {
        match self.engine() {
            Engine::Postgres => contended(|| self.put_manifest_once(put)).await,
            Engine::Sqlite => {
                let manifests = &self.meetings().manifests;
                manifests.make(self, Putting::from(put)).await
            }
        }
    }

    async fn put_manifest_once(
        &self,
        one: &PutManifest<'_>,
    ) -> Result<PutManifestOutcome, MetadataError> {
        let transaction = self.begin(OPERATION).await?;
        let outcome = put(&transaction, one).await?;
        if matches!(outcome, PutManifestOutcome::Stored { .. }) {
            transaction.commit().await?;
        }
        Ok(outcome)
    }
}

/// Puts a manifest. Unless it is stored, what was changed is to be undone.
pub(super) async fn put(
    transaction: &Transaction,
    put: &PutManifest<'_>,
) -> Result<PutManifestOutcome, MetadataError> {
    let repository = put.repository.id;
    transaction.lock(Lock::tags_of(repository)).await?;

    let blobs = held_blobs(transaction, put).await?;
    let unknown = missing(put.manifest.blobs().map(|blob| &blob.digest), &blobs);
    if !unknown.is_empty() {
        return Ok(PutManifestOutcome::BlobsUnknown(unknown));
    }
    let children = known_manifests(transaction, put).await?;
    let unknown = missing(
        put.manifest.children().map(|child| &child.digest),
        &children,
    );
    if !unknown.is_empty() {
        return Ok(PutManifestOutcome::ManifestsUnknown(unknown));
    }
    let live = live_tags(transaction, repository, put.tags, put.now).await?;
    if put.features.immutable_tags != ImmutableTags::Ignored
        && let Some(tag) = put
            .tags
            .iter()
            .find(|tag| live.get(tag.as_str()).is_some_and(|row| row.immutable))
    {
        return Ok(PutManifestOutcome::TagImmutable(tag.clone()));
    }
    let Some((manifest, created)) = row_of(transaction, put).await? else {
        return Ok(PutManifestOutcome::LabelsNeeded);
    };

    let linked = link(transaction, put, manifest, &blobs, &children).await?;
    if !created {
        transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_hidden_manifest WHERE manifest_id = $1",
                params![manifest.0],
            )
            .await?;
    }
    let mut entries = Vec::new();
    if put.tags.is_empty() {
        hold(transaction, put, manifest).await?;
    } else {
        let effects = if created && children.is_empty() && put.labels.leave_tags_alone() {
            TagEffects::default()
        } else {
            labels::tag_effects(transaction, manifest, children.len()).await?
        };
        let made_immutable = point_tags(transaction, put, manifest, effects, &live).await?;
        entries = pushed(put, &made_immutable);
    }

    let (copies, min_locations) = want_image(
        transaction,
        &WantImage {
            manifest,
            namespace: put.repository.namespace_id,
            demand: put.demand,
            queue: put.queue,
            tagged: !put.tags.is_empty(),
            trace: put.actor.trace(),
            ids: put.ids,
            now: put.now,
        },
    )
    .await?;
    audit::write(transaction, &entries).await?;
    quota::blobs_linked(
        transaction,
        put.features.quota,
        put.repository.namespace_id,
        repository,
        manifest,
        &linked,
    )
    .await?;
    if let QuotaChecks::Held { default_bytes } = put.features.quota_checks {
        let standing =
            quota_limits::standing(transaction, put.repository.namespace_id, None).await?;
        let reached = standing.reached(standing.held_bytes, default_bytes);
        if reached == Some(QuotaLimitKind::Reject) {
            return Ok(PutManifestOutcome::QuotaExceeded);
        }
    }
    Ok(PutManifestOutcome::Stored {
        created,
        copies,
        min_locations,
    })
}

/// Points the tags to the manifest, and tells which of them a policy has made immutable.
async fn point_tags<'a>(
    transaction: &Transaction,
    put: &PutManifest<'a>,
    manifest: ManifestId,
    effects: TagEffects,
    live: &BTreeMap<String, tags::LiveTag>,
) -> Result<Vec<&'a Tag>, MetadataError> {
    let immutable_tags = put.features.immutable_tags;
    let made_immutable = if immutable_tags == ImmutableTags::Ignored {
        Vec::new()
    } else {
        immutability::made_immutable(
            transaction,
            put.repository.namespace_id,
            put.repository.id,
            put.tags,
        )
        .await?
    };
    tags::move_tags(
        transaction,
        &MoveTags {
            repository: put.repository.id,
            manifest,
            tags: put.tags,
            effects,
            made_immutable: &made_immutable,
            immutable_tags,
            reversion: false,
            now: put.now,
        },
        live,
    )
    .await?;
    Ok(made_immutable)
}

/// An image that has just become visible or got a tag, and whose copies are to be wanted.
pub(crate) struct WantImage<'a> {
    pub(crate) manifest: ManifestId,
    pub(crate) namespace: UserId,
    /// What every blob must reach; none: replication is off.
    pub(crate) demand: Option<Demand<'a>>,
    pub(crate) queue: &'a str,
    /// Whether a tag points to it.
    pub(crate) tagged: bool,
    /// The trace of whoever pushed or pointed.
    pub(crate) trace: Option<&'a str>,
    pub(crate) ids: &'a dyn Ids,
    pub(crate) now: Timestamp,
}

/// Makes the copies wanted that an image lacks, behind its tags, which decide where it belongs. Tells how many, and what its namespace demands before a
/// push is acknowledged; they are as urgent as can be then.
pub(crate) async fn want_image(
    transaction: &Transaction,
    image: &WantImage<'_>,
) -> Result<(u64, Option<MinLocations>), MetadataError> {
    let min_locations = min_locations::find(transaction, image.namespace).await?;
    let copies = match image.demand {
        Some(demand) => {
            let rules = RulesInForce::load(transaction, demand).await?;
            let want = WantCopies {
                scope: WantedScope::Image {
                    manifest: image.manifest,
                    namespace: image.namespace,
                    demand,
                    rules: &rules,
                    urgency: if min_locations.is_some() {
                        Urgency::Asked
                    } else {
                        Urgency::Pushed
                    },
                },
                queue: image.queue,
                trace: image.trace,
                token: image.ids.uuid(),
                now: image.now,
            };
            let copies = want_copies(transaction, &want).await?;
            if image.tagged {
                let (manifest, now) = (image.manifest, image.now);
                image_events::await_pushed(transaction, manifest, (demand, &rules), now).await?;
            }
            copies
        }
        None => 0,
    };
    if min_locations.is_some() {
        min_locations::urge(transaction, image.manifest).await?;
    }
    Ok((copies, min_locations))
}

/// Of the blobs that the manifest names, those that the repository holds; none of them can be collected any more. Layers that need not be pushed
/// are linked when they were.
async fn held_blobs(
    connection: &Transaction,
    put: &PutManifest<'_>,
) -> Result<BTreeMap<String, i32>, MetadataError> {
    let named = put
        .manifest
        .blobs()
        .chain(put.manifest.optional_blobs())
        .map(|blob| blob.digest.as_str());
    let rows: Vec<DigestRow> = connection
        .rows(
            "check the blobs of a manifest",
            &format!(
                "SELECT s.id, s.content_checksum AS digest FROM imagestorage s
                 WHERE s.content_checksum IN @texts($1) AND {} ORDER BY s.id DESC @keep(s)",
                held("$2", "$3")
            ),
            params![json_texts(named), put.repository.id.0, put.now.naive_utc()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| (row.digest, row.id)).collect())
}

/// Of the manifests that the index names, those that the repository has.
async fn known_manifests(
    connection: &Transaction,
    put: &PutManifest<'_>,
) -> Result<BTreeMap<String, i32>, MetadataError> {
    let named: Vec<&str> = put
        .manifest
        .children()
        .map(|child| child.digest.as_str())
        .collect();
    if named.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<DigestRow> = connection
        .rows(
            "check the manifests of an index",
            "SELECT m.id, m.digest FROM manifest m
             WHERE m.repository_id = $1 AND m.digest IN @texts($2)
               AND NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = m.id)
             @keep(m)",
            params![put.repository.id.0, json_texts(named)],
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

async fn manifest_row(
    connection: &impl Connection,
    repository: RepositoryId,
    digest: &Digest,
) -> Result<Option<ManifestId>, MetadataError> {
    let row: Option<Identified> = connection
        .row(
            "look up a manifest",
            "SELECT id FROM manifest WHERE repository_id = $1 AND digest = $2",
            params![repository.0, digest.to_string()],
        )
        .await?;
    Ok(row.map(|row| ManifestId(row.id)))
}

/// The manifest's row, and whether it is new. None if its labels are to be read first.
async fn row_of(
    transaction: &Transaction,
    put: &PutManifest<'_>,
) -> Result<Option<(ManifestId, bool)>, MetadataError> {
    let labels_read = !matches!(put.labels, PushedLabels::NotRead);
    // Labels are read of what was not known a moment ago: it is new, but for another push of the same.
    if labels_read && let Some(created) = create_manifest(transaction, put).await? {
        return Ok(Some((created, true)));
    }
    match manifest_row(transaction, put.repository.id, put.digest).await? {
        Some(known) => Ok(Some((known, false))),
        None if labels_read => Err(MetadataError::corrupt(
            "mediatype",
            "name",
            put.manifest.media_type(),
            "the row is missing",
        )),
        None => Ok(None),
    }
}

/// The rows that a new manifest has by itself: its own, its labels or that they are owed, and that Quay's scanner has not seen it. None if it is not
/// new.
async fn create_manifest(
    transaction: &Transaction,
    put: &PutManifest<'_>,
) -> Result<Option<ManifestId>, MetadataError> {
    const OPERATION: &str = "store a manifest";
    let digest = put.digest.to_string();
    let text = std::str::from_utf8(put.manifest.bytes())
        .map_err(|error| MetadataError::corrupt("manifest", "manifest_bytes", &digest, error))?;
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
             SELECT $1, $2, id, $4, $5, $6, $7, true, $8, true FROM mediatype WHERE name = $3
             ON CONFLICT (repository_id, digest) DO NOTHING RETURNING id",
            params![
                put.repository.id.0,
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
    let Some(row) = row else {
        return Ok(None);
    };
    let manifest = ManifestId(row.id);
    transaction
        .execute(
            OPERATION,
            // State 0 is pending, version 4 the only scanner that Quay still has.
            "INSERT INTO manifestsecuritystatus (manifest_id, repository_id, index_status, error_json, last_indexed,
                                                 indexer_hash, indexer_version, metadata_json)
             VALUES ($1, $2, 0, '{}', $3, '', 4, '{}')",
            params![manifest.0, put.repository.id.0, put.now.naive_utc()],
        )
        .await?;
    match put.labels {
        PushedLabels::Read(labels) => {
            labels::write(transaction, put.repository.id, manifest, labels, put.ids).await?;
        }
        PushedLabels::Unreadable => owed::note(transaction, manifest, put.now).await?,
        PushedLabels::NotRead => {}
    }
    Ok(Some(manifest))
}

/// Links the manifest to its blobs and its children, and tells which blobs it was not linked to before.
async fn link(
    transaction: &Transaction,
    put: &PutManifest<'_>,
    manifest: ManifestId,
    blobs: &BTreeMap<String, i32>,
    children: &BTreeMap<String, i32>,
) -> Result<Vec<StorageId>, MetadataError> {
    const OPERATION: &str = "store what a manifest refers to";
    let linked: Vec<Identified> = transaction
        .rows(
            OPERATION,
            "INSERT INTO manifestblob (repository_id, manifest_id, blob_id)
             SELECT $1, $2, s.id FROM imagestorage s WHERE s.id IN @ids($3)
             ON CONFLICT DO NOTHING RETURNING blob_id AS id",
            params![
                put.repository.id.0,
                manifest.0,
                json_ids(blobs.values().copied())
            ],
        )
        .await?;
    let linked = linked.into_iter().map(|row| StorageId(row.id)).collect();
    if children.is_empty() {
        return Ok(linked);
    }
    transaction
        .execute(
            OPERATION,
            "INSERT INTO manifestchild (repository_id, manifest_id, child_manifest_id)
             SELECT $1, $2, m.id FROM manifest m WHERE m.id IN @ids($3) ON CONFLICT DO NOTHING",
            params![
                put.repository.id.0,
                manifest.0,
                json_ids(children.values().copied())
            ],
        )
        .await?;
    Ok(linked)
}

/// Keeps a manifest that comes without a tag.
async fn hold(
    transaction: &Transaction,
    put: &PutManifest<'_>,
    manifest: ManifestId,
) -> Result<(), MetadataError> {
    let until = put
        .manifest
        .subject()
        .is_none()
        .then_some(put.untagged_until);
    tags::hold(
        transaction,
        put.repository.id,
        manifest,
        until,
        put.ids,
        put.now,
    )
    .await
}

/// What the log says of the tags that were pushed.
fn pushed(put: &PutManifest<'_>, made_immutable: &[&Tag]) -> Vec<LogEntry> {
    let media_type = put.manifest.media_type();
    let pushes = put
        .tags
        .iter()
        .map(|tag| Event::PushTag { tag, media_type });
    let policies = made_immutable
        .iter()
        .map(|tag| Event::TagMadeImmutable { tag });
    pushes
        .chain(policies)
        .map(|event| put.actor.entry(put.repository, &event, put.now))
        .collect()
}
