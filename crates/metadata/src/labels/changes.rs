//! Labels that somebody looks up, adds or takes away by themselves, beside those that came with a manifest. Those do nothing to tags.

use roadstead_runtime::{Ids, Timestamp};
use serde_json::{Value, json};

use super::LABELS_MAX;
use crate::audit::{self, Actor, LogEntry};
use crate::database::{Connection, Counted, Database, Lock, Transaction, contended, params};
use crate::error::MetadataError;
use crate::ids::ManifestId;
use crate::locations::limit_column;
use crate::manifests::StoredManifest;
use crate::repositories::Repository;
use crate::row::FromRow;

/// A label of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRecord {
    /// Its identifier.
    pub uuid: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where it came from, by Quay's name: `manifest`, `api` or `internal`.
    pub source: String,
    /// What the value is: `text/plain` or `application/json`.
    pub media_type: String,
}

/// A label to be added to a manifest.
#[derive(Clone, Copy, Debug)]
pub struct NewLabel<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its value.
    pub value: &'a str,
    /// What the value is: `text/plain` or `application/json`.
    pub media_type: &'a str,
}

/// A manifest whose labels are changed, and who does it.
#[derive(Clone, Copy, Debug)]
pub struct LabelsOf<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The manifest.
    pub manifest: &'a StoredManifest,
    /// Who changes them, for the log.
    pub actor: &'a Actor,
    /// Now.
    pub now: Timestamp,
}

/// What became of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    /// It was added, or is gone.
    Changed(LabelRecord),
    /// The manifest has no such label.
    Unknown,
    /// It came with the manifest and stays with it.
    OfManifest,
    /// The manifest has as many labels as it may have.
    TooMany,
}

#[derive(Debug, FromRow)]
struct LabelRow {
    uuid: String,
    key: String,
    value: String,
    source: String,
    media_type: String,
}

impl From<LabelRow> for LabelRecord {
    fn from(row: LabelRow) -> Self {
        Self {
            uuid: row.uuid,
            key: row.key,
            value: row.value,
            source: row.source,
            media_type: row.media_type,
        }
    }
}

/// The labels `l` of manifest `$1`.
const LABELS: &str = "SELECT l.uuid, l.key, l.value, s.name AS source, mt.name AS media_type
     FROM manifestlabel ml JOIN label l ON l.id = ml.label_id
     JOIN labelsourcetype s ON s.id = l.source_type_id
     JOIN mediatype mt ON mt.id = l.media_type_id
     WHERE ml.manifest_id = $1";

impl Database {
    /// The labels of a manifest by key, those whose keys begin with `prefix`; at most `limit`.
    pub async fn manifest_labels(
        &self,
        manifest: ManifestId,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<LabelRecord>, MetadataError> {
        let rows: Vec<LabelRow> = self
            .reader()
            .rows(
                "list the labels of a manifest",
                &format!("{LABELS} AND @prefix(l.key, $2) ORDER BY l.key, l.id LIMIT $3"),
                params![manifest.0, prefix, limit_column(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(LabelRecord::from).collect())
    }

    /// One label of a manifest.
    pub async fn manifest_label(
        &self,
        manifest: ManifestId,
        uuid: &str,
    ) -> Result<Option<LabelRecord>, MetadataError> {
        find(self.reader(), manifest, uuid).await
    }

    /// Adds a label to a manifest.
    pub async fn add_label(
        &self,
        of: &LabelsOf<'_>,
        new: &NewLabel<'_>,
        ids: &dyn Ids,
    ) -> Result<LabelChange, MetadataError> {
        contended(|| self.add_label_once(of, new, ids)).await
    }

    async fn add_label_once(
        &self,
        of: &LabelsOf<'_>,
        new: &NewLabel<'_>,
        ids: &dyn Ids,
    ) -> Result<LabelChange, MetadataError> {
        const OPERATION: &str = "add a label to a manifest";
        let manifest = of.manifest.id;
        let transaction = self.begin(OPERATION).await?;
        // So that the collection does not remove the manifest meanwhile.
        transaction.lock(Lock::tags_of(of.repository.id)).await?;
        let there: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM manifest WHERE id = $1",
                params![manifest.0],
            )
            .await?;
        if there.is_none_or(|row| row.count == 0) {
            return Ok(LabelChange::Unknown);
        }
        let others: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM manifestlabel WHERE manifest_id = $1",
                params![manifest.0],
            )
            .await?;
        let most = i64::try_from(2 * LABELS_MAX).unwrap_or(i64::MAX);
        if others.is_some_and(|row| row.count >= most) {
            return Ok(LabelChange::TooMany);
        }
        let uuid = ids.uuid().to_string();
        transaction
            .execute(
                OPERATION,
                "INSERT INTO label (uuid, key, value, media_type_id, source_type_id)
                 SELECT $1, $2, $3, m.id, s.id FROM mediatype m, labelsourcetype s
                 WHERE m.name = $4 AND s.name = 'api'",
                params![uuid.as_str(), new.key, new.value, new.media_type],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO manifestlabel (repository_id, manifest_id, label_id)
                 SELECT $1, $2, l.id FROM label l WHERE l.uuid = $3",
                params![of.repository.id.0, manifest.0, uuid.as_str()],
            )
            .await?;
        let Some(label) = find(&transaction, manifest, &uuid).await? else {
            return Err(MetadataError::corrupt(
                "labelsourcetype",
                "name",
                "api",
                "the row is missing",
            ));
        };
        log(&transaction, of, "manifest_label_add", &label).await?;
        transaction.commit().await?;
        Ok(LabelChange::Changed(label))
    }

    /// Takes a label from a manifest that somebody added.
    pub async fn delete_label(
        &self,
        of: &LabelsOf<'_>,
        uuid: &str,
    ) -> Result<LabelChange, MetadataError> {
        contended(|| self.delete_label_once(of, uuid)).await
    }

    async fn delete_label_once(
        &self,
        of: &LabelsOf<'_>,
        uuid: &str,
    ) -> Result<LabelChange, MetadataError> {
        const OPERATION: &str = "take a label from a manifest";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::tags_of(of.repository.id)).await?;
        let Some(label) = find(&transaction, of.manifest.id, uuid).await? else {
            return Ok(LabelChange::Unknown);
        };
        if label.source != "api" {
            return Ok(LabelChange::OfManifest);
        }
        for statement in [
            "DELETE FROM manifestlabel WHERE label_id = (SELECT l.id FROM label l WHERE l.uuid = $1)",
            "DELETE FROM label WHERE uuid = $1",
        ] {
            transaction
                .execute(OPERATION, statement, params![uuid])
                .await?;
        }
        log(&transaction, of, "manifest_label_delete", &label).await?;
        transaction.commit().await?;
        Ok(LabelChange::Changed(label))
    }
}

async fn find(
    connection: &impl Connection,
    manifest: ManifestId,
    uuid: &str,
) -> Result<Option<LabelRecord>, MetadataError> {
    let row: Option<LabelRow> = connection
        .row(
            "look up a label",
            &format!("{LABELS} AND l.uuid = $2"),
            params![manifest.0, uuid],
        )
        .await?;
    Ok(row.map(LabelRecord::from))
}

async fn log(
    transaction: &Transaction,
    of: &LabelsOf<'_>,
    kind: &'static str,
    label: &LabelRecord,
) -> Result<(), MetadataError> {
    let path = &of.repository.path;
    let mut members: Vec<(&str, Value)> = vec![
        ("id", json!(label.uuid)),
        ("key", json!(label.key)),
        ("value", json!(label.value)),
        ("manifest_digest", json!(of.manifest.digest.as_str())),
    ];
    if kind == "manifest_label_add" {
        members.push(("media_type", json!(label.media_type)));
    }
    members.push(("namespace", json!(path.namespace)));
    members.push(("repo", json!(path.name)));
    let entry = LogEntry::change(
        of.actor,
        kind,
        of.repository.namespace_id,
        Some(of.repository.id),
        &members,
        of.now,
    );
    audit::write(transaction, &[entry]).await
}
