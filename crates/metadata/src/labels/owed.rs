//! Labels that are owed: a manifest was pushed while no copy of its configuration could be read. It is pulled like any other meanwhile; its labels
//! and what they do to its tags come when the configuration can be read.

use bytes::Bytes;
use roadstead_oci::MediaType;
use roadstead_runtime::{Ids, Timestamp};

use super::{Labels, TagEffects, tag_effects, write};
use crate::database::{Connection, Database, Identified, Lock, Transaction, contended, params};
use crate::error::MetadataError;
use crate::features::Features;
use crate::ids::{ManifestId, RepositoryId};
use crate::immutability::ImmutableTags;
use crate::row::FromRow;

/// A manifest whose labels are owed.
#[derive(Clone, Debug)]
pub struct OwedLabels {
    /// The manifest.
    pub manifest: ManifestId,
    /// Its repository.
    pub repository: RepositoryId,
    /// Its media type.
    pub media_type: MediaType,
    /// Its bytes.
    pub bytes: Bytes,
    /// How often its configuration could not be read since it was pushed.
    pub attempts: u32,
}

#[derive(Debug, FromRow)]
struct OwedRow {
    manifest_id: i32,
    repository_id: i32,
    media_type: String,
    manifest_bytes: String,
    attempts: i32,
}

impl TryFrom<OwedRow> for OwedLabels {
    type Error = MetadataError;

    fn try_from(row: OwedRow) -> Result<Self, MetadataError> {
        Ok(Self {
            manifest: ManifestId(row.manifest_id),
            repository: RepositoryId(row.repository_id),
            media_type: row.media_type.parse().map_err(|error| {
                MetadataError::corrupt("manifest", "media_type_id", row.manifest_id, error)
            })?,
            bytes: Bytes::from(row.manifest_bytes),
            attempts: row.attempts.try_into().unwrap_or_default(),
        })
    }
}

impl Database {
    /// Manifests whose labels are owed and may be looked for again now, those due the longest first. Those that are gone are forgotten.
    pub async fn owed_labels(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OwedLabels>, MetadataError> {
        const OPERATION: &str = "look for labels that are owed";
        let rows: Vec<OwedRow> = self
            .reader()
            .rows(
                OPERATION,
                "SELECT o.manifest_id, m.repository_id, mt.name AS media_type, m.manifest_bytes, o.attempts
                 FROM roadstead_owed_labels o
                 JOIN manifest m ON m.id = o.manifest_id
                 JOIN mediatype mt ON mt.id = m.media_type_id
                 WHERE o.due <= $1 ORDER BY o.due, o.id LIMIT $2",
                params![now.naive_utc(), i64::from(limit)],
            )
            .await?;
        if rows.is_empty() {
            self.execute(
                OPERATION,
                "DELETE FROM roadstead_owed_labels
                 WHERE due <= $1 AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.id = manifest_id)",
                params![now.naive_utc()],
            )
            .await?;
        }
        rows.into_iter().map(OwedLabels::try_from).collect()
    }

    /// Writes labels that were owed, and does to the tags of the manifest what they say, as if they had come with the push: a tag ends so long after
    /// it began. Tags that have an end already keep it. False when somebody else has written them meanwhile, or the manifest is gone.
    pub async fn pay_labels(
        &self,
        owed: &OwedLabels,
        labels: &Labels,
        features: Features,
        ids: &dyn Ids,
    ) -> Result<bool, MetadataError> {
        contended(|| self.pay_labels_once(owed, labels, features, ids)).await
    }

    async fn pay_labels_once(
        &self,
        owed: &OwedLabels,
        labels: &Labels,
        features: Features,
        ids: &dyn Ids,
    ) -> Result<bool, MetadataError> {
        const OPERATION: &str = "store labels that were owed";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(owed.repository)).await?;
        let was_owed = transaction
            .execute(
                OPERATION,
                "DELETE FROM roadstead_owed_labels WHERE manifest_id = $1",
                params![owed.manifest.0],
            )
            .await?;
        let manifest: Option<Identified> = transaction
            .row(
                OPERATION,
                "SELECT id FROM manifest WHERE id = $1",
                params![owed.manifest.0],
            )
            .await?;
        let paid = was_owed == 1 && manifest.is_some();
        if paid {
            write(&transaction, owed.repository, owed.manifest, labels, ids).await?;
            let effects = tag_effects(&transaction, owed.manifest, 0).await?;
            apply(&transaction, owed.manifest, effects, features).await?;
        }
        transaction.commit().await?;
        Ok(paid)
    }

    /// Looks for the labels of a manifest again then.
    pub async fn put_off_labels(
        &self,
        owed: &OwedLabels,
        due: Timestamp,
    ) -> Result<(), MetadataError> {
        self.execute(
            "put off labels that are owed",
            "UPDATE roadstead_owed_labels SET due = $2, attempts = attempts + 1 WHERE manifest_id = $1",
            params![owed.manifest.0, due.naive_utc()],
        )
        .await
        .map(drop)
    }
}

/// Notes that the labels of a manifest are owed.
pub(crate) async fn note(
    transaction: &Transaction,
    manifest: ManifestId,
    now: Timestamp,
) -> Result<(), MetadataError> {
    transaction
        .execute(
            "note that labels are owed",
            "INSERT INTO roadstead_owed_labels (manifest_id, due, attempts) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
            params![manifest.0, now.naive_utc()],
        )
        .await
        .map(drop)
}

/// Does to the live tags of a manifest, which have no end yet, what its labels say.
async fn apply(
    transaction: &Transaction,
    manifest: ManifestId,
    effects: TagEffects,
    features: Features,
) -> Result<(), MetadataError> {
    let immutable = effects.immutable && features.immutable_tags != ImmutableTags::Ignored;
    let ends_anyway = features.immutable_tags != ImmutableTags::Kept;
    if !immutable && effects.expires_after_ms.is_none() {
        return Ok(());
    }
    transaction
        .execute(
            "do to tags what labels say",
            "UPDATE tag SET immutable = (immutable OR $2),
                            lifetime_end_ms = CASE WHEN $3 AND ($4 OR NOT (immutable OR $2))
                                                   THEN lifetime_start_ms + $5 ELSE lifetime_end_ms END
             WHERE manifest_id = $1 AND NOT hidden AND lifetime_end_ms IS NULL",
            params![
                manifest.0,
                immutable,
                effects.expires_after_ms.is_some(),
                ends_anyway,
                effects.expires_after_ms.unwrap_or_default(),
            ],
        )
        .await
        .map(drop)
}
