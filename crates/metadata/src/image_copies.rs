//! Where the blobs of images are, and how the copies of them go that are wanted.
//!
//! An image needs the blobs of its manifest and of all manifests below it. It is complete at a location that has placements of all of them.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_oci::Digest;
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::database::{Connection, Database, Transaction, json_ids, params};
use crate::error::MetadataError;
use crate::ids::{LocationId, ManifestId, StorageId};
use crate::locations::location_name;
use crate::row::FromRow;

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

#[derive(Debug, FromRow)]
struct PlacedRow {
    id: i32,
    digest: String,
    size: i64,
    location: Option<String>,
}

#[derive(Debug, FromRow)]
struct WantedRow {
    id: i32,
    location: String,
    last_attempt: Option<chrono::NaiveDateTime>,
    failure: Option<String>,
}

#[derive(Debug, FromRow)]
struct ChildrenRow {
    id: i32,
    children: Option<String>,
}

#[derive(Debug, FromRow)]
struct LackingRow {
    image: i32,
    lacks: Option<i32>,
}

/// How many levels of manifests below each other are looked through; clients know two.
const LEVELS_MAX: u32 = 16;

/// One of the blobs that each image lacks at its location, by the image's place in the list; complete images are left out. A statement for each level of
/// manifests, and one more.
///
/// The look-ups are nested so that each goes through an index, however many images the planner reckons with.
pub(crate) async fn lacking_of_images(
    transaction: &Transaction,
    images: &[(ManifestId, LocationId)],
) -> Result<BTreeMap<usize, StorageId>, MetadataError> {
    const OPERATION: &str = "look up what images lack";
    let mut below: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
    let mut level: BTreeSet<i32> = images.iter().map(|(manifest, _)| manifest.0).collect();
    for _ in 0..LEVELS_MAX {
        if level.is_empty() {
            break;
        }
        let rows: Vec<ChildrenRow> = transaction
            .rows(
                OPERATION,
                "SELECT CAST(n.value AS integer) AS id,
                        (SELECT @list(mc.child_manifest_id) FROM manifestchild mc WHERE mc.manifest_id = n.value) AS children
                 FROM @ids($1) AS n",
                params![json_ids(level.iter().copied())],
            )
            .await?;
        level.clear();
        for row in rows {
            let children: BTreeSet<i32> = match &row.children {
                None => BTreeSet::new(),
                Some(children) => serde_json::from_str(children).map_err(|error| {
                    MetadataError::corrupt("manifestchild", "child_manifest_id", row.id, error)
                })?,
            };
            level.extend(&children);
            below.insert(row.id, children);
        }
        level.retain(|manifest| !below.contains_key(manifest));
    }
    let mut triples = Vec::new();
    for (image, (manifest, location)) in (0_i32..).zip(images) {
        let mut needed = BTreeSet::new();
        let mut next = vec![manifest.0];
        while let Some(manifest) = next.pop() {
            if needed.insert(manifest) {
                triples.push([image, manifest, location.0]);
                next.extend(below.get(&manifest).into_iter().flatten());
            }
        }
    }
    let rows: Vec<LackingRow> = transaction
        .rows(
            OPERATION,
            "SELECT n.first AS image,
                    (SELECT max(mb.blob_id) FROM manifestblob mb
                     WHERE mb.manifest_id = n.second
                       AND (SELECT p.id FROM imagestorageplacement p
                            WHERE p.storage_id = mb.blob_id AND p.location_id = n.third LIMIT 1) IS NULL) AS lacks
             FROM @triples($1) AS n",
            params![serde_json::json!(triples).to_string()],
        )
        .await?;
    let mut lacking = BTreeMap::new();
    for row in rows {
        if let (Ok(image), Some(lacks)) = (row.image.try_into(), row.lacks) {
            lacking.insert(image, StorageId(lacks));
        }
    }
    Ok(lacking)
}

impl Database {
    /// The blobs that a manifest and all manifests below it need, each once. Two queries.
    pub async fn image_blobs(&self, manifest: ManifestId) -> Result<Vec<ImageBlob>, MetadataError> {
        const OPERATION: &str = "look up where the blobs of an image are";
        let placed: Vec<PlacedRow> = self
            .reader()
            .rows(
                OPERATION,
                "WITH RECURSIVE down(id) AS (
                     SELECT id FROM manifest WHERE id = $1
                     UNION
                     SELECT mc.child_manifest_id FROM down JOIN manifestchild mc ON mc.manifest_id = down.id)
                 SELECT s.id, s.content_checksum AS digest, COALESCE(s.image_size, 0) AS size, l.name AS location
                 FROM (SELECT DISTINCT mb.blob_id FROM down JOIN manifestblob mb ON mb.manifest_id = down.id) needed
                 JOIN imagestorage s ON s.id = needed.blob_id
                 LEFT JOIN imagestorageplacement p ON p.storage_id = s.id
                 LEFT JOIN imagestoragelocation l ON l.id = p.location_id
                 ORDER BY s.id, l.name",
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
