//! Where the blobs of one image are, and how the copies of them go that are wanted.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use sea_orm::FromQueryResult;

use crate::database::{Connection, Database, json_ids, params};
use crate::error::MetadataError;
use crate::ids::{ManifestId, StorageId};
use crate::locations::location_name;

/// A blob of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBlob {
    /// Its row.
    pub storage: StorageId,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The locations that have a placement of it.
    pub present: BTreeSet<LocationName>,
    /// Where it is wanted, and how that goes.
    pub wanted: BTreeMap<LocationName, CopyAttempt>,
}

/// How the attempts to make a wanted copy went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyAttempt {
    /// When it was tried last; none if it never was.
    pub last_attempt: Option<Timestamp>,
    /// Why that failed.
    pub failure: Option<String>,
}

#[derive(Debug, FromQueryResult)]
struct PlacedRow {
    id: i32,
    digest: String,
    size: i64,
    location: Option<String>,
}

#[derive(Debug, FromQueryResult)]
struct WantedRow {
    id: i32,
    location: String,
    last_attempt: Option<chrono::NaiveDateTime>,
    failure: Option<String>,
}

/// What images need, as common table expressions behind `asked(id)`, their manifests: each blob of a manifest and of all manifests below it
/// once, as `needed(image_id, blob_id)`. An image is complete at a location that has placements of all of them.
pub(crate) const NEEDED: &str = "down(image_id, id) AS (
         SELECT a.id, a.id FROM asked a
         UNION
         SELECT d.image_id, mc.child_manifest_id FROM down d JOIN manifestchild mc ON mc.manifest_id = d.id),
     needed(image_id, blob_id) AS (
         SELECT DISTINCT d.image_id, mb.blob_id FROM down d JOIN manifestblob mb ON mb.manifest_id = d.id)";

impl Database {
    /// The blobs that a manifest and all manifests below it need, each once. Two queries.
    pub async fn image_blobs(&self, manifest: ManifestId) -> Result<Vec<ImageBlob>, MetadataError> {
        const OPERATION: &str = "look up where the blobs of an image are";
        let placed: Vec<PlacedRow> = self
            .reader()
            .rows(
                OPERATION,
                &format!(
                    "WITH RECURSIVE asked(id) AS (SELECT m.id FROM manifest m WHERE m.id = $1), {NEEDED}
                     SELECT s.id, s.content_checksum AS digest, COALESCE(s.image_size, 0) AS size, l.name AS location
                     FROM needed n
                     JOIN imagestorage s ON s.id = n.blob_id
                     LEFT JOIN imagestorageplacement p ON p.storage_id = s.id
                     LEFT JOIN imagestoragelocation l ON l.id = p.location_id
                     ORDER BY s.id, l.name"
                ),
                params![manifest.0],
            )
            .await?;
        let mut blobs: BTreeMap<i32, ImageBlob> = BTreeMap::new();
        for row in placed {
            let location = row.location.as_deref().map(location_name).transpose()?;
            let blob = match blobs.entry(row.id) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(ImageBlob {
                    storage: StorageId(row.id),
                    digest: row.digest.parse().map_err(|error| {
                        MetadataError::corrupt("imagestorage", "content_checksum", row.id, error)
                    })?,
                    size: row.size.try_into().unwrap_or_default(),
                    present: BTreeSet::new(),
                    wanted: BTreeMap::new(),
                }),
            };
            blob.present.extend(location);
        }
        let wanted: Vec<WantedRow> = self
            .reader()
            .rows(
                OPERATION,
                "SELECT c.storage_id AS id, l.name AS location, c.last_attempt, c.last_failure AS failure
                 FROM roadstead_copy c JOIN imagestoragelocation l ON l.id = c.location_id
                 WHERE c.storage_id IN @ids($1)",
                params![json_ids(blobs.keys().copied())],
            )
            .await?;
        for row in wanted {
            let location = location_name(&row.location)?;
            if let Some(blob) = blobs.get_mut(&row.id) {
                let attempt = CopyAttempt {
                    last_attempt: row.last_attempt.map(|time| time.and_utc()),
                    failure: row.failure,
                };
                blob.wanted.insert(location, attempt);
            }
        }
        Ok(blobs.into_values().collect())
    }
}
