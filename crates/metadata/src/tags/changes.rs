//! What users do with tags besides pushing and deleting: point them to a manifest that the repository has or had, end them at a time, protect them.

use roadstead_oci::{Digest, Tag};
use roadstead_runtime::{Ids, Timestamp};
use serde_json::{Value, json};

use super::{LiveTag, MoveTags, end, live_tags, move_tags};
use crate::audit::{self, Actor, LogEntry};
use crate::database::{
    Connection, Counted, Database, Identified, Lock, Transaction, contended, params,
};
use crate::demand::Demand;
use crate::error::MetadataError;
use crate::features::Features;
use crate::garbage::PAST;
use crate::ids::ManifestId;
use crate::immutability::{ImmutableTags, made_immutable};
use crate::labels;
use crate::manifests::{WantImage, want_image};
use crate::repositories::Repository;

/// Where a tag may be pointed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointedFrom {
    /// To a manifest that can be pulled.
    Present,
    /// Also to one that the time machine still has. What of it was deleted comes back with it.
    Past,
}

/// A tag to be pointed to a manifest of its repository.
#[derive(Debug)]
pub struct PointTag<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The tag, which need not exist.
    pub tag: &'a Tag,
    /// The manifest.
    pub digest: &'a Digest,
    /// Where that may be.
    pub from: PointedFrom,
    /// What every blob must reach; none: replication is off, and no copy becomes wanted.
    pub demand: Option<Demand<'a>>,
    /// The name of the replication queue.
    pub queue: &'a str,
    /// What else is kept.
    pub features: Features,
    /// Who does it, for the log.
    pub actor: &'a Actor,
    /// Source of the tokens of new rows.
    pub ids: &'a dyn Ids,
    /// Now.
    pub now: Timestamp,
}

/// What became of [`Database::point_tag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagMove {
    /// It points there.
    Pointed {
        /// How many copies became wanted with it.
        copies: u64,
    },
    /// The repository does not have the manifest, or no longer.
    ManifestUnknown,
    /// The tag cannot be moved. Nothing was changed.
    Immutable,
}

/// A change of a live tag that leaves what it points to.
#[derive(Clone, Copy, Debug)]
pub struct ChangeTag<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The tag.
    pub tag: &'a Tag,
    /// What else is kept.
    pub features: Features,
    /// Who does it, for the log.
    pub actor: &'a Actor,
    /// Now.
    pub now: Timestamp,
}

/// What became of a change of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// It is as was asked for.
    Changed,
    /// There is no such live tag.
    Unknown,
    /// It cannot be moved or deleted, and so it does not end at another time either. Nothing was changed.
    Immutable,
    /// It ends, and what is immutable does not (`FEATURE_IMMUTABLE_TAGS_CAN_EXPIRE`). Nothing was changed.
    Ends,
}

impl Database {
    /// Points a tag to a manifest that its repository has, as a push of that manifest would: labels and policies apply, and the copies that it lacks
    /// become wanted in the same transaction.
    pub async fn point_tag(&self, point: &PointTag<'_>) -> Result<TagMove, MetadataError> {
        contended(|| self.point_tag_once(point)).await
    }

    async fn point_tag_once(&self, point: &PointTag<'_>) -> Result<TagMove, MetadataError> {
        const OPERATION: &str = "point a tag to a manifest";
        let repository = point.repository;
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(repository.id)).await?;
        let Some(manifest) = find(&transaction, point).await? else {
            return Ok(TagMove::ManifestUnknown);
        };
        let live = live_tags(&transaction, repository.id, [point.tag], point.now).await?;
        let before = live.get(point.tag.as_str());
        let immutable_tags = point.features.immutable_tags;
        if immutable_tags != ImmutableTags::Ignored && before.is_some_and(|row| row.immutable) {
            return Ok(TagMove::Immutable);
        }
        if point.from == PointedFrom::Past {
            unhide(&transaction, manifest).await?;
        }
        let tags = std::slice::from_ref(point.tag);
        let protected = if immutable_tags == ImmutableTags::Ignored {
            Vec::new()
        } else {
            made_immutable(&transaction, repository.namespace_id, repository.id, tags).await?
        };
        let effects = labels::tag_effects(
            &transaction,
            manifest,
            children(&transaction, manifest).await?,
        )
        .await?;
        move_tags(
            &transaction,
            &MoveTags {
                repository: repository.id,
                manifest,
                tags,
                effects,
                made_immutable: &protected,
                immutable_tags,
                reversion: point.from == PointedFrom::Past,
                now: point.now,
            },
            &live,
        )
        .await?;
        let image = WantImage {
            manifest,
            namespace: repository.namespace_id,
            demand: point.demand,
            queue: point.queue,
            tagged: true,
            trace: point.actor.trace(),
            ids: point.ids,
            now: point.now,
        };
        let (copies, _) = want_image(&transaction, &image).await?;
        log_move(&transaction, point, before).await?;
        transaction.commit().await?;
        Ok(TagMove::Pointed { copies })
    }

    /// Ends a live tag at a time that is to come, or has it end not at all.
    pub async fn change_tag_end(
        &self,
        change: &ChangeTag<'_>,
        until: Option<Timestamp>,
    ) -> Result<TagChange, MetadataError> {
        contended(|| self.change_tag_end_once(change, until)).await
    }

    async fn change_tag_end_once(
        &self,
        change: &ChangeTag<'_>,
        until: Option<Timestamp>,
    ) -> Result<TagChange, MetadataError> {
        const OPERATION: &str = "change when a tag ends";
        let transaction = self.begin(OPERATION).await?;
        let Some(row) = locked(&transaction, change).await? else {
            return Ok(TagChange::Unknown);
        };
        if row.immutable && change.features.immutable_tags != ImmutableTags::Ignored {
            return Ok(TagChange::Immutable);
        }
        match until {
            Some(until) => end(&transaction, [row.id], until).await?,
            None => {
                for statement in [
                    "UPDATE tag SET lifetime_end_ms = NULL WHERE id = $1",
                    "DELETE FROM tagnotificationsuccess WHERE tag_id = $1",
                ] {
                    transaction
                        .execute(OPERATION, statement, params![row.id])
                        .await?;
                }
            }
        }
        if until.is_some() || row.lifetime_end_ms.is_some() {
            let members = [
                (
                    "expiration_date",
                    json!(until.map(|until| until.timestamp())),
                ),
                (
                    "old_expiration_date",
                    json!(row.lifetime_end_ms.map(|end| end.div_euclid(1000))),
                ),
            ];
            log_change(&transaction, change, "change_tag_expiration", &members).await?;
        }
        transaction.commit().await?;
        Ok(TagChange::Changed)
    }

    /// Makes a live tag immutable, or one that can be moved and deleted again. Nothing happens where there are no immutable tags.
    pub async fn change_tag_immutability(
        &self,
        change: &ChangeTag<'_>,
        immutable: bool,
    ) -> Result<TagChange, MetadataError> {
        contended(|| self.change_tag_immutability_once(change, immutable)).await
    }

    async fn change_tag_immutability_once(
        &self,
        change: &ChangeTag<'_>,
        immutable: bool,
    ) -> Result<TagChange, MetadataError> {
        const OPERATION: &str = "change whether a tag is immutable";
        let transaction = self.begin(OPERATION).await?;
        let Some(row) = locked(&transaction, change).await? else {
            return Ok(TagChange::Unknown);
        };
        let kept = change.features.immutable_tags;
        if kept == ImmutableTags::Ignored || row.immutable == immutable {
            return Ok(TagChange::Changed);
        }
        if immutable && row.lifetime_end_ms.is_some() && kept == ImmutableTags::Kept {
            return Ok(TagChange::Ends);
        }
        transaction
            .execute(
                OPERATION,
                "UPDATE tag SET immutable = $2 WHERE id = $1",
                params![row.id, immutable],
            )
            .await?;
        let members = [
            ("immutable", json!(immutable)),
            ("previous_immutable", json!(row.immutable)),
        ];
        log_change(&transaction, change, "change_tag_immutability", &members).await?;
        transaction.commit().await?;
        Ok(TagChange::Changed)
    }
}

/// The row of the manifest, if a tag may be pointed to it: one that a live tag keeps visible, or one that a tag kept whose time is not over.
async fn find(
    transaction: &Transaction,
    point: &PointTag<'_>,
) -> Result<Option<ManifestId>, MetadataError> {
    let (shown, kept) = match point.from {
        PointedFrom::Present => (
            "NOT EXISTS (SELECT 1 FROM roadstead_hidden_manifest h WHERE h.manifest_id = m.id)",
            "t.lifetime_end_ms > $1".to_owned(),
        ),
        PointedFrom::Past => ("true", format!("NOT ({PAST})")),
    };
    let row: Option<Identified> = transaction
        .row(
            "look up a manifest",
            &format!(
                r#"WITH RECURSIVE up(id) AS (
                       SELECT id FROM manifest WHERE repository_id = $2 AND digest = $3
                       UNION
                       SELECT mc.manifest_id FROM manifestchild mc JOIN up ON mc.child_manifest_id = up.id)
                   SELECT m.id FROM manifest m JOIN "user" u ON u.id = $4
                   WHERE m.repository_id = $2 AND m.digest = $3 AND {shown}
                     AND EXISTS (SELECT 1 FROM up JOIN tag t ON t.manifest_id = up.id
                                 WHERE t.lifetime_end_ms IS NULL OR ({kept}))"#
            ),
            params![
                point.now.timestamp_millis(),
                point.repository.id.0,
                point.digest.to_string(),
                point.repository.namespace_id.0,
            ],
        )
        .await?;
    Ok(row.map(|row| ManifestId(row.id)))
}

/// Shows a manifest again, with what is below it and their blobs, of which a client may have deleted some since: the rows are all there.
async fn unhide(transaction: &Transaction, manifest: ManifestId) -> Result<(), MetadataError> {
    const DOWN: &str = "WITH RECURSIVE down(id) AS (
             SELECT CAST($1 AS integer)
             UNION
             SELECT mc.child_manifest_id FROM manifestchild mc JOIN down ON mc.manifest_id = down.id)";
    for statement in [
        "DELETE FROM roadstead_hidden_manifest WHERE manifest_id IN (SELECT id FROM down)",
        "DELETE FROM roadstead_hidden_blob
         WHERE repository_id = (SELECT m.repository_id FROM manifest m WHERE m.id = $1)
           AND storage_id IN (SELECT mb.blob_id FROM manifestblob mb JOIN down ON mb.manifest_id = down.id)",
    ] {
        transaction
            .execute(
                "show a manifest again",
                &format!("{DOWN} {statement}"),
                params![manifest.0],
            )
            .await?;
    }
    Ok(())
}

async fn children(transaction: &Transaction, manifest: ManifestId) -> Result<usize, MetadataError> {
    let row: Option<Counted> = transaction
        .row(
            "count the manifests of an index",
            "SELECT count(*) AS count FROM manifestchild WHERE manifest_id = $1",
            params![manifest.0],
        )
        .await?;
    Ok(row.map_or(0, |row| row.count.try_into().unwrap_or_default()))
}

/// The live row of the tag, under the lock.
async fn locked(
    transaction: &Transaction,
    change: &ChangeTag<'_>,
) -> Result<Option<LiveTag>, MetadataError> {
    let repository = change.repository.id;
    transaction.lock(Lock::tags_of(repository)).await?;
    let mut live = live_tags(transaction, repository, [change.tag], change.now).await?;
    Ok(live.remove(change.tag.as_str()))
}

async fn log_move(
    transaction: &Transaction,
    point: &PointTag<'_>,
    before: Option<&LiveTag>,
) -> Result<(), MetadataError> {
    let path = &point.repository.path;
    let mut members: Vec<(&str, Value)> = vec![
        ("username", json!(point.actor.username())),
        ("repo", json!(path.name)),
        ("tag", json!(point.tag.as_str())),
        ("namespace", json!(path.namespace)),
        ("manifest_digest", json!(point.digest.as_str())),
    ];
    let kind = match point.from {
        PointedFrom::Past => "revert_tag",
        PointedFrom::Present => {
            let digest = before.and_then(|row| row.digest.as_deref());
            members.push(("original_manifest_digest", json!(digest)));
            if before.is_some() {
                "move_tag"
            } else {
                "create_tag"
            }
        }
    };
    let entry = LogEntry::change(
        point.actor,
        kind,
        point.repository.namespace_id,
        Some(point.repository.id),
        &members,
        point.now,
    );
    audit::write(transaction, &[entry]).await
}

async fn log_change(
    transaction: &Transaction,
    change: &ChangeTag<'_>,
    kind: &'static str,
    more: &[(&str, Value)],
) -> Result<(), MetadataError> {
    let path = &change.repository.path;
    let mut members: Vec<(&str, Value)> = vec![
        ("username", json!(change.actor.username())),
        ("repo", json!(path.name)),
        ("tag", json!(change.tag.as_str())),
        ("namespace", json!(path.namespace)),
    ];
    members.extend_from_slice(more);
    let entry = LogEntry::change(
        change.actor,
        kind,
        change.repository.namespace_id,
        Some(change.repository.id),
        &members,
        change.now,
    );
    audit::write(transaction, &[entry]).await
}
